# SPDX-License-Identifier: GPL-2.0-or-later
"""Owns an ELF file in memory (OSv's `elf::file`): its segments on VMAs, their rights, its functions to call.

Nothing in OSv's linker synchronises caches: text comes in by page fault, and the rest is up to `populate_vma`. What the
linker stores into text after that stays unsynchronised; under the policy "complete" `synchronise_text` makes up for it.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from fetchsan.errors import NotExecutableError
from fetchsan.kernel.linker.dynamic import Dynamic, Tag, read_dynamic
from fetchsan.kernel.linker.elf_file import PF_R, PF_W, PF_X, ElfFile, Segment, read_elf
from fetchsan.kernel.linker.object import Definition, Object
from fetchsan.kernel.linker.relocations import RELOCATIONS
from fetchsan.kernel.linker.symbols import Symbol, SymbolTable
from fetchsan.kernel.linker.versions import Version
from fetchsan.kernel.mmu.leaves import CollectLeaves
from fetchsan.kernel.mmu.mappable import MappableInode
from fetchsan.kernel.mmu.operate import operate_range, page_down, page_up
from fetchsan.kernel.mmu.osv_space import OsvSpace
from fetchsan.kernel.mmu.user_memory import UserMemory
from fetchsan.kernel.mmu.vma import MMAP_FIXED, PERM_EXEC, PERM_READ, PERM_WRITE

__all__ = ["LINKER", "File"]

LINKER = "linker"
"""The `agent` of every store that the kernel's linker makes."""

_RIGHTS = ((PF_R, PERM_READ), (PF_W, PERM_WRITE), (PF_X, PERM_EXEC))
_MAX_FUNCTIONS = 1 << 16


class File(Object):
    """An object made of a file. The constructor checks its headers and gives it a place from `at` on; `load` maps it.

    Raises NotExecutableError; `load` and what comes after it also what `memory` raises.
    """

    dynamic: Dynamic
    symbols: SymbolTable

    def __init__(self, space: OsvSpace, memory: UserMemory, inode: MappableInode, at: int) -> None:
        super().__init__(inode.path)
        self.space, self.memory, self.inode = space, memory, inode
        self.elf: ElfFile = read_elf(inode, inode.path, RELOCATIONS[space.port.name].machine)
        if not self.elf.position_independent:
            raise NotExecutableError(self.path, "linked at a fixed address; an OSv application is a shared object or a PIE")
        # set_base: the lowest PT_LOAD keeps its place within an aligned unit.
        within = self.elf.start % self.elf.alignment
        self.base = -(-(at - within) // self.elf.alignment) * self.elf.alignment + within - self.elf.start
        if self.end > space.layout.mmap_base:
            raise NotExecutableError(self.path, f"needs {self.elf.end - self.elf.start:#x} bytes of addresses: too many")
        self.needed: list[File] = []
        self.bound_to: set[Object] = set()
        """Objects that its references are bound to: they stay as long as it does."""
        self.group: tuple[File, ...] = ()
        """Beside what serves everybody, where its references are looked up: the objects it was loaded with."""
        self.handles = 0
        self.initialised = self.no_delete = False
        self.bind_now = False

    @property
    def end(self) -> int:
        """First address after it."""
        return self.base + self.elf.segments[-1].end

    def load(self) -> None:
        """`load_segments` and `process_headers`."""
        for segment in self.elf.segments:
            self._load_segment(segment)
        self.dynamic = read_dynamic(self.memory, self.elf, self.base, self.path)
        self.soname, self.no_delete = self.dynamic.soname, self.dynamic.no_delete
        self.symbols = SymbolTable(self.memory, self.base, self.dynamic, self.path)

    def unload(self) -> None:
        """Unmap every segment; the frames go back to the free list."""
        self.space.evacuate(self.base + self.elf.start, page_up(self.end))

    def lookup_symbol(self, name: bytes, version: Version | None = None) -> Definition | None:
        """Its definition of `name`, by DT_GNU_HASH or DT_HASH."""
        symbol = self.symbols.find(name, version)
        return Definition(self, symbol) if symbol is not None else None

    def contains(self, address: int) -> bool:
        """Whether one of its segments does."""
        return any(segment.address <= address - self.base < segment.end for segment in self.elf.segments)

    def symbol_at(self, address: int) -> Symbol | None:
        """The symbol that covers `address`."""
        return self.symbols.at(address - self.base)

    def symbol_name(self, symbol: Symbol) -> bytes:
        """The name of one of its symbols."""
        return self.symbols.name(symbol)

    def init_functions(self) -> Iterator[int]:
        """DT_INIT, then DT_INIT_ARRAY."""
        if first := self.dynamic.get(Tag.INIT):
            yield self.base + first
        yield from self._functions(Tag.INIT_ARRAY, Tag.INIT_ARRAYSZ)

    def fini_functions(self) -> Iterator[int]:
        """DT_FINI_ARRAY from its end, then DT_FINI."""
        yield from reversed(self._functions(Tag.FINI_ARRAY, Tag.FINI_ARRAYSZ))
        if last := self.dynamic.get(Tag.FINI):
            yield self.base + last

    def make_text_writable(self) -> None:
        """For DT_TEXTREL: every segment, until `fix_permissions`."""
        for segment in self.elf.segments:
            self._protect(segment, PERM_WRITE)

    def fix_permissions(self) -> None:
        """Text is read-only again, and what PT_GNU_RELRO names is from now on."""
        if self.dynamic.text_relocations:
            for segment in self.elf.segments:
                self._protect(segment, 0)
        relro = self.elf.relro
        if relro is None:
            return
        start, end = page_down(relro.address), page_up(relro.address + relro.size)
        if not self.elf.start <= start < end <= self.elf.end:
            raise NotExecutableError(self.path, "corrupt ELF: PT_GNU_RELRO lies outside the loadable segments")
        self.space.mprotect(self.base + start, end - start, PERM_READ)

    def synchronise_text(self) -> None:
        """What OSv's linker owes and does not do: its own stores into text came after `populate_vma` had synchronised it."""
        space = self.space
        if not space.sync.after_load:
            return
        leaves = CollectLeaves(space)
        for segment in self.elf.segments:
            if segment.flags & PF_X:
                operate_range(leaves, self.base + segment.address, segment.memory_size)
        space.port.vma_invalidate_cache(space.hardware, space.pe, True, leaves.runs())

    def _load_segment(self, segment: Segment) -> None:
        """`object::load_segment`: the file's part private, zeros to the end of its last page, then anonymous memory."""
        space, perm = self.space, _perm(segment)
        address = self.base + segment.address
        page = page_down(address)
        file_end = page_up(address + segment.file_size)
        if segment.file_size:
            offset = page_down(segment.offset)
            space.map_file(page, file_end - page, MMAP_FIXED, perm, self.inode, offset, may_write=False)
        else:
            file_end = page
        if segment.memory_size > segment.file_size:
            if segment.file_size:
                tail = address + segment.file_size
                self.memory.write(tail, bytes(file_end - tail), LINKER)
            end = page_up(address + segment.memory_size)
            if end > file_end:
                space.map_anon(file_end, end - file_end, MMAP_FIXED, perm)

    def _protect(self, segment: Segment, extra: int) -> None:
        start = page_down(self.base + segment.address)
        self.space.protect(start, page_up(self.base + segment.end), _perm(segment) | extra)

    def _functions(self, table: Tag, size: Tag) -> tuple[int, ...]:
        count = self.dynamic.get(size) // 8
        if not count or table not in self.dynamic.tags:
            return ()
        if count > _MAX_FUNCTIONS:
            raise NotExecutableError(self.path, f"corrupt ELF: {count} functions in DT_{table.name}")
        return struct.unpack(f"<{count}Q", self.memory.read(self.base + self.dynamic.get(table), 8 * count))


def _perm(segment: Segment) -> int:
    return sum(right for flag, right in _RIGHTS if segment.flags & flag)
