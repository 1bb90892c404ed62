# SPDX-License-Identifier: GPL-2.0-or-later
"""Owns mlock(2) and its relatives: pages made resident, and the mark that keeps madvise(2) from dropping them."""

from __future__ import annotations

import errno

from fetchsan.kernel.errors import LinuxError
from fetchsan.kernel.mmu.linux_space import LinuxSpace
from fetchsan.kernel.mmu.mman import Mcl
from fetchsan.kernel.mmu.operate import PAGE_SIZE, page_down, page_up
from fetchsan.kernel.mmu.vma import MMAP_LOCK_ON_FAULT, MMAP_LOCKED, MMAP_POPULATE

__all__ = ["mlock", "mlockall", "munlock", "munlockall"]

_RANGE = 1 << 64
_MARKS = MMAP_LOCKED | MMAP_LOCK_ON_FAULT


def mlock(space: LinuxSpace, address: int, length: int, *, on_fault: bool = False) -> None:
    """Linux's mlock2: marks what comes before the first hole; ENOMEM for a hole and for what cannot be resident."""
    start, end = _pages(address, length)
    _mark(space, start, end, MMAP_LOCKED | MMAP_LOCK_ON_FAULT if on_fault else MMAP_LOCKED)
    if not space.populate_range(start, end):
        raise LinuxError(errno.ENOMEM)


def munlock(space: LinuxSpace, address: int, length: int) -> None:
    """Linux's munlock: the pages stay."""
    _mark(space, *_pages(address, length), 0)


def mlockall(space: LinuxSpace, flags: int) -> None:
    """Linux's mlockall; what cannot be resident is passed over, unless memory is too small for all of it."""
    if not flags or flags & ~(Mcl.CURRENT | Mcl.FUTURE | Mcl.ONFAULT) or flags == Mcl.ONFAULT:
        raise LinuxError(errno.EINVAL)
    if flags & Mcl.CURRENT and not flags & Mcl.ONFAULT and space.all_vmas_size() > space.hardware.memory.size:
        raise LinuxError(errno.ENOMEM)
    mark = MMAP_LOCKED | MMAP_LOCK_ON_FAULT if flags & Mcl.ONFAULT else MMAP_LOCKED
    space.future_flags = 0
    if flags & Mcl.FUTURE:
        space.future_flags = mark if flags & Mcl.ONFAULT else mark | MMAP_POPULATE
    if flags & Mcl.CURRENT:
        for vma in list(space.vmas.mapped()):
            _mark(space, vma.start, vma.end, mark)
            space.populate_range(vma.start, vma.end)


def munlockall(space: LinuxSpace) -> None:
    """Linux's munlockall."""
    space.future_flags = 0
    for vma in list(space.vmas.mapped()):
        _mark(space, vma.start, vma.end, 0)


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
        if vma.flags & _MARKS != mark:
            space.split(vma, low)
            inside = space.vmas.find(low)
            assert inside is not None
            space.split(inside, at)
            inside.flags = inside.flags & ~_MARKS | mark
    space.merge(start, end)
    if at < end:
        raise LinuxError(errno.ENOMEM)
