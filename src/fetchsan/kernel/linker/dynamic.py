# SPDX-License-Identifier: GPL-2.0-or-later
"""Owns the dynamic section: its tags, and how it is read from the memory that the object was mapped to."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from typing import Protocol

from fetchsan.errors import NotExecutableError
from fetchsan.kernel.linker.elf_file import ElfFile

__all__ = ["Dynamic", "Memory", "Tag", "read_dynamic"]

_ENTRY = struct.Struct("<QQ")
_MAX_ENTRIES = 4096
_DF_1_NOW, _DF_1_NODELETE = 0x1, 0x8
_DF_SYMBOLIC, _DF_TEXTREL, _DF_BIND_NOW, _DF_STATIC_TLS = 2, 4, 8, 16


class Memory(Protocol):
    """Where an object lies: a program's memory, or its file laid out as it would be. Bad addresses raise GuestFault."""

    def read(self, virtual: int, size: int) -> bytes:
        """`size` bytes from `virtual`."""

    def read_cstring(self, virtual: int, limit: int = 4096) -> bytes:
        """The bytes before the first NUL."""


class Tag(IntEnum):
    """Of the System V ABI, chapter 5; those from DT_GNU_HASH on from the Linux Standard Base."""

    NULL, NEEDED, PLTRELSZ, PLTGOT, HASH, STRTAB, SYMTAB, RELA, RELASZ = range(9)
    INIT, FINI, SONAME, RPATH, SYMBOLIC, REL = range(12, 18)
    JMPREL, BIND_NOW, INIT_ARRAY, FINI_ARRAY, INIT_ARRAYSZ, FINI_ARRAYSZ, RUNPATH, FLAGS = range(23, 31)
    PLTREL, TEXTREL = 20, 22
    RELRSZ, RELR, RELRENT = 35, 36, 37
    GNU_HASH = 0x6FFF_FEF5
    VERSYM = 0x6FFF_FFF0
    FLAGS_1, VERDEF, VERDEFNUM, VERNEED, VERNEEDNUM = range(0x6FFF_FFFB, 0x7000_0000)


@dataclass(frozen=True, slots=True)
class Dynamic:
    """What an object says of itself. Addresses are as linked."""

    tags: dict[int, int]
    needed: tuple[str, ...]
    soname: str | None
    search_path: tuple[str, ...]
    """DT_RUNPATH, or where there is none DT_RPATH; $ORIGIN as it stands."""

    def get(self, tag: Tag) -> int:
        """The value, or 0."""
        return self.tags.get(tag, 0)

    @property
    def text_relocations(self) -> bool:
        """Whether relocations lie in segments that are not writable."""
        return Tag.TEXTREL in self.tags or bool(self.get(Tag.FLAGS) & _DF_TEXTREL)

    @property
    def bind_now(self) -> bool:
        """Whether the PLT is to be bound when the object is loaded."""
        now = self.get(Tag.FLAGS) & _DF_BIND_NOW or self.get(Tag.FLAGS_1) & _DF_1_NOW
        return Tag.BIND_NOW in self.tags or bool(now)

    @property
    def symbolic(self) -> bool:
        """Whether its own symbols come first for it."""
        return Tag.SYMBOLIC in self.tags or bool(self.get(Tag.FLAGS) & _DF_SYMBOLIC)

    @property
    def static_tls(self) -> bool:
        """Whether its code uses the initial-exec model, so that its block must lie at a fixed distance."""
        return bool(self.get(Tag.FLAGS) & _DF_STATIC_TLS)

    @property
    def no_delete(self) -> bool:
        """Whether it stays when its last handle is closed."""
        return bool(self.get(Tag.FLAGS_1) & _DF_1_NODELETE)


def read_dynamic(memory: Memory, elf: ElfFile, base: int, path: str) -> Dynamic:
    """Read it where it was loaded. Raises NotExecutableError, and what `memory` raises."""
    if elf.dynamic is None:
        raise NotExecutableError(path, "has no dynamic section (PT_DYNAMIC): not a shared object")
    size = elf.dynamic.size // _ENTRY.size * _ENTRY.size
    if size > _MAX_ENTRIES * _ENTRY.size:
        raise NotExecutableError(path, f"corrupt ELF: {size // _ENTRY.size} entries in its dynamic section")
    tags: dict[int, int] = {}
    needed: list[int] = []
    for tag, value in _ENTRY.iter_unpack(memory.read(base + elf.dynamic.address, size) if size else b""):
        if tag == Tag.NULL:
            break
        if tag == Tag.NEEDED:
            needed.append(value)
        tags[tag] = value
    if Tag.REL in tags:
        raise NotExecutableError(path, "has relocations without addends (DT_REL), which neither port uses")

    def string(offset: int) -> str:
        return memory.read_cstring(base + tags.get(Tag.STRTAB, 0) + offset).decode("utf-8", "surrogateescape")

    return Dynamic(
        tags,
        tuple(string(offset) for offset in needed),
        string(tags[Tag.SONAME]) if Tag.SONAME in tags else None,
        _search_path(tags, string),
    )


def _search_path(tags: dict[int, int], string: Callable[[int], str]) -> tuple[str, ...]:
    for tag in (Tag.RUNPATH, Tag.RPATH):
        if tag in tags:
            return tuple(part for part in string(tags[tag]).split(":") if part)
    return ()
