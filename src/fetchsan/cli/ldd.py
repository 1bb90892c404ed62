# SPDX-License-Identifier: GPL-2.0-or-later
"""`fetchsan ldd`: how OSv's linker would load an object, as text of at most 80 columns or as JSON."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from fetchsan.kernel.linker.inspection import Inspection, Needed

__all__ = ["ldd"]

_ARCHITECTURES = {"aarch64": "arm64", "x64": "amd64"}
_MISSING_SHOWN = 20


class _HostFile:
    """A file of the host as the linker reads one."""

    def __init__(self, path: Path) -> None:
        self._data = path.read_bytes()

    @property
    def size(self) -> int:
        return len(self._data)

    def read_at(self, offset: int, count: int, /) -> bytes:
        return self._data[offset : offset + count]


@click.command(short_help="Show how OSv's linker would load an object.")
@click.option("-L", "--sysroot", metavar="DIR", type=click.Path(file_okay=False, path_type=Path),
              help="Where libraries are looked for (default: that of `fetchsan run`).")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.argument("file", metavar="FILE", type=click.Path(path_type=Path))
def ldd(file: Path, sysroot: Path | None, as_json: bool) -> int:
    """Show how OSv's linker would load FILE, an AArch64 or x86-64 object: what it needs and where that is, its segments,
    relocations, symbols that nothing provides, and what is bad about it. Nothing is run.
    """
    found = _inspect(file, sysroot)
    if as_json:
        import json

        click.echo(json.dumps(_fields(found), indent=2))
    else:
        for line in _lines(found, str(file)):
            click.echo(line)
    return 0


def _inspect(file: Path, sysroot: Path | None) -> Inspection:
    from fetchsan.errors import NotExecutableError, ProgramNotFoundError
    from fetchsan.kernel.linker.inspection import Inspected, inspect
    from fetchsan.kernel.linker.search import SEARCH_PATH, TRIPLETS
    from fetchsan.kernel.osv.functions import function_names
    from fetchsan.kernel.osv.ports import OSV_PORTS
    from fetchsan.kernel.osv.runner import kernel_libc
    from fetchsan.sysroot import default_root

    def open_file(path: str) -> _HostFile | None:
        for place in (Path(path) if path.startswith(here) else None, top / path.lstrip("/")):
            if place is not None and place.is_file():
                return _HostFile(place)
        return None

    here = str(file.absolute().parent)
    try:
        root = Inspected(_HostFile(file), str(file.absolute()))
    except FileNotFoundError:
        raise ProgramNotFoundError(str(file)) from None
    except OSError as error:
        raise NotExecutableError(str(file), (error.strerror or str(error)).lower()) from None
    top = sysroot or default_root(_ARCHITECTURES[root.port])
    system = (here, *SEARCH_PATH, *TRIPLETS[root.port])
    library = Inspected(kernel_libc(), "the kernel's C library") if root.port == "aarch64" else None
    names = frozenset(name.partition("+")[0] for name in function_names(0).values())
    return inspect(root, open_file, system, OSV_PORTS[root.port].provided, library, names)


def _lines(found: Inspection, shown: str) -> list[str]:
    """`shown`: the object as the person named it."""
    from fetchsan.kernel.linker.symbols import printable

    root = found.objects[0]
    kind = "program" if root.elf.interpreter is not None else "shared object"
    lines = [f"{shown}: {kind}, {'AArch64' if root.port == 'aarch64' else 'x86-64'}"]
    if found.needed:
        lines.append("needs")
        lines += [printable(f"  {row.name}  {_where(row)}") for row in found.needed]
    lines.append("segments")
    for segment in root.elf.segments:
        rights = "".join(letter if segment.flags & bit else "-" for bit, letter in ((4, "r"), (2, "w"), (1, "x")))
        sizes = f"{segment.memory_size:#9x} bytes, {segment.file_size:#x} of the file"
        lines.append(f"  {rights}  {segment.address:#010x}  {sizes}")
    lines.append("relocations")
    counts = ", ".join(f"{count} {name}" for name, count in sorted(root.relocations.items(), key=lambda row: -row[1]))
    lines += textwrap.wrap(counts or "none", 80, initial_indent="  ", subsequent_indent="  ")
    if found.missing:
        lines.append("symbols that nothing provides")
        for name, path in found.missing[:_MISSING_SHOWN]:
            lines.append(f"  {name}" + ("" if path == root.path else f"  (needed by {path})"))
        if len(found.missing) > _MISSING_SHOWN:
            lines.append(f"  and {len(found.missing) - _MISSING_SHOWN} more")
    for each in found.objects:
        name = shown if each is root else each.path
        for warning in each.warnings:
            lines += textwrap.wrap(f"warning: {name}: {warning}", 80, subsequent_indent="  ", break_on_hyphens=False)
    return lines


def _where(row: Needed) -> str:
    if row.provided:
        return "provided by the kernel"
    return row.path or f"NOT FOUND (needed by {Path(row.by).name})"


def _fields(found: Inspection) -> dict[str, Any]:
    root = found.objects[0]
    return {
        "path": root.path,
        "architecture": root.port,
        "soname": root.dynamic.soname,
        "interpreter": root.elf.interpreter,
        "needed": [{"name": row.name, "by": row.by, "path": row.path, "provided": row.provided} for row in found.needed],
        "segments": [
            {
                "address": segment.address,
                "memory_size": segment.memory_size,
                "file_size": segment.file_size,
                "flags": segment.flags,
            }
            for segment in root.elf.segments
        ],
        "relocations": root.relocations,
        "missing_symbols": [{"name": name, "needed_by": path} for name, path in found.missing],
        "warnings": [{"path": each.path, "warning": warning} for each in found.objects for warning in each.warnings],
    }
