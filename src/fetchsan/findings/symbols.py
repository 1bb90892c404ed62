# SPDX-License-Identifier: GPL-2.0-or-later
"""From an address to a name: ELF symbol tables of the mapped files, and the perf map that a JIT wrote.

pyelftools is imported when the first address in a file is asked for: a run without findings never pays for it.
"""

from __future__ import annotations

import struct
from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, NamedTuple

from fetchsan.findings.location import Location

__all__ = ["MappedRange", "Symboliser"]

# Elf64_Sym and the constants of the System V ABI, chapter 4.
_SYMBOL = struct.Struct("<IBBHQQ")
_CODE_LIKE = {0, 1, 2, 10}  # STT_NOTYPE (assembler labels), OBJECT (code written into arrays), FUNC, GNU_IFUNC
_SHN_LORESERVE = 0xFF00
_PAGE = 4096
# How far back to look for a symbol that reaches over its successor (aliases, labels inside functions).
_NEIGHBOURS = 16


class MappedRange(NamedTuple):
    """One row of the address space, as in /proc/self/maps. `path` is "" for anonymous memory, "[stack]" and so on."""

    start: int
    end: int
    path: str = ""
    file_offset: int = 0
    permissions: str = ""


class _Symbol(NamedTuple):
    start: int
    rank: int  # among symbols of one start the highest wins
    end: int
    name: str


@dataclass(frozen=True, slots=True)
class _Segment:
    virtual: int
    offset: int
    file_size: int
    memory_size: int

    @property
    def end_in_page(self) -> int:
        """Where in the file its .bss, or the page that .bss begins in, would end."""
        end = self.offset + self.file_size
        return min(self.offset + self.memory_size, -(-end // _PAGE) * _PAGE)


@dataclass(slots=True)
class _Object:
    """Symbols and load segments of one ELF file; both empty for what is not ELF."""

    segments: list[_Segment] = field(default_factory=list)
    symbols: list[_Symbol] = field(default_factory=list)

    def virtual(self, file_offset: int) -> int | None:
        """The ELF address of a byte of the file."""
        for segment in self.segments:
            if segment.offset <= file_offset < segment.offset + segment.file_size:
                return segment.virtual + file_offset - segment.offset
        for segment in self.segments:  # what lies there in the file was zeroed: it is the beginning of .bss
            if segment.offset + segment.file_size <= file_offset < segment.end_in_page:
                return segment.virtual + file_offset - segment.offset
        return None

    def find(self, virtual: int) -> _Symbol | None:
        last = bisect_right(self.symbols, virtual, key=lambda symbol: symbol.start)
        for symbol in reversed(self.symbols[max(0, last - _NEIGHBOURS) : last]):
            if virtual < symbol.end:
                return symbol
        return None


def _parse(data: bytes) -> _Object:
    """Read an ELF file, of any quality: a guest may map anything."""
    import io

    from elftools.common.exceptions import ELFError
    from elftools.elf.elffile import ELFFile

    parsed = _Object()
    try:
        elf = ELFFile(io.BytesIO(data))
        if elf.elfclass != 64 or not elf.little_endian:
            return parsed
        parsed.segments = [
            _Segment(segment["p_vaddr"], segment["p_offset"], segment["p_filesz"], segment["p_memsz"])
            for segment in elf.iter_segments("PT_LOAD")
        ]
        table = elf.get_section_by_name(".symtab") or elf.get_section_by_name(".dynsym")
        if table is not None:
            parsed.symbols = sorted(_symbols(elf, table))
    except (ELFError, ValueError, KeyError, struct.error, UnicodeDecodeError, TypeError, AttributeError, OverflowError):
        # pyelftools raises all of these on damaged files. What was read so far still names something.
        return parsed
    return parsed


def _symbols(elf: Any, table: Any) -> Iterable[_Symbol]:
    """The table read in one sweep: pyelftools' own iteration takes seconds on a JIT engine of 100,000 symbols."""
    names: bytes = elf.get_section(table["sh_link"]).data()
    ends = [section["sh_addr"] + section["sh_size"] for section in elf.iter_sections()]
    data: bytes = table.data()
    for name, info, _, section, value, size in _SYMBOL.iter_unpack(data[: len(data) // _SYMBOL.size * _SYMBOL.size]):
        kind, binding = info & 0xF, info >> 4
        if kind not in _CODE_LIKE or not 0 < section < min(_SHN_LORESERVE, len(ends)):
            continue
        text = names[name : names.find(b"\0", name)].decode("utf-8", "replace")
        if not text or text.startswith("$"):  # $x and $d: mapping symbols of AAELF64, not names
            continue
        # An assembler label has no size: it reaches to the next symbol, at most to its section's end.
        rank = (size > 0) * 4 + (kind == 2) * 2 + (binding != 0)
        yield _Symbol(value, rank, value + size if size else ends[section], text)


@dataclass(slots=True)
class _PerfMap:
    """`/tmp/perf-<pid>.map` (tools/perf/Documentation/jit-interface.txt): START SIZE name, in hexadecimal, appended to."""

    read: Callable[[], str | None]
    consumed: int = 0
    starts: list[int] = field(default_factory=list)
    entries: dict[int, tuple[int, str]] = field(default_factory=dict)

    def find(self, address: int) -> tuple[int, str] | None:
        """(start, name) of the function that holds `address`."""
        self._refresh()
        index = bisect_right(self.starts, address) - 1
        if index < 0:
            return None
        start = self.starts[index]
        size, name = self.entries[start]
        return (start, name) if address < start + size else None

    def _refresh(self) -> None:
        text = self.read() or ""
        complete = text.rfind("\n") + 1
        if complete <= self.consumed:
            return
        for line in text[self.consumed : complete].splitlines():
            parts = line.split(maxsplit=2)
            try:
                start, size = int(parts[0], 16), int(parts[1], 16)
            except (ValueError, IndexError):
                continue
            if len(parts) == 3:
                self.entries[start] = size, parts[2]
        self.consumed = complete
        self.starts = sorted(self.entries)


class Symboliser:
    """Names addresses in the address space as it is at the moment of the call.

    `mappings` gives the rows in ascending order, `read_object` the bytes of a mapped path as the guest sees it, `perf_map`
    the text of the perf map that the guest wrote, if it did.
    """

    def __init__(
        self,
        mappings: Callable[[], Iterable[MappedRange]],
        read_object: Callable[[str], bytes | None],
        perf_map: Callable[[], str | None] = lambda: None,
    ) -> None:
        self._mappings = mappings
        self._read_object = read_object
        self._perf_map = _PerfMap(perf_map)
        self._objects: dict[str, _Object] = {}

    def over(self, mappings: Callable[[], Iterable[MappedRange]], perf_map: Callable[[], str | None]) -> Symboliser:
        """The symboliser of a second run of the same program, whose files are those of the first."""
        other = Symboliser(mappings, self._read_object, perf_map)
        other._objects = self._objects
        return other

    def locate(self, address: int) -> Location:
        """The location of `address`; unknown parts are None."""
        rows = list(self._mappings())
        index = bisect_right(rows, address, key=lambda row: row.start) - 1
        if index < 0 or address >= rows[index].end:
            return Location(address)
        row = rows[index]
        if row.path.startswith("/"):
            return self._in_file(address, row.path, row.file_offset + address - row.start)
        return self._in_bss(address, rows, index) or self._in_memory(address, row)

    def _object(self, path: str) -> _Object:
        if path not in self._objects:
            data = self._read_object(path)
            self._objects[path] = _parse(data) if data else _Object()
        return self._objects[path]

    def _in_file(self, address: int, path: str, file_offset: int) -> Location:
        parsed = self._object(path)
        virtual = parsed.virtual(file_offset)
        if virtual is None:
            return Location(address, path, file_offset, offset=file_offset)
        return self._named(address, path, parsed, virtual)

    @staticmethod
    def _named(address: int, path: str, parsed: _Object, virtual: int) -> Location:
        symbol = parsed.find(virtual)
        if symbol is None:
            return Location(address, path, virtual, offset=virtual)
        return Location(address, path, virtual, symbol.name, virtual - symbol.start)

    def _in_bss(self, address: int, rows: Sequence[MappedRange], index: int) -> Location | None:
        """Anonymous memory that follows a file's mapping without a gap may be that file's .bss: an array has a name."""
        chain = rows[max(0, index - 2) : index + 1]
        if chain[-1].path:
            return None
        for before, after in reversed(list(pairwise(chain))):
            if before.end != after.start:
                return None
            if before.path.startswith("/"):
                parsed = self._object(before.path)
                base = parsed.virtual(before.file_offset)
                found = parsed.find(base + address - before.start) if base is not None else None
                # Only a symbol with a size proves that the address is the object's.
                if found is None or base is None or found.rank < 4:
                    return None
                return self._named(address, before.path, parsed, base + address - before.start)
        return None

    def _in_memory(self, address: int, row: MappedRange) -> Location:
        rights = f"{row.permissions[:3].replace('-', '').upper()} " if row.permissions else ""
        name = row.path or f"anonymous {rights}mapping at {row.start:#x}"
        offset = address - row.start
        generated = self._perf_map.find(address)
        if generated is None:
            return Location(address, name, offset, offset=offset)
        start, symbol = generated
        return Location(address, name, offset, symbol, address - start)
