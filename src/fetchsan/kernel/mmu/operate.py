# SPDX-License-Identifier: GPL-2.0-or-later
"""Owns the walk that applies a page operation to a range (OSv's `operate_range`, `map_range` and `map_level`).

An operation is called once for each level-0 table that the range meets, with the run of entries in it, rather than
once an entry: work on tables can then be done in bulk. All leaves are 4 KiB.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from fetchsan.kernel.mmu.address_space import AddressSpace
    from fetchsan.kernel.mmu.page_tables import PageTables

__all__ = ["PAGE_SIZE", "PageOperation", "operate_range", "page_down", "page_up"]

PAGE_SIZE = 4096
_ROOT_LEVEL = 3


def page_down(value: int) -> int:
    """Round down to a page."""
    return value & -PAGE_SIZE


def page_up(value: int) -> int:
    """Round up to a page."""
    return (value + PAGE_SIZE - 1) & -PAGE_SIZE


class PageOperation:
    """What is done to the leaves of a range. The class variables are OSv's template options."""

    allocate: ClassVar[bool] = False  # make missing tables
    frees_tables: ClassVar[bool] = False  # free tables that it leaves empty

    def __init__(self, space: AddressSpace) -> None:
        self.space = space
        self.tables = space.tables
        self.tlb_flush_needed = False

    def pages(self, table: int, first: int, last: int, virtual: int) -> None:
        """Entries [first, last) of a level-0 table; entry `first` translates `virtual`."""
        raise NotImplementedError

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
    return op.account_results()


def _map_level(tables: PageTables, op: PageOperation, table: int, level: int, start: int, end: int) -> None:
    """[start, end) lies within what `table` covers."""
    shift = 12 + 9 * level
    first = (start >> shift) & 511
    last = ((end - 1) >> shift) & 511
    if level == 0:
        op.pages(table, first, last + 1, start)
        return
    covered = start & -(512 << shift)
    # A snapshot of the descriptors: a range of terabytes costs what is populated in it, not its length.
    for index, descriptor in enumerate(tables.words[table + first : table + last + 1].tolist(), first):
        if not descriptor and not op.allocate:
            continue
        low = max(start, covered + (index << shift))
        high = min(end, covered + ((index + 1) << shift))
        child = tables.table(descriptor) if descriptor else tables.add_table(table + index, level - 1, low)
        _map_level(tables, op, child, level - 1, low, high)
        if op.frees_tables:
            tables.remove_table_if_empty(table + index, level - 1, low)
