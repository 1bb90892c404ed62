# SPDX-License-Identifier: GPL-2.0-or-later
"""Owns mlock(2) and its relatives: pages made resident, and the mark that keeps madvise(2) from dropping them."""

from __future__ import annotations

import errno

from fetchsan.kernel.errors import LinuxError
from fetchsan.kernel.mmu.linux_space import LinuxSpace
from fetchsan.kernel.mmu.mman import Mcl
from fetchsan.kernel.mmu.operate import PAGE_SIZE, page_down, page_up
from fetchsan.kernel.mmu.vma import MMAP_LOCKED, MMAP_POPULATE, FileVma

__all__ = ["mlock", "mlockall", "munlock", "munlockall"]

_RANGE = 1 << 64


def mlock(space: LinuxSpace, address: int, length: int, *, on_fault: bool = False) -> None:
    """Linux's mlock2: marks what comes before the first hole; ENOMEM for a hole and for what cannot be resident."""
    start, end = _pages(address, length)
    _mark(space, start, end, MMAP_LOCKED)
    if not on_fault:
        populate(space, start, end)


def munlock(space: LinuxSpace, address: int, length: int) -> None:
    """Linux's munlock: the pages stay."""
    _mark(space, *_pages(address, length), 0)


def mlockall(space: LinuxSpace, flags: int) -> None:
    """Linux's mlockall; what cannot be resident is passed over, unless memory is too small for all of it."""
    if not flags or flags & ~(Mcl.CURRENT | Mcl.FUTURE | Mcl.ONFAULT) or flags == Mcl.ONFAULT:
        raise LinuxError(errno.EINVAL)
    if flags & Mcl.CURRENT and not flags & Mcl.ONFAULT and space.all_vmas_size() > space.hardware.memory.size:
        raise LinuxError(errno.ENOMEM)
    space.future_flags = 0
    if flags & Mcl.FUTURE:
        space.future_flags = MMAP_LOCKED if flags & Mcl.ONFAULT else MMAP_LOCKED | MMAP_POPULATE
    if not flags & Mcl.CURRENT:
        return
    for vma in list(space.vmas.mapped()):
        _mark(space, vma.start, vma.end, MMAP_LOCKED)
        if not flags & Mcl.ONFAULT:
            try:
                populate(space, vma.start, vma.end)
            except LinuxError:
                continue


def munlockall(space: LinuxSpace) -> None:
    """Linux's munlockall."""
    space.future_flags = 0
    for vma in list(space.vmas.mapped()):
        _mark(space, vma.start, vma.end, 0)


def populate(space: LinuxSpace, start: int, end: int) -> None:
    """Make [start, end), which is mapped, resident: its own frames where it is private and writable. ENOMEM."""
    if end - start > space.hardware.memory.size:
        raise LinuxError(errno.ENOMEM)
    for vma in space.vmas.find_intersecting_vmas(start, end):
        low, high = max(start, vma.start), min(end, vma.end)
        present = high
        if isinstance(vma, FileVma):
            present = min(high, max(low, vma.start + page_up(vma.inode.size) - vma.offset))
        space.populate(vma, low, present - low, write=not vma.shared)
        if present < high or not vma.perm:
            raise LinuxError(errno.ENOMEM)


def _pages(address: int, length: int) -> tuple[int, int]:
    start = page_down(address)
    end = start + page_up(length + address % PAGE_SIZE) % _RANGE
    if end >= _RANGE:
        raise LinuxError(errno.EINVAL)
    return start, end


def _mark(space: LinuxSpace, start: int, end: int, mark: int) -> None:
    at = start
    for vma in space.vmas.find_intersecting_vmas(start, end):
        if vma.start > at:
            break
        low, at = max(start, vma.start), min(end, vma.end)
        if vma.flags & MMAP_LOCKED != mark:
            space.split(vma, low)
            inside = space.vmas.find(low)
            assert inside is not None
            space.split(inside, at)
            inside.flags = inside.flags & ~MMAP_LOCKED | mark
    space.merge(start, end)
    if at < end:
        raise LinuxError(errno.ENOMEM)
