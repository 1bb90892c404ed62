# SPDX-License-Identifier: GPL-2.0-or-later
"""Guest RAM in frames: one anonymous NORESERVE host mapping, plus the list of free frames.

This is the D view of the coherency model (section 2): what every load sees. Nothing here knows of caches: raw writes
are for page tables and for loading an image before the machine starts; everything else goes through `Hardware.store`.
"""

from __future__ import annotations

import ctypes
import mmap
import os
from collections.abc import Iterable, Sequence
from io import FileIO

from fetchsan.errors import FetchSanError

__all__ = ["BLOCK_SIZE", "FRAME_SIZE", "OutOfMemoryError", "PhysicalMemory"]

FRAME_SIZE = 4096
BLOCK_SIZE = 2 << 20
"""What a 2 MiB page is made of, naturally aligned."""
_FRAMES_PER_BLOCK = BLOCK_SIZE // FRAME_SIZE
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
        try:
            self._pagemap: FileIO | None = FileIO("/proc/self/pagemap")
        except OSError:  # a host without it: reading tells, too
            self._pagemap = None
        self._free: list[int] = []  # a stack; only what is in `_free_set` is really free
        self._free_set: set[int] = set()
        self._free_in_block: dict[int, int] = {}
        self._blocks: dict[int, None] = {}  # a stack of whole blocks that are free; none of their frames is on the free list

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

    def read_u32(self, physical: int) -> int:
        """One little-endian word (an instruction) of RAM."""
        offset = physical - self.base
        return int.from_bytes(self.view[offset : offset + 4], "little")

    def read_u64(self, physical: int) -> int:
        """One little-endian doubleword (a PTE)."""
        return self.words[(physical - self.base) >> 3]

    def write_u64(self, physical: int, value: int) -> None:
        """Write one little-endian doubleword (a PTE)."""
        self.words[(physical - self.base) >> 3] = value

    @property
    def untouched_from(self) -> int:
        """No frame from this physical address on was ever handed out: they all hold zeros."""
        return self._next

    def allocate_frame(self) -> int:
        """The physical address of a frame, the most recently freed first; its *contents are whatever was there*.

        Raises OutOfMemoryError.
        """
        free = self._free
        while free:
            physical = free.pop()
            if physical in self._free_set:
                self._free_set.remove(physical)
                self._free_in_block[physical & -BLOCK_SIZE] -= 1
                return physical
        if self._blocks:
            block, _ = self._blocks.popitem()
            rest = range(block + FRAME_SIZE, block + BLOCK_SIZE, FRAME_SIZE)
            free.extend(reversed(rest))
            self._free_set.update(rest)
            self._free_in_block[block] = len(rest)
            return block
        if self._next >= self.end:
            raise OutOfMemoryError(self.size)
        physical = self._next
        self._next += FRAME_SIZE
        return physical

    def allocate_frames(self, count: int) -> list[int]:
        """`count` frames in the order in which `allocate_frame` would give them. Raises OutOfMemoryError, taking none."""
        if count * FRAME_SIZE > self.size - self.frames_in_use * FRAME_SIZE:
            raise OutOfMemoryError(self.size)
        frames: list[int] = []
        while len(frames) < count and (self._free_set or self._blocks):
            frames.append(self.allocate_frame())
        end = self._next + (count - len(frames)) * FRAME_SIZE
        frames += range(self._next, end, FRAME_SIZE)
        self._next = end
        return frames

    def allocate_block(self) -> int | None:
        """A 2 MiB-aligned block of 2 MiB, the most recently freed first; None if there is none."""
        if self._blocks:
            return self._blocks.popitem()[0]
        start = -(-self._next // BLOCK_SIZE) * BLOCK_SIZE
        if start + BLOCK_SIZE > self.end:
            return None
        skipped = range(self._next, start, FRAME_SIZE)
        self._next = start + BLOCK_SIZE
        self._push(skipped)
        return start

    def free_frame(self, physical: int) -> None:
        """Return a frame. Raises ValueError on a double free or a frame never allocated."""
        self.free_frames((physical,))

    def free_frames(self, frames: Sequence[int]) -> None:
        """Return frames; the last of them is the next to be handed out. Raises ValueError as `free_frame` does."""
        for physical in frames:
            free = physical in self._free_set or physical & -BLOCK_SIZE in self._blocks
            if free or physical % FRAME_SIZE or not self.base <= physical < self._next:
                raise ValueError(f"frame {physical:#x} is not allocated")
            self._push((physical,))

    def free_block(self, block: int) -> None:
        """Return a block as it came. Raises ValueError if it is not one that is in use."""
        if block % BLOCK_SIZE or not self.base <= block < self._next or self._free_in_block.get(block) or block in self._blocks:
            raise ValueError(f"block {block:#x} is not allocated")
        self._blocks[block] = None

    def _push(self, frames: Iterable[int]) -> None:
        """Put frames on the free list; a block all of whose frames are there becomes one again."""
        for physical in frames:
            self._free.append(physical)
            self._free_set.add(physical)
            block = physical & -BLOCK_SIZE
            count = self._free_in_block.get(block, 0) + 1
            self._free_in_block[block] = count
            if count == _FRAMES_PER_BLOCK:
                self._free_set.difference_update(range(block, block + BLOCK_SIZE, FRAME_SIZE))
                self._free_in_block[block] = 0
                self._blocks[block] = None
        if len(self._free) > 2 * len(self._free_set) + _FRAMES_PER_BLOCK:
            # Entries that are on the list twice, or have gone into a block: the latest counts.
            latest = dict.fromkeys(reversed(self._free))
            self._free = [physical for physical in reversed(latest) if physical in self._free_set]

    def frames_ever_used(self) -> range:
        """Every frame that was handed out at some time."""
        return range(self.base, self._next, FRAME_SIZE)

    @property
    def frames_in_use(self) -> int:
        """Frames handed out and not returned."""
        free = len(self._free_set) + len(self._blocks) * _FRAMES_PER_BLOCK
        return (self._next - self.base) // FRAME_SIZE - free

    def is_zero(self, physical: int, size: int) -> bool:
        """Whether whole frames hold zeros only. What the host never backed does, and is not touched to find out."""
        for start in range(physical, physical + size, BLOCK_SIZE):
            length = min(BLOCK_SIZE, physical + size - start)
            if not self._is_unbacked(start, length) and self.read(start, length) != bytes(length):
                return False
        return True

    def _is_unbacked(self, physical: int, size: int) -> bool:
        """Whether the host has no page, in memory or in swap, behind a range (pagemap(5): bits 63 and 62)."""
        start = self.host_address + physical - self.base
        if self._pagemap is None or start % mmap.PAGESIZE or size % mmap.PAGESIZE:
            return False
        first = start // mmap.PAGESIZE
        entries = os.pread(self._pagemap.fileno(), 8 * (size // mmap.PAGESIZE), 8 * first)
        return not any(entries[7::8])  # bits 63:56 of each; the others there are zero for a page that is not

    def _check(self, physical: int, size: int) -> None:
        if not self.contains(physical, size):
            raise ValueError(f"[{physical:#x}, +{size:#x}) is outside RAM [{self.base:#x}, {self.end:#x})")
