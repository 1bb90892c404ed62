# SPDX-License-Identifier: GPL-2.0-or-later
"""Owns an address space: its VMAs over its page tables, mapping, protection, faults (OSv's core/mmu.cc)."""

from __future__ import annotations

import errno
from collections.abc import Mapping
from typing import ClassVar, Final

from fetchsan.kernel.errors import Access, GuestFault, LinuxError
from fetchsan.kernel.mmu.cache_policy import OSV_CACHE, CachePolicy
from fetchsan.kernel.mmu.file_pages import CachedFilePages, FilePages, ReadFilePages
from fetchsan.kernel.mmu.frames import Frames
from fetchsan.kernel.mmu.layout import Layout
from fetchsan.kernel.mmu.leaves import VirtToPhys
from fetchsan.kernel.mmu.mappable import MappableInode
from fetchsan.kernel.mmu.operate import PAGE_SIZE, operate_range, page_down, page_up
from fetchsan.kernel.mmu.operations import Protection, SplitHugePages, Unpopulate
from fetchsan.kernel.mmu.page_cache import PageCache
from fetchsan.kernel.mmu.page_tables import PageTables
from fetchsan.kernel.mmu.populate import populate_vma
from fetchsan.kernel.mmu.ports import AARCH64, Port
from fetchsan.kernel.mmu.providers import AnonymousPages, PageProvider
from fetchsan.kernel.mmu.sync import SYNC_POLICIES
from fetchsan.kernel.mmu.vma import (
    MMAP_FIXED,
    MMAP_POPULATE,
    MMAP_SHARED,
    MMAP_SMALL,
    PERM_EXEC,
    PERM_READ,
    PERM_WRITE,
    AnonVma,
    FileVma,
    Vma,
)
from fetchsan.kernel.mmu.vma_list import MAX_MAP_COUNT, VmaList
from fetchsan.machine.hardware import Hardware

__all__ = ["BUS_ADRERR", "SEGV_ACCERR", "SEGV_MAPERR", "SIGBUS", "SIGSEGV", "AddressSpace"]

SIGBUS: Final = 7
SIGSEGV: Final = 11
SEGV_MAPERR: Final = 1
SEGV_ACCERR: Final = 2
BUS_ADRERR: Final = 2

class AddressSpace:
    """The program's half of the address space.

    Semantics are those of OSv's core/mmu.cc; `LinuxSpace` and `OsvSpace` add what programs call. `sync` is the kernel's
    own synchronisation ("osv", "linux", "none"). The kernel sets `pe` to the PE it runs on before it calls anything
    here. OutOfMemoryError passes through: it ends the run.
    """

    gather_limit: ClassVar[int] = 20
    """How many pages are unmapped before one TLB flush, after which their frames are free."""
    user: ClassVar[bool] = False
    """Whether pages are an unprivileged program's (EL0, ring 3)."""
    populates_writable: ClassVar[bool] = False
    """Whether eager population makes private pages as if they were written."""
    allows: ClassVar[Mapping[Access, int]] = {"read": PERM_READ, "write": PERM_WRITE, "execute": PERM_EXEC}
    """Which rights of a VMA allow an access: one of them is enough."""
    cache_policy: ClassVar[CachePolicy] = OSV_CACHE
    """Of the page cache that it makes, if it is given none."""

    def __init__(
        self,
        hardware: Hardware,
        *,
        sync: str,
        layout: Layout,
        page_cache: PageCache | None = None,
        port: Port = AARCH64,
    ) -> None:
        self.hardware = hardware
        self.sync = SYNC_POLICIES[sync]
        self.layout = layout
        self.port = port
        self.page_cache = page_cache if page_cache is not None else PageCache(Frames(hardware), self.cache_policy)
        self.frames = self.page_cache.frames
        self.tables = PageTables(self.frames, port.page_table, user=self.user)
        self.vmas = VmaList(layout.limit)
        self.pe = 0
        self._anonymous: PageProvider = self.anonymous_pages()
        self._cached_file_pages = CachedFilePages()
        self._read_file_pages = ReadFilePages()

    def anonymous_pages(self) -> PageProvider:
        """Where the pages of anonymous memory come from."""
        return AnonymousPages()

    def file_pages(self, inode: MappableInode) -> FilePages:
        """Where the pages of a file come from. OSv reads files of less than a page for each mapping (`vfs_file::mmap`)."""
        return self._cached_file_pages if inode.has_page_cache and inode.size >= PAGE_SIZE else self._read_file_pages

    @property
    def root(self) -> int:
        """The physical address of the root table (TTBR0_EL1)."""
        return self.tables.root

    # Mapping --------------------------------------------------------------------------------------------------------

    def map_anon(self, address: int, size: int, flags: int, perm: int, *, name: str = "") -> int:
        """Map zeroed memory; returns the address. `flags` are OSv's MMAP_*, `address` a hint unless MMAP_FIXED."""
        size = page_up(size)
        start = self.allocate(address, size, flags)
        vma = AnonVma(start, start + size, perm, flags & ~MMAP_FIXED, self._anonymous, name)
        self.add_vma(vma)
        if flags & MMAP_POPULATE:
            self.populate(vma, start, size, write=self.populates_writable)
        return start

    def map_file(
        self,
        address: int,
        size: int,
        flags: int,
        perm: int,
        inode: MappableInode,
        offset: int,
        *,
        may_write: bool = True,
        name: str = "",
    ) -> int:
        """Map a file from the page-aligned `offset`. `may_write`: it is open for writing (matters if shared)."""
        if flags & MMAP_SHARED and perm & PERM_WRITE and not may_write:
            raise LinuxError(errno.EACCES)
        size = page_up(size)
        start = self.allocate(address, size, flags)
        vma = FileVma(
            start,
            start + size,
            perm,
            flags & ~MMAP_FIXED,
            self.file_pages(inode),
            inode,
            offset,
            may_write=may_write,
            name=name,
        )
        self.add_vma(vma)
        if flags & MMAP_POPULATE:
            in_file = min(size, max(page_up(inode.size) - offset, 0))
            self.populate(vma, start, in_file, write=self.populates_writable and not vma.shared)
        return start

    def allocate(self, address: int, size: int, flags: int) -> int:
        """Where a mapping of `size` goes: `address` made free if MMAP_FIXED, else a hole, by the hint if that is one."""
        layout = self.layout
        if flags & MMAP_FIXED:
            if address < layout.lowest:
                raise LinuxError(errno.EPERM)
            if address + size > layout.limit:
                raise LinuxError(errno.ENOMEM)
            self.evacuate(address, address + size)
            return address
        if size > layout.limit - layout.lowest:
            raise LinuxError(errno.ENOMEM)
        return self._find_room(address, size)

    def evacuate(self, start: int, end: int) -> int:
        """Unmap whatever lies in [start, end); returns the bytes removed."""
        removed = 0
        self._split_at(start, end)
        for vma in self.vmas.find_intersecting_vmas(start, end):
            if vma.shared and isinstance(vma, FileVma):
                vma.page_ops.unmapping(self, vma)
            operate_range(Unpopulate(self, vma), vma.start, vma.size)
            self.erase_vma(vma)
            removed += vma.size
        return removed

    def protect(self, start: int, end: int, perm: int) -> None:
        """Set the rights of all VMAs in [start, end); stops with EACCES at the first that may not have them."""
        for vma in self.vmas.find_intersecting_vmas(start, end):
            if vma.perm == perm:
                continue
            if not vma.may_have(perm):
                raise LinuxError(errno.EACCES)
            self._split_at(max(start, vma.start), min(end, vma.end))
            inside = self.vmas.find(max(start, vma.start))
            assert inside is not None
            inside.perm = perm
            operate_range(Protection(self, perm), inside.start, inside.size)
        self.merge(start, end)

    def allow_huge_pages(self, start: int, end: int, *, allow: bool) -> None:
        """MADV_HUGEPAGE and MADV_NOHUGEPAGE over [start, end); the latter splits the 2 MiB pages that are there."""
        self._split_at(start, end)
        for vma in self.vmas.find_intersecting_vmas(start, end):
            if isinstance(vma, AnonVma):
                vma.flags = vma.flags & ~MMAP_SMALL if allow else vma.flags | MMAP_SMALL
                if not allow:
                    operate_range(SplitHugePages(self), vma.start, vma.size)
        self.merge(start, end)

    def split(self, vma: Vma, edge: int) -> None:
        """Make two VMAs of one, if `edge` lies inside it. ENOMEM past vm.max_map_count."""
        if not vma.start < edge < vma.end:
            return
        if len(self.vmas) >= MAX_MAP_COUNT:
            raise LinuxError(errno.ENOMEM)
        right = vma.part(edge, vma.end)
        self.vmas.cut_end(vma, edge)
        self.add_vma(right)

    def merge(self, start: int, end: int) -> None:
        """Join equal neighbours in and around [start, end), where the kernel does such a thing; OSv does not."""

    def add_vma(self, vma: Vma) -> None:
        """Put a VMA over free space."""
        self.vmas.insert(vma)
        if isinstance(vma, FileVma):
            self.page_cache.attach(vma)

    def erase_vma(self, vma: Vma) -> None:
        """Take out a VMA whose pages are gone (or moved)."""
        self.vmas.erase(vma)
        if isinstance(vma, FileVma):
            self.page_cache.detach(vma)

    def flush_tlb(self) -> None:
        """After a reduction of rights."""
        self.hardware.flush_tlb_all(self.pe)

    # Pages ----------------------------------------------------------------------------------------------------------

    def fault(self, pe: int, virtual: int, access: Access) -> None:
        """A page fault: give `virtual` its page (OSv's `vm_fault`), or raise the GuestFault that says what is wrong."""
        self.pe = pe
        vma = self.vmas.find(virtual)
        if vma is None:
            raise self._fault(virtual, access, SIGSEGV, SEGV_MAPERR)
        if not vma.perm & self.allows[access]:
            raise self._fault(virtual, access, SIGSEGV, SEGV_ACCERR)
        page = page_down(virtual)
        if isinstance(vma, FileVma) and vma.file_offset(page) >= vma.inode.size:
            raise self._fault(virtual, access, SIGBUS, BUS_ADRERR)
        start, size = self.fault_window(vma, page)
        try:
            populate_vma(self, vma, start, size, write=access == "write")
        except LinuxError:  # the file cannot be read
            raise self._fault(virtual, access, SIGBUS, BUS_ADRERR) from None

    def fault_window(self, vma: Vma, page: int) -> tuple[int, int]:
        """(start, size) of what a fault on `page` of `vma` populates."""
        return vma.fault_window(page)

    def virt_to_phys(self, virtual: int) -> int | None:
        """The physical address behind `virtual`, or None where no page is."""
        where = VirtToPhys(self, virtual)
        operate_range(where, virtual, 1)
        return where.physical

    def accessible_until(self, start: int, end: int, access: Access) -> int:
        """The first byte of [start, end) where `access` would be refused; `end` if nowhere. Populates nothing."""
        at = start
        for vma in self.vmas.find_intersecting_vmas(start, end):
            if vma.start > at or not vma.perm & self.allows[access]:
                break
            at = min(vma.end, end)
            if isinstance(vma, FileVma):
                in_file = vma.start + page_up(vma.inode.size) - vma.offset
                if in_file < at:
                    return max(start, vma.start, in_file)
        return at

    def populate(self, vma: Vma, start: int, size: int, *, write: bool) -> None:
        """Eager population of a part of one VMA that lies in its file; nothing without the right to read it."""
        if not size or not vma.perm:
            return
        populate_vma(self, vma, start, size, write=write and bool(vma.perm & PERM_WRITE))

    def all_vmas_size(self) -> int:
        """OSv's `all_vmas_size`: the size of the address space in use."""
        return sum(vma.size for vma in self.vmas)

    def resident_size(self) -> int:
        """Bytes of pages present."""
        return self.tables.resident * PAGE_SIZE

    def destroy(self) -> None:
        """Unmap everything and free every table."""
        self.evacuate(0, self.layout.limit)
        self.tables.destroy()

    # ----------------------------------------------------------------------------------------------------------------

    def _find_room(self, address: int, size: int) -> int:
        start = self.vmas.find_hole(address or self.layout.mmap_base, size)
        if start < self.layout.lowest:
            start = self.vmas.find_hole(self.layout.lowest, size)
        return start

    def _split_at(self, *edges: int) -> None:
        for edge in edges:
            vma = self.vmas.find(edge)
            if vma is not None:
                self.split(vma, edge)

    def _fault(self, virtual: int, access: Access, signal: int, code: int) -> GuestFault:
        entry, level = self.port.find_leaf(self.hardware.memory, self.root, virtual)
        return GuestFault(virtual, access, signal, code, level=level, permission=bool(entry))

