# SPDX-License-Identifier: GPL-2.0-or-later
"""One line of memory and where its stores have arrived: the records that the four views are made of.

Stores are numbered by the machine's clock. A view holds, slot by slot, the number of the newest store that has arrived
there (0: none since the line's record began), so its bytes can always be told from the line's history and "arrival takes
the maximum" is an element-wise max. Slots are the line's aligned 4-byte words.
"""

from __future__ import annotations

from dataclasses import dataclass, field

__all__ = ["Arrival", "InstructionSide", "Line", "Numbers", "Store", "newer"]

Numbers = tuple[int, ...]
"""One store number per slot of a line."""


def newer(a: Numbers, b: Numbers) -> Numbers:
    """Element-wise maximum: arrival never takes a view back."""
    if a is b:
        return a
    return tuple(map(max, a, b))


@dataclass(slots=True)
class Store:
    """One store (or an unbroken run of stores by one PE with no event between): what the line held after it.

    `pe` is None where the store was not seen (the frame was not watched then). `origins` names who wrote each slot.
    """

    number: int
    pe: int | None
    after: bytes
    slots: int  # bit s set: slot s changed
    origins: dict[int, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Arrival:
    """An IC's view of the line, and when it arrived in an I (for clause 7, which asks what I was at some moment)."""

    time: int
    numbers: Numbers


@dataclass(slots=True)
class InstructionSide:
    """I and F of one PE for one line (and, on a VIPT machine, for one executing page).

    `arrivals` are those that F has not taken yet, oldest first; I is the last of them, or F when there are none.
    """

    fetched: Numbers
    cached: Numbers
    arrivals: list[Arrival] = field(default_factory=list)

    def copy(self) -> InstructionSide:
        """An alias seen for the first time starts from what reached every alias (clause 1)."""
        return InstructionSide(self.fetched, self.cached, list(self.arrivals))


class Line:
    """The record of one line: its stores, its U and I views, and the maintenance seen for it."""

    __slots__ = (
        "address",
        "base",
        "captures",
        "changed",
        "clean_seen",
        "history",
        "ic_captured",
        "ic_issued",
        "ic_seen",
        "instruction",
        "reported",
        "unified",
    )

    def __init__(self, address: int, base: bytes, pes: int) -> None:
        zero = (0,) * (len(base) // 4)
        self.address = address
        self.base = base
        """The bytes when the record began: what store number 0 left."""
        self.history: list[Store] = []
        self.changed: list[int] = list(zero)
        """Number of the newest store that changed each slot."""
        self.unified: list[Numbers] = [zero] * pes
        self.instruction: list[dict[int, InstructionSide]] = [{0: InstructionSide(zero, zero)} for _ in range(pes)]
        """Per PE: executing page -> its views. Key 0 is every alias there is no other entry for."""
        self.captures: list[tuple[int, Numbers]] = []
        """(time, what was captured) of each DC since which the line changed."""
        self.ic_captured: Numbers = zero
        """The newest store of each slot that any IC captured."""
        self.ic_issued = 0
        """When the last IC of this line was issued."""
        self.clean_seen: tuple[int, int | None] | None = None
        self.ic_seen: tuple[int, int | None] | None = None
        """(PE, PC) of the last DC and IC: evidence for the ledger."""
        self.reported: dict[int, int] = {}
        """PE -> newest store of the line when that PE reported it."""

    @property
    def latest(self) -> bytes:
        """What D held when last observed."""
        return self.history[-1].after if self.history else self.base

    @property
    def newest(self) -> int:
        """Number of the newest store."""
        return self.history[-1].number if self.history else 0

    def store_at(self, number: int) -> Store | None:
        """The store with this number (numbers in views are always those of stores still in the history)."""
        for store in reversed(self.history):
            if store.number == number:
                return store
            if store.number < number:
                break
        return None

    def word(self, slot: int, number: int) -> int:
        """What slot `slot` held just after store `number` (0: at the beginning)."""
        store = self.store_at(number) if number else None
        held = store.after if store is not None else self.base
        return int.from_bytes(held[4 * slot : 4 * slot + 4], "little")

    def contents(self, numbers: Numbers) -> bytes:
        """The bytes of a view."""
        if not any(numbers):
            return self.base
        if len(set(numbers)) == 1 and (store := self.store_at(numbers[0])) is not None:
            return store.after
        return b"".join(self.word(slot, number).to_bytes(4, "little") for slot, number in enumerate(numbers))

    def side(self, pe: int, page: int) -> InstructionSide:
        """I and F of `pe` for the alias `page` (0 on PIPT machines)."""
        sides = self.instruction[pe]
        side = sides.get(page)
        if side is None:
            side = sides[page] = sides[0].copy()
        return side

    def forget_unreferenced(self, keep: set[int]) -> None:
        """Drop stores that no view can name any more, so that a busy line's history stays short."""
        keep.update(self.changed)
        for numbers in self.unified:
            keep.update(numbers)
        for sides in self.instruction:
            for side in sides.values():
                keep.update(side.fetched)
                keep.update(side.cached)
                for arrival in side.arrivals:
                    keep.update(arrival.numbers)
        newest = self.history[-1]
        self.history = [store for store in self.history if store.number in keep or store is newest]
        # A clean is evidence for every slot whose newest store it was the first to capture; later ones add nothing.
        first: dict[int, tuple[int, Numbers]] = {}
        for capture in self.captures:
            for slot, number in enumerate(capture[1]):
                if number >= self.changed[slot] and slot not in first:
                    first[slot] = capture
        self.captures = sorted(set(first.values()))
