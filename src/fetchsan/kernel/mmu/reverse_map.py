# SPDX-License-Identifier: GPL-2.0-or-later
"""Owns the reverse map of a file: which leaf PTEs of which address spaces show each of its pages (OSv's rmap).

A leaf shows a page when it lies where some VMA maps that page: it may hold the cached frame, the page of zeros (a hole)
or a private copy. Which of them, its PTE says. Truncation takes all of them away, eviction those with the cached frame.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from fetchsan.kernel.mmu.vma import MMAP_LOCKED

if TYPE_CHECKING:
    from fetchsan.kernel.mmu.address_space import AddressSpace

__all__ = ["Leaf", "ReverseMap"]


class Leaf(NamedTuple):
    """The 4 KiB leaf for `virtual` in the tables of `space`."""

    space: AddressSpace
    virtual: int

    @property
    def entry(self) -> int:
        """What the PTE says now."""
        return self.space.tables.lookup(self.virtual)

    @property
    def physical(self) -> int:
        """The frame it holds; 0 if it is empty."""
        return self.entry & self.space.tables.format.address_mask

    @property
    def is_locked(self) -> bool:
        """Whether it lies in a mapping that mlock(2) keeps in memory."""
        vma = self.space.vmas.find(self.virtual)
        return vma is not None and bool(vma.flags & MMAP_LOCKED)


class ReverseMap:
    """Page index to leaves. Nearly every page has one, so that is kept without a container, as OSv does."""

    def __init__(self) -> None:
        # Insertion-ordered, so that a run can be repeated: a set would be ordered by addresses of the host.
        self._leaves: dict[int, Leaf | dict[Leaf, None]] = {}

    def add(self, index: int, leaf: Leaf) -> None:
        """`leaf` shows page `index` now. Once is enough."""
        known = self._leaves.get(index)
        if known is None:
            self._leaves[index] = leaf
        elif isinstance(known, dict):
            known[leaf] = None
        elif known != leaf:
            self._leaves[index] = {known: None, leaf: None}

    def discard(self, index: int, leaf: Leaf) -> None:
        """`leaf` shows the page no more, if it did."""
        known = self._leaves.get(index)
        if isinstance(known, dict):
            known.pop(leaf, None)
            if len(known) == 1:
                self._leaves[index] = next(iter(known))
        elif known == leaf:
            del self._leaves[index]

    def leaves(self, index: int) -> tuple[Leaf, ...]:
        """All leaves that show page `index`, oldest first."""
        known = self._leaves.get(index)
        if known is None:
            return ()
        return tuple(known) if isinstance(known, dict) else (known,)

    def showing(self, index: int, physical: int) -> list[Leaf]:
        """Those that hold this frame."""
        return [leaf for leaf in self.leaves(index) if leaf.physical == physical]

    def indices(self, first: int, last: int | None) -> list[int]:
        """The pages in [first, last) (no end: None) that some leaf shows."""
        if last is not None and last - first < len(self._leaves):
            return [index for index in range(first, last) if index in self._leaves]
        return sorted(index for index in self._leaves if index >= first and (last is None or index < last))

    def __iter__(self) -> Iterator[tuple[int, Leaf]]:
        """(page index, leaf) of every leaf."""
        for index in self._leaves:
            for leaf in self.leaves(index):
                yield index, leaf
