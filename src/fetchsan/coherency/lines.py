# SPDX-License-Identifier: GPL-2.0-or-later
"""One line of memory and where its stores have arrived: the records that the four views are made of.

Stores are numbered by the machine's clock. A view holds, slot by slot, the number of the newest store that has arrived
there (0: none since the line's record began), so its bytes can always be told from the line's history and "arrival takes
the maximum" is an element-wise max. Slots are the line's aligned 4-byte words.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

__all__ = ["ALL_ALIASES", "Arrival", "InstructionSide", "Line", "Numbers", "Store", "Unaided", "newer", "slots_of"]

ALL_ALIASES = -1
"""The executing page that stands for every one that has no views of its own: the only one on a PIPT machine (clause 1)."""

_HISTORY = 32  # stores kept before those that no view names are dropped
_ARRIVALS = 32  # arrivals in an I that its PE has not taken, before the oldest are joined

Numbers = tuple[int, ...]
"""One store number per slot of a line."""


def newer(a: Numbers, b: Numbers) -> Numbers:
    """Element-wise maximum: arrival never takes a view back."""
    if a is b or a == b:
        return a
    return tuple(map(max, a, b))


def slots_of(mask: int) -> list[int]:
    """The slots of a bit mask."""
    slots = []
    while mask:
        low = mask & -mask
        slots.append(low.bit_length() - 1)
        mask ^= low
    return slots


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
    """What an I held from `time` on (clause 7 asks what it was at some moment)."""

    time: int
    numbers: Numbers


@dataclass(slots=True)
class InstructionSide:
    """I and F of one PE for one line (and, on a VIPT machine, for one executing page)."""

    fetched: Numbers
    cached: Numbers
    captured: Numbers  # the newest store of each slot that an IC bound for this I captured
    issued: int = 0  # when the last such IC was issued
    arrivals: list[Arrival] = field(default_factory=list)  # those that F has not taken, oldest first; the last is I

    def copy(self) -> InstructionSide:
        """An alias seen for the first time starts from what reached every alias (clause 1)."""
        return InstructionSide(self.fetched, self.cached, self.captured, self.issued, list(self.arrivals))

    def arrive(self, time: int, numbers: Numbers) -> bool:
        """`numbers` arrive in I. False: it had them all."""
        numbers = newer(self.cached, numbers)
        if numbers == self.cached:
            return False
        self.cached = numbers
        self.arrivals.append(Arrival(time, numbers))
        if len(self.arrivals) > _ARRIVALS:
            # A PE without a CSE, its code maintained for ever by others. Taken together the two oldest are as early as
            # the first and as new as the second: clause 7 may excuse too much of that distant past, never too little.
            first, second = self.arrivals[:2]
            self.arrivals[:2] = [Arrival(first.time, second.numbers)]
        return True


@dataclass(slots=True)
class Unaided:
    """U and I as they would be had the kernel not synchronised the frame by itself (the *latent* lines of `linux`)."""

    unified: list[Numbers]
    cached: list[Numbers]


class Line:
    """The record of one line: its stores, its U, I and F, and the maintenance seen for it."""

    __slots__ = (
        "_prune_at",
        "address",
        "base",
        "before",
        "captures",
        "changed",
        "clean_seen",
        "history",
        "ic_seen",
        "instruction",
        "quiet",
        "reported",
        "unaided",
        "unified",
        "unsafe",
    )

    def __init__(self, address: int, base: bytes, pes: int) -> None:
        zero = (0,) * (len(base) // 4)
        self.address = address
        self.base = base
        """The bytes when the record began: what store number 0 left."""
        self.history: list[Store] = []
        self.changed: list[int] = list(zero)
        """Number of the newest store that changed each slot."""
        self.before: list[int] = [0] * len(zero)
        """What each slot held just before that store: never what it holds now, so a value that came back is still told."""
        self.unsafe: list[int] = list(zero)
        """Number of the newest store that replaced an opcode that is not exempt (clause 6)."""
        self.unified: list[Numbers] = [zero] * pes
        self.instruction = [{ALL_ALIASES: InstructionSide(zero, zero, zero)} for _ in range(pes)]
        """Per PE: executing page -> its views."""
        self.unaided: Unaided | None = None
        self.captures: list[tuple[int, Numbers]] = []
        """(time, what was captured) of each DC since which the line changed."""
        self.clean_seen: tuple[int, int | None] | None = None
        self.ic_seen: tuple[int, int | None] | None = None
        """(PE, PC) of the last DC and IC: evidence for the ledger."""
        self.reported: dict[int, int] = {}
        """PE -> newest store of the line when that PE reported it."""
        self.quiet: dict[int, tuple[int, int]] = {}
        """PE -> (newest store then, slots): hits that clause 6 allows, each told or held once."""
        self._prune_at = _HISTORY

    @property
    def latest(self) -> bytes:
        """What D held when last observed."""
        return self.history[-1].after if self.history else self.base

    @property
    def newest(self) -> int:
        """Number of the newest store."""
        return self.history[-1].number if self.history else 0

    def record(
        self,
        store: Store,
        *,
        since: int,
        exempt: Callable[[int], bool] | None,
        in_flight: Callable[[Line], set[int]],
    ) -> None:
        """Add a store. One by the PE of the last one, with no event after `since` between them, shares its number.

        `exempt` is asked about what is replaced (None: one PE, nobody else executes); `in_flight` names the numbers that
        maintenance still under way may bring to a view.
        """
        preceding = self.latest
        number = store.number
        for slot in slots_of(store.slots):
            word = int.from_bytes(preceding[4 * slot : 4 * slot + 4], "little")
            self.changed[slot] = number
            self.before[slot] = word
            if exempt is not None and not exempt(word):
                self.unsafe[slot] = number
        last = self.history[-1] if self.history else None
        if last is not None and last.pe == store.pe and last.number > since:
            # Nobody can tell the two apart: nothing looked between them.
            for slot in slots_of(last.slots):
                self.changed[slot] = number
                if self.unsafe[slot] == last.number:
                    self.unsafe[slot] = number
            last.number, last.after, last.slots = number, store.after, last.slots | store.slots
            last.origins.update(store.origins)
            return
        self.history.append(store)
        if len(self.history) > self._prune_at:
            self._forget_unreferenced(in_flight(self))
            self._prune_at = max(_HISTORY, 2 * len(self.history))

    def reset_instruction_side(self, pe: int, unified: Numbers) -> None:
        """The PE was reset: its I and F are U (clause 13)."""
        before = self.side(pe, ALL_ALIASES)  # ICs of other PEs are still on their way
        self.instruction[pe] = {ALL_ALIASES: InstructionSide(unified, unified, before.captured, before.issued)}

    def origin(self, slot: int) -> object | None:
        """Who made the newest store of the slot, if that was seen."""
        store = self.store_at(self.changed[slot])
        return None if store is None else store.origins.get(slot)

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
        """I and F of `pe` under the executing page `page`, to be read."""
        sides = self.instruction[pe]
        return sides.get(page) or sides[ALL_ALIASES]

    def capture(self, time: int, pe: int, pc: int | None) -> Numbers:
        """A DC captures D."""
        numbers = tuple(self.changed)
        self.clean_seen = (pe, pc)
        if not self.captures or self.captures[-1][1] != numbers:
            self.captures.append((time, numbers))
        return numbers

    def captured_at(self, slot: int, number: int) -> int | None:
        """When a DC first captured store `number` of `slot`; None: no DC did."""
        return next((time for time, numbers in self.captures if numbers[slot] >= number), None)

    def silenced(self, pe: int) -> int:
        """Bit mask of the slots whose hits by `pe` were reported or held, until a newer store changes the line."""
        if self.reported.get(pe) == self.newest:
            return -1
        number, slots = self.quiet.get(pe, (0, 0))
        return slots if number == self.newest else 0

    def _forget_unreferenced(self, keep: set[int]) -> None:
        """Drop stores that no view can name any more, so that a busy line's history stays short."""
        keep.update(self.changed)
        for numbers in self.unified:
            keep.update(numbers)
        if self.unaided is not None:
            for numbers in (*self.unaided.unified, *self.unaided.cached):
                keep.update(numbers)
        for sides in self.instruction:
            for side in sides.values():
                keep.update(side.fetched)
                keep.update(side.cached)
                for arrival in side.arrivals:
                    keep.update(arrival.numbers)
        newest = self.history[-1]
        self.history = [store for store in self.history if store.number in keep or store is newest]
        # A DC is evidence for every slot whose newest store it was the first to capture; later ones add nothing.
        first: dict[int, tuple[int, Numbers]] = {}
        for capture in self.captures:
            for slot, number in enumerate(capture[1]):
                if number >= self.changed[slot] and slot not in first:
                    first[slot] = capture
        self.captures = sorted(set(first.values()))
