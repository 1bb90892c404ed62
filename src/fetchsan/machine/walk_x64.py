# SPDX-License-Identifier: GPL-2.0-or-later
"""Owns the x86-64 page-table walk over guest RAM: four levels, leaves of 4 KiB, 2 MiB and 1 GiB (Intel SDM volume 3, 4.5).

Like `machine.walk`, it trusts no entry: a table or output address outside RAM is a missing translation.
"""

from __future__ import annotations

from fetchsan.machine.hardware import Translation
from fetchsan.machine.memory import PhysicalMemory

__all__ = ["VIRTUAL_BITS", "find_leaf", "is_canonical", "walk"]

VIRTUAL_BITS = 48
_PRESENT = 1 << 0
_WRITABLE = 1 << 1
_USER = 1 << 2
_LARGE = 1 << 7
_NO_EXECUTE = 1 << 63
_RESERVED = 1 << 51  # beyond the physical addresses of every machine here: setting it makes every access fault
_ADDRESS = 0x0007_FFFF_FFFF_F000
_LEVELS = ((0, 39), (1, 30), (2, 21), (3, 12))


def is_canonical(virtual: int) -> bool:
    """Whether bits 63:47 are all the same: no other address ever translates."""
    return virtual >> 47 in (0, (1 << 17) - 1)


def find_leaf(memory: PhysicalMemory, root: int, virtual: int) -> tuple[int, int]:
    """(leaf entry, its level), or (0, level that failed); level 0 is the PML4, as `machine.walk` counts.

    `virtual` has its bits 63:48 clear. What the tables on the way take away (write, user, execute) is folded in.
    """
    if virtual >> VIRTUAL_BITS:
        return 0, 0
    words = memory.words
    base = memory.base
    size = memory.size
    table = (root & _ADDRESS) - base
    granted = _WRITABLE | _USER
    no_execute = 0
    for level, shift in _LEVELS:
        if not 0 <= table < size:
            return 0, level
        entry = words[(table >> 3) + ((virtual >> shift) & 511)]
        if not entry & _PRESENT:
            return 0, level
        granted &= entry
        no_execute |= entry & _NO_EXECUTE
        if level == 3 or (entry & _LARGE and level in (1, 2)):
            return entry & ~(_WRITABLE | _USER) | granted | no_execute, level
        if entry & (_LARGE | _RESERVED):
            return 0, level
        table = (entry & _ADDRESS) - base
    raise AssertionError("the last level always returns")


def walk(
    memory: PhysicalMemory, root: int, virtual: int, *, user: bool | None = None
) -> tuple[Translation | None, int]:
    """What `virtual` translates to, and the level of the leaf (or of the fault, when there is no translation).

    `user` True asks for ring 3's rights, else ring 0's (without SMEP and SMAP; CR0.WP set). A reserved bit in the leaf is
    no translation.
    """
    entry, level = find_leaf(memory, root, virtual)
    if not entry & _PRESENT or entry & _RESERVED:
        return None, level
    size = 1 << _LEVELS[level][1]
    physical = (entry & _ADDRESS & -size) | (virtual & (size - 1) & _ADDRESS)
    if not 0 <= physical - memory.base <= memory.size - 4096:
        return None, level
    reachable = bool(entry & _USER) or not user
    writable = reachable and bool(entry & _WRITABLE)
    return Translation(physical, reachable, writable, reachable and not entry & _NO_EXECUTE, size), level
