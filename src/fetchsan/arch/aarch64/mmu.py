# SPDX-License-Identifier: GPL-2.0-or-later
"""Owns what the AArch64 port does to its caches when memory is populated with code (OSv's arch/aarch64/mmu.cc)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

__all__ = ["CacheMaintenance", "vma_invalidate_cache"]


class CacheMaintenance(Protocol):
    """What the port needs of a machine: the clear-cache sequence over a physically contiguous range."""

    def synchronise(self, pe: int, physical: int, virtual: int, size: int, *, context: bool = True) -> None:
        """DC CVAU loop, DSB ISH, IC IVAU loop, DSB ISH, then ISB if `context`."""


def vma_invalidate_cache(
    caches: CacheMaintenance, pe: int, executable: bool, runs: Iterable[tuple[int, int, int]]
) -> None:
    """Synchronise what was just populated, if its VMA is executable: the instruction side sees none of it by itself.

    `runs` are (physical, virtual, size), each physically contiguous. The kernel's dynamic linker loads the code that
    it then executes in the same address space: self-modifying code, from the processor's point of view.
    """
    if executable:
        for physical, virtual, size in runs:
            caches.synchronise(pe, physical, virtual, size)
