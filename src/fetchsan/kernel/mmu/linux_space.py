# SPDX-License-Identifier: GPL-2.0-or-later
"""Owns the address space of a Linux process: mmap(2), munmap(2), mprotect(2), brk(2) as Linux has them.

Over OSv's VMAs, what Linux programs rely on: partial munmap, merging, the search from the top, the shared page of zeros,
TLB flushes without a CSE, pages that are readable whatever right they have.
"""

from __future__ import annotations

import errno
import itertools
from collections.abc import Callable, Mapping
from typing import ClassVar

from fetchsan.kernel.errors import Access, LinuxError
from fetchsan.kernel.mmu.address_space import AddressSpace
from fetchsan.kernel.mmu.cache_policy import LINUX_CACHE, CachePolicy
from fetchsan.kernel.mmu.file_pages import FilePages
from fetchsan.kernel.mmu.layout import Layout
from fetchsan.kernel.mmu.mappable import MappableInode, SharedMemory
from fetchsan.kernel.mmu.mman import LEGACY_MAP_MASK, MAP_TYPE, Map, Prot
from fetchsan.kernel.mmu.operate import PAGE_SIZE, page_down, page_up
from fetchsan.kernel.mmu.page_cache import PageCache
from fetchsan.kernel.mmu.ports import AARCH64, Port
from fetchsan.kernel.mmu.providers import PageProvider, ZeroPages
from fetchsan.kernel.mmu.vma import (
    MMAP_FIXED,
    MMAP_LOCK_ON_FAULT,
    MMAP_LOCKED,
    MMAP_POPULATE,
    MMAP_SHARED,
    MMAP_SMALL,
    MMAP_STACK,
    PERM_EXEC,
    PERM_READ,
    PERM_WRITE,
    FileVma,
    Vma,
)
from fetchsan.machine.hardware import Hardware

__all__ = ["LinuxSpace"]

_RANGE = 1 << 64
_STACK_GUARD_GAP = 256 * PAGE_SIZE
_STACK_LIMIT = 8 << 20  # RLIMIT_STACK, unless somebody says otherwise
_U32 = 0xFFFF_FFFF
_ANY_RIGHT = PERM_READ | PERM_WRITE | PERM_EXEC


class LinuxSpace(AddressSpace):
    """The address space of one process under the Linux ABI."""

    gather_limit: ClassVar[int] = 10_000  # MAX_GATHER_BATCH_COUNT pages of pointers
    user: ClassVar[bool] = True
    populates_writable: ClassVar[bool] = True  # populate_vma_page_range
    cache_policy: ClassVar[CachePolicy] = LINUX_CACHE
    # Linux's arm64 and x86-64 tables make every page that has any right readable.
    allows: ClassVar[Mapping[Access, int]] = {"read": _ANY_RIGHT, "write": PERM_WRITE, "execute": PERM_EXEC}

    def __init__(
        self,
        hardware: Hardware,
        *,
        sync: str,
        layout: Layout,
        page_cache: PageCache | None = None,
        port: Port = AARCH64,
    ) -> None:
        super().__init__(hardware, sync=sync, layout=layout, page_cache=page_cache, port=port)
        self.brk_start = 0
        self.brk_end = 0
        self.future_flags = 0  # MMAP_* that every later mapping has: mlockall(MCL_FUTURE)
        self.stack_limit: Callable[[], int] = lambda: _STACK_LIMIT
        self._shared_memories = itertools.count(1)

    def anonymous_pages(self) -> PageProvider:
        """Reads share one page of zeros."""
        return ZeroPages()

    def file_pages(self, inode: MappableInode) -> FilePages:
        """Always through the page cache."""
        return self._cached_file_pages

    def map_anon(self, address: int, size: int, flags: int, perm: int, *, name: str = "") -> int:
        """Map zeroed memory, in 4 KiB pages until MADV_HUGEPAGE asks for more (Debian's default policy)."""
        return super().map_anon(address, size, flags | MMAP_SMALL, perm, name=name)

    def fault_window(self, vma: Vma, page: int) -> tuple[int, int]:
        """A huge page only where no smaller one is yet."""
        start, size = super().fault_window(vma, page)
        return (start, size) if self.tables.cached_leaf_table(page) is None else (page, PAGE_SIZE)

    def flush_tlb(self) -> None:
        """After a reduction of rights: no CSE."""
        self.hardware.flush_tlb_linux(self.pe)

    def fault(self, pe: int, virtual: int, access: Access) -> None:
        """A page fault; one below a stack may make it grow first."""
        if self.vmas.find(virtual) is None:
            self._expand_stack(virtual)
        super().fault(pe, virtual, access)

    def accessible_until(self, start: int, end: int, access: Access) -> int:
        """The first byte of [start, end) where `access` would be refused, after the growth that it would cause."""
        if start < end and self.vmas.find(start) is None:
            self._expand_stack(start)
        return super().accessible_until(start, end, access)

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
        denied: int = 0,
    ) -> int:
        """mmap(2), with Linux's PROT_* and MAP_* bits; `inode` is None for MAP_ANONYMOUS.

        `denied` is the errno for which the descriptor cannot be mapped at all, told after all that is wrong otherwise.
        """
        size = page_up(length)
        kind = flags & MAP_TYPE
        fixed = flags & (Map.FIXED | Map.FIXED_NOREPLACE)
        if not length or offset % PAGE_SIZE:
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
        shared = kind in (Map.SHARED, Map.SHARED_VALIDATE)
        if kind == Map.SHARED_VALIDATE and inode is not None and flags & ~LEGACY_MAP_MASK & _U32:
            raise LinuxError(errno.EOPNOTSUPP)
        if inode is not None and shared and prot & PERM_WRITE and not may_write:
            raise LinuxError(errno.EACCES)
        if denied:
            raise LinuxError(denied)
        if (
            not (shared or kind == Map.PRIVATE)
            or (inode is None and kind == Map.SHARED_VALIDATE)
            or (flags & Map.GROWSDOWN and (shared or inode is not None))
        ):
            raise LinuxError(errno.EINVAL)
        if flags & Map.LOW_32BIT and not fixed and self.layout.low_area is not None:
            address = self._low_address(address, size, *self.layout.low_area)
        native = (
            self.future_flags
            | (MMAP_FIXED if fixed else 0)
            | (MMAP_POPULATE if populate else 0)
            | (MMAP_LOCKED if flags & Map.LOCKED else 0)
            | (MMAP_STACK if flags & Map.GROWSDOWN else 0)
            | (MMAP_SHARED if shared else 0)
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
        """munmap(2): holes are no error."""
        size = page_up(length)
        limit = self.layout.limit
        if not length or address % PAGE_SIZE or address > limit or size > limit - address:
            raise LinuxError(errno.EINVAL)
        self.evacuate(address, address + size)

    def mprotect(self, address: int, length: int, prot: int) -> None:
        """mprotect(2): what lies before the first hole is changed, then the hole is ENOMEM."""
        grows = prot & (Prot.GROWSDOWN | Prot.GROWSUP)
        perm = prot & ~(Prot.GROWSDOWN | Prot.GROWSUP)
        if address % PAGE_SIZE or grows == Prot.GROWSDOWN | Prot.GROWSUP:
            raise LinuxError(errno.EINVAL)
        if not length:
            return
        start, end = address, (address + page_up(length)) % _RANGE
        if end <= start:
            raise LinuxError(errno.ENOMEM)
        if perm & ~(_ANY_RIGHT | Prot.SEM):
            raise LinuxError(errno.EINVAL)
        if grows:
            found = self.vmas.find_intersecting_vmas(start, end if grows == Prot.GROWSDOWN else start + 1)
            if not found:
                raise LinuxError(errno.ENOMEM)
            if grows != Prot.GROWSDOWN or not found[0].flags & MMAP_STACK:
                raise LinuxError(errno.EINVAL)
            start = found[0].start
        mapped = self.vmas.covered_until(start, end)
        locked = self._locked_read_only(start, mapped) if perm & PERM_WRITE else []
        self.protect(start, mapped, perm & _ANY_RIGHT)
        for low, high in locked:  # what is locked is resident, each page a frame of its own
            self.populate_range(low, high)
        if mapped < end:
            raise LinuxError(errno.ENOMEM)

    def populate_range(self, start: int, end: int) -> bool:
        """Linux's mm_populate of [start, end), all mapped; whether all that wants to be resident is now."""
        if end - start > self.hardware.memory.size:
            return False
        for vma in self.vmas.find_intersecting_vmas(start, end):
            low, high = max(start, vma.start), min(end, vma.end)
            if vma.flags & MMAP_LOCK_ON_FAULT:
                continue
            present = high
            if isinstance(vma, FileVma):
                present = min(high, max(low, vma.start + page_up(vma.inode.size) - vma.offset))
            self.populate(vma, low, present - low, write=not vma.shared)
            if present < high or not vma.perm:
                return False
        return True

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
            self.map_anon(old, new - old, MMAP_FIXED | self.future_flags, PERM_READ | PERM_WRITE, name="[heap]")
            self.merge(old, new)
        self.brk_end = address
        return address

    def merge(self, start: int, end: int) -> None:
        """Join equal neighbours in and around [start, end)."""
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

    def _locked_read_only(self, start: int, end: int) -> list[tuple[int, int]]:
        found = self.vmas.find_intersecting_vmas(start, end)
        kind = MMAP_LOCKED | MMAP_SHARED
        private = [v for v in found if v.flags & kind == MMAP_LOCKED and not v.perm & PERM_WRITE]
        return [(max(start, v.start), min(end, v.end)) for v in private]

    def _expand_stack(self, virtual: int) -> None:
        """Make the stack above `virtual`, if that is the next mapping, reach down to it (Linux's expand_downwards)."""
        start = page_down(virtual)
        stack = self.vmas.next_after(virtual)
        if stack is None or not stack.flags & MMAP_STACK or start < self.layout.lowest:
            return
        # What may be accessed below keeps its distance; another stack, or pages without rights, are guard enough.
        below = self.vmas.find_intersecting_vmas(start - _STACK_GUARD_GAP + 1, start)
        if stack.end - start > self.stack_limit() or any(v.perm and not v.flags & MMAP_STACK for v in below[-1:]):
            return
        self.vmas.erase(stack)
        stack.start = start
        self.vmas.insert(stack)

    def _low_address(self, address: int, size: int, lowest: int, end: int) -> int:
        """MAP_32BIT: the address asked for if it is low enough and free, else the first hole from `lowest` on."""
        hint = page_down(address)
        if hint and hint + size <= end and not self.vmas.find_intersecting_vmas(hint, hint + size):
            return hint
        hole = self.vmas.find_hole(lowest, size)
        if hole + size > end:
            raise LinuxError(errno.ENOMEM)
        return hole

    def _find_room(self, address: int, size: int) -> int:
        layout = self.layout
        if address:
            hint = max(page_down(address), layout.lowest)
            if hint + size <= layout.limit and not self.vmas.find_intersecting_vmas(hint, hint + size):
                return hint
        hole = self.vmas.find_hole_below(layout.mmap_base, size, layout.lowest)
        # Linux falls back to a search upwards from TASK_UNMAPPED_BASE when the area below mmap_base is full.
        return hole if hole is not None else self.vmas.find_hole(layout.mmap_base, size)
