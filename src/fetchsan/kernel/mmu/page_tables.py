# SPDX-License-Identifier: GPL-2.0-or-later
"""Owns the page tables of an address space: the frames they live in, and every write to a leaf.

Levels are OSv's: 0 holds the 4 KiB leaves, 1 may hold 2 MiB ones, 3 is the root. A table is named by the index of its
first entry in `PhysicalMemory.words`, an entry by its own index there.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from typing import Final

from fetchsan.arch.page_table import EXECUTE, PageTableFormat
from fetchsan.kernel.mmu.frames import ZERO_PAGE, Frames
from fetchsan.machine.memory import FRAME_SIZE

__all__ = ["HUGE_PAGE_SIZE", "PTE_PER_PAGE", "PageTables"]

PTE_PER_PAGE: Final = 512
HUGE_PAGE_SIZE: Final = PTE_PER_PAGE * FRAME_SIZE
_ROOT_LEVEL = 3
_INDEX = PTE_PER_PAGE - 1


class PageTables:
    """Four levels of tables in guest RAM. `reads` and `writes` remember where pages lie, for the kernel's own accesses."""

    def __init__(self, frames: Frames, entries: PageTableFormat, *, user: bool) -> None:
        self.frames = frames
        self.hardware = frames.hardware
        self.words = frames.memory.words
        self.format = entries
        self.user = user
        self.root = frames.allocate_table()
        self.reads: dict[int, int] = {}  # virtual page -> physical frame that a load reaches
        self.writes: dict[int, int] = {}  # virtual page -> physical frame that a store reaches
        self.resident = 0  # pages of 4 KiB whose leaves are not empty
        self._base = frames.memory.base
        self._leaf_tables: dict[int, int] = {}  # virtual >> 21 -> table: what a hardware walker caches too
        self._large: dict[int, int] = {}  # virtual >> 21 -> entry of level 1 that is a 2 MiB leaf
        self._rights: dict[int, int] = {0: 0}  # attribute bits -> perm: there are few combinations

    def table(self, descriptor: int) -> int:
        """The table that a table descriptor (or a physical address) names."""
        return ((descriptor & self.format.address_mask) - self._base) >> 3

    @property
    def root_table(self) -> int:
        """The table of level 3."""
        return (self.root - self._base) >> 3

    def cached_leaf_table(self, virtual: int) -> int | None:
        """The level-0 table for `virtual`, if there is one."""
        return self._leaf_tables.get(virtual >> 21)

    def lookup(self, virtual: int) -> int:
        """The leaf entry for `virtual`, as a 4 KiB one if it lies in a 2 MiB page; 0 if there is none."""
        table = self._leaf_tables.get(virtual >> 21)
        if table is not None:
            return self.words[table + ((virtual >> 12) & _INDEX)]
        at = self._large.get(virtual >> 21)
        return 0 if at is None else self.format.make_small(self.words[at], (virtual >> 12) & _INDEX)

    # Tables ---------------------------------------------------------------------------------------------------------

    def add_table(self, at: int, level: int, virtual: int) -> int:
        """Hang an empty table of `level` into the empty entry `at`, which covers `virtual`. Returns the table."""
        physical = self.frames.allocate_table()
        self.words[at] = physical | self.format.table
        table = (physical - self._base) >> 3
        if level == 0:
            self._leaf_tables[virtual >> 21] = table
        return table

    def unhook_table_if_empty(self, at: int, level: int, virtual: int) -> int | None:
        """Take out the table of `level` in entry `at` when nothing is left in it (OSv's post-hook of unpopulate).

        Returns its frame, which is the caller's to release once no walker can be in it any more.
        """
        physical = self.words[at] & self.format.address_mask
        if self.frames.memory.read(physical, FRAME_SIZE) != ZERO_PAGE:
            return None
        self.words[at] = 0
        if level == 0:
            del self._leaf_tables[virtual >> 21]
        return physical

    def entry_at(self, virtual: int) -> int:
        """The index of the 4 KiB leaf for `virtual`; missing tables are made, a 2 MiB page in the way is split."""
        table = self._leaf_tables.get(virtual >> 21)
        if table is None:
            table = self.root_table
            for level in range(_ROOT_LEVEL, 0, -1):
                at = table + ((virtual >> (12 + 9 * level)) & _INDEX)
                descriptor = self.words[at]
                if not descriptor:
                    table = self.add_table(at, level - 1, virtual)
                elif self.format.is_large(descriptor):
                    table = self.split_large_page(at, virtual)
                else:
                    table = self.table(descriptor)
        return table + ((virtual >> 12) & _INDEX)

    def split_large_page(self, at: int, virtual: int) -> int:
        """Make 512 leaves of the 2 MiB one in entry `at`, with the same attributes; returns the new table.

        No translation changes, so the machine is told nothing. From now on the pieces are freed one by one.
        """
        large = self.words[at]
        small = self.format.make_small(large, 0)
        physical = self.frames.allocate_table()
        table = (physical - self._base) >> 3
        last = small + HUGE_PAGE_SIZE
        self.words[table : table + PTE_PER_PAGE] = array("Q", range(small, last, FRAME_SIZE))
        self.words[at] = physical | self.format.table
        del self._large[virtual >> 21]
        self._leaf_tables[virtual >> 21] = table
        self.frames.split_huge(large & self.format.address_mask)
        return table

    # Leaves: the only places where a translation changes ------------------------------------------------------------

    def write_leaf(self, pe: int, at: int, virtual: int, new: int) -> None:
        """Write one 4 KiB leaf and tell the machine."""
        old = self.words[at]
        self.words[at] = new
        self.resident += bool(new) - bool(old)
        executable: Sequence[tuple[int, int]] = ()
        if new and self._becomes_executable(old, new):
            executable = ((new & self.format.address_mask, virtual),)
        if old:
            page = virtual >> 12
            self.reads.pop(page, None)
            self.writes.pop(page, None)
        self.hardware.pte_changed(pe, virtual, FRAME_SIZE, executable, replaced=bool(old))

    def write_leaves(self, pe: int, at: int, virtual: int, old: Sequence[int], new: Sequence[int]) -> None:
        """Write a run of 4 KiB leaves from entry `at` of one table, which were `old`, and tell the machine once."""
        self.words[at : at + len(new)] = array("Q", new)
        was, now = len(old) - old.count(0), len(new) - new.count(0)
        self.resident += now - was
        size = len(new) * FRAME_SIZE
        if was:
            self._forget(virtual, size)
        executable: Sequence[tuple[int, int]] = ()
        mask = self.format.address_mask
        if any(self.perm(leaf) & EXECUTE for leaf in {leaf & ~mask for leaf in new}):
            executable = [
                (after & mask, page)
                for before, after, page in zip(old, new, range(virtual, virtual + size, FRAME_SIZE), strict=True)
                if after and self._becomes_executable(before, after)
            ]
        self.hardware.pte_changed(pe, virtual, size, executable, replaced=bool(was))

    def write_large_leaf(self, pe: int, at: int, virtual: int, new: int) -> None:
        """Write one 2 MiB leaf (or empty its entry) and tell the machine."""
        old = self.words[at]
        self.words[at] = new
        self.resident += (bool(new) - bool(old)) * PTE_PER_PAGE
        if new:
            self._large[virtual >> 21] = at
        else:
            del self._large[virtual >> 21]
        if old:
            self._forget(virtual, HUGE_PAGE_SIZE)
        executable: Sequence[tuple[int, int]] = ()
        if new and self._becomes_executable(old, new):
            physical = new & self.format.address_mask
            executable = [(physical + offset, virtual + offset) for offset in range(0, HUGE_PAGE_SIZE, FRAME_SIZE)]
        self.hardware.pte_changed(pe, virtual, HUGE_PAGE_SIZE, executable, replaced=bool(old))

    # ----------------------------------------------------------------------------------------------------------------

    def perm(self, entry: int) -> int:
        """The rights through a leaf."""
        attributes = entry & ~self.format.address_mask
        perm = self._rights.get(attributes)
        if perm is None:
            perm = self._rights[attributes] = self.format.perm(entry)
        return perm

    def destroy(self) -> None:
        """Free the root; the leaves must be gone, and the tables between with them."""
        self.frames.release(self.root)

    def _becomes_executable(self, old: int, new: int) -> bool:
        """Whether a fetch that `old` did not allow may now reach the frame of `new`."""
        if not self.perm(new) & EXECUTE:
            return False
        return not self.perm(old) & EXECUTE or bool((old ^ new) & self.format.address_mask)

    def _forget(self, virtual: int, size: int) -> None:
        first, last = virtual >> 12, (virtual + size) >> 12
        for remembered in (self.reads, self.writes):
            if len(remembered) < last - first:
                for page in [page for page in remembered if first <= page < last]:
                    del remembered[page]
            else:
                for page in range(first, last):
                    remembered.pop(page, None)
