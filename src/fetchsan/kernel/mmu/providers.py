# SPDX-License-Identifier: GPL-2.0-or-later
"""Owns where the pages of a VMA come from (OSv's `page_allocator` and its classes).

A provider hands out one reference with each page. Unmapping needs no provider: every leaf gives its reference back.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from fetchsan.kernel.mmu.vma import Vma
from fetchsan.machine.hardware import Origin

if TYPE_CHECKING:
    from fetchsan.kernel.mmu.address_space import AddressSpace

__all__ = ["COPY_ON_WRITE", "AnonymousPages", "PageProvider", "ZeroPages"]

COPY_ON_WRITE = Origin(pc=None, agent="copy-on-write")


class PageProvider:
    """The pages of one kind of VMA; this base has none (the markers of a `VmaList`)."""

    def map(self, space: AddressSpace, vma: Vma, virtual: int, old: int, write: bool) -> tuple[int, bool]:
        """A frame for `virtual`, and whether it must be copied before it is written.

        `old` is the leaf that is replaced (0 if none): with `write`, one that does not allow the store. Its reference goes
        without `unmap`.
        """
        raise NotImplementedError(f"no pages at {virtual:#x}")

    tracks_leaves: ClassVar[bool] = False
    """Whether the provider wants to know of every leaf that goes or moves."""

    def map_many(self, space: AddressSpace, vma: Vma, virtual: int, count: int, write: bool) -> tuple[list[int], bool] | None:
        """Frames for `count` empty leaves from `virtual` on, all or none to be copied; None: ask for one at a time."""
        return None

    def map_huge(self, space: AddressSpace, vma: Vma, virtual: int) -> int | None:
        """A block for the 2 MiB at `virtual`; None: 4 KiB pages will do."""
        return None

    def unmap(self, space: AddressSpace, vma: Vma, virtual: int, entry: int) -> bool:
        """A leaf is gone from the tables. True: its reference goes too; False: the provider has taken it."""
        return True

    def moved(self, space: AddressSpace, vma: Vma, virtual: int, to: int, entry: int) -> None:
        """A leaf was moved from `virtual` to `to`."""


class AnonymousPages(PageProvider):
    """A fresh frame of zeros at the first touch, read or write (OSv's `initialized_anonymous_page_provider`)."""

    def map(self, space: AddressSpace, vma: Vma, virtual: int, old: int, write: bool) -> tuple[int, bool]:
        return space.frames.allocate_zeroed(space.pe), False

    def map_many(self, space: AddressSpace, vma: Vma, virtual: int, count: int, write: bool) -> tuple[list[int], bool] | None:
        return space.frames.allocate_zeroed_many(space.pe, count), False

    def map_huge(self, space: AddressSpace, vma: Vma, virtual: int) -> int | None:
        return space.frames.allocate_huge(space.pe)


class ZeroPages(AnonymousPages):
    """Linux's way: reads share one frame of zeros, the first write gets a frame of its own."""

    def map(self, space: AddressSpace, vma: Vma, virtual: int, old: int, write: bool) -> tuple[int, bool]:
        frames = space.frames
        if not write:
            return frames.retain_zero(space.pe), True
        source = space.tables.format.address_mask & old
        if not old or frames.is_zero(source):
            return frames.allocate_zeroed(space.pe), False
        return frames.allocate_copy(space.pe, source, COPY_ON_WRITE), False

    def map_many(self, space: AddressSpace, vma: Vma, virtual: int, count: int, write: bool) -> tuple[list[int], bool] | None:
        return super().map_many(space, vma, virtual, count, write) if write else None
