# SPDX-License-Identifier: GPL-2.0-or-later
"""`fetchsan cpus`: the table of CPU profiles, for people, for pipes, and as JSON."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from fetchsan.arch.aarch64.cpus import CacheGeometry, CpuProfile

__all__ = ["cpus"]

# Below this width the terminal table leaves the geometry out.
_WIDE = 120
_GEOMETRY = {"L1I", "L1D", "L2"}
_HEADINGS = ("NAME", "CTR_EL0", "IDC", "DIC", "I/D-LINE", "L1IP", "L1I", "L1D", "L2", "DESCRIPTION")


@click.command(short_help="List the CPU profiles.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, with every column.")
def cpus(as_json: bool) -> int:
    """List the CPU profiles: what CTR_EL0 says, and the caches behind it (KiB, ways)."""
    from fetchsan.arch.aarch64.cpus import CPUS, DEFAULT_CPU

    if as_json:
        import json

        click.echo(json.dumps([_fields(cpu) for cpu in CPUS.values()], indent=2))
        return 0
    rows = [_cells(cpu, cpu.name == DEFAULT_CPU) for cpu in CPUS.values()]
    if sys.stdout.isatty():
        _print_rich(rows)
    else:
        widths = [max(map(len, column)) for column in zip(_HEADINGS, *rows, strict=True)]
        for row in (_HEADINGS, *rows):
            click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    return 0


def _print_rich(rows: list[tuple[str, ...]]) -> None:
    from rich.box import SIMPLE
    from rich.console import Console
    from rich.table import Table

    console = Console()
    shown = [index for index, heading in enumerate(_HEADINGS) if console.width >= _WIDE or heading not in _GEOMETRY]
    table = Table(box=SIMPLE, padding=(0, 1, 0, 0), pad_edge=False)
    for index in shown:
        table.add_column(_HEADINGS[index], no_wrap=index < len(_HEADINGS) - 1)
    for row in rows:
        table.add_row(*(row[index] for index in shown))
    console.print(table)


def _cells(cpu: CpuProfile, default: bool) -> tuple[str, ...]:
    return (
        cpu.name,
        f"{cpu.ctr:#x}",
        str(int(cpu.idc)),
        str(int(cpu.dic)),
        f"{cpu.iline}/{cpu.dline}",
        cpu.behaviour.policy.name,
        _size(cpu.l1i),
        _size(cpu.l1d),
        _size(cpu.l2),
        cpu.description + (" (default)" if default else ""),
    )


def _size(cache: CacheGeometry) -> str:
    return f"{cache.kib}/{cache.ways}"


def _fields(cpu: CpuProfile) -> dict[str, Any]:
    def geometry(cache: CacheGeometry) -> dict[str, int]:
        return {"kib": cache.kib, "ways": cache.ways, "line": cache.line}

    return {
        "name": cpu.name,
        "description": cpu.description,
        "midr": f"{cpu.midr:#x}",
        "ctr": f"{cpu.ctr:#x}",
        "idc": cpu.idc,
        "dic": cpu.dic,
        "iline": cpu.iline,
        "dline": cpu.dline,
        "policy": cpu.behaviour.policy.name,
        "l1i": geometry(cpu.l1i),
        "l1d": geometry(cpu.l1d),
        "l2": geometry(cpu.l2),
        "hwcap": f"{int(cpu.hwcap):#x}",
        "engine": cpu.engine,
        "source": cpu.source,
    }
