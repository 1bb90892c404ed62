# SPDX-License-Identifier: GPL-2.0-or-later
"""Owns the ordered set of VMAs of an address space and the searches in it.

OSv's container: ordered by start, with a zero-length marker at either end of the half so that neighbours always exist.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator

from sortedcontainers import SortedDict

from fetchsan.kernel.errors import LinuxError
from fetchsan.kernel.mmu.page_tables import HUGE_PAGE_SIZE
from fetchsan.kernel.mmu.providers import PageProvider
from fetchsan.kernel.mmu.vma import AnonVma, Vma

__all__ = ["MAX_MAP_COUNT", "VmaList"]

MAX_MAP_COUNT = 65530  # vm.max_map_count


class VmaList:
    """Disjoint VMAs below `limit`."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        marker = PageProvider()
        self._by_start: SortedDict[int, Vma] = SortedDict()
        for edge in (0, limit):
            self._by_start[edge] = AnonVma(edge, edge, 0, 0, marker)
        self._last: Vma = self._by_start[0]
        self._lowest_full: int | None = None
        self._full_size = 0

    def __len__(self) -> int:
        """VMAs, markers not counted."""
        return len(self._by_start) - 2

    def __iter__(self) -> Iterator[Vma]:
        """In ascending order, both markers included (as OSv's maps show them)."""
        return iter(self._by_start.values())

    def mapped(self) -> Iterator[Vma]:
        """In ascending order, without the markers."""
        return (vma for vma in self._by_start.values() if vma.end > vma.start)

    def find(self, address: int) -> Vma | None:
        """The VMA that contains `address` (OSv's `find_intersecting_vma`, whose callers ignore markers)."""
        last = self._last
        if last.start <= address < last.end:
            return last
        position = self._by_start.bisect_right(address) - 1
        if position < 0:
            return None
        vma: Vma = self._by_start.peekitem(position)[1]
        if address >= vma.end:
            return None
        self._last = vma
        return vma

    def next_after(self, address: int) -> Vma | None:
        """The first VMA that starts above `address`; the upper marker if there is none, None above that."""
        position = self._by_start.bisect_right(address)
        return self._by_start.peekitem(position)[1] if position < len(self._by_start) else None

    def find_intersecting_vmas(self, start: int, end: int) -> list[Vma]:
        """All VMAs that share a byte with [start, end), ascending; a snapshot, so that callers may split and erase."""
        if start >= end:
            return []
        first = max(self._by_start.bisect_right(start) - 1, 0)
        found = [self._by_start[key] for key in self._by_start.islice(first, self._by_start.bisect_left(end))]
        return [vma for vma in found if vma.start < end and vma.end > start and vma.end > vma.start]

    def covered_until(self, start: int, end: int) -> int:
        """The first byte of [start, end) that no VMA covers; `end` if all are."""
        at = start
        for vma in self.find_intersecting_vmas(start, end):
            if vma.start > at:
                break
            at = vma.end
        return min(at, end)

    def ismapped(self, start: int, end: int) -> bool:
        """Whether every byte of [start, end) lies in some VMA."""
        return self.covered_until(start, end) == end

    def insert(self, vma: Vma) -> None:
        """Add a VMA over free space. ENOMEM past vm.max_map_count."""
        if len(self) >= MAX_MAP_COUNT:
            raise LinuxError(errno.ENOMEM)
        self._by_start[vma.start] = vma

    def erase(self, vma: Vma) -> None:
        """Take a VMA out."""
        del self._by_start[vma.start]
        self._last = self._by_start[0]
        self._freed(vma.end)

    def cut_end(self, vma: Vma, end: int) -> None:
        """Make a VMA end earlier; the rest is free or about to be inserted again."""
        freed = vma.end
        vma.end = end
        self._freed(freed)

    def find_hole(self, start: int, size: int) -> int:
        """OSv's search: `start` itself if it fits, else upwards from it; from 2 MiB on, 2 MiB-aligned if any gap allows.

        Raises ENOMEM.
        """
        fallback = None
        position = max(self._by_start.bisect_right(start) - 1, 0)
        keys = self._by_start.keys()
        for index in range(position, len(keys) - 1):
            low: int = self._by_start.peekitem(index)[1].end
            high: int = keys[index + 1]
            if low <= start and high - start >= size and start < high:
                return start
            if low < start or high - low < size:
                continue
            if size < HUGE_PAGE_SIZE:
                return low
            aligned = -(-low // HUGE_PAGE_SIZE) * HUGE_PAGE_SIZE
            if aligned + size <= high:
                return aligned
            fallback = low
        if fallback is None:
            raise LinuxError(errno.ENOMEM)
        return fallback

    def find_hole_below(self, top: int, size: int, lowest: int) -> int | None:
        """Linux's search: the highest address of a hole that ends at or below `top` and starts at or above `lowest`."""
        ceiling = top
        if self._lowest_full is not None and size >= self._full_size:
            ceiling = min(top, self._lowest_full)
        for index in range(self._by_start.bisect_left(ceiling) - 1, -1, -1):
            low: int = self._by_start.peekitem(index)[1].end
            if ceiling - max(low, lowest) >= size:
                # No hole of `size` bytes lies between here and `top` (all searches of one list use one `top`).
                if self._lowest_full is None or size <= self._full_size:
                    self._lowest_full, self._full_size = ceiling, size
                return ceiling - size
            ceiling = min(ceiling, self._by_start.keys()[index])
        return None

    def _freed(self, end: int) -> None:
        if self._lowest_full is not None and end > self._lowest_full:
            self._lowest_full = None
