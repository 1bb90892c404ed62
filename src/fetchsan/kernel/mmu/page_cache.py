# SPDX-License-Identifier: GPL-2.0-or-later
"""Owns the page cache: the frames that hold file pages, how long they stay, what write(2) and truncation do to them.

A read cache and a write cache, least recently faulted first, with the limits of a `CachePolicy`. Everything the kernel
puts into a frame goes through the data side. docs/memory_manager.md, "Page cache", says what differs from OSv and why.
"""

from __future__ import annotations

import errno
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from fetchsan.kernel.errors import LinuxError
from fetchsan.kernel.mmu.cache_policy import LINUX_CACHE, CachePolicy
from fetchsan.kernel.mmu.cached_page import CachedFile, CachedPage
from fetchsan.kernel.mmu.frames import ZEROING, Frames
from fetchsan.kernel.mmu.mappable import MappableInode
from fetchsan.kernel.mmu.operate import PAGE_SIZE
from fetchsan.kernel.mmu.reverse_map import Leaf
from fetchsan.kernel.mmu.write_back import WriteBackFailure, write_back
from fetchsan.machine.hardware import Origin

if TYPE_CHECKING:
    from fetchsan.kernel.mmu.address_space import AddressSpace
    from fetchsan.kernel.mmu.vma import FileVma

__all__ = ["FILL", "PageCache"]

FILL = Origin(pc=None, agent="page-cache fill")

_READ_AHEAD = 256  # pages read from the file at once by eager population
_EVICT_MOST = 200  # `lru_free_count`
_EVICT_PART = 5
# Memory pressure spares the pages that were faulted last: those of the instruction that is being executed are among them.
_SPARED = 16

_Lru = dict[CachedPage, None]


class PageCache:
    """The cached pages of all files of one kernel."""

    def __init__(self, frames: Frames, policy: CachePolicy = LINUX_CACHE) -> None:
        self.frames = frames
        self.policy = policy
        self.failures: list[WriteBackFailure] = []
        """What was lost: bytes that could not be written and are in no mapping any more."""
        self._files: dict[tuple[object, ...], CachedFile] = {}
        self._idle: dict[tuple[object, ...], CachedFile] = {}  # those nobody maps, longest ago first
        self._read: _Lru = {}
        self._written: _Lru = {}
        total = frames.memory.size // PAGE_SIZE
        self._read_limit = policy.read_limit(total)
        self._write_limit = policy.write_limit(total)
        frames.reclaim = self.reclaim

    # What address spaces ask ----------------------------------------------------------------------------------------

    def attach(self, vma: FileVma) -> None:
        """One VMA more maps its file."""
        identity = vma.inode.identity
        idle = self._idle.pop(identity, None)
        if idle is not None and not idle.is_unchanged():
            self._forget(idle)
        file = self._files.get(identity)
        if file is None:
            file = self._files[identity] = CachedFile(vma.inode, vma.inode.version)
        file.mappings += 1

    def detach(self, vma: FileVma) -> None:
        """One VMA less. After the last, pages stay only if it will be seen whether the file was changed meanwhile."""
        file = self.file(vma.inode)
        file.mappings -= 1
        if file.mappings:
            return
        self.failures += write_back(self.frames, file, file.dirty)
        if not self.policy.idle_files or not file.pages or file.dirty or not file.is_unchanged():
            self._forget(file)
            return
        self._idle[vma.inode.identity] = file
        if len(self._idle) > self.policy.idle_files:
            self._forget(next(iter(self._idle.values())))

    def file(self, inode: MappableInode) -> CachedFile:
        """An attached file."""
        return self._files[inode.identity]

    def readable(self, file: CachedFile, index: int, pe: int, data: bytes | None = None) -> CachedPage | None:
        """Page `index`, filled if need be (with `data`, if that was read already); None: map the page of zeros."""
        page = file.pages.get(index)
        if page is not None:
            self._touch(page)
            return page
        if data is None:
            data = file.inode.read_at(index * PAGE_SIZE, PAGE_SIZE)
        if self.policy.zero_page_holes and not any(data) and _in_hole(file.inode, index):
            return None
        page = self._fill(file, index, data, pe)
        self._touch(page)
        self._keep_limit(self._read, self._read_limit)
        return page

    def readable_run(self, file: CachedFile, index: int, count: int, pe: int) -> Iterator[CachedPage | None]:
        """`readable` of pages [index, index+count), read from the file in bulk. Hold each before the next is asked for."""
        ahead: dict[int, bytes] = {}
        for at in range(index, index + count):
            if at not in file.pages and at not in ahead:
                size = min(_READ_AHEAD, index + count - at)
                data = file.inode.read_at(at * PAGE_SIZE, size * PAGE_SIZE)
                ahead = {at + i: data[i * PAGE_SIZE : (i + 1) * PAGE_SIZE] for i in range(size)}
            yield self.readable(file, at, pe, ahead.get(at))

    def writable(self, file: CachedFile, index: int, pe: int) -> CachedPage:
        """Page `index` for a PTE that lets a shared mapping store to it: from now on in the write cache, and dirty."""
        page = file.pages.get(index)
        if page is None:
            page = self._fill(file, index, file.inode.read_at(index * PAGE_SIZE, PAGE_SIZE), pe)
            self._drop_zero_leaves(file, index)
        if page.written:
            self._touch(page)
        else:
            self._to_write_cache(page, pe)
        file.dirty.add(index)
        file.modified = True
        return page

    def is_cached(self, inode: MappableInode, index: int) -> bool:
        """Whether the page is in memory (mincore)."""
        file = self._files.get(inode.identity)
        return file is not None and index in file.pages

    def write_back(self, inode: MappableInode, first: int = 0, last: int | None = None) -> list[WriteBackFailure]:
        """Write dirty pages with index in [first, last) to the file; returns what failed."""
        file = self._files.get(inode.identity)
        if file is None:
            return []
        wanted = [index for index in file.dirty if index >= first and (last is None or index < last)]
        return write_back(self.frames, file, wanted)

    def write_back_all(self) -> list[WriteBackFailure]:
        """Write everything that is dirty to its file; returns what failed."""
        return [failure for file in self._files.values() for failure in write_back(self.frames, file, file.dirty)]

    def close(self) -> None:
        """Give back what no mapping holds."""
        for file in list(self._idle.values()):
            self._forget(file)

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
                result[start : start + high - low] = self.frames.memory.read(file.pages[index].physical + low, high - low)
        return bytes(result)

    def file_growing(self, inode: MappableInode, pe: int) -> None:
        """The file may be about to grow: bytes that were stored past its end, in its last page, must not become part of it."""
        file = self._files.get(inode.identity)
        if file is not None and file.dirty:
            self._zero_tail(file, inode.size, pe)

    def file_written(self, inode: MappableInode, offset: int, data: bytes, pe: int, origin: Origin) -> None:
        """write(2) put `data` into the file: cached pages get it too, through the data side."""
        file = self._changing(inode)
        if file is None:
            return
        for index, low, high in _pages(offset, len(data)):
            page = file.pages.get(index)
            if page is None:
                self._drop_zero_leaves(file, index)
            else:
                start = index * PAGE_SIZE + low - offset
                self._store(pe, page.physical + low, data[start : start + high - low], origin)

    def file_truncated(self, inode: MappableInode, size: int, pe: int) -> None:
        """The file now ends at `size`. What was mapped past it is gone everywhere, dirty pages and private copies too."""
        file = self._changing(inode)
        if file is None:
            return
        gone = -(-size // PAGE_SIZE)
        self._unmap([(file, i, leaf) for i in file.leaves.indices(gone, None) for leaf in file.leaves.leaves(i)])
        self._give_up([page for index, page in file.pages.items() if index >= gone])
        self._zero_tail(file, size, pe)

    def punch_hole(self, inode: MappableInode, first: int, last: int) -> None:
        """Pages [first, last) of the file were emptied: the next touch of each finds zeros. Private copies stay."""
        file = self._changing(inode)
        if file is None:
            return
        for index in file.leaves.indices(first, last):
            self._drop_zero_leaves(file, index)
        pages = [page for index, page in file.pages.items() if first <= index < last]
        self._unmap([(file, page.index, leaf) for page in pages for leaf in page.leaves()])
        self._give_up(pages)

    # Eviction -------------------------------------------------------------------------------------------------------

    def reclaim(self) -> bool:
        """Out of frames: evict something, clean pages first. Whether that freed any."""
        for lru in (self._read, self._written):
            victims = list(lru)[: max(len(lru) - _SPARED, 0)][: _EVICT_MOST]
            if self.evict(victims):
                return True
        return False

    def evict(self, pages: Iterable[CachedPage]) -> int:
        """Take pages from everybody who maps them: unmapped, one TLB flush, written back, freed. Returns how many went.

        Those that are in use this moment stay, and so do those that cannot be written.
        """
        chosen = [page for page in pages if not page.is_pinned(self.frames)]
        self._unmap([(page.file, page.index, leaf) for page in chosen for leaf in page.leaves()])
        dirty: dict[CachedFile, list[int]] = {}
        for page in chosen:
            dirty.setdefault(page.file, []).append(page.index)
        for file, indices in dirty.items():
            write_back(self.frames, file, indices)
        going = []
        for page in chosen:
            if page.index in page.file.dirty:
                self._touch(page)
            else:
                going.append(page)
        self._give_up(going)
        return len(going)

    # ----------------------------------------------------------------------------------------------------------------

    def _fill(self, file: CachedFile, index: int, data: bytes, pe: int) -> CachedPage:
        physical = self.frames.allocate()
        self.frames.hardware.store(pe, physical, data.ljust(PAGE_SIZE, b"\0"), FILL if data else ZEROING)
        page = file.pages[index] = CachedPage(file, index, physical)
        return page

    def _to_write_cache(self, page: CachedPage, pe: int) -> None:
        self._read.pop(page, None)
        if self.policy.own_write_frames and page.leaves():
            self._unmap([(page.file, page.index, leaf) for leaf in page.leaves()])
            old = page.physical
            page.physical = self.frames.allocate_copy(pe, old, FILL)
            self.frames.release(old)
        page.written = True
        self._touch(page)
        self._keep_limit(self._written, self._write_limit)

    def _touch(self, page: CachedPage) -> None:
        """The page was asked for: it will be evicted last, if at all."""
        if page.file.evictable:
            lru = self._written if page.written else self._read
            lru.pop(page, None)
            lru[page] = None

    def _keep_limit(self, lru: _Lru, limit: int) -> None:
        if len(lru) > limit:
            count = max(min(len(lru) // _EVICT_PART, _EVICT_MOST), 1)
            self.evict([page for page, _ in zip(lru, range(count), strict=False)])

    def _changing(self, inode: MappableInode) -> CachedFile | None:
        """The cached file that the program is changing; one that nobody maps is forgotten instead."""
        file = self._files.get(inode.identity)
        if file is not None and not file.mappings:
            self._forget(file)
            return None
        if file is not None:
            file.modified = True
        return file

    def _forget(self, file: CachedFile) -> None:
        """Drop a file that nobody maps."""
        assert not list(file.leaves), "a leaf outlives its mapping"
        self._give_up(list(file.pages.values()))
        del self._files[file.inode.identity]
        self._idle.pop(file.inode.identity, None)

    def _give_up(self, pages: list[CachedPage]) -> None:
        """Pages that no PTE maps leave the cache, dirty or not."""
        for page in pages:
            del page.file.pages[page.index]
            page.file.dirty.discard(page.index)
            (self._written if page.written else self._read).pop(page, None)
            self.frames.release(page.physical)

    def _drop_zero_leaves(self, file: CachedFile, index: int) -> None:
        """A hole is being filled: who maps the page of zeros there must fault again."""
        self._unmap([(file, index, leaf) for leaf in file.leaves.leaves(index) if self.frames.is_zero(leaf.physical)])

    def _unmap(self, leaves: list[tuple[CachedFile, int, Leaf]]) -> None:
        """Clear PTEs that show pages of files, flush the TLB of each space once, give up their references (`tlb_gather`).

        Tables that become empty stay: a walk may be under way that holds them.
        """
        spaces: dict[AddressSpace, None] = {}
        taken = []
        for file, index, leaf in leaves:
            file.leaves.discard(index, leaf)
            physical = leaf.physical
            if physical:
                tables = leaf.space.tables
                tables.write_leaf(leaf.space.pe, tables.entry_at(leaf.virtual), leaf.virtual, 0)
                taken.append(physical)
                spaces[leaf.space] = None
        for space in spaces:
            space.flush_tlb()
        for physical in taken:
            self.frames.release(physical)

    def _zero_tail(self, file: CachedFile, size: int, pe: int) -> None:
        index, used = divmod(size, PAGE_SIZE)
        page = file.pages.get(index)
        if used and page is not None and any(self.frames.memory.read(page.physical + used, PAGE_SIZE - used)):
            self._store(pe, page.physical + used, bytes(PAGE_SIZE - used), ZEROING)

    def _store(self, pe: int, physical: int, data: bytes, origin: Origin) -> None:
        self.frames.written_by_kernel(physical & -PAGE_SIZE)
        self.frames.hardware.store(pe, physical, data, origin)


def _in_hole(inode: MappableInode, index: int) -> bool:
    """Whether no byte of the page has storage in the file."""
    try:
        return inode.next_data(index * PAGE_SIZE) >= (index + 1) * PAGE_SIZE
    except LinuxError as error:
        return error.errno == errno.ENXIO


def _pages(offset: int, size: int) -> list[tuple[int, int, int]]:
    """(page index, first byte in it, byte after the last) of a range of a file."""
    end = offset + size
    return [
        (index, max(offset - index * PAGE_SIZE, 0), min(end - index * PAGE_SIZE, PAGE_SIZE))
        for index in range(offset // PAGE_SIZE, -(-end // PAGE_SIZE))
    ]
