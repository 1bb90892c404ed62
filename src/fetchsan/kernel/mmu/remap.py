# SPDX-License-Identifier: GPL-2.0-or-later
"""Owns mremap(2): shrinking, growing in place, moving pages with their contents."""

from __future__ import annotations

import errno

from fetchsan.kernel.errors import LinuxError
from fetchsan.kernel.mmu.address_space import AddressSpace
from fetchsan.kernel.mmu.leaves import CollectLeaves
from fetchsan.kernel.mmu.linux_space import LinuxSpace
from fetchsan.kernel.mmu.mman import Mremap
from fetchsan.kernel.mmu.operate import PAGE_SIZE, operate_range, page_up
from fetchsan.kernel.mmu.operations import Unhook
from fetchsan.kernel.mmu.sync import before_executable_ptes
from fetchsan.kernel.mmu.vma import MMAP_FIXED, MMAP_LOCK_ON_FAULT, MMAP_LOCKED, PERM_EXEC, Vma
from fetchsan.machine.memory import OutOfMemoryError

__all__ = ["grow", "move", "mremap"]


def mremap(space: LinuxSpace, address: int, old_length: int, new_length: int, flags: int, target: int) -> int:
    """Linux's mremap. `target` counts only with MREMAP_FIXED (a hint with MREMAP_DONTUNMAP)."""
    old_size, new_size = page_up(old_length), page_up(new_length)
    limit = space.layout.limit
    _check_flags(address, old_size, new_size, flags)
    if address > limit or old_size > limit - address or new_size > limit:
        raise LinuxError(errno.EINVAL)
    if flags & (Mremap.FIXED | Mremap.DONTUNMAP):
        overlaps = target < address + old_size and address < target + new_size
        if target % PAGE_SIZE or target + new_size > limit or overlaps:
            raise LinuxError(errno.EINVAL)
    if space.vmas.find(address) is None:
        raise LinuxError(errno.EFAULT)
    if flags & Mremap.FIXED:
        space.evacuate(target, target + new_size)
    if new_size < old_size:
        space.evacuate(address + new_size, address + old_size)  # whatever is mapped there
        old_size = new_size
    vma = space.vmas.find(address)
    if vma is None or address + old_size > vma.end:
        raise LinuxError(errno.EFAULT)
    locked = vma.flags & MMAP_LOCKED
    start = _resize(space, vma, address, old_size, new_size, flags, target)
    if locked and new_size > old_size:
        space.populate_range(start + old_size, start + new_size)
    if flags & Mremap.DONTUNMAP and (left := space.vmas.find(address)) is not None:
        left.flags &= ~(MMAP_LOCKED | MMAP_LOCK_ON_FAULT)
    return start


def _resize(
    space: LinuxSpace, vma: Vma, address: int, old_size: int, new_size: int, flags: int, target: int
) -> int:
    if not old_size:
        if not vma.shared:
            raise LinuxError(errno.EINVAL)  # only a shared mapping can be had twice
        if not flags & Mremap.MAYMOVE:
            raise LinuxError(errno.ENOMEM)
        return _place(space, vma, address, new_size, flags, target)
    if flags & (Mremap.FIXED | Mremap.DONTUNMAP):
        return move(space, vma, address, old_size, new_size, flags, target)
    if new_size == old_size:
        return address
    if address + old_size == vma.end and grow(space, vma, new_size - old_size):
        return address
    if not flags & Mremap.MAYMOVE:
        raise LinuxError(errno.ENOMEM)
    return move(space, vma, address, old_size, new_size, flags, 0)


def _check_flags(address: int, old_size: int, new_size: int, flags: int) -> None:
    known = Mremap.MAYMOVE | Mremap.FIXED | Mremap.DONTUNMAP
    needs_move = flags & (Mremap.FIXED | Mremap.DONTUNMAP)
    if (
        flags & ~known
        or address % PAGE_SIZE
        or not new_size
        or (needs_move and not flags & Mremap.MAYMOVE)
        or (flags & Mremap.DONTUNMAP and old_size != new_size)
    ):
        raise LinuxError(errno.EINVAL)


def grow(space: AddressSpace, vma: Vma, extra: int) -> bool:
    """Extend `vma` at its end, if nothing is there."""
    end = vma.end
    if end + extra > space.layout.limit or space.vmas.find_intersecting_vmas(end, end + extra):
        return False
    vma.end = end + extra
    space.merge(vma.start, vma.end)
    return True


def _place(space: AddressSpace, vma: Vma, address: int, size: int, flags: int, target: int) -> int:
    """A VMA of `size` that shows what `vma` shows from `address` on; returns where."""
    fixed = flags & Mremap.FIXED
    start = space.allocate(target, size, MMAP_FIXED if fixed else 0)
    moved = vma.part(address, min(address + size, vma.end))
    moved.start, moved.end = start, start + size
    space.add_vma(moved)
    return start


def _make_tables(space: AddressSpace, address: int, size: int, to: int) -> None:
    """Make what moving the leaves of a range will need, so that the move itself cannot run out of memory."""
    there = CollectLeaves(space)
    operate_range(there, address, size)
    for virtual, _ in there.found:
        for page in (virtual, virtual - address + to):
            if space.tables.cached_leaf_table(page) is None:
                space.tables.entry_at(page)


def move(
    space: AddressSpace, vma: Vma, address: int, old_size: int, new_size: int, flags: int, target: int
) -> int:
    """Take `vma`'s part from `address` on, with its pages, to where there is room for `new_size`; returns where."""
    start = _place(space, vma, address, new_size, flags, target)
    try:
        _make_tables(space, address, old_size, start)
    except OutOfMemoryError:
        space.evacuate(start, start + new_size)
        raise
    taken = Unhook(space)
    operate_range(taken, address, old_size)
    for virtual, entry in taken.taken:
        moved = virtual - address + start
        if vma.perm & PERM_EXEC:
            before_executable_ptes(space, (entry & space.tables.format.address_mask,))
        space.tables.write_leaf(space.pe, space.tables.entry_at(moved), moved, entry)
        if vma.page_ops.tracks_leaves:
            vma.page_ops.moved(space, vma, virtual, moved, entry)
    if not flags & Mremap.DONTUNMAP:
        # The pages are gone from there: this only takes out the VMA.
        space.evacuate(address, address + old_size)
    space.merge(start, start + new_size)
    return start
