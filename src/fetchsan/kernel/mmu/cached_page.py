# SPDX-License-Identifier: GPL-2.0-or-later
"""Owns what the page cache knows of one page and of one file."""

from __future__ import annotations

from dataclasses import dataclass, field

from fetchsan.kernel.mmu.frames import Frames
from fetchsan.kernel.mmu.mappable import MappableInode, SharedMemory
from fetchsan.kernel.mmu.reverse_map import Leaf, ReverseMap

__all__ = ["CachedFile", "CachedPage"]


@dataclass(slots=True, eq=False)
class CachedPage:
    """Page `index` of `file` in a frame. `written`: it is in the write cache, for it was stored to through a mapping."""

    file: CachedFile
    index: int
    physical: int
    written: bool = False

    def leaves(self) -> list[Leaf]:
        """The PTEs that map this very frame."""
        return self.file.leaves.showing(self.index, self.physical)

    def is_pinned(self, frames: Frames) -> bool:
        """Whether it must stay: mlock(2), or somebody holds it beside the cache and its PTEs (a copy or move is under way)."""
        leaves = self.leaves()
        return frames.references(self.physical) != 1 + len(leaves) or any(leaf.is_locked for leaf in leaves)


@dataclass(slots=True, eq=False)
class CachedFile:
    """A file with its pages in memory, and everything that maps it."""

    inode: MappableInode
    version: object | None
    """The inode's when its first page could have been read."""
    pages: dict[int, CachedPage] = field(default_factory=dict)
    dirty: set[int] = field(default_factory=set)
    """Pages with stores that may not be in the file."""
    leaves: ReverseMap = field(default_factory=ReverseMap)
    mappings: int = 0
    modified: bool = False
    """The program changed the file since: a later `version` says nothing about anybody else."""

    @property
    def evictable(self) -> bool:
        """Whether a page that was given up can be had again."""
        return not isinstance(self.inode, SharedMemory)

    def has_written(self, first: int, last: int) -> bool:
        """Whether some page of [first, last) is in the write cache."""
        return any(page.written for index in range(first, last) if (page := self.pages.get(index)) is not None)

    def is_unchanged(self) -> bool:
        """Whether the file still is what was read."""
        return not self.modified and self.version is not None and self.inode.version == self.version
