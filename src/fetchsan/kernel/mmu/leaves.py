# SPDX-License-Identifier: GPL-2.0-or-later
"""Owns the operations that only look: which leaves a range has, where they lie, where one address lies."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, ClassVar

from fetchsan.kernel.mmu.operate import PAGE_SIZE, PageOperation
from fetchsan.kernel.mmu.page_tables import HUGE_PAGE_SIZE

if TYPE_CHECKING:
    from fetchsan.kernel.mmu.address_space import AddressSpace

__all__ = ["CollectLeaves", "VirtToPhys"]


class CollectLeaves(PageOperation):
    """List the leaves of a range as (virtual, entry) in `found`; the part of a large page counts as 4 KiB ones."""

    split: ClassVar[bool] = False

    def __init__(self, space: AddressSpace) -> None:
        super().__init__(space)
        self.found: list[tuple[int, int]] = []

    def pages(self, table: int, first: int, last: int, virtual: int) -> None:
        for entry in self.tables.words[table + first : table + last].tolist():
            if entry:
                self.found.append((virtual, entry))
            virtual += PAGE_SIZE

    def large_page(self, at: int, entry: int, virtual: int) -> bool:
        return self.sub_page(at, entry, virtual, virtual + HUGE_PAGE_SIZE)

    def sub_page(self, at: int, entry: int, start: int, end: int) -> bool:
        small = self.tables.format.make_small(entry, (start & (HUGE_PAGE_SIZE - 1)) // PAGE_SIZE)
        for virtual in range(start, end, PAGE_SIZE):
            self.found.append((virtual, small + virtual - start))
        return True

    def runs(self) -> Iterator[tuple[int, int, int]]:
        """(physical, virtual, size) of physically and virtually contiguous stretches."""
        mask = self.tables.format.address_mask
        physical = virtual = size = 0
        for page, entry in self.found:
            frame = entry & mask
            if size and physical + size == frame and virtual + size == page:
                size += PAGE_SIZE
                continue
            if size:
                yield physical, virtual, size
            physical, virtual, size = frame, page, PAGE_SIZE
        if size:
            yield physical, virtual, size


class VirtToPhys(PageOperation):
    """Where one address lies: OSv's `virt_to_phys_map`. `physical` is None if it has no page."""

    once: ClassVar[bool] = True
    split: ClassVar[bool] = False

    def __init__(self, space: AddressSpace, virtual: int) -> None:
        super().__init__(space)
        self.physical: int | None = None
        self._virtual = virtual

    def pages(self, table: int, first: int, last: int, virtual: int) -> None:
        self._found(self.tables.words[table + first], PAGE_SIZE)

    def sub_page(self, at: int, entry: int, start: int, end: int) -> bool:
        self._found(entry, HUGE_PAGE_SIZE)
        return True

    def _found(self, entry: int, size: int) -> None:
        if entry:
            self.physical = entry & self.tables.format.address_mask | self._virtual & (size - 1)
            self.done = True
