# SPDX-License-Identifier: GPL-2.0-or-later
"""Owns one shared object that the kernel loads itself, OSv's way: mapped on VMAs, relocated by stores, looked up by name.

A thin slice of OSv's `elf::object` (core/elf.cc): what an object without dependencies needs. What it has and this cannot
do is refused with its name, never skipped. Nothing in OSv's linker synchronises caches: text comes in by page fault, and the
rest is up to `populate_vma`. What the linker stores into text after that stays unsynchronised; under the policy "complete"
`_synchronise_text` makes up for it.
"""

from __future__ import annotations

import errno
import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

from fetchsan.errors import NotExecutableError
from fetchsan.kernel.errors import GuestFault, LinuxError
from fetchsan.kernel.linker.elf_file import PF_R, PF_W, PF_X, ElfFile, Segment, read_elf
from fetchsan.kernel.linker.relocations import RELOCATIONS
from fetchsan.kernel.mmu.leaves import CollectLeaves
from fetchsan.kernel.mmu.mappable import MappableInode
from fetchsan.kernel.mmu.operate import operate_range, page_down, page_up
from fetchsan.kernel.mmu.osv_space import OsvSpace
from fetchsan.kernel.mmu.user_memory import UserMemory
from fetchsan.kernel.mmu.vma import MMAP_FIXED, PERM_EXEC, PERM_READ, PERM_WRITE

__all__ = ["LINKER", "OsvObject", "load_object"]

LINKER = "linker"
"""The `agent` of every store that the kernel's linker makes."""

_RIGHTS = ((PF_R, PERM_READ), (PF_W, PERM_WRITE), (PF_X, PERM_EXEC))
_DYNAMIC = struct.Struct("<QQ")
_RELA = struct.Struct("<QQq")
_SYMBOL = struct.Struct("<IBBHQQ")
_SHN_UNDEF, _SHN_ABS = 0, 0xFFF1
_STB_WEAK = 2
_MAX_ENTRIES = 1 << 20  # of a table whose size the file declares, or leaves open: the end is looked for no further

# Dynamic tags (System V ABI, chapter 5; DT_GNU_HASH from the Linux Standard Base).
_DT_NULL, _DT_STRTAB, _DT_SYMTAB, _DT_RELA, _DT_RELASZ, _DT_TEXTREL, _DT_GNU_HASH = 0, 5, 6, 7, 8, 22, 0x6FFF_FEF5
_DT_PLTRELSZ, _DT_JMPREL = 2, 23
_REFUSED = {
    1: "needs other objects (DT_NEEDED)",
    12: "has an initialiser (DT_INIT)",
    13: "has a finaliser (DT_FINI)",
    17: "has relocations without addends (DT_REL)",
    25: "has constructors (DT_INIT_ARRAY)",
    26: "has destructors (DT_FINI_ARRAY)",
    36: "has packed relocations (DT_RELR)",
}


@dataclass(frozen=True, slots=True)
class OsvObject:
    """An object in memory. `base` is what is added to an address of the file."""

    space: OsvSpace
    memory: UserMemory
    path: str
    elf: ElfFile
    base: int
    dynamic: dict[int, int]

    @property
    def end(self) -> int:
        """First address after it."""
        return self.base + self.elf.segments[-1].end

    def lookup(self, name: str) -> int | None:
        """The address of an exported symbol, through DT_GNU_HASH; None if there is none. Raises NotExecutableError."""
        table = self.dynamic.get(_DT_GNU_HASH)
        if table is None:
            raise NotExecutableError(self.path, "has no DT_GNU_HASH: link it with --hash-style=gnu or both")
        wanted = name.encode()
        try:
            for index in self._chain(self.base + table, _gnu_hash(wanted)):
                string, _, _, section, value, _ = self._symbol(index)
                if section and self._name(string) == wanted:
                    return self.base + value
        except (GuestFault, LinuxError):
            raise NotExecutableError(self.path, "corrupt ELF: its symbol tables lie outside its segments") from None
        return None

    def resolve(self, index: int) -> int:
        """The value that a relocation takes from symbol `index` (0: none). An absolute symbol is not moved with the object."""
        if not index:
            return 0
        string, information, _, section, value, _ = self._symbol(index)
        if section not in (_SHN_UNDEF, _SHN_ABS):
            return self.base + value
        if section == _SHN_UNDEF and information >> 4 != _STB_WEAK:
            name = self._name(string).decode("utf-8", "replace")
            raise NotExecutableError(self.path, f"needs the symbol {name}, which nothing provides")
        return value

    def protect_segments(self, extra: int = 0) -> None:
        """Give every segment the rights that its header says, and `extra` ones (`make_text_writable`)."""
        for segment in self.elf.segments:
            start = page_down(self.base + segment.address)
            self.space.protect(start, page_up(self.base + segment.end), _perm(segment) | extra)

    def unload(self) -> None:
        """Unmap every segment; the frames go back to the free list."""
        start = self.base + self.elf.start
        self.space.evacuate(start, page_up(self.end))

    def _chain(self, table: int, hashed: int) -> Iterator[int]:
        """Indexes of the symbols whose hash is `hashed`: header, Bloom filter (not needed here), buckets, chains."""
        read = self.memory.read_u32
        buckets, first, bloom = read(table), read(table + 4), read(table + 8)
        if not buckets:
            return
        bucket_table = table + 16 + 8 * bloom
        chains = bucket_table + 4 * buckets
        start = read(bucket_table + 4 * (hashed % buckets))
        if start < first:  # an empty bucket
            return
        for index in range(start, start + _MAX_ENTRIES):
            entry = read(chains + 4 * (index - first))
            if (entry ^ hashed) >> 1 == 0:
                yield index
            if entry & 1:  # the last of its chain
                return

    def _symbol(self, index: int) -> tuple[int, ...]:
        table = self.base + self.dynamic.get(_DT_SYMTAB, 0)
        return _SYMBOL.unpack(self.memory.read(table + _SYMBOL.size * index, _SYMBOL.size))

    def _name(self, offset: int) -> bytes:
        return self.memory.read_cstring(self.base + self.dynamic.get(_DT_STRTAB, 0) + offset)


def load_object(space: OsvSpace, memory: UserMemory, inode: MappableInode, at: int) -> OsvObject:
    """Load `inode` at the first suitable address from `at` on (OSv's `load_object` without its dependencies).

    Raises NotExecutableError; nothing stays mapped then.
    """
    path = inode.path
    elf = read_elf(inode, path, RELOCATIONS[space.port.name].machine)
    if not elf.position_independent:
        raise NotExecutableError(path, "linked at a fixed address; an OSv application is a shared object or a PIE")
    # set_base: the lowest PT_LOAD keeps its place within an aligned unit.
    within = elf.start % elf.alignment
    base = -(-(at - within) // elf.alignment) * elf.alignment + within - elf.start
    try:
        for segment in elf.segments:
            _load_segment(space, memory, segment, inode, base)
        found = OsvObject(space, memory, path, elf, base, _read_dynamic(memory, elf, base, path))
        _relocate(found)
        _synchronise_text(found)
        _fix_permissions(found)
        return found
    except (GuestFault, LinuxError) as error:
        space.evacuate(base + elf.start, base + elf.end)
        raise NotExecutableError(path, f"cannot be loaded: {_reason(error)}") from None
    except NotExecutableError:
        space.evacuate(base + elf.start, base + elf.end)
        raise


def _load_segment(space: OsvSpace, memory: UserMemory, segment: Segment, inode: MappableInode, base: int) -> None:
    """`object::load_segment`: the file's part private, then zeros to the end of its last page, then anonymous memory."""
    perm = _perm(segment)
    address = base + segment.address
    page = page_down(address)
    file_end = page_up(address + segment.file_size)
    if segment.file_size:
        offset = page_down(segment.offset)
        space.map_file(page, file_end - page, MMAP_FIXED, perm, inode, offset, may_write=False)
    else:
        file_end = page
    if segment.memory_size > segment.file_size:
        if segment.file_size:
            tail = address + segment.file_size
            memory.write(tail, bytes(file_end - tail), LINKER)
        end = page_up(address + segment.memory_size)
        if end > file_end:
            space.map_anon(file_end, end - file_end, MMAP_FIXED, perm)


def _read_dynamic(memory: UserMemory, elf: ElfFile, base: int, path: str) -> dict[int, int]:
    """The dynamic table, read where it was loaded. Raises NotExecutableError for what this linker cannot do."""
    if elf.dynamic is None:
        raise NotExecutableError(path, "has no dynamic section (PT_DYNAMIC): not a shared object")
    dynamic: dict[int, int] = {}
    for at in range(min(elf.dynamic.size // _DYNAMIC.size, _MAX_ENTRIES)):
        tag, value = _DYNAMIC.unpack(memory.read(base + elf.dynamic.address + at * _DYNAMIC.size, _DYNAMIC.size))
        if tag == _DT_NULL:
            break
        if tag in _REFUSED:
            raise NotExecutableError(path, f"{_REFUSED[tag]}, which OSv's linker as built here does not do yet")
        dynamic[tag] = value
    return dynamic


def _relocate(loaded: OsvObject) -> None:
    """`object::relocate`: the table, then that of the PLT, every entry of which is bound at once."""
    if _DT_TEXTREL in loaded.dynamic:
        loaded.protect_segments(PERM_WRITE)  # until _fix_permissions
    for table, size in ((_DT_RELA, _DT_RELASZ), (_DT_JMPREL, _DT_PLTRELSZ)):
        _apply(loaded, loaded.base + loaded.dynamic.get(table, 0), loaded.dynamic.get(size, 0) // _RELA.size)


def _apply(loaded: OsvObject, table: int, count: int) -> None:
    """Each store goes through the data side, and says so (agent `linker`)."""
    if count > _MAX_ENTRIES:
        raise NotExecutableError(loaded.path, f"corrupt ELF: {count} relocations")
    types = RELOCATIONS[loaded.space.port.name].types
    for at in range(table, table + count * _RELA.size, _RELA.size):
        offset, info, addend = _RELA.unpack(loaded.memory.read(at, _RELA.size))
        value = types.get(info & 0xFFFF_FFFF)
        if value is None:
            raise NotExecutableError(loaded.path, f"has a relocation of type {info & 0xFFFF_FFFF}, which is not built yet")
        stored = value(partial(loaded.resolve, info >> 32), addend, loaded.base) & 0xFFFF_FFFF_FFFF_FFFF
        loaded.memory.write(loaded.base + offset, stored.to_bytes(8, "little"), LINKER)


def _synchronise_text(loaded: OsvObject) -> None:
    """What OSv's linker owes and does not do: its own stores into text came after `populate_vma` had synchronised the page."""
    space = loaded.space
    if not space.sync.after_load:
        return
    leaves = CollectLeaves(space)
    for segment in loaded.elf.segments:
        if segment.flags & PF_X:
            operate_range(leaves, loaded.base + segment.address, segment.memory_size)
    space.port.vma_invalidate_cache(space.hardware, space.pe, True, leaves.runs())


def _fix_permissions(loaded: OsvObject) -> None:
    """`object::fix_permissions`: text is read-only again, and what PT_GNU_RELRO names is from now on."""
    if _DT_TEXTREL in loaded.dynamic:
        loaded.protect_segments()
    relro = loaded.elf.relro
    if relro is None:
        return
    start, end = page_down(relro.address), page_up(relro.address + relro.size)
    if not loaded.elf.start <= start < end <= loaded.elf.end:
        raise NotExecutableError(loaded.path, "corrupt ELF: PT_GNU_RELRO lies outside the loadable segments")
    loaded.space.mprotect(loaded.base + start, end - start, PERM_READ)


def _perm(segment: Segment) -> int:
    return sum(right for flag, right in _RIGHTS if segment.flags & flag)


def _gnu_hash(name: bytes) -> int:
    hashed = 5381
    for byte in name:
        hashed = (hashed * 33 + byte) & 0xFFFF_FFFF
    return hashed


def _reason(error: GuestFault | LinuxError) -> str:
    if isinstance(error, GuestFault):
        return f"it names address {error.address:#x}, which it may not {error.access}"
    return os.strerror(error.errno or errno.EINVAL).lower()
