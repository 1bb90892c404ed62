# SPDX-License-Identifier: GPL-2.0-or-later
"""`fetchsan repro`: a public bug, before and after its fix."""

from __future__ import annotations

from pathlib import Path

import click

__all__ = ["repro"]

DEFAULT_SCENARIO = "osv-1100"


@click.command(short_help="Reproduce a public bug, before and after its fix.")
@click.argument("name", default=DEFAULT_SCENARIO)
@click.option("--samples", metavar="N", type=click.IntRange(1, 1_000_000), help="Also model N runs on silicon; count failures.")
@click.option("--seed", metavar="N", type=click.IntRange(0, (1 << 64) - 1), default=0, help="Seed of those runs (default: 0).")
@click.option("--hole", metavar="HOLE", help="osv-holes: play only this hole (a to f), and show its report in full.")
@click.option("--list", "list_names", is_flag=True, help="Print the names of all scenarios, and stop.")
@click.option(
    "--json", "json_path", metavar="FILE", type=click.Path(dir_okay=False, path_type=Path), help="Write the outcome as JSON."
)
def repro(
    name: str, samples: int | None, seed: int, hole: str | None, list_names: bool, json_path: Path | None
) -> int:
    """Reproduce the bug NAME (default: osv-1100) on each kernel and machine, and show what the fix changes.

    Exit status: 0 if the bug shows before its fix and not after it.
    """
    from fetchsan import scenarios

    if list_names:
        for scenario, description in scenarios.NAMES.items():
            click.echo(f"{scenario:<12}{description}")
        return 0
    return scenarios.run(name, samples=samples, seed=seed, hole=hole, json_path=json_path)
