# SPDX-License-Identifier: GPL-2.0-or-later
"""Owns the AArch64 descriptor format: 4 KiB granule, 48 bits, four levels (Arm ARM D8.3, VMSAv8-64)."""

from __future__ import annotations

from fetchsan.arch.page_table import Field, PageTableFormat

__all__ = ["AARCH64_PAGE_TABLE", "ACCESSED", "PAGE_OR_TABLE", "VALID"]

VALID = 1 << 0
PAGE_OR_TABLE = 1 << 1  # with VALID: a table above the last level, a page at the last; without: a block
ACCESSED = 1 << 10
_NORMAL_WRITE_BACK = 4 << 2  # AttrIndx 4 in OSv's MAIR 0xff440c0400
_INNER_SHAREABLE = 3 << 8

AARCH64_PAGE_TABLE = PageTableFormat(
    name="aarch64",
    fields={
        "valid": Field(0),
        "large": Field(1, inverted=True),  # a table or a page has the bit set, a block has not
        "attribute_index": Field(2, 3),
        "user": Field(6),  # AP[1]
        "writable": Field(7, inverted=True),  # AP[2]
        "shareability": Field(8, 2),
        "accessed": Field(10),
        "address": Field(12, 36),
        "executable": Field(53, inverted=True),  # PXN
        "user_executable": Field(54, inverted=True),  # UXN
        "dirty": Field(55),  # bits 58:55 are software's
        "cow": Field(56),
        # A resident page without rights is not valid: EL1 may read every valid page, so OSv's own (valid, no rights)
        # does not trap reads. Linux does the same with its PTE_PROT_NONE.
        "no_access": Field(57),
    },
    leaf=VALID | PAGE_OR_TABLE | _NORMAL_WRITE_BACK | _INNER_SHAREABLE | ACCESSED,
    table=VALID | PAGE_OR_TABLE,
    large=False,
    no_access=1 << 57 | PAGE_OR_TABLE | _NORMAL_WRITE_BACK | _INNER_SHAREABLE | ACCESSED,
)
