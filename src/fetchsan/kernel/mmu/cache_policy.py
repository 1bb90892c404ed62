# SPDX-License-Identifier: GPL-2.0-or-later
"""Owns in what the page caches of the two kernels differ: limits, holes, whose frames the write cache has."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

__all__ = ["LINUX_CACHE", "OSV_CACHE", "CachePolicy"]


@dataclass(frozen=True, slots=True)
class CachePolicy:
    """Both limits are in pages, asked with the number of frames of RAM; the third is in files."""

    name: str
    read_limit: Callable[[int], int]
    write_limit: Callable[[int], int]
    idle_files: int
    """How many files may keep their pages after their last munmap."""
    zero_page_holes: bool
    """Reading a hole maps the page of zeros, and storing to it allocates; else a hole has a frame like any page."""
    own_write_frames: bool
    """A page's first store through a shared mapping moves it to a frame of the write cache; else it keeps its frame."""


OSV_CACHE = CachePolicy(
    name="osv",
    # What the read cache shows lives in the file system's own cache; only memory pressure takes it away.
    read_limit=lambda frames: frames,
    write_limit=lambda frames: max(frames // 100, 100),  # `lru_max_length`
    idle_files=0,
    zero_page_holes=True,
    own_write_frames=True,
)

LINUX_CACHE = CachePolicy(
    name="linux",
    read_limit=lambda frames: max(frames // 2, 100),
    write_limit=lambda frames: max(frames // 5, 100),  # vm.dirty_ratio, 20 %
    # Each holds a descriptor or two of the host.
    idle_files=64,
    # ext4 and tmpfs fill a hole at the first touch, so a page that is executed before it is stored to keeps its frame.
    zero_page_holes=False,
    own_write_frames=False,
)
