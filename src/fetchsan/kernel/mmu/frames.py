# SPDX-License-Identifier: GPL-2.0-or-later
"""Owns who holds each frame of guest RAM: reference counts, huge pages, the clean flag, zeroing.

Every leaf PTE holds one reference, and so does every page of the page cache; a page table is held by its tables. A huge
page (2 MiB) is held as one thing until it is split. The clean flag is Linux's PG_dcache_clean: the instruction side has
seen what the frame holds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from fetchsan.machine.hardware import Hardware, Origin
from fetchsan.machine.memory import BLOCK_SIZE, FRAME_SIZE, OutOfMemoryError

__all__ = ["ZEROING", "ZERO_PAGE", "Frames"]

ZERO_PAGE = bytes(FRAME_SIZE)
ZEROING = Origin(pc=None, agent="page zeroing")


class Frames:
    """All frames that one kernel handed out."""

    def __init__(self, hardware: Hardware) -> None:
        self.hardware = hardware
        self.memory = hardware.memory
        self.clean: set[int] = set()
        self._references: dict[int, int] = {}
        self._huge: set[int] = set()
        self._zero: int | None = None
        self.reclaim: Callable[[], bool] = lambda: False
        """Asked when no frame is free: gives some up, or says that it cannot."""

    # Taking ---------------------------------------------------------------------------------------------------------

    def allocate(self) -> int:
        """A frame with one reference; it holds whatever its last owner left. Raises OutOfMemoryError."""
        try:
            physical = self.memory.allocate_frame()
        except OutOfMemoryError:
            physical = self._take(1)[0]
        self._references[physical] = 1
        return physical

    def allocate_zeroed(self, pe: int) -> int:
        """A frame of zeros, stored through the data side like any other bytes."""
        untouched = self.memory.untouched_from
        physical = self.allocate()
        if physical < untouched:
            self._zero_frame(pe, physical)
        return physical

    def allocate_zeroed_many(self, pe: int, count: int) -> list[int]:
        """`count` frames of zeros, in the order in which single ones would come. Raises OutOfMemoryError."""
        untouched = self.memory.untouched_from
        frames = self._take(count)
        self._references.update(dict.fromkeys(frames, 1))
        for physical in frames:
            if physical < untouched:
                self._zero_frame(pe, physical)
        return frames

    def allocate_huge(self, pe: int) -> int | None:
        """A huge page of zeros, 2 MiB and aligned; None if no such block is free."""
        untouched = self.memory.untouched_from
        physical = self.memory.allocate_block()
        if physical is None:
            return None
        self._huge.add(physical)
        if physical < untouched and not self.memory.is_zero(physical, BLOCK_SIZE):
            for frame in range(physical, physical + BLOCK_SIZE, FRAME_SIZE):
                self._zero_frame(pe, frame)
        return physical

    def allocate_table(self) -> int:
        """A frame of zeros for a page table, which only the walker reads: written raw."""
        physical = self.allocate()
        self.memory.write(physical, ZERO_PAGE)
        return physical

    def allocate_copy(self, pe: int, source: int, origin: Origin) -> int:
        """A frame with the bytes of `source`."""
        physical = self.allocate()
        self.hardware.store(pe, physical, self.memory.read(source, FRAME_SIZE), origin)
        return physical

    def retain_zero(self, pe: int) -> int:
        """One more reference to the shared frame of zeros, which no PTE may make writable."""
        if self._zero is None:
            self._zero = self.allocate_zeroed(pe)
            return self._zero
        self._references[self._zero] += 1
        return self._zero

    def is_zero(self, physical: int) -> bool:
        """Whether this is the shared frame of zeros."""
        return physical == self._zero

    def retain(self, physical: int) -> int:
        """One more reference; returns `physical`."""
        self._references[physical] += 1
        return physical

    # Giving back ----------------------------------------------------------------------------------------------------

    def release(self, physical: int) -> None:
        """One reference less; the last one frees the frame."""
        self.release_many((physical,))

    def release_many(self, frames: Iterable[int]) -> None:
        """One reference less of each; frames without any are free again, the last of them to be used first."""
        references = self._references
        freed = []
        for physical in frames:
            left = references[physical] - 1
            if left:
                references[physical] = left
            else:
                del references[physical]
                freed.append(physical)
        if freed:
            if self._zero is not None and self._zero not in references:
                self._zero = None
            self._free(freed)

    def release_huge(self, physical: int) -> None:
        """A huge page, whole, has no owner any more."""
        self._huge.remove(physical)
        block = range(physical, physical + BLOCK_SIZE, FRAME_SIZE)
        self.clean.difference_update(block)
        self.hardware.frames_freed(block)
        self.memory.free_block(physical)

    def split_huge(self, physical: int) -> None:
        """From now on its frames are held, and freed, one by one."""
        self._huge.remove(physical)
        self._references.update(dict.fromkeys(range(physical, physical + BLOCK_SIZE, FRAME_SIZE), 1))

    # Asking ---------------------------------------------------------------------------------------------------------

    def written_by_kernel(self, physical: int) -> None:
        """The kernel changed a frame of the page cache: what the instruction side has seen is out of date."""
        self.clean.discard(physical)

    def references(self, physical: int) -> int:
        """How many PTEs and cache entries hold this frame (0: free)."""
        if physical & -BLOCK_SIZE in self._huge:
            return 1
        return self._references.get(physical, 0)

    def held(self) -> set[int]:
        """Every frame that somebody holds."""
        pieces = (range(block, block + BLOCK_SIZE, FRAME_SIZE) for block in self._huge)
        return set(self._references).union(*pieces)

    # ----------------------------------------------------------------------------------------------------------------

    def _take(self, count: int) -> list[int]:
        """`count` frames, with others given up for them if need be."""
        while True:
            try:
                return self.memory.allocate_frames(count)
            except OutOfMemoryError:
                if not self.reclaim():
                    raise

    def _zero_frame(self, pe: int, physical: int) -> None:
        # Writing zeros over zeros changes no slot (clause 8), and would make the host back frames that stay untouched.
        if self.memory.read(physical, FRAME_SIZE) != ZERO_PAGE:
            self.hardware.store(pe, physical, ZERO_PAGE, ZEROING)

    def _free(self, frames: Sequence[int]) -> None:
        self.clean.difference_update(frames)
        self.hardware.frames_freed(frames)
        self.memory.free_frames(frames)
