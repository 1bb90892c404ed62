# SPDX-License-Identifier: GPL-2.0-or-later
"""Owns the page tables of an address space: the frames they live in, and every write to a leaf.

Levels are OSv's: 0 holds the 4 KiB leaves, 3 is the root. A table is named by the index of its first entry in
`PhysicalMemory.words`, an entry by its own index there.
"""

from __future__ import annotations

from fetchsan.arch.page_table import EXECUTE, READ, WRITE, PageTableFormat
from fetchsan.kernel.mmu.frames import ZERO_PAGE, Frames
from fetchsan.machine.hardware import Translation
from fetchsan.machine.memory import FRAME_SIZE

__all__ = ["PageTables"]

_ROOT_LEVEL = 3


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
        self.resident = 0  # leaves that are not empty
        self._base = frames.memory.base
        self._leaf_tables: dict[int, int] = {}  # virtual >> 21 -> table: what a hardware walker caches too
        self._rights: dict[int, int] = {}  # attribute bits -> perm: there are few combinations

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
        """The leaf entry for `virtual`; 0 if there is none."""
        table = self._leaf_tables.get(virtual >> 21)
        return self.words[table + ((virtual >> 12) & 511)] if table is not None else 0

    def add_table(self, at: int, level: int, virtual: int) -> int:
        """Hang an empty table of `level` into the empty entry `at`, which covers `virtual`. Returns the table."""
        physical = self.frames.allocate_table()
        self.words[at] = physical | self.format.table
        table = (physical - self._base) >> 3
        if level == 0:
            self._leaf_tables[virtual >> 21] = table
        return table

    def remove_table_if_empty(self, at: int, level: int, virtual: int) -> None:
        """Unhook and free the table of `level` in entry `at` when nothing is left in it (OSv's post-hook of unpopulate)."""
        physical = self.words[at] & self.format.address_mask
        if self.frames.memory.read(physical, FRAME_SIZE) != ZERO_PAGE:
            return
        self.words[at] = 0
        if level == 0:
            del self._leaf_tables[virtual >> 21]
        self.frames.release(physical)

    def entry_at(self, virtual: int) -> int:
        """The index of the leaf entry for `virtual`; missing tables are made."""
        table = self._leaf_tables.get(virtual >> 21)
        if table is None:
            table = self.root_table
            for level in range(_ROOT_LEVEL, 0, -1):
                at = table + ((virtual >> (12 + 9 * level)) & 511)
                descriptor = self.words[at]
                table = self.table(descriptor) if descriptor else self.add_table(at, level - 1, virtual)
        return table + ((virtual >> 12) & 511)

    def write_leaf(self, pe: int, at: int, virtual: int, new: int) -> None:
        """Write one leaf and tell the machine: the only place where a translation changes."""
        old = self.words[at]
        self.words[at] = new
        self.resident += bool(new) - bool(old)
        page = virtual >> 12
        self.reads.pop(page, None)
        self.writes.pop(page, None)
        self.hardware.pte_changed(pe, virtual, self.translation(old), self.translation(new))

    def translation(self, entry: int) -> Translation | None:
        """What the machine sees of a leaf; None for an empty one and for a resident page without rights."""
        if not entry:
            return None
        perm = self.perm(entry)
        if not perm:
            return None
        return Translation(
            entry & self.format.address_mask, bool(perm & READ), bool(perm & WRITE), bool(perm & EXECUTE)
        )

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
