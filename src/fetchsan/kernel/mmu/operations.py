# SPDX-License-Identifier: GPL-2.0-or-later
"""Owns the page operations: populate, unpopulate, protection, the dirty cleaner (names of OSv's core/mmu.cc)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, ClassVar

from fetchsan.kernel.mmu.operate import PAGE_SIZE, PageOperation
from fetchsan.kernel.mmu.sync import before_executable_pte
from fetchsan.kernel.mmu.vma import PERM_EXEC, Vma

if TYPE_CHECKING:
    from fetchsan.kernel.mmu.address_space import AddressSpace

__all__ = ["CollectLeaves", "DirtyCleaner", "PopulateSmall", "Protection", "Unhook", "Unpopulate"]


class PopulateSmall(PageOperation):
    """Give the range its pages, 4 KiB each; `write` also breaks copy-on-write. Results in the bytes populated."""

    allocate: ClassVar[bool] = True

    def __init__(self, space: AddressSpace, vma: Vma, write: bool) -> None:
        super().__init__(space)
        self._vma = vma
        self._write = write
        self._populated = 0

    def pages(self, table: int, first: int, last: int, virtual: int) -> None:
        is_writable = self.tables.format.is_writable
        for at, old in enumerate(self.tables.words[table + first : table + last].tolist(), table + first):
            if not old or (self._write and not is_writable(old)):
                self._page(at, virtual, old)
            virtual += PAGE_SIZE

    def _page(self, at: int, virtual: int, old: int) -> None:
        space = self.space
        vma = self._vma
        physical, cow = vma.page_ops.map(space, vma, virtual, old, self._write)
        dirty = vma.map_dirty or self._write
        if vma.perm & PERM_EXEC:
            before_executable_pte(space, physical, virtual)
        entries = self.tables.format
        leaf = entries.make_leaf(physical, vma.perm, user=space.user, cow=cow, dirty=dirty)
        self.tables.write_leaf(space.pe, at, virtual, leaf)
        if old:
            space.frames.release(old & entries.address_mask)
        self._populated += PAGE_SIZE

    def account_results(self) -> int:
        return self._populated


class _PresentLeaves(PageOperation):
    """An operation on the leaves that are there."""

    def pages(self, table: int, first: int, last: int, virtual: int) -> None:
        for at, entry in enumerate(self.tables.words[table + first : table + last].tolist(), table + first):
            if entry:
                self.page(at, entry, virtual)
            virtual += PAGE_SIZE

    def page(self, at: int, entry: int, virtual: int) -> None:
        """One leaf that is not empty."""
        raise NotImplementedError


class Unhook(_PresentLeaves):
    """Take the leaves out and keep them, with their references, in `taken`."""

    frees_tables: ClassVar[bool] = True

    def __init__(self, space: AddressSpace) -> None:
        super().__init__(space)
        self.taken: list[tuple[int, int]] = []  # (virtual, entry)

    def page(self, at: int, entry: int, virtual: int) -> None:
        self.tables.write_leaf(self.space.pe, at, virtual, 0)
        self.taken.append((virtual, entry))
        self.tlb_flush_needed = True


class Unpopulate(Unhook):
    """Take the leaves out and, once the TLB is flushed, give up their frames (OSv's `tlb_gather`)."""

    def finalize(self) -> None:
        mask = self.tables.format.address_mask
        release = self.space.frames.release
        for _, entry in self.taken:
            release(entry & mask)

    def account_results(self) -> int:
        return len(self.taken) * PAGE_SIZE


class Protection(_PresentLeaves):
    """Edit the rights of resident pages in place; it does not run populate, hence synchronises nothing under `osv`."""

    def __init__(self, space: AddressSpace, perm: int) -> None:
        super().__init__(space)
        self._perm = perm

    def page(self, at: int, entry: int, virtual: int) -> None:
        entries = self.tables.format
        changed = entries.change_perm(entry, self._perm, user=self.space.user)
        if changed == entry:
            return
        old = self.tables.perm(entry)
        new = self.tables.perm(changed)
        if new & ~old & PERM_EXEC:
            before_executable_pte(self.space, entry & entries.address_mask, virtual)
        self.tables.write_leaf(self.space.pe, at, virtual, changed)
        # OSv's change_perm: only a reduction needs the flush.
        self.tlb_flush_needed |= bool(old & ~new)


class DirtyCleaner(_PresentLeaves):
    """Make dirty leaves of a shared file clean, so that the next store to each faults and is seen."""

    def page(self, at: int, entry: int, virtual: int) -> None:
        entries = self.tables.format
        if not entry & entries.dirty_mask:
            return
        # A leaf that is no longer dirty is not writable either.
        perm = self.tables.perm(entry)
        cow = bool(entry & entries.cow_mask)
        physical = entry & entries.address_mask
        clean = entries.make_leaf(physical, perm, user=self.space.user, cow=cow, dirty=False)
        self.tables.write_leaf(self.space.pe, at, virtual, clean)
        self.tlb_flush_needed = True


class CollectLeaves(_PresentLeaves):
    """List the leaves of a range as (virtual, entry) in `found`."""

    def __init__(self, space: AddressSpace) -> None:
        super().__init__(space)
        self.found: list[tuple[int, int]] = []

    def page(self, at: int, entry: int, virtual: int) -> None:
        self.found.append((virtual, entry))

    def runs(self) -> Iterator[tuple[int, int, int]]:
        """(physical, virtual, size) of physically and virtually contiguous stretches."""
        mask = self.tables.format.address_mask
        run: tuple[int, int, int] | None = None
        for virtual, entry in self.found:
            physical = entry & mask
            if run is not None and run[0] + run[2] == physical and run[1] + run[2] == virtual:
                run = (run[0], run[1], run[2] + PAGE_SIZE)
                continue
            if run is not None:
                yield run
            run = (physical, virtual, PAGE_SIZE)
        if run is not None:
            yield run
