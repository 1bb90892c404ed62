# SPDX-License-Identifier: GPL-2.0-or-later
"""Owns shared memory of no file system as OSv has it: a `shm_file` holds 2 MiB blocks, of which mappings show 4 KiB pages."""

from __future__ import annotations

import errno
from collections.abc import Sequence
from typing import TYPE_CHECKING

from fetchsan.kernel.errors import LinuxError
from fetchsan.kernel.mmu.file_pages import FilePages
from fetchsan.kernel.mmu.frames import Frames
from fetchsan.kernel.mmu.operate import PAGE_SIZE, page_up
from fetchsan.kernel.mmu.page_tables import HUGE_PAGE_SIZE
from fetchsan.kernel.mmu.vma import FileVma, Vma
from fetchsan.kernel.mmu.write_back import WriteBackFailure

if TYPE_CHECKING:
    from fetchsan.kernel.mmu.address_space import AddressSpace

__all__ = ["ShmFile", "ShmPages"]

_PAGES = HUGE_PAGE_SIZE // PAGE_SIZE


class ShmFile:
    """`size` bytes of zeros, until somebody stores. Who made it and who maps it hold it; the last gives all frames back."""

    path = "/dev/shm"
    dev = 0
    version = None
    has_page_cache = False

    def __init__(self, frames: Frames, size: int, ino: int) -> None:
        self.size = page_up(size)
        self.ino = ino
        self._frames = frames
        self._pages: dict[int, int] = {}  # index -> frame
        self._references = 1

    @property
    def identity(self) -> tuple[object, ...]:
        return ("shm", id(self))

    def page(self, index: int, pe: int) -> int:
        """The frame of page `index`; it stays the file's. Raises OutOfMemoryError."""
        physical = self._pages.get(index)
        if physical is None:
            self._allocate(index, pe)
            physical = self._pages[index]
        return physical

    def retain(self) -> None:
        """One holder more."""
        self._references += 1

    def release(self) -> None:
        """One holder less."""
        self._references -= 1
        if not self._references:
            self._frames.release_many(self._pages.values())
            self._pages.clear()

    def next_data(self, offset: int) -> int:
        """All of it is a hole."""
        raise LinuxError(errno.ENXIO)

    def read_at(self, offset: int, size: int) -> bytes:
        """Its bytes are in its frames only."""
        raise LinuxError(errno.EINVAL)

    def write_at(self, offset: int, data: bytes) -> int:
        """Its bytes are in its frames only."""
        raise LinuxError(errno.EINVAL)

    def _allocate(self, index: int, pe: int) -> None:
        block = self._frames.allocate_huge(pe)
        if block is None:  # memory is in pieces: OSv gives up here
            self._pages[index] = self._frames.allocate_zeroed(pe)
            return
        self._frames.split_huge(block)
        first = index - index % _PAGES
        for step in range(_PAGES):
            physical = block + step * PAGE_SIZE
            if self._pages.setdefault(first + step, physical) != physical:
                self._frames.release(physical)


class ShmPages(FilePages):
    """Pages of a `ShmFile`."""

    def map(self, space: AddressSpace, vma: Vma, virtual: int, old: int, write: bool) -> tuple[int, bool]:
        assert isinstance(vma, FileVma) and isinstance(vma.inode, ShmFile)
        return space.frames.retain(vma.inode.page(vma.file_offset(virtual) // PAGE_SIZE, space.pe)), False

    def sync(self, space: AddressSpace, vma: FileVma, start: int, end: int) -> Sequence[WriteBackFailure]:
        return ()  # there is nothing behind the pages

    def unmapping(self, space: AddressSpace, vma: FileVma) -> None:
        """The file keeps what was stored."""
