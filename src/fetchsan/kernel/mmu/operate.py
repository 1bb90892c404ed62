# SPDX-License-Identifier: GPL-2.0-or-later
"""Owns the walk that applies a page operation to a range (OSv's `operate_range`, `map_range` and `map_level`).

An operation is called once for each level-0 table that the range meets, with the run of entries in it, rather than
once an entry: work on tables is done in bulk. Large pages, of level 1, come one by one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from fetchsan.kernel.mmu.page_tables import HUGE_PAGE_SIZE

if TYPE_CHECKING:
    from fetchsan.kernel.mmu.address_space import AddressSpace
    from fetchsan.kernel.mmu.page_tables import PageTables

__all__ = ["PAGE_SIZE", "PageOperation", "operate_range", "page_down", "page_up"]

PAGE_SIZE = 4096
_ROOT_LEVEL = 3
_LARGE_LEVEL = 1


def page_down(value: int) -> int:
    """Round down to a page."""
    return value & -PAGE_SIZE


def page_up(value: int) -> int:
    """Round up to a page."""
    return (value + PAGE_SIZE - 1) & -PAGE_SIZE


class PageOperation:
    """What is done to the leaves of a range. The class variables are OSv's template options.

    Its `Descend` (visit the leaves below an entry that is a table) is the only way here: no operation wants less.
    """

    allocate: ClassVar[bool] = False  # make missing tables
    skip_empty: ClassVar[bool] = True  # do not call `large_page` for an empty entry
    once: ClassVar[bool] = False  # stop after the first leaf
    split: ClassVar[bool] = True  # make 4 KiB leaves of a large page that the range covers in part
    page_sizes: ClassVar[int] = 2  # OSv's nr_page_sizes: 1 is 4 KiB leaves only
    frees_tables: ClassVar[bool] = False  # free tables that it leaves empty

    def __init__(self, space: AddressSpace) -> None:
        self.space = space
        self.tables = space.tables
        self.tlb_flush_needed = False
        self.emptied_tables: list[int] = []  # their frames, freed after the TLB flush
        self.done = False  # a `once` operation has had its leaf

    def pages(self, table: int, first: int, last: int, virtual: int) -> None:
        """Entries [first, last) of a level-0 table; entry `first` translates `virtual`."""
        raise NotImplementedError

    def large_page(self, at: int, entry: int, virtual: int) -> bool:
        """A level-1 entry that the range covers and that is a leaf or empty. False: do it with 4 KiB pages instead."""
        raise NotImplementedError

    def sub_page(self, at: int, entry: int, start: int, end: int) -> bool:
        """A part of a large page. True: nothing needs to be split for it. Operations that do not split must do it."""
        return False

    def finalize(self) -> None:
        """Called after the TLB flush."""

    def account_results(self) -> int:
        """What `operate_range` returns."""
        return 0


def operate_range(op: PageOperation, start: int, size: int) -> int:
    """Apply `op` to the pages of [start, start+size); flush the TLB if it asks; finalize; return its result."""
    end = page_up(start + max(size, 1))
    start = page_down(start)
    tables = op.tables
    table = tables.cached_leaf_table(start)
    if table is not None and end - start == PAGE_SIZE and not op.frees_tables:
        index = (start >> 12) & 511  # one page, the common case: no need to descend from the root
        op.pages(table, index, index + 1, start)
    else:
        _map_level(tables, op, tables.root_table, _ROOT_LEVEL, start, end)
    if op.tlb_flush_needed:
        op.space.flush_tlb()
    op.finalize()
    tables.frames.release_many(op.emptied_tables)
    return op.account_results()


def _map_level(tables: PageTables, op: PageOperation, table: int, level: int, start: int, end: int) -> bool:
    """[start, end) lies within what `table` covers. True: a `once` operation has had its leaf."""
    shift = 12 + 9 * level
    first = (start >> shift) & 511
    last = ((end - 1) >> shift) & 511
    if level == 0:
        op.pages(table, first, last + 1, start)
        return op.once and op.done
    covered = start & -(512 << shift)
    # A snapshot of the descriptors: a range of terabytes costs what is populated in it, not its length.
    for index, descriptor in enumerate(tables.words[table + first : table + last + 1].tolist(), first):
        if not descriptor and not op.allocate:
            continue
        low = max(start, covered + (index << shift))
        high = min(end, covered + ((index + 1) << shift))
        at = table + index
        child = _child(tables, op, at, descriptor, level, low, high)
        if child is None:
            if op.once and op.done:
                return True
            continue
        if _map_level(tables, op, child, level - 1, low, high):
            return True
        if op.frees_tables and (emptied := tables.unhook_table_if_empty(at, level - 1, low)) is not None:
            op.emptied_tables.append(emptied)
    return False


def _child(
    tables: PageTables, op: PageOperation, at: int, descriptor: int, level: int, low: int, high: int
) -> int | None:
    """The table to go on in, below an entry of `level`; None when the entry is done with."""
    if level == _LARGE_LEVEL:
        large = tables.format.is_large(descriptor)
        if large or not (descriptor or op.skip_empty):
            whole = high - low == HUGE_PAGE_SIZE
            if whole and op.page_sizes > 1 and op.large_page(at, descriptor, low):
                return None
            if large:
                if op.sub_page(at, descriptor, low, high) or not op.split:
                    return None
                return tables.split_large_page(at, low)
    return tables.table(descriptor) if descriptor else tables.add_table(at, level - 1, low)
