# SPDX-License-Identifier: GPL-2.0-or-later
"""Owns what can be said of an object and what it needs without loading them: `fetchsan ldd`. Nothing is mapped or run."""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import TypeVar

from fetchsan.errors import NotExecutableError
from fetchsan.kernel.errors import GuestFault, LinuxError
from fetchsan.kernel.linker.dynamic import Dynamic, Tag, read_dynamic
from fetchsan.kernel.linker.elf_file import EM_AARCH64, PF_W, PF_X, ByteSource, ElfFile, read_elf
from fetchsan.kernel.linker.relocations import RELOCATIONS
from fetchsan.kernel.linker.search import candidates
from fetchsan.kernel.linker.symbols import STB_LOCAL, STB_WEAK, SymbolTable, printable

__all__ = ["Inspected", "Inspection", "Needed", "inspect"]

_RELA = struct.Struct("<QQq")
_MAX_ENTRIES = 1 << 20
_MAX_OBJECTS = 1024
_T = TypeVar("_T")


class _FileMemory:
    """An object laid out as it would be, base 0; what lies behind its file's part of a segment is zeros."""

    def __init__(self, source: ByteSource, elf: ElfFile) -> None:
        self._source, self._elf = source, elf

    def read(self, virtual: int, size: int) -> bytes:
        """`size` bytes within one segment."""
        for segment in self._elf.segments:
            at = virtual - segment.address
            if at >= 0 and at + size <= segment.file_size:
                return self._source.read_at(segment.offset + at, size)
        raise GuestFault(virtual, "read", 11, 1)

    def read_cstring(self, virtual: int, limit: int = 4096) -> bytes:
        """The bytes before the first NUL."""
        for segment in self._elf.segments:
            at = virtual - segment.address
            if 0 <= at < segment.file_size:
                data = self._source.read_at(segment.offset + at, min(limit, segment.file_size - at))
                text, end, _ = data.partition(b"\0")
                if end:
                    return text
        raise GuestFault(virtual, "read", 11, 1)


@dataclass(frozen=True, slots=True)
class Needed:
    """An object that another needs: where it was found, or that the kernel stands for it; neither: nowhere."""

    name: str
    by: str
    path: str | None
    provided: bool = False


class Inspected:
    """One object. Raises NotExecutableError for whatever is wrong with it."""

    def __init__(self, source: ByteSource, path: str, machine: int | None = None) -> None:
        self.path = path
        self.elf = read_elf(source, path, machine)
        self._memory = _FileMemory(source, self.elf)
        self.dynamic: Dynamic = self._checked(lambda: read_dynamic(self._memory, self.elf, 0, path))
        self.symbols = SymbolTable(self._memory, 0, self.dynamic, path)

    @property
    def port(self) -> str:
        """The port's name."""
        return "aarch64" if self.elf.machine == EM_AARCH64 else "x64"

    @cached_property
    def relocations(self) -> dict[str, int]:
        """How many there are of each type."""
        types = RELOCATIONS[self.port].types
        numbers = Counter(information & 0xFFFF_FFFF for information in self._informations())
        counts = {types[number].name if number in types else f"type {number}": count for number, count in numbers.items()}
        packed = self.dynamic.get(Tag.RELRSZ) // 8
        return counts | ({"RELR words": packed} if packed else {})

    @cached_property
    def undefined(self) -> list[tuple[bytes, int]]:
        """(name, index) of each symbol that a relocation needs of others; weak ones may be nowhere."""
        found: dict[bytes, int] = {}
        for information in self._informations():
            index = information >> 32
            symbol = self._checked(partial(self.symbols.__getitem__, index)) if index else None
            if symbol is None or symbol.binding in (STB_LOCAL, STB_WEAK) or symbol.section:
                continue
            found.setdefault(self._checked(partial(self.symbols.name, symbol)), index)
        return sorted(found.items())

    @property
    def warnings(self) -> list[str]:
        """What is bad for the caches, or for safety."""
        found = []
        if self.dynamic.text_relocations:
            found.append("text relocations (DT_TEXTREL): the linker stores into code, and OSv does not synchronise it")
        for segment in self.elf.segments:
            if segment.flags & PF_W and segment.flags & PF_X:
                found.append(f"the segment at {segment.address:#x} is writable and executable")
        if self.elf.executable_stack:
            found.append("it wants an executable stack")
        if not self.elf.position_independent:
            found.append("linked at a fixed address: OSv's linker here loads shared objects and PIEs only")
        return found

    def provides(self, name: bytes, wanted: Inspected, index: int) -> bool:
        """Whether it has what the reference `index` of `wanted` means."""
        version = wanted._checked(lambda: wanted.symbols.versions.wanted(index))
        return self._checked(lambda: self.symbols.find(name, version)) is not None

    def _informations(self) -> Iterator[int]:
        for table, size in ((Tag.RELA, Tag.RELASZ), (Tag.JMPREL, Tag.PLTRELSZ)):
            count = self.dynamic.get(size) // _RELA.size
            if count > _MAX_ENTRIES:
                raise NotExecutableError(self.path, f"corrupt ELF: {count} relocations")
            if count:
                at = self.dynamic.get(table)
                data = self._checked(partial(self._memory.read, at, count * _RELA.size))
                for _, information, _ in _RELA.iter_unpack(data):
                    yield information

    def _checked(self, read: Callable[[], _T]) -> _T:
        try:
            return read()
        except (GuestFault, LinuxError):
            raise NotExecutableError(self.path, "corrupt ELF: its dynamic tables lie outside its segments") from None


@dataclass(slots=True)
class Inspection:
    """An object, what it needs in the order of search, and what nothing provides."""

    objects: list[Inspected]
    needed: list[Needed] = field(default_factory=list)
    missing: list[tuple[str, str]] = field(default_factory=list)  # (symbol, object that needs it)


def inspect(
    root: Inspected,
    open_file: Callable[[str], ByteSource | None],
    system: Sequence[str],
    provided: frozenset[str],
    library: Inspected | None,
    functions: frozenset[str],
) -> Inspection:
    """Look for everything as `Program` would. `library` and `functions`: what the kernel has, searched last."""
    found = Inspection([root])
    seen: set[str] = set()
    for each in found.objects:
        for name in each.dynamic.needed:
            if name in seen:
                continue
            seen.add(name)
            if name in provided:
                found.needed.append(Needed(name, each.path, None, provided=True))
                continue
            for path in candidates(name, each.dynamic.search_path, each.path, system):
                source = open_file(path)
                if source is not None and len(found.objects) < _MAX_OBJECTS:
                    found.needed.append(Needed(name, each.path, path))
                    found.objects.append(Inspected(source, path, root.elf.machine))
                    break
            else:
                found.needed.append(Needed(name, each.path, None))
    scope = [*found.objects, *([library] if library is not None else [])]
    for each in found.objects:
        for symbol, index in each.undefined:
            text = printable(symbol)
            if text not in functions and not any(other.provides(symbol, each, index) for other in scope):
                found.missing.append((text, each.path))
    return found
