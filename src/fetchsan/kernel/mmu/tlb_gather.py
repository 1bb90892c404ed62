# SPDX-License-Identifier: GPL-2.0-or-later
"""Owns the frames between their last PTE and their freeing: no TLB may still know them when they get a new owner."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fetchsan.kernel.mmu.address_space import AddressSpace

__all__ = ["TlbGather"]


class TlbGather:
    """OSv's `tlb_gather`: collects at most `space.gather_limit` pages, then one flush of the TLB, and only then frees."""

    def __init__(self, space: AddressSpace) -> None:
        self.flush_owed = False
        """Some translation is gone since the last flush, whether or not its frame is to be freed."""
        self._space = space
        self._frames: list[int] = []
        self._huge: list[int] = []

    def push(self, frames: Sequence[int]) -> None:
        """4 KiB frames, whose leaves are gone from the tables."""
        limit = self._space.gather_limit
        for start in range(0, len(frames), limit):
            self._frames += frames[start : start + limit]
            self._pushed()

    def push_huge(self, physical: int) -> None:
        """A 2 MiB page."""
        self._huge.append(physical)
        self._pushed()

    def flush(self) -> None:
        """Flush the TLB if anything asks for it, then free what was collected."""
        if self._frames or self._huge or self.flush_owed:
            self._space.flush_tlb()
        frames = self._space.frames
        frames.release_many(self._frames)
        for physical in self._huge:
            frames.release_huge(physical)
        self._frames, self._huge, self.flush_owed = [], [], False

    def _pushed(self) -> None:
        if len(self._frames) + len(self._huge) >= self._space.gather_limit:
            self.flush()
