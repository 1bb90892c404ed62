# SPDX-License-Identifier: GPL-2.0-or-later
"""The table that answers TLB misses in native code: what Python has found out about virtual pages, until it changes."""

from __future__ import annotations

import ctypes

from fetchsan.machine.engine import READ
from fetchsan.machine.native import FILL_ENTRIES

__all__ = ["FillTable"]

_PAGE_SIZE = 4096
_ENTRY = 2  # doublewords: the virtual page with bit 0 set, the engine page with its protection and flags
_DATA_KINDS = 2  # READ and WRITE come before FETCH


class FillTable:
    """Direct-mapped by virtual page number, one part for each kind of access."""

    def __init__(self) -> None:
        self._words = (ctypes.c_uint64 * (3 * FILL_ENTRIES * _ENTRY))()

    @property
    def host_address(self) -> int:
        """For the native callback."""
        return ctypes.addressof(self._words)

    def remember(self, kind: int, virtual: int, entry: int) -> None:
        """`virtual` (a page, with its tag byte if the guest used one) translates to `entry` for accesses of `kind`."""
        index = _ENTRY * ((kind - READ) * FILL_ENTRIES + ((virtual >> 12) & (FILL_ENTRIES - 1)))
        self._words[index] = virtual | 1
        self._words[index + 1] = entry

    def forget_pages(self, virtual: int, size: int) -> None:
        """Drop every kind of translation of the pages in [virtual, +size), under whatever tag."""
        slot = (virtual >> 12) & (FILL_ENTRIES - 1)
        if size == _PAGE_SIZE:
            for kind in range(3):
                self._words[_ENTRY * (kind * FILL_ENTRIES + slot)] = 0
            return
        count = min(size // _PAGE_SIZE, FILL_ENTRIES)
        wrapped = max(slot + count - FILL_ENTRIES, 0)
        for kind in range(3):
            for first, length in ((slot, count - wrapped), (0, wrapped)):
                at = ctypes.addressof(self._words) + 8 * _ENTRY * (kind * FILL_ENTRIES + first)
                ctypes.memset(at, 0, 8 * _ENTRY * length)

    def forget_data(self) -> None:
        """Drop translations for loads and stores."""
        ctypes.memset(self._words, 0, _DATA_KINDS * FILL_ENTRIES * _ENTRY * 8)

    def forget_all(self) -> None:
        """Drop everything."""
        ctypes.memset(self._words, 0, ctypes.sizeof(self._words))
