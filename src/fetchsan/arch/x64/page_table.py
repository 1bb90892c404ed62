# SPDX-License-Identifier: GPL-2.0-or-later
"""Owns the x86-64 entry format: four levels of 4 KiB tables (Intel SDM volume 3, 4.5)."""

from __future__ import annotations

from fetchsan.arch.page_table import Field, PageTableFormat

__all__ = ["X64_PAGE_TABLE"]

_PRESENT = 1 << 0
_WRITABLE = 1 << 1
_USER = 1 << 2  # OSv sets it everywhere: applications run in ring 0 and nothing checks it
_ACCESSED = 1 << 5

X64_PAGE_TABLE = PageTableFormat(
    name="x64",
    fields={
        "valid": Field(0),
        "writable": Field(1),
        "user": Field(2),
        "accessed": Field(5),
        "dirty": Field(6),
        "large": Field(7),
        "address": Field(12, 39),  # bit 51 is kept out: it is the reserved bit below
        "no_access": Field(51),  # reserved on every machine OSv runs on: a resident PROT_NONE page faults with RSVD
        "cow": Field(53),  # bits 58:52 are software's
        "executable": Field(63, inverted=True),  # NX
    },
    leaf=_PRESENT | _USER | _ACCESSED,
    table=_PRESENT | _WRITABLE | _USER | _ACCESSED,
    large=True,
    no_access=1 << 51 | _PRESENT | _USER | _ACCESSED,
)
