# SPDX-License-Identifier: GPL-2.0-or-later
"""Owns the frames that hold file pages: filling, sharing, keeping up with write(2) and truncation, writing back.

A file's pages stay while some VMA maps it. Everything the kernel puts into a frame goes through the data side.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from fetchsan.kernel.errors import LinuxError
from fetchsan.kernel.mmu.frames import ZEROING, Frames
from fetchsan.kernel.mmu.operate import PAGE_SIZE
from fetchsan.machine.hardware import Origin

if TYPE_CHECKING:
    from fetchsan.kernel.mmu.address_space import AddressSpace
    from fetchsan.kernel.mmu.vma import FileVma

__all__ = ["FILL", "MappableInode", "PageCache", "SharedMemory", "WriteBackFailure"]

FILL = Origin(pc=None, agent="page-cache fill")


class MappableInode(Protocol):
    """What the memory manager asks of a file. `identity` names the file among all that are mapped."""

    path: str
    dev: int
    ino: int

    @property
    def identity(self) -> tuple[object, ...]:
        """Equal for two objects that are the same file."""

    @property
    def size(self) -> int:
        """Bytes in the file now."""

    def read_at(self, offset: int, size: int) -> bytes:
        """Up to `size` bytes; shorter only at the end of the file. Raises LinuxError."""

    def write_at(self, offset: int, data: bytes) -> int:
        """Write within the file. Raises LinuxError."""


class SharedMemory:
    """The nameless file behind MAP_SHARED|MAP_ANONYMOUS: its bytes live in the page cache only."""

    path = "/dev/zero (deleted)"
    dev = 1

    def __init__(self, size: int, ino: int) -> None:
        self.size = size
        self.ino = ino

    @property
    def identity(self) -> tuple[object, ...]:
        return ("shared memory", id(self))

    def read_at(self, offset: int, size: int) -> bytes:
        """Zeros until somebody stores."""
        return b""

    def write_at(self, offset: int, data: bytes) -> int:
        """There is nothing behind the pages."""
        return len(data)


@dataclass(frozen=True, slots=True)
class WriteBackFailure:
    """Bytes stored through a mapping that did not reach their file, with no system call to tell it."""

    path: str
    offset: int
    errno: int


@dataclass(slots=True)
class _CachedFile:
    inode: MappableInode
    pages: dict[int, int] = field(default_factory=dict)  # page index -> frame
    dirty: set[int] = field(default_factory=set)
    mappings: dict[FileVma, AddressSpace] = field(default_factory=dict)


class PageCache:
    """The cached pages of all files of one kernel."""

    def __init__(self, frames: Frames) -> None:
        self.frames = frames
        self.failures: list[WriteBackFailure] = []  # of munmap and exit, which have nobody to tell
        self._files: dict[tuple[object, ...], _CachedFile] = {}

    # What address spaces ask ----------------------------------------------------------------------------------------

    def attach(self, vma: FileVma, space: AddressSpace) -> None:
        """`vma` of `space` maps its file from now on."""
        file = self._files.setdefault(vma.inode.identity, _CachedFile(vma.inode))
        file.mappings[vma] = space

    def detach(self, vma: FileVma) -> None:
        """`vma` is gone; with a file's last mapping its pages go, written back first."""
        file = self._files[vma.inode.identity]
        del file.mappings[vma]
        if not file.mappings:
            self.failures += self.write_back(file.inode)
            for physical in file.pages.values():
                self.frames.release(physical)
            del self._files[vma.inode.identity]

    def page(self, inode: MappableInode, index: int, pe: int) -> int:
        """The frame of page `index` of an attached file, filled if need be; the reference stays the cache's."""
        file = self._files[inode.identity]
        physical = file.pages.get(index)
        if physical is None:
            data = file.inode.read_at(index * PAGE_SIZE, PAGE_SIZE)
            physical = self.frames.allocate()
            origin = FILL if data else ZEROING
            self.frames.hardware.store(pe, physical, data.ljust(PAGE_SIZE, b"\0"), origin)
            file.pages[index] = physical
        return physical

    def mark_dirty(self, inode: MappableInode, index: int) -> None:
        """A PTE that allows stores to this page is about to be written."""
        self._files[inode.identity].dirty.add(index)

    def is_cached(self, inode: MappableInode, index: int) -> bool:
        """Whether the page is in memory (mincore)."""
        file = self._files.get(inode.identity)
        return file is not None and index in file.pages

    def write_back(self, inode: MappableInode, first: int = 0, last: int | None = None) -> list[WriteBackFailure]:
        """Write dirty pages with index in [first, last) to the file; returns what failed, which is then given up."""
        failures: list[WriteBackFailure] = []
        file = self._files.get(inode.identity)
        if file is None:
            return failures
        for index in sorted(file.dirty):
            if index < first or (last is not None and index >= last):
                continue
            for vma, space in file.mappings.items():
                if vma.shared:
                    space.clean_page(vma, index)
            offset = index * PAGE_SIZE
            try:
                length = min(PAGE_SIZE, file.inode.size - offset)
                if length > 0:
                    file.inode.write_at(offset, self.frames.memory.read(file.pages[index], length))
            except LinuxError as error:
                failures.append(WriteBackFailure(inode.path, offset, error.errno))
            file.dirty.discard(index)
        return failures

    # What the file system tells -------------------------------------------------------------------------------------

    def read(self, inode: MappableInode, offset: int, size: int) -> bytes:
        """What read(2) returns: the file's bytes, under those stored through shared mappings and not yet written back."""
        data = inode.read_at(offset, size)
        file = self._files.get(inode.identity)
        if file is None or not file.dirty:
            return data
        result = bytearray(data)
        for index, low, high in _pages(offset, len(data)):
            if index in file.dirty:
                start = index * PAGE_SIZE + low - offset
                result[start : start + high - low] = self.frames.memory.read(file.pages[index] + low, high - low)
        return bytes(result)

    def file_written(self, inode: MappableInode, offset: int, data: bytes, pe: int, origin: Origin) -> None:
        """write(2) put `data` into the file: cached pages get it too, through the data side."""
        file = self._files.get(inode.identity)
        if file is None:
            return
        for index, low, high in _pages(offset, len(data)):
            physical = file.pages.get(index)
            if physical is not None:
                start = index * PAGE_SIZE + low - offset
                self._store(pe, physical + low, data[start : start + high - low], origin)

    def file_truncated(self, inode: MappableInode, size: int, pe: int) -> None:
        """The file now ends at `size`: pages past it are unmapped everywhere (SIGBUS), the tail of the last is zeroed."""
        file = self._files.get(inode.identity)
        if file is None:
            return
        gone = -(-size // PAGE_SIZE)
        self._drop_pages(file, gone, None)
        tail = size % PAGE_SIZE
        if tail and gone - 1 in file.pages:
            self._store(pe, file.pages[gone - 1] + tail, bytes(PAGE_SIZE - tail), ZEROING)

    def punch_hole(self, inode: MappableInode, first: int, last: int) -> None:
        """Forget pages [first, last), dirty or not: the next touch of each fills it again."""
        self._drop_pages(self._files[inode.identity], first, last)

    def _drop_pages(self, file: _CachedFile, first: int, last: int | None) -> None:
        for vma, space in list(file.mappings.items()):
            space.forget_pages(vma, first, last)
        for index in [index for index in file.pages if index >= first and (last is None or index < last)]:
            file.dirty.discard(index)
            self.frames.release(file.pages.pop(index))

    def _store(self, pe: int, physical: int, data: bytes, origin: Origin) -> None:
        self.frames.written_by_kernel(physical & -PAGE_SIZE)
        self.frames.hardware.store(pe, physical, data, origin)


def _pages(offset: int, size: int) -> list[tuple[int, int, int]]:
    """(page index, first byte in it, byte after the last) of a range of a file."""
    end = offset + size
    return [
        (index, max(offset - index * PAGE_SIZE, 0), min(end - index * PAGE_SIZE, PAGE_SIZE))
        for index in range(offset // PAGE_SIZE, -(-end // PAGE_SIZE))
    ]
