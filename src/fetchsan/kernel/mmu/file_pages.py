# SPDX-License-Identifier: GPL-2.0-or-later
"""Owns where the pages of file VMAs come from: the page cache, or the file itself where its file system has no cache."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, ClassVar

from fetchsan.kernel.errors import LinuxError
from fetchsan.kernel.mmu.cached_page import CachedFile, CachedPage
from fetchsan.kernel.mmu.operate import PAGE_SIZE, operate_range
from fetchsan.kernel.mmu.operations import DirtyCleaner
from fetchsan.kernel.mmu.providers import COPY_ON_WRITE, PageProvider
from fetchsan.kernel.mmu.reverse_map import Leaf
from fetchsan.kernel.mmu.vma import FileVma, Vma
from fetchsan.kernel.mmu.write_back import WriteBackFailure, write_pages
from fetchsan.machine.hardware import Origin
from fetchsan.machine.memory import OutOfMemoryError

if TYPE_CHECKING:
    from fetchsan.kernel.mmu.address_space import AddressSpace

__all__ = ["FILE_READ", "CachedFilePages", "FilePages", "ReadFilePages"]

FILE_READ = Origin(pc=None, agent="file read")


class FilePages(PageProvider):
    """The pages of a `FileVma`."""

    def sync(self, space: AddressSpace, vma: FileVma, start: int, end: int) -> Sequence[WriteBackFailure]:
        """What was stored in [start, end) of a shared `vma` goes to its file (`file_vma::sync`). What failed stays dirty."""
        raise NotImplementedError

    def unmapping(self, space: AddressSpace, vma: FileVma) -> None:
        """All of a shared `vma` is about to be unmapped: its stores go to the file."""
        raise NotImplementedError


class CachedFilePages(FilePages):
    """Pages of the page cache: shared ones themselves, private ones until they are written (`map_file_page_mmap`)."""

    tracks_leaves: ClassVar[bool] = True

    def map(self, space: AddressSpace, vma: Vma, virtual: int, old: int, write: bool) -> tuple[int, bool]:
        assert isinstance(vma, FileVma)
        frames, cache = space.frames, space.page_cache
        file = cache.file(vma.inode)
        index = vma.file_offset(virtual) // PAGE_SIZE
        if write and vma.shared:
            page = cache.writable(file, index, space.pe)
            physical, cow = frames.retain(page.physical), False
        elif write and old:
            physical, cow = self._copy(space, old & space.tables.format.address_mask), False
        else:
            found = cache.readable(file, index, space.pe)
            if found is None:
                physical, cow = (frames.allocate_zeroed(space.pe), False) if write else (frames.retain_zero(space.pe), True)
            elif write:
                physical, cow = self._copy(space, found.physical), False
            else:
                # The first store to a page of the read cache must be seen, so that it goes to the write cache.
                physical, cow = frames.retain(found.physical), not (vma.shared and found.written)
        file.leaves.add(index, Leaf(space, virtual))
        return physical, cow

    def map_many(self, space: AddressSpace, vma: Vma, virtual: int, count: int, write: bool) -> tuple[list[int], bool] | None:
        assert isinstance(vma, FileVma)
        file = space.page_cache.file(vma.inode)
        first = vma.file_offset(virtual) // PAGE_SIZE
        if space.page_cache.policy.zero_page_holes or (vma.shared and not write and file.has_written(first, first + count)):
            return None  # they may differ
        held: list[int] = []
        try:
            for page in self._pages(space, vma, file, first, count, write):
                copied = write and not vma.shared
                held.append(self._copy(space, page.physical) if copied else space.frames.retain(page.physical))
        except (LinuxError, OutOfMemoryError):
            space.frames.release_many(held)
            raise
        for step in range(count):
            file.leaves.add(first + step, Leaf(space, virtual + step * PAGE_SIZE))
        return held, not write

    def unmap(self, space: AddressSpace, vma: Vma, virtual: int, entry: int) -> bool:
        assert isinstance(vma, FileVma)
        file = space.page_cache.file(vma.inode)
        file.leaves.discard(vma.file_offset(virtual) // PAGE_SIZE, Leaf(space, virtual))
        return True

    def moved(self, space: AddressSpace, vma: Vma, virtual: int, to: int, entry: int) -> None:
        assert isinstance(vma, FileVma)
        file = space.page_cache.file(vma.inode)
        index = vma.file_offset(virtual) // PAGE_SIZE
        file.leaves.discard(index, Leaf(space, virtual))
        file.leaves.add(index, Leaf(space, to))

    def sync(self, space: AddressSpace, vma: FileVma, start: int, end: int) -> Sequence[WriteBackFailure]:
        return space.page_cache.write_back(vma.inode, vma.file_offset(start) // PAGE_SIZE, vma.file_offset(end) // PAGE_SIZE)

    def unmapping(self, space: AddressSpace, vma: FileVma) -> None:
        self.sync(space, vma, vma.start, vma.end)  # what fails stays dirty, until the file's last mapping goes

    @staticmethod
    def _pages(
        space: AddressSpace, vma: FileVma, file: CachedFile, first: int, count: int, write: bool
    ) -> Iterator[CachedPage]:
        """Pages of a file without holes. Whoever is given one holds it before asking for the next."""
        for page in space.page_cache.readable_run(file, first, count, space.pe):
            assert page is not None
            yield space.page_cache.writable(file, page.index, space.pe) if write and vma.shared else page

    def _copy(self, space: AddressSpace, source: int) -> int:
        """A private copy. Making room for it must not take the source away."""
        frames = space.frames
        frames.retain(source)
        try:
            if frames.is_zero(source):
                return frames.allocate_zeroed(space.pe)
            return frames.allocate_copy(space.pe, source, COPY_ON_WRITE)
        finally:
            frames.release(source)


class ReadFilePages(FilePages):
    """OSv's `map_file_page_read`: every VMA reads the file into frames of its own, shared mappings too.

    Stores reach the file, not other mappings, when the dirty leaves are looked for: at msync and munmap.
    """

    def map(self, space: AddressSpace, vma: Vma, virtual: int, old: int, write: bool) -> tuple[int, bool]:
        assert isinstance(vma, FileVma)
        frames = space.frames
        if old:  # a clean leaf of a shared mapping, which becomes dirty
            return frames.retain(old & space.tables.format.address_mask), False
        data = vma.inode.read_at(vma.file_offset(virtual), PAGE_SIZE)
        physical = frames.allocate()
        frames.hardware.store(space.pe, physical, data.ljust(PAGE_SIZE, b"\0"), FILE_READ)
        return physical, False

    def sync(self, space: AddressSpace, vma: FileVma, start: int, end: int) -> Sequence[WriteBackFailure]:
        cleaner = DirtyCleaner(space)
        operate_range(cleaner, start, end - start)
        failures = []
        for virtual, physical in cleaner.found:
            failure = write_pages(vma.inode, vma.file_offset(virtual), [space.frames.memory.read(physical, PAGE_SIZE)])
            if failure is not None:
                failures.append(failure)
                leaf = space.tables.format.make_leaf(physical, vma.perm, user=space.user, cow=False, dirty=True)
                space.tables.write_leaf(space.pe, space.tables.entry_at(virtual), virtual, leaf)
        return failures

    def unmapping(self, space: AddressSpace, vma: FileVma) -> None:
        space.page_cache.failures += self.sync(space, vma, vma.start, vma.end)
