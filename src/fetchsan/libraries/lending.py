# SPDX-License-Identifier: GPL-2.0-or-later
"""Guest memory that Python borrows: for the time of a call from an arena, for longer from malloc."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fetchsan.libraries.linker import LibraryLinker

__all__ = ["Lending"]

_ARENA = 1 << 16


class Lending:
    """`mark` is how much of the arena is lent; what does not fit comes from malloc."""

    def __init__(self, linker: LibraryLinker) -> None:
        self._linker = linker
        self._arena = self._end = self.mark = 0
        self._unwanted: list[int] = []
        self._collecting = False

    def start(self) -> None:
        """Calls are possible now."""
        self._arena = self.mark = self._linker.allocate(_ARENA)
        self._end = self._arena + _ARENA

    def borrow(self, size: int) -> int:
        """For the time of one call: `give_back` it with the mark from before."""
        top = self.mark
        end = top + (size + 15 & -16)
        if end > self._end:
            return self._linker.allocate(size)
        self.mark = end
        return top

    def give_back(self, mark: int, addresses: Sequence[int]) -> None:
        """Everything since `mark`, and those of `addresses` that were allocated."""
        self.mark = mark
        for address in addresses:
            if not self._arena <= address < self._end:
                self.free(address)

    def free(self, address: int) -> None:
        """Memory that was allocated is unwanted. It is freed later: this may be said at any moment, within a call too."""
        self._unwanted.append(address)

    def collect(self) -> None:
        """Free what is unwanted; by calls, which come here again."""
        if not self._unwanted or self._collecting:
            return
        self._collecting = True
        try:
            while self._unwanted:
                self._linker.free(self._unwanted.pop())
        finally:
            self._collecting = False
