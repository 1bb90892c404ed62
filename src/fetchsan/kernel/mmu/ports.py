# SPDX-License-Identifier: GPL-2.0-or-later
"""Owns the table of ports: what the memory manager takes from each architecture."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from fetchsan.arch.aarch64 import mmu as aarch64_mmu
from fetchsan.arch.aarch64.page_table import AARCH64_PAGE_TABLE
from fetchsan.arch.page_table import PageTableFormat
from fetchsan.arch.x64 import mmu as x64_mmu
from fetchsan.arch.x64.page_table import X64_PAGE_TABLE
from fetchsan.machine import walk, walk_x64
from fetchsan.machine.hardware import Hardware
from fetchsan.machine.memory import PhysicalMemory

__all__ = ["AARCH64", "X64", "Port"]


@dataclass(frozen=True, slots=True)
class Port:
    """`vma_invalidate_cache(hardware, pe, executable, runs)` is what the port does after a populate.

    `find_leaf(memory, root, virtual)` walks its tables as its processors do: the leaf (0: none) and its level.
    """

    name: str
    page_table: PageTableFormat
    vma_invalidate_cache: Callable[[Hardware, int, bool, Iterable[tuple[int, int, int]]], None]
    find_leaf: Callable[[PhysicalMemory, int, int], tuple[int, int]]


AARCH64 = Port("aarch64", AARCH64_PAGE_TABLE, aarch64_mmu.vma_invalidate_cache, walk.find_leaf)
X64 = Port("x64", X64_PAGE_TABLE, x64_mmu.vma_invalidate_cache, walk_x64.find_leaf)
