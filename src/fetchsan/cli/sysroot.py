# SPDX-License-Identifier: GPL-2.0-or-later
"""`fetchsan sysroot`: Debian packages for the guest's root directory."""

from __future__ import annotations

from pathlib import Path

import click

from fetchsan.sysroot.architectures import ARCHITECTURES

__all__ = ["sysroot"]


@click.group(short_help="Fetch Debian packages for guests.")
def sysroot() -> None:
    """Look after the directory that guests see as their root."""


@sysroot.command()
@click.option(
    "--arch", metavar="ARCH", type=click.Choice(list(ARCHITECTURES)), default="arm64",
    help=f"Of which architecture: {' or '.join(ARCHITECTURES)} (default: arm64); each has a root of its own.",
)
@click.option(
    "-L", "--sysroot", "root", metavar="DIR", type=click.Path(file_okay=False, path_type=Path),
    help="Where to put them (default: what `fetchsan run` takes for its root).",
)
@click.argument("packages", metavar="PKG...", nargs=-1, required=True)
def add(packages: tuple[str, ...], arch: str, root: Path | None) -> int:
    """Fetch Debian packages and what they depend on into the sysroot.

    No root needed; the system's own package lists are not touched.
    """
    from fetchsan.sysroot import add as add_packages

    report = add_packages(packages, architecture=arch, root=root, progress=lambda line: click.echo(line, err=True))
    for package in report.skipped:
        click.echo(f"{package.name} {package.version} was there before")
    click.echo(f"{len(report.installed)} packages ({report.bytes / 1e6:.1f} MB) unpacked into {report.root}")
    return 0
