# SPDX-License-Identifier: GPL-2.0-or-later
"""Owns madvise(2), msync(2) and mincore(2): what is asked of pages rather than of mappings."""

from __future__ import annotations

import errno
from collections.abc import Callable

from fetchsan.kernel.errors import LinuxError
from fetchsan.kernel.mmu.leaves import CollectLeaves
from fetchsan.kernel.mmu.linux_space import LinuxSpace
from fetchsan.kernel.mmu.mappable import SharedMemory
from fetchsan.kernel.mmu.mman import Madvise, Msync
from fetchsan.kernel.mmu.operate import PAGE_SIZE, operate_range, page_up
from fetchsan.kernel.mmu.operations import Unpopulate
from fetchsan.kernel.mmu.vma import MMAP_LOCKED, PERM_READ, PERM_WRITE, FileVma, Vma

__all__ = ["madvise", "mincore", "msync"]

_Advice = Callable[[LinuxSpace, Vma, int, int], None]


def _nothing(space: LinuxSpace, vma: Vma, start: int, end: int) -> None:
    """Advice about what has no effect that a program could see."""


def _drop(space: LinuxSpace, vma: Vma, start: int, end: int) -> None:
    """MADV_DONTNEED: private pages are lost, shared ones come back from the page cache."""
    _refuse_locked(space, vma, start, end)
    _drop_locked(space, vma, start, end)


def _drop_locked(space: LinuxSpace, vma: Vma, start: int, end: int) -> None:
    """MADV_DONTNEED_LOCKED: the same, locked or not."""
    operate_range(Unpopulate(space, vma), start, end - start)


def _refuse_locked(space: LinuxSpace, vma: Vma, start: int, end: int) -> None:
    """MADV_COLD, MADV_PAGEOUT: nothing that a program could see, except where pages are locked."""
    if vma.flags & MMAP_LOCKED:
        raise LinuxError(errno.EINVAL)


def _free(space: LinuxSpace, vma: Vma, start: int, end: int) -> None:
    """MADV_FREE: the kernel may drop the pages at any time, so it does now. Anonymous private memory only."""
    if isinstance(vma, FileVma):
        raise LinuxError(errno.EINVAL)
    _drop(space, vma, start, end)


def _huge_pages(allow: bool) -> _Advice:
    def advise(space: LinuxSpace, vma: Vma, start: int, end: int) -> None:
        space.allow_huge_pages(start, end, allow=allow)

    return advise


def _remove(space: LinuxSpace, vma: Vma, start: int, end: int) -> None:
    """MADV_REMOVE: punch a hole into what is behind a shared writable mapping; here only shared memory has holes."""
    if not isinstance(vma, FileVma) or vma.flags & MMAP_LOCKED:
        raise LinuxError(errno.EINVAL)
    if not vma.shared or not vma.may_write:
        raise LinuxError(errno.EACCES)
    if not isinstance(vma.inode, SharedMemory):
        raise LinuxError(errno.EOPNOTSUPP)
    first = vma.file_offset(start) // PAGE_SIZE
    space.page_cache.punch_hole(vma.inode, first, first + (end - start) // PAGE_SIZE)


def _wipe(space: LinuxSpace, vma: Vma, start: int, end: int) -> None:
    """MADV_WIPEONFORK: Linux refuses it for files and shared memory."""
    if isinstance(vma, FileVma):
        raise LinuxError(errno.EINVAL)


def _populate(write: bool) -> _Advice:
    def populate(space: LinuxSpace, vma: Vma, start: int, end: int) -> None:
        if end - start > space.hardware.memory.size:
            raise LinuxError(errno.ENOMEM)
        if not vma.perm & (PERM_WRITE if write else PERM_READ):
            raise LinuxError(errno.EINVAL)
        if isinstance(vma, FileVma) and vma.file_offset(end) > page_up(vma.inode.size):
            raise LinuxError(errno.EFAULT)
        space.populate(vma, start, end - start, write=write)

    return populate


_ADVICE: dict[int, _Advice] = {
    **dict.fromkeys(Madvise, _nothing),
    Madvise.DONTNEED: _drop,
    Madvise.DONTNEED_LOCKED: _drop_locked,
    Madvise.COLD: _refuse_locked,
    Madvise.PAGEOUT: _refuse_locked,
    Madvise.FREE: _free,
    Madvise.REMOVE: _remove,
    Madvise.WIPEONFORK: _wipe,
    Madvise.HUGEPAGE: _huge_pages(allow=True),
    Madvise.NOHUGEPAGE: _huge_pages(allow=False),
    Madvise.POPULATE_READ: _populate(write=False),
    Madvise.POPULATE_WRITE: _populate(write=True),
}
_STOP_AT_HOLES = frozenset({Madvise.POPULATE_READ, Madvise.POPULATE_WRITE})


def madvise(space: LinuxSpace, address: int, length: int, advice: int) -> None:
    """Linux's madvise: acts on what is mapped, then says ENOMEM if something was not."""
    if advice not in _ADVICE or address % PAGE_SIZE or address + page_up(length) >= 1 << 64:
        raise LinuxError(errno.EINVAL)
    act = _ADVICE[advice]
    end = address + page_up(length)
    mapped = space.vmas.covered_until(address, end)
    for vma in space.vmas.find_intersecting_vmas(address, mapped if advice in _STOP_AT_HOLES else end):
        act(space, vma, max(address, vma.start), min(end, vma.end))
    if mapped < end:
        raise LinuxError(errno.ENOMEM)


def msync(space: LinuxSpace, address: int, length: int, flags: int) -> None:
    """Linux's msync: with MS_SYNC, what was stored through shared mappings is in the file afterwards."""
    both = Msync.ASYNC | Msync.SYNC
    if flags & ~(both | Msync.INVALIDATE) or flags & both == both or address % PAGE_SIZE:
        raise LinuxError(errno.EINVAL)
    end = address + page_up(length)
    if end >= 1 << 64:
        raise LinuxError(errno.ENOMEM)
    for vma in space.vmas.find_intersecting_vmas(address, end) if flags & Msync.SYNC else ():
        if isinstance(vma, FileVma) and vma.shared:
            failures = vma.page_ops.sync(space, vma, max(address, vma.start), min(end, vma.end))
            if failures:
                raise LinuxError(failures[0].errno)
    if not space.vmas.ismapped(address, end):
        raise LinuxError(errno.ENOMEM)


def mincore(space: LinuxSpace, address: int, pages: int) -> bytes:
    """One byte a page, 1 if it is in memory. ENOMEM if some page is not mapped."""
    end = address + pages * PAGE_SIZE
    if not space.vmas.ismapped(address, end):
        raise LinuxError(errno.ENOMEM)
    residency = bytearray(pages)
    leaves = CollectLeaves(space)
    operate_range(leaves, address, end - address)
    for virtual, _ in leaves.found:
        residency[(virtual - address) // PAGE_SIZE] = 1
    for vma in space.vmas.find_intersecting_vmas(address, end):
        if isinstance(vma, FileVma):
            for virtual in range(max(address, vma.start), min(end, vma.end), PAGE_SIZE):
                if space.page_cache.is_cached(vma.inode, vma.file_offset(virtual) // PAGE_SIZE):
                    residency[(virtual - address) // PAGE_SIZE] = 1
    return bytes(residency)
