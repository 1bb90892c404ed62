# SPDX-License-Identifier: GPL-2.0-or-later
"""Owns the AArch64 page-table walk over guest RAM: 4 KiB granule, 48 bits, leaves of 4 KiB, 2 MiB and 1 GiB.

One walker for both uses: tables that our kernel built, and tables of a guest kernel, which may be hostile: every table
and output address outside RAM is refused (a translation fault of that level), so that no entry can name host memory.
"""

from __future__ import annotations

from fetchsan.arch.aarch64.page_table import ACCESSED, PAGE_OR_TABLE, VALID
from fetchsan.machine.hardware import Translation
from fetchsan.machine.memory import PhysicalMemory

__all__ = ["VIRTUAL_BITS", "find_leaf", "walk"]

VIRTUAL_BITS = 48
_ADDRESS = 0x0000_FFFF_FFFF_F000  # bits 47:12 of a descriptor, and of a TTBR (ASID and CnP masked off)
_LEVELS = ((0, 39), (1, 30), (2, 21), (3, 12))
_READ_ONLY = 1 << 7  # AP[2]
_USER = 1 << 6  # AP[1]
_PXN = 1 << 53
_UXN = 1 << 54
# Hierarchical permissions of table descriptors (Arm ARM D8.4.3): what a table takes away, as leaf bits.
_TABLE_LIMITS = 0x7800_0000_0000_0000
_TABLE_READ_ONLY = 1 << 62
_TABLE_NO_USER = 1 << 61
_TABLE_UXN = 1 << 60
_TABLE_PXN = 1 << 59


def find_leaf(memory: PhysicalMemory, root: int, virtual: int) -> tuple[int, int]:
    """(leaf descriptor, its level), or (0, level that failed): no entry, a reserved one, or a table outside RAM.

    `virtual` is the input address within the half that `root` translates (bits 63:48 clear: who has two roots chooses
    by bit 55 and strips). Limits set by table descriptors are folded into the leaf that is returned.
    """
    if virtual >> VIRTUAL_BITS:
        return 0, 0
    words = memory.words
    base = memory.base
    size = memory.size
    table = (root & _ADDRESS) - base
    limits = 0
    for level, shift in _LEVELS:
        if not 0 <= table < size:
            return 0, level
        entry = words[(table >> 3) + ((virtual >> shift) & 511)]
        if not entry & VALID:
            return 0, level
        if not entry & PAGE_OR_TABLE:  # a block; reserved at levels 0 and 3
            leaf = level in (1, 2)
            return (_limited(entry, limits), level) if leaf else (0, level)
        if level == 3:
            return _limited(entry, limits), level
        limits |= entry & _TABLE_LIMITS
        table = (entry & _ADDRESS) - base
    raise AssertionError("the last level always returns")


def walk(
    memory: PhysicalMemory, root: int, virtual: int, *, user: bool | None = None
) -> tuple[Translation | None, int]:
    """What `virtual` translates to, and the level of the leaf (or of the fault, when there is no translation).

    `physical` is that of the 4 KiB page which holds `virtual`, whatever the leaf's `size`. `user` says whose rights
    are asked: EL0's, EL1's, or (None) those of the level that the page is made for, by AP[1]: the choice of a kernel
    whose only user is the program it runs. A clear access flag is no translation.
    """
    entry, level = find_leaf(memory, root, virtual)
    if not entry & ACCESSED:
        return None, level
    size = 1 << _LEVELS[level][1]
    physical = (entry & _ADDRESS & -size) | (virtual & (size - 1) & _ADDRESS)
    if not 0 <= physical - memory.base <= memory.size - 4096:
        return None, level
    for_user = bool(entry & _USER)
    writable = not entry & _READ_ONLY
    if user is None:
        return Translation(physical, True, writable, not entry & (_UXN if for_user else _PXN), size), level
    if user:
        return Translation(physical, for_user, for_user and writable, not entry & _UXN, size), level
    # What EL0 can write, EL1 never executes (Arm ARM D8.4.1.2).
    return Translation(physical, True, writable, not (entry & _PXN or (for_user and writable)), size), level


def _limited(entry: int, limits: int) -> int:
    if not limits:
        return entry
    if limits & _TABLE_READ_ONLY:
        entry |= _READ_ONLY
    if limits & _TABLE_NO_USER:
        entry &= ~_USER
    if limits & _TABLE_UXN:
        entry |= _UXN
    if limits & _TABLE_PXN:
        entry |= _PXN
    return entry
