# SPDX-License-Identifier: GPL-2.0-or-later
"""Owns an object's symbol table: lookup by name through DT_GNU_HASH or DT_HASH, and by address."""

from __future__ import annotations

import struct
from bisect import bisect_right
from collections.abc import Iterator
from functools import cached_property
from typing import NamedTuple

from fetchsan.errors import NotExecutableError
from fetchsan.kernel.linker.dynamic import Dynamic, Memory, Tag
from fetchsan.kernel.linker.versions import Version, Versions

__all__ = ["SHN_ABS", "STB_LOCAL", "STB_WEAK", "STT_GNU_IFUNC", "STT_TLS", "Symbol", "SymbolTable", "gnu_hash", "printable"]

SHN_UNDEF, SHN_ABS = 0, 0xFFF1
STB_LOCAL, STB_WEAK = 0, 2
_STB_FOUND = frozenset({1, STB_WEAK, 10})  # global, weak, GNU's unique
STT_NOTYPE, STT_TLS, STT_GNU_IFUNC = 0, 6, 10
_STT_FOUND = frozenset({STT_NOTYPE, 1, 2, 5, STT_TLS, STT_GNU_IFUNC})  # with data, functions and common blocks
_STV_FOUND = frozenset({0, 3})  # default, protected
_STT_ADDRESSED = frozenset({STT_NOTYPE, 1, 2, 5, STT_GNU_IFUNC})
_ENTRY = struct.Struct("<IBBHQQ")
_MAX_CHAIN = 1024  # names of one bucket: a good table has a handful
_MAX_SYMBOLS = 1 << 20
_NESTED = 16  # symbols that begin between an address and the start of the one that covers it


class Symbol(NamedTuple):
    """One Elf64_Sym."""

    name_offset: int
    information: int
    other: int
    section: int
    value: int
    size: int

    @property
    def binding(self) -> int:
        """STB_*."""
        return self.information >> 4

    @property
    def kind(self) -> int:
        """STT_*."""
        return self.information & 15

    @property
    def defined(self) -> bool:
        """Whether others can be bound to it."""
        return (
            self.section != SHN_UNDEF
            and (self.value != 0 or self.section == SHN_ABS or self.kind == STT_TLS)
            and self.binding in _STB_FOUND
            and self.kind in _STT_FOUND
            and self.other & 3 in _STV_FOUND
        )

    @property
    def binds_locally(self) -> bool:
        """Whether a reference through it means this very object's symbol, without a look at names."""
        return self.binding == STB_LOCAL or (self.section != SHN_UNDEF and self.other & 3 in (1, 2))


class SymbolTable:
    """The dynamic symbols of an object at `base`. Raises NotExecutableError, and what `memory` raises for bad addresses."""

    def __init__(self, memory: Memory, base: int, dynamic: Dynamic, path: str) -> None:
        self._memory, self._path = memory, path
        self._symbols = base + dynamic.get(Tag.SYMTAB)
        self._strings = base + dynamic.get(Tag.STRTAB)
        self._gnu_table = base + dynamic.get(Tag.GNU_HASH) if Tag.GNU_HASH in dynamic.tags else None
        self._sysv_table = base + dynamic.get(Tag.HASH) if Tag.HASH in dynamic.tags else None
        self.versions = Versions(memory, base, dynamic, path)
        self._cache: dict[int, Symbol] = {}

    @property
    def has_names(self) -> bool:
        """Whether anything can be looked up in it."""
        return self._gnu_table is not None or self._sysv_table is not None

    def __getitem__(self, index: int) -> Symbol:
        found = self._cache.get(index)
        if found is None:
            found = Symbol._make(_ENTRY.unpack(self._memory.read(self._symbols + _ENTRY.size * index, _ENTRY.size)))
            self._cache[index] = found
        return found

    def name(self, symbol: Symbol) -> bytes:
        """Its name."""
        return self._memory.read_cstring(self._strings + symbol.name_offset)

    def find(self, name: bytes, version: Version | None = None) -> Symbol | None:
        """The definition of `name` that a reference to `version` is bound to."""
        default: Symbol | None = None
        for index in self._candidates(name):
            symbol = self[index]
            if not symbol.defined or self.name(symbol) != name:
                continue
            verdict = self.versions.matches(index, version)
            if verdict:
                return symbol
            if verdict is None and default is None:
                default = symbol
        return default

    def at(self, offset: int) -> Symbol | None:
        """The defined symbol that covers `offset` from the base."""
        starts, rows = self._by_address
        end = bisect_right(starts, offset)
        for symbol in reversed(rows[max(end - _NESTED, 0) : end]):
            if offset < symbol.value + max(symbol.size, 1):
                return symbol
        return None

    @cached_property
    def count(self) -> int:
        """How many symbols there are, as far as the hash tables tell."""
        if self._sysv_table is not None:
            return min(self._word(self._sysv_table + 4), _MAX_SYMBOLS)
        return self._count_hashed() if self._gnu_table is not None else 0

    @cached_property
    def _by_address(self) -> tuple[list[int], list[Symbol]]:
        every = (self[index] for index in range(1, self.count))
        rows = sorted(
            (symbol for symbol in every if symbol.defined and symbol.kind in _STT_ADDRESSED), key=lambda symbol: symbol.value
        )
        return [row.value for row in rows], rows

    def _candidates(self, name: bytes) -> Iterator[int]:
        if self._gnu_table is not None:
            return self._gnu_chain(self._gnu_table, gnu_hash(name))
        if self._sysv_table is not None:
            return self._sysv_chain(self._sysv_table, _sysv_hash(name))
        return iter(())

    def _gnu_chain(self, table: int, hashed: int) -> Iterator[int]:
        """Header, Bloom filter, buckets, chains; the last of a chain has the low bit set."""
        buckets, first, bloom, shift = self._gnu_header
        if not buckets:
            return
        if bloom:
            word = int.from_bytes(self._memory.read(table + 16 + 8 * (hashed // 64 % bloom), 8), "little")
            if not word >> hashed % 64 & word >> (hashed >> shift % 32) % 64 & 1:
                return
        bucket_table = table + 16 + 8 * bloom
        start = self._word(bucket_table + 4 * (hashed % buckets))
        if start < first:  # an empty bucket
            return
        chains = bucket_table + 4 * buckets
        for index in range(start, start + _MAX_CHAIN):
            entry = self._word(chains + 4 * (index - first))
            if (entry ^ hashed) >> 1 == 0:
                yield index
            if entry & 1:
                return
        raise self._endless()

    @cached_property
    def _gnu_header(self) -> tuple[int, int, int, int]:
        assert self._gnu_table is not None
        buckets, first, bloom, shift = struct.unpack("<IIII", self._memory.read(self._gnu_table, 16))
        return buckets, first, bloom, shift

    def _count_hashed(self) -> int:
        assert self._gnu_table is not None
        buckets, first, bloom, _ = self._gnu_header
        if not 0 < buckets <= _MAX_SYMBOLS:
            return 0
        bucket_table = self._gnu_table + 16 + 8 * bloom
        index = max(value for (value,) in struct.iter_unpack("<I", self._memory.read(bucket_table, 4 * buckets)))
        if index < first:
            return first
        chains = bucket_table + 4 * buckets
        for last in range(index, index + _MAX_CHAIN):
            if self._word(chains + 4 * (last - first)) & 1:
                return min(last + 1, _MAX_SYMBOLS)
        raise self._endless()

    def _sysv_chain(self, table: int, hashed: int) -> Iterator[int]:
        buckets, chain = self._word(table), self._word(table + 4)
        if not buckets:
            return
        index = self._word(table + 8 + 4 * (hashed % buckets))
        for _ in range(_MAX_CHAIN):
            if not index:
                return
            if index >= chain:
                raise NotExecutableError(self._path, f"corrupt ELF: its hash table names symbol {index} of {chain}")
            yield index
            index = self._word(table + 8 + 4 * (buckets + index))
        raise self._endless()

    def _endless(self) -> NotExecutableError:
        return NotExecutableError(self._path, "corrupt ELF: a chain of its hash table does not end")

    def _word(self, at: int) -> int:
        return int.from_bytes(self._memory.read(at, 4), "little")


def printable(name: bytes | str) -> str:
    """A name out of a file, for a person: it may be anything."""
    text = name.decode("utf-8", "backslashreplace") if isinstance(name, bytes) else name
    return "".join(letter if letter.isprintable() else f"\\x{ord(letter):02x}" for letter in text)


def gnu_hash(name: bytes) -> int:
    """Of DT_GNU_HASH."""
    hashed = 5381
    for byte in name:
        hashed = (hashed * 33 + byte) & 0xFFFF_FFFF
    return hashed


def _sysv_hash(name: bytes) -> int:
    hashed = 0
    for byte in name:
        hashed = (hashed << 4) + byte
        high = hashed & 0xF000_0000
        hashed = (hashed ^ high >> 24) & ~high
    return hashed
