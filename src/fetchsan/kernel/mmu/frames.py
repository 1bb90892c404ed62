# SPDX-License-Identifier: GPL-2.0-or-later
"""Owns who holds each frame of guest RAM: reference counts, the clean flag, zeroing.

Every leaf PTE holds one reference, and so does every page of the page cache; a page table is held by its tables. The
clean flag is Linux's PG_dcache_clean: the instruction side has seen what the frame holds.
"""

from __future__ import annotations

from fetchsan.machine.hardware import Hardware, Origin
from fetchsan.machine.memory import FRAME_SIZE

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
        self._zero: int | None = None

    def allocate(self) -> int:
        """A frame with one reference; it holds whatever its last owner left. Raises OutOfMemoryError."""
        physical = self.memory.allocate_frame()
        self._references[physical] = 1
        self.clean.discard(physical)
        self.hardware.frame_allocated(physical)
        return physical

    def allocate_zeroed(self, pe: int) -> int:
        """A frame of zeros, stored through the data side like any other bytes."""
        physical = self.allocate()
        # Writing zeros over zeros changes no slot (clause 8), and would make the host back frames that stay untouched.
        if self.memory.read(physical, FRAME_SIZE) != ZERO_PAGE:
            self.hardware.store(pe, physical, ZERO_PAGE, ZEROING)
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

    def release(self, physical: int) -> None:
        """One reference less; the last one frees the frame."""
        left = self._references[physical] - 1
        if left:
            self._references[physical] = left
            return
        del self._references[physical]
        self.clean.discard(physical)
        if physical == self._zero:
            self._zero = None
        self.hardware.frame_freed(physical)
        self.memory.free_frame(physical)

    def written_by_kernel(self, physical: int) -> None:
        """The kernel changed a frame of the page cache: what the instruction side has seen is out of date."""
        self.clean.discard(physical)

    def references(self, physical: int) -> int:
        """How many PTEs and cache entries hold this frame (0: free)."""
        return self._references.get(physical, 0)

    def held(self) -> set[int]:
        """Every frame that somebody holds."""
        return set(self._references)
