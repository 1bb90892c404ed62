# SPDX-License-Identifier: GPL-2.0-or-later
"""Owns write-back: what was stored through shared mappings goes to the file, never past its end.

PTEs are made clean first and the TLB is flushed once, so that a store that comes later faults and makes its page dirty
again. What cannot be written stays dirty: it is tried again, and told when it is lost.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fetchsan.kernel.errors import LinuxError
from fetchsan.kernel.mmu.cached_page import CachedFile, CachedPage
from fetchsan.kernel.mmu.frames import Frames
from fetchsan.kernel.mmu.mappable import MappableInode
from fetchsan.kernel.mmu.operate import PAGE_SIZE

if TYPE_CHECKING:
    from fetchsan.kernel.mmu.address_space import AddressSpace

__all__ = ["WriteBackFailure", "lost_messages", "write_back", "write_pages"]

_RUN = 256  # pages that go to the file in one call


@dataclass(frozen=True, slots=True)
class WriteBackFailure:
    """`size` bytes that were stored through a mapping and did not reach their file."""

    path: str
    offset: int
    size: int
    errno: int


def lost_messages(failures: Iterable[WriteBackFailure]) -> Iterator[str]:
    """One line for each file and reason."""
    lost: dict[tuple[str, int], int] = {}
    for failure in failures:
        key = failure.path, failure.errno
        lost[key] = lost.get(key, 0) + failure.size
    for (path, number), size in lost.items():
        yield f"{path}: {size} bytes stored through a mapping were not written back: {os.strerror(number).lower()}"


def write_back(frames: Frames, file: CachedFile, indices: Iterable[int]) -> list[WriteBackFailure]:
    """Write those of the pages that are dirty; returns what failed and is dirty still."""
    if not file.evictable:
        return []  # there is nothing behind the pages
    dirty = sorted(index for index in indices if index in file.dirty)
    _clean_leaves(file.pages[index] for index in dirty)
    failures: list[WriteBackFailure] = []
    for run in _runs(dirty):
        pages = [frames.memory.read(file.pages[index].physical, PAGE_SIZE) for index in run]
        failure = write_pages(file.inode, run[0] * PAGE_SIZE, pages)
        if failure is not None:
            failures.append(failure)
        else:
            file.dirty.difference_update(run)
    return failures


def write_pages(inode: MappableInode, offset: int, pages: list[bytes]) -> WriteBackFailure | None:
    """Write consecutive pages from `offset` of the file, as far as the file goes."""
    try:
        data = b"".join(pages)[: max(inode.size - offset, 0)]
        done = 0
        while done < len(data):
            written = inode.write_at(offset + done, data[done:])
            if not written:
                raise LinuxError(errno.EIO)
            done += written
    except LinuxError as error:
        return WriteBackFailure(inode.path, offset, len(pages) * PAGE_SIZE, error.errno)
    return None


def _clean_leaves(pages: Iterable[CachedPage]) -> None:
    """Make the next store to each page fault."""
    spaces: dict[AddressSpace, None] = {}
    for page in pages:
        for leaf in page.leaves():
            tables = leaf.space.tables
            entries = tables.format
            entry = leaf.entry
            if entry & entries.cow_mask or not entry & entries.dirty_mask:
                continue
            perm = tables.perm(entry)  # a leaf that is no longer dirty is not writable either
            clean = entries.make_leaf(page.physical, perm, user=leaf.space.user, cow=False, dirty=False)
            tables.write_leaf(leaf.space.pe, tables.entry_at(leaf.virtual), leaf.virtual, clean)
            spaces[leaf.space] = None
    for space in spaces:
        space.flush_tlb()


def _runs(indices: list[int]) -> Iterator[list[int]]:
    """Consecutive stretches of a sorted list."""
    run: list[int] = []
    for index in indices:
        if run and (index != run[-1] + 1 or len(run) == _RUN):
            yield run
            run = []
        run.append(index)
    if run:
        yield run
