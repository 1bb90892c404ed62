# SPDX-License-Identifier: GPL-2.0-or-later
"""Owns the page operations: populate, unpopulate, protection, the dirty cleaner ... (names of OSv's core/mmu.cc)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

from fetchsan.arch.page_table import EXECUTE
from fetchsan.kernel.mmu.operate import PAGE_SIZE, PageOperation
from fetchsan.kernel.mmu.page_tables import HUGE_PAGE_SIZE
from fetchsan.kernel.mmu.sync import before_executable_ptes
from fetchsan.kernel.mmu.tlb_gather import TlbGather
from fetchsan.kernel.mmu.vma import PERM_EXEC, Vma

if TYPE_CHECKING:
    from fetchsan.kernel.mmu.address_space import AddressSpace

__all__ = ["DirtyCleaner", "Populate", "PopulateSmall", "Protection", "SplitHugePages", "Unhook", "Unpopulate"]


class Populate(PageOperation):
    """Give the range its pages; `write` also breaks copy-on-write. Results in the bytes populated."""

    allocate: ClassVar[bool] = True
    skip_empty: ClassVar[bool] = False

    def __init__(self, space: AddressSpace, vma: Vma, write: bool) -> None:
        super().__init__(space)
        self._vma = vma
        self._write = write
        self._populated = 0
        self._dirty = vma.map_dirty or write

    def large_page(self, at: int, entry: int, virtual: int) -> bool:
        space, vma = self.space, self._vma
        if entry:
            return not self._lacks(entry)
        physical = vma.page_ops.map_huge(space, vma, virtual)
        if physical is None:
            return False  # no block is free: 4 KiB pages will do
        if vma.perm & PERM_EXEC:
            before_executable_ptes(space, range(physical, physical + HUGE_PAGE_SIZE, PAGE_SIZE))
        entries = self.tables.format
        leaf = entries.make_leaf(physical, vma.perm, user=space.user, cow=False, dirty=self._dirty)
        self.tables.write_large_leaf(space.pe, at, virtual, entries.make_large(leaf))
        self._populated += HUGE_PAGE_SIZE
        return True

    def sub_page(self, at: int, entry: int, start: int, end: int) -> bool:
        return not self._lacks(entry)

    def pages(self, table: int, first: int, last: int, virtual: int) -> None:
        old = self.tables.words[table + first : table + last].tolist()
        if len(old) > 1 and not any(old):
            run = self._vma.page_ops.map_many(self.space, self._vma, virtual, len(old), self._write)
            if run is not None:
                self._run(table + first, virtual, old, *run)
                return
        for at in range(table + first, table + last):
            # Not from `old`: making room for one page may have taken another away.
            entry = self.tables.words[at]
            if not entry or self._lacks(entry):
                self._page(at, virtual, entry)
            virtual += PAGE_SIZE

    def account_results(self) -> int:
        return self._populated

    def _lacks(self, entry: int) -> bool:
        return self._write and not self.tables.format.is_writable(entry)

    def _run(self, at: int, virtual: int, old: Sequence[int], frames: Sequence[int], cow: bool) -> None:
        """New frames for a run of empty entries, all with the same attributes."""
        space, vma = self.space, self._vma
        if vma.perm & PERM_EXEC:
            before_executable_ptes(space, frames)
        attributes = self.tables.format.make_leaf(0, vma.perm, user=space.user, cow=cow, dirty=self._dirty)
        self.tables.write_leaves(space.pe, at, virtual, old, [frame | attributes for frame in frames])
        self._populated += len(frames) * PAGE_SIZE

    def _page(self, at: int, virtual: int, old: int) -> None:
        space, vma = self.space, self._vma
        physical, cow = vma.page_ops.map(space, vma, virtual, old, self._write)
        if vma.perm & PERM_EXEC:
            before_executable_ptes(space, (physical,))
        entries = self.tables.format
        leaf = entries.make_leaf(physical, vma.perm, user=space.user, cow=cow, dirty=self._dirty)
        old = self.tables.words[at]  # again: the provider may have taken it out
        self.tables.write_leaf(space.pe, at, virtual, leaf)
        if old:
            space.frames.release(old & entries.address_mask)
        self._populated += PAGE_SIZE


class PopulateSmall(Populate):
    """The same with 4 KiB pages only (`mmap_small`)."""

    page_sizes: ClassVar[int] = 1


class Unhook(PageOperation):
    """Take the 4 KiB leaves of a range out and keep them, with their references, in `taken`."""

    page_sizes: ClassVar[int] = 1
    frees_tables: ClassVar[bool] = True

    def __init__(self, space: AddressSpace) -> None:
        super().__init__(space)
        self.taken: list[tuple[int, int]] = []  # (virtual, entry)

    def pages(self, table: int, first: int, last: int, virtual: int) -> None:
        old = self.tables.words[table + first : table + last].tolist()
        if any(old):
            self.tables.write_leaves(self.space.pe, table + first, virtual, old, [0] * len(old))
            self.taken += [(virtual + index * PAGE_SIZE, entry) for index, entry in enumerate(old) if entry]
            self.tlb_flush_needed = True


class Unpopulate(PageOperation):
    """Take the leaves of `vma` out and give up their frames, each after the TLB flush that follows. Results in bytes."""

    frees_tables: ClassVar[bool] = True

    def __init__(self, space: AddressSpace, vma: Vma) -> None:
        super().__init__(space)
        self._vma = vma
        self._gather = TlbGather(space)
        self._removed = 0

    def large_page(self, at: int, entry: int, virtual: int) -> bool:
        self.tables.write_large_leaf(self.space.pe, at, virtual, 0)
        self._gather.push_huge(entry & self.tables.format.address_mask)
        self._removed += HUGE_PAGE_SIZE
        return True

    def pages(self, table: int, first: int, last: int, virtual: int) -> None:
        old = self.tables.words[table + first : table + last].tolist()
        gone = len(old) - old.count(0)
        if not gone:
            return
        self.tables.write_leaves(self.space.pe, table + first, virtual, old, [0] * len(old))
        self._removed += gone * PAGE_SIZE
        space, vma, page_ops = self.space, self._vma, self._vma.page_ops
        if page_ops.tracks_leaves:
            # A page that stays with its provider needs the flush as much as one that is freed; OSv's `unpopulate`
            # forgets it when such a page is the last of the range.
            self._gather.flush_owed = True
            pages = enumerate(old)
            old = [e for n, e in pages if e and page_ops.unmap(space, vma, virtual + n * PAGE_SIZE, e)]
        mask = self.tables.format.address_mask
        self._gather.push([entry & mask for entry in old if entry])

    def finalize(self) -> None:
        self._gather.flush()

    def account_results(self) -> int:
        return self._removed


class Protection(PageOperation):
    """Edit the rights of resident pages in place; it does not run populate, hence synchronises nothing under `osv`."""

    def __init__(self, space: AddressSpace, perm: int) -> None:
        super().__init__(space)
        self._perm = perm
        self._changes: dict[int, int] = {0: 0}  # attributes before -> after: there are few combinations

    def large_page(self, at: int, entry: int, virtual: int) -> bool:
        changed = self._change(entry)
        if changed != entry:
            physical = entry & self.tables.format.address_mask
            self._before(entry, changed, range(physical, physical + HUGE_PAGE_SIZE, PAGE_SIZE))
            self.tables.write_large_leaf(self.space.pe, at, virtual, changed)
        return True

    def sub_page(self, at: int, entry: int, start: int, end: int) -> bool:
        return self._change(entry) == entry

    def pages(self, table: int, first: int, last: int, virtual: int) -> None:
        old = self.tables.words[table + first : table + last].tolist()
        new = [self._change(entry) for entry in old]
        if new == old:
            return
        mask = self.tables.format.address_mask
        for before in {entry & ~mask for entry in old}:
            after = self._changes[before]
            self._before(before, after, [entry & mask for entry in old if entry and entry & ~mask == before])
        if len(new) == 1:
            self.tables.write_leaf(self.space.pe, table + first, virtual, new[0])
        else:
            self.tables.write_leaves(self.space.pe, table + first, virtual, old, new)

    def _change(self, entry: int) -> int:
        """`entry` with the new rights."""
        address = entry & self.tables.format.address_mask
        attributes = entry ^ address
        changed = self._changes.get(attributes)
        if changed is None:
            changed = self._changes[attributes] = self.tables.format.change_perm(
                attributes, self._perm, user=self.space.user
            )
        return address | changed

    def _before(self, before: int, after: int, frames: Sequence[int]) -> None:
        """What comes before leaves of one kind are changed."""
        old, new = self.tables.perm(before), self.tables.perm(after)
        if new & ~old & EXECUTE:
            before_executable_ptes(self.space, frames)
        # OSv's change_perm: only a reduction needs the flush.
        self.tlb_flush_needed |= bool(old & ~new)


class DirtyCleaner(PageOperation):
    """Make dirty leaves clean, so that the next store to each faults and is seen; `found` are (virtual, physical)."""

    def __init__(self, space: AddressSpace) -> None:
        super().__init__(space)
        self.found: list[tuple[int, int]] = []

    def pages(self, table: int, first: int, last: int, virtual: int) -> None:
        entries = self.tables.format
        for at, entry in enumerate(self.tables.words[table + first : table + last].tolist(), table + first):
            if entry & entries.dirty_mask:
                # A leaf that is no longer dirty is not writable either.
                perm = self.tables.perm(entry)
                cow = bool(entry & entries.cow_mask)
                physical = entry & entries.address_mask
                clean = entries.make_leaf(physical, perm, user=self.space.user, cow=cow, dirty=False)
                self.tables.write_leaf(self.space.pe, at, virtual, clean)
                self.found.append((virtual, physical))
                self.tlb_flush_needed = True
            virtual += PAGE_SIZE


class SplitHugePages(PageOperation):
    """Make 4 KiB leaves of all 2 MiB ones (MADV_NOHUGEPAGE); the walk does it."""

    page_sizes: ClassVar[int] = 1

    def pages(self, table: int, first: int, last: int, virtual: int) -> None:
        """Small already."""
