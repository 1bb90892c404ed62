# SPDX-License-Identifier: GPL-2.0-or-later
"""Owns an address space: its VMAs over its page tables, mapping, protection, faults (OSv's core/mmu.cc)."""

from __future__ import annotations

import errno
import itertools
from typing import Final

from fetchsan.kernel.errors import Access, GuestFault, LinuxError
from fetchsan.kernel.mmu.frames import Frames
from fetchsan.kernel.mmu.layout import Layout
from fetchsan.kernel.mmu.mman import MAP_TYPE, Map, Prot
from fetchsan.kernel.mmu.operate import PAGE_SIZE, operate_range, page_down, page_up
from fetchsan.kernel.mmu.operations import DirtyCleaner, Protection, Unpopulate
from fetchsan.kernel.mmu.page_cache import MappableInode, PageCache, SharedMemory
from fetchsan.kernel.mmu.page_tables import PageTables
from fetchsan.kernel.mmu.populate import populate_vma
from fetchsan.kernel.mmu.ports import AARCH64, Port
from fetchsan.kernel.mmu.providers import AnonymousPages, FilePages, PageProvider, ZeroPages
from fetchsan.kernel.mmu.sync import SYNC_POLICIES
from fetchsan.kernel.mmu.vma import (
    MMAP_FIXED,
    MMAP_POPULATE,
    MMAP_SHARED,
    MMAP_STACK,
    PERM_EXEC,
    PERM_READ,
    PERM_WRITE,
    AnonVma,
    FileVma,
    Vma,
)
from fetchsan.kernel.mmu.vma_list import MAX_MAP_COUNT, VmaList
from fetchsan.machine.hardware import Hardware
from fetchsan.machine.walk import find_leaf

__all__ = ["BUS_ADRERR", "SEGV_ACCERR", "SEGV_MAPERR", "SIGBUS", "SIGSEGV", "AddressSpace"]

SIGBUS: Final = 7
SIGSEGV: Final = 11
SEGV_MAPERR: Final = 1
SEGV_ACCERR: Final = 2
BUS_ADRERR: Final = 2

# Which rights of a VMA allow an access. Linux's arm64 table makes every page that has any right readable.
_OSV_ALLOWS: dict[Access, int] = {"read": PERM_READ, "write": PERM_WRITE, "execute": PERM_EXEC}
_LINUX_ALLOWS: dict[Access, int] = {**_OSV_ALLOWS, "read": PERM_READ | PERM_WRITE | PERM_EXEC}

class AddressSpace:
    """The program's half of the address space.

    `sync` is the kernel's own synchronisation ("osv", "linux", "none"). `user`: pages are EL0's and the semantics are
    Linux's (shared zero page, merging, TLB flushes without a CSE); else OSv's. The kernel sets `pe` to the PE it runs
    on before it calls anything here. OutOfMemoryError passes through: it ends the run.
    """

    def __init__(
        self,
        hardware: Hardware,
        *,
        sync: str,
        user: bool,
        layout: Layout,
        page_cache: PageCache | None = None,
        port: Port = AARCH64,
    ) -> None:
        self.hardware = hardware
        self.sync = SYNC_POLICIES[sync]
        self.user = user
        self.layout = layout
        self.port = port
        self.page_cache = page_cache if page_cache is not None else PageCache(Frames(hardware))
        self.frames = self.page_cache.frames
        self.tables = PageTables(self.frames, port.page_table, user=user)
        self.vmas = VmaList(layout.limit)
        self.pe = 0
        self.brk_start = 0
        self.brk_end = 0
        self._shared_memories = itertools.count(1)
        self._anonymous: PageProvider = ZeroPages() if user else AnonymousPages()
        self._file_pages = FilePages()
        self._allows = _LINUX_ALLOWS if user else _OSV_ALLOWS

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
            # Linux populates what may be written as if it were (populate_vma_page_range); OSv's pages are writable anyway.
            self.populate(vma, start, size, write=self.user)
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
            self._file_pages,
            inode,
            offset,
            may_write=may_write,
            name=name,
        )
        self.add_vma(vma)
        if flags & MMAP_POPULATE:
            in_file = min(size, max(page_up(inode.size) - offset, 0))
            self.populate(vma, start, in_file, write=self.user and not vma.shared)
        return start

    def mmap(
        self,
        address: int,
        length: int,
        prot: int,
        flags: int,
        inode: MappableInode | None = None,
        offset: int = 0,
        *,
        may_write: bool = True,
    ) -> int:
        """mmap(2), with Linux's PROT_* and MAP_* bits; `inode` is None for MAP_ANONYMOUS."""
        size = page_up(length)
        kind = flags & MAP_TYPE
        fixed = flags & (Map.FIXED | Map.FIXED_NOREPLACE)
        if not length or offset % PAGE_SIZE or kind not in (Map.SHARED, Map.PRIVATE, Map.SHARED_VALIDATE):
            raise LinuxError(errno.EINVAL)
        if size > self.layout.limit:
            raise LinuxError(errno.ENOMEM)
        if offset + size > 1 << 63:
            raise LinuxError(errno.EOVERFLOW)
        if fixed and address % PAGE_SIZE:
            raise LinuxError(errno.EINVAL)
        populate = flags & (Map.POPULATE | Map.LOCKED) and not flags & Map.NONBLOCK
        # No huge pages are set aside; and what cannot be resident at once is refused before half of it is.
        if flags & Map.HUGETLB or (populate and size > self.hardware.memory.size):
            raise LinuxError(errno.ENOMEM)
        if flags & Map.FIXED_NOREPLACE and self.vmas.find_intersecting_vmas(address, address + size):
            raise LinuxError(errno.EEXIST)
        native = (
            (MMAP_FIXED if fixed else 0)
            | (MMAP_POPULATE if populate else 0)
            | (MMAP_STACK if flags & Map.GROWSDOWN else 0)
            | (MMAP_SHARED if kind != Map.PRIVATE else 0)
        )
        perm = prot & (PERM_READ | PERM_WRITE | PERM_EXEC)
        if inode is None and native & MMAP_SHARED:
            inode, offset = SharedMemory(size, next(self._shared_memories)), 0
        if inode is None:
            start = self.map_anon(address, size, native, perm)
        else:
            start = self.map_file(address, size, native, perm, inode, offset, may_write=may_write)
        self.merge(start, start + size)
        return start

    def munmap(self, address: int, length: int) -> None:
        """munmap(2). OSv, unlike Linux, refuses a range with holes."""
        size = page_up(length)
        limit = self.layout.limit
        if not length or address % PAGE_SIZE or address > limit or size > limit - address:
            raise LinuxError(errno.EINVAL)
        if not self.user and not self.vmas.ismapped(address, address + size):
            raise LinuxError(errno.EINVAL)
        self.evacuate(address, address + size)

    def mprotect(self, address: int, length: int, prot: int) -> None:
        """mprotect(2): Linux changes what lies before the first hole, then says ENOMEM; OSv changes nothing."""
        grows = prot & (Prot.GROWSDOWN | Prot.GROWSUP)
        perm = prot & ~(Prot.GROWSDOWN | Prot.GROWSUP)
        if address % PAGE_SIZE or perm & ~(PERM_READ | PERM_WRITE | PERM_EXEC):
            raise LinuxError(errno.EINVAL)
        if not length:
            return
        start, end = address, address + page_up(length)
        if grows:
            vma = self.vmas.find(start)
            if vma is None:
                raise LinuxError(errno.ENOMEM)
            if grows != Prot.GROWSDOWN or not vma.flags & MMAP_STACK:
                raise LinuxError(errno.EINVAL)
            start = vma.start
        mapped = self.vmas.covered_until(start, end)
        if mapped == end or self.user:
            self.protect(start, mapped, perm)
        if mapped < end:
            raise LinuxError(errno.ENOMEM)

    def start_brk(self, address: int) -> None:
        """The heap begins at `address`, empty (what execve does)."""
        self.brk_start = self.brk_end = address

    def brk(self, address: int) -> int:
        """brk(2) as the kernel has it: the end of the heap, unchanged if the request cannot be met."""
        if address < self.brk_start or address > self.layout.limit - PAGE_SIZE:
            return self.brk_end
        old, new = page_up(self.brk_end), page_up(address)
        if new < old:
            self.evacuate(new, old)
        elif new > old:
            # One page stays free above the heap, as on Linux.
            if self.vmas.find_intersecting_vmas(old, new + PAGE_SIZE):
                return self.brk_end
            self.map_anon(old, new - old, MMAP_FIXED, PERM_READ | PERM_WRITE, name="[heap]")
            self.merge(old, new)
        self.brk_end = address
        return address

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
        if not layout.top_down:
            start = self.vmas.find_hole(address or layout.mmap_base, size)
            if start < layout.lowest:
                start = self.vmas.find_hole(layout.lowest, size)
            return start
        if address:
            hint = max(page_down(address), layout.lowest)
            if hint + size <= layout.limit and not self.vmas.find_intersecting_vmas(hint, hint + size):
                return hint
        hole = self.vmas.find_hole_below(layout.mmap_base, size, layout.lowest)
        # Linux falls back to a search upwards from TASK_UNMAPPED_BASE when the area below mmap_base is full.
        return hole if hole is not None else self.vmas.find_hole(layout.mmap_base, size)

    def evacuate(self, start: int, end: int) -> int:
        """Unmap whatever lies in [start, end); returns the bytes removed."""
        removed = 0
        self._split_at(start, end)
        for vma in self.vmas.find_intersecting_vmas(start, end):
            if vma.shared and isinstance(vma, FileVma):
                first, last = vma.file_offset(vma.start) // PAGE_SIZE, vma.file_offset(vma.end) // PAGE_SIZE
                self.page_cache.failures += self.page_cache.write_back(vma.inode, first, last)
            operate_range(Unpopulate(self), vma.start, vma.size)
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
        """Join equal neighbours in and around [start, end), as Linux does and OSv does not."""
        if not self.user:
            return
        touching = self.vmas.find_intersecting_vmas(max(start - 1, 0), end + 1)
        for left, right in itertools.pairwise(touching):
            if left.end == right.start and right.continues(left):
                # `right` grows downwards, so that the next pair sees it; pages stay where they are.
                self.vmas.erase(left)
                self.vmas.erase(right)
                if isinstance(left, FileVma) and isinstance(right, FileVma):
                    right.offset = left.offset
                    self.page_cache.detach(left)
                right.start = left.start
                self.vmas.insert(right)

    def add_vma(self, vma: Vma) -> None:
        """Put a VMA over free space."""
        self.vmas.insert(vma)
        if isinstance(vma, FileVma):
            self.page_cache.attach(vma, self)

    def erase_vma(self, vma: Vma) -> None:
        """Take out a VMA whose pages are gone (or moved)."""
        self.vmas.erase(vma)
        if isinstance(vma, FileVma):
            self.page_cache.detach(vma)

    def flush_tlb(self) -> None:
        """After a reduction of rights."""
        if self.user:
            self.hardware.flush_tlb_linux(self.pe)
        else:
            self.hardware.flush_tlb_all(self.pe)

    # Pages ----------------------------------------------------------------------------------------------------------

    def fault(self, pe: int, virtual: int, access: Access) -> None:
        """A page fault: give `virtual` its page (OSv's `vm_fault`), or raise the GuestFault that says what is wrong."""
        self.pe = pe
        vma = self.vmas.find(virtual)
        if vma is None:
            raise self._fault(virtual, access, SIGSEGV, SEGV_MAPERR)
        if not vma.perm & self._allows[access]:
            raise self._fault(virtual, access, SIGSEGV, SEGV_ACCERR)
        page = page_down(virtual)
        if isinstance(vma, FileVma) and vma.file_offset(page) >= vma.inode.size:
            raise self._fault(virtual, access, SIGBUS, BUS_ADRERR)
        try:
            populate_vma(self, vma, page, PAGE_SIZE, write=access == "write")
        except LinuxError:  # the file cannot be read
            raise self._fault(virtual, access, SIGBUS, BUS_ADRERR) from None

    def accessible_until(self, start: int, end: int, access: Access) -> int:
        """The first byte of [start, end) where `access` would be refused; `end` if nowhere. Populates nothing."""
        at = start
        for vma in self.vmas.find_intersecting_vmas(start, end):
            if vma.start > at or not vma.perm & self._allows[access]:
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

    def clean_page(self, vma: FileVma, index: int) -> None:
        """Make the next store through `vma` to page `index` of its file fault."""
        self._over_file_pages(DirtyCleaner(self), vma, index, index + 1)

    def forget_pages(self, vma: FileVma, first: int, last: int | None = None) -> None:
        """Unmap pages [first, last) of its file from `vma`, private copies too (the file has lost them)."""
        end = vma.file_offset(vma.end) // PAGE_SIZE
        self._over_file_pages(Unpopulate(self), vma, first, end if last is None else last)

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

    def _over_file_pages(self, op: DirtyCleaner | Unpopulate, vma: FileVma, first: int, last: int) -> None:
        start = max(vma.start, vma.start + first * PAGE_SIZE - vma.offset)
        end = min(vma.end, vma.start + last * PAGE_SIZE - vma.offset)
        if start < end:
            operate_range(op, start, end - start)

    def _split_at(self, *edges: int) -> None:
        for edge in edges:
            vma = self.vmas.find(edge)
            if vma is not None:
                self.split(vma, edge)

    def _fault(self, virtual: int, access: Access, signal: int, code: int) -> GuestFault:
        entry, level = find_leaf(self.hardware.memory, self.root, virtual)
        return GuestFault(virtual, access, signal, code, level=level, permission=bool(entry))

