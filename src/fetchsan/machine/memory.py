# SPDX-License-Identifier: GPL-2.0-or-later
"""Guest RAM in frames: one anonymous NORESERVE host mapping, plus the list of free frames.

This is the D view of the coherency model (section 2): what every load sees. Nothing here knows of caches: raw writes
are for page tables and for loading an image before the machine starts; everything else goes through `Hardware.store`.
"""

from __future__ import annotations

import ctypes
import mmap

from fetchsan.errors import FetchSanError

__all__ = ["FRAME_SIZE", "OutOfMemoryError", "PhysicalMemory"]

FRAME_SIZE = 4096
_MAP_NORESERVE = 0x4000


class OutOfMemoryError(FetchSanError):
    """Guest RAM is used up; `size` is what the machine has, in bytes."""

    def __init__(self, size: int) -> None:
        super().__init__(f"guest memory is used up ({size >> 20} MiB)")
        self.size = size


class PhysicalMemory:
    """`size` bytes of RAM from physical address `base`; frames never touched cost no host memory."""

    def __init__(self, size: int, base: int = 0x4000_0000) -> None:
        if size % FRAME_SIZE or base % FRAME_SIZE:
            raise ValueError(f"RAM base {base:#x} and size {size:#x} must be multiples of {FRAME_SIZE}")
        self.base = base
        self.size = size
        self._map = mmap.mmap(
            -1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | _MAP_NORESERVE, prot=mmap.PROT_READ | mmap.PROT_WRITE
        )
        self.view = memoryview(self._map)
        self.words = self.view.cast("Q")  # the same bytes as doublewords, for page tables (both hosts are little-endian)
        self.host_address = ctypes.addressof(ctypes.c_char.from_buffer(self._map))
        self._next = base
        self._free: list[int] = []
        self._free_set: set[int] = set()

    @property
    def end(self) -> int:
        """First physical address after RAM."""
        return self.base + self.size

    def contains(self, physical: int, size: int = 1) -> bool:
        """Whether [physical, physical+size) lies in RAM."""
        return self.base <= physical and physical + size <= self.end

    def read(self, physical: int, size: int) -> bytes:
        """The bytes a load sees. Raises ValueError outside RAM."""
        self._check(physical, size)
        offset = physical - self.base
        return bytes(self.view[offset : offset + size])

    def write(self, physical: int, data: bytes) -> None:
        """Raw write, unseen by the coherency model: page tables and boot images only."""
        self._check(physical, len(data))
        offset = physical - self.base
        self.view[offset : offset + len(data)] = data

    def read_u64(self, physical: int) -> int:
        """One little-endian doubleword (a PTE)."""
        return self.words[(physical - self.base) >> 3]

    def write_u64(self, physical: int, value: int) -> None:
        """Write one little-endian doubleword (a PTE)."""
        self.words[(physical - self.base) >> 3] = value

    def allocate_frame(self) -> int:
        """The physical address of a frame, the most recently freed first; its *contents are whatever was there*.

        Raises OutOfMemoryError.
        """
        if self._free:
            physical = self._free.pop()
            self._free_set.discard(physical)
            return physical
        if self._next >= self.end:
            raise OutOfMemoryError(self.size)
        physical = self._next
        self._next += FRAME_SIZE
        return physical

    def allocate_contiguous(self, size: int, alignment: int = FRAME_SIZE) -> int:
        """A naturally aligned block (a 2 MiB page). The frames skipped for alignment go to the free list."""
        start = -(-self._next // alignment) * alignment
        if start + size > self.end:
            raise OutOfMemoryError(self.size)
        for skipped in range(self._next, start, FRAME_SIZE):
            self.free_frame(skipped)
        self._next = start + size
        return start

    def free_frame(self, physical: int) -> None:
        """Return a frame to the free list. Raises ValueError on a double free or a frame never allocated."""
        if physical % FRAME_SIZE or not self.contains(physical) or physical in self._free_set:
            raise ValueError(f"frame {physical:#x} is not allocated")
        self._free.append(physical)
        self._free_set.add(physical)

    def frames_ever_used(self) -> range:
        """Every frame that was handed out at some time."""
        return range(self.base, self._next, FRAME_SIZE)

    @property
    def frames_in_use(self) -> int:
        """Frames handed out and not returned."""
        return (self._next - self.base) // FRAME_SIZE - len(self._free)

    def _check(self, physical: int, size: int) -> None:
        if not self.contains(physical, size):
            raise ValueError(f"[{physical:#x}, +{size:#x}) is outside RAM [{self.base:#x}, {self.end:#x})")
