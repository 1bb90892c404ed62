# SPDX-License-Identifier: GPL-2.0-or-later
"""Debian packages and an apt repository made on the spot, so that no test needs the network."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest


def build_package(
    directory: Path,
    name: str,
    files: Mapping[str, str],
    *,
    links: Mapping[str, str] | None = None,
    postinst: str = "",
    version: str = "1.0",
    architecture: str = "arm64",
    compression: str = "xz",
    **fields: str,
) -> Path:
    """A .deb with `files` (path: content) and symbolic `links` (path: target); `fields` go into its control file."""
    tree = directory / f"{name}.tree"
    (tree / "DEBIAN").mkdir(parents=True)
    for path, content in files.items():
        (tree / path).parent.mkdir(parents=True, exist_ok=True)
        (tree / path).write_text(content)
    for path, target in (links or {}).items():
        (tree / path).parent.mkdir(parents=True, exist_ok=True)
        (tree / path).symlink_to(target)
    control = {
        "Package": name,
        "Version": version,
        "Architecture": architecture,
        "Maintainer": "Nobody <nobody@example.org>",
        "Description": "a package of the tests",
    } | {key.replace("_", "-"): value for key, value in fields.items()}
    (tree / "DEBIAN/control").write_text("".join(f"{key}: {value}\n" for key, value in control.items()))
    if postinst:
        (tree / "DEBIAN/postinst").write_text(postinst)
        (tree / "DEBIAN/postinst").chmod(0o755)
    archive = directory / f"{name}_{version}_{architecture}.deb"
    subprocess.run(
        ["dpkg-deb", "--root-owner-group", f"-Z{compression}", "--build", tree, archive],
        check=True,
        capture_output=True,
    )
    shutil.rmtree(tree)
    return archive


class Repository:
    """A flat apt repository (sources.list(5)) in a directory, and the host configuration that names it."""

    def __init__(self, base: Path) -> None:
        self.directory = base / "repository"
        self.directory.mkdir(parents=True)
        self.source_list = base / "etc/sources.list"
        self.source_parts = base / "etc/sources.list.d"
        self.source_parts.mkdir(parents=True)
        self.source_list.write_text(f"deb [trusted=yes] file:{self.directory} ./\n")
        self.configuration = base / "etc/apt.conf"
        self.configuration.write_text(
            f'Dir::Etc::parts "/dev/null";\nDir::Etc::main "/dev/null";\nDir::Etc::preferencesparts "/dev/null";\n'
            f'Dir::Etc::sourcelist "{self.source_list}";\nDir::Etc::sourceparts "{self.source_parts}";\n'
        )

    def package(self, name: str, files: Mapping[str, str] | None = None, **options: object) -> Path:
        """Add a package and list it."""
        archive = build_package(self.directory, name, files or {}, **options)  # type: ignore[arg-type]
        self.index()
        return archive

    def index(self) -> None:
        """Write the Packages file anew."""
        stanzas = []
        for archive in sorted(self.directory.glob("*.deb")):
            data = archive.read_bytes()
            listed = archive.with_suffix(".control")
            if not listed.exists():
                fields = subprocess.run(["dpkg-deb", "-f", archive], check=True, capture_output=True, text=True)
                listed.write_text(fields.stdout)
            stanzas.append(
                f"{listed.read_text()}Filename: ./{archive.name}\nSize: {len(data)}\n"
                f"SHA256: {hashlib.sha256(data).hexdigest()}\n\n"
            )
        (self.directory / "Packages").write_text("".join(stanzas))


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Repository:
    """The one source of packages that apt knows during the test."""
    if not (shutil.which("apt-get") and shutil.which("dpkg-deb")):
        pytest.skip("needs apt-get and dpkg-deb")
    made = Repository(tmp_path / "host")
    monkeypatch.setenv("APT_CONFIG", str(made.configuration))
    return made
