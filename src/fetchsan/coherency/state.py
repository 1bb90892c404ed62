# SPDX-License-Identifier: GPL-2.0-or-later
"""What the model remembers: the records of lines, each PE's pending sets, and the clock that numbers stores and events.

Also clause 5, the machines whose caches join two views: there U or I is not moved by an event but *told* from the history
of stores, another PE's at once, a PE's own since its last DSB.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

from fetchsan.coherency.held import HeldHits
from fetchsan.coherency.lines import ALL_ALIASES, InstructionSide, Line, Numbers, newer
from fetchsan.coherency.pending import Outstanding
from fetchsan.coherency.rules import CacheRules
from fetchsan.coherency.verdicts import Judgement

__all__ = ["FRAME_SIZE", "Moved", "State"]

FRAME_SIZE = 4096
FRAME_MASK = ~(FRAME_SIZE - 1)

_AT_ONCE = 1 << 62
_JOINED_HISTORY = 256  # DIC=1: stores kept for a PE that has no CSE for ever

Moved = list[tuple[Line, int]]
"""Lines, with the executing page they are keyed by, whose F moved: what a machine that executes F must refresh.

The page is ALL_ALIASES where it is not one page's own (always on PIPT).
"""


class State:
    """The ground floor of `Views`, which describes the parameters."""

    def __init__(
        self,
        rules: CacheRules,
        pes: int,
        data: Callable[[int, int], bytes],
        *,
        due: Callable[[Judgement], None] = lambda _judgement: None,
        strict: bool = False,
        every_frame: Callable[[], Iterable[int]] = tuple,
        is_zero: Callable[[int, int], bool] = lambda _physical, _size: False,
    ) -> None:
        self.rules = rules
        self.pes = pes
        self.strict = strict
        self.moved_by_fetch: Moved = []
        """What the last `fetch` moved to F by clause 7."""
        self._data = data
        self._every_frame = every_frame
        self._is_zero = is_zero
        self._line_mask = ~(rules.line - 1)
        self._clock = 0
        self._last_event = 0
        self._frames: dict[int, dict[int, Line]] = {}
        self._initial: dict[int, bytes] = {}
        self._outstanding = [Outstanding() for _ in range(pes)]
        self._ahead: list[dict[tuple[Line, int], InstructionSide]] = [{} for _ in range(pes)]
        """Per PE: where I is newer than F, so that a CSE has something to move."""
        self._watched: set[int] = set()
        self._filled: dict[int, tuple[bytes, object]] = {}
        self._cse = [0] * pes
        self._held = HeldHits(due)
        self._instruction_cache_off = [False] * pes
        self._drained = [0] * pes
        """Per PE: its last DSB that waits for stores (IDC=1, DIC=1)."""
        self._drains: list[list[int]] = [[] for _ in range(pes)]
        """DIC=1: such DSBs since the last CSE that had stores to wait for; clause 7 asks which came before some store."""
        self._undrained = [False] * pes
        self._fetch_floor = [(0, 0)] * pes
        """DIC=1: F has all stores of others up to the first number, and the PE's own up to the second."""
        self._unsettled: list[set[Line]] = [set() for _ in range(pes)]
        """DIC=1: lines that have stores F may not have."""

    # --- lines -----------------------------------------------------------------------------------------------------

    def line_at(self, physical: int) -> Line | None:
        """The record of the line that contains `physical`, if it ever changed."""
        lines = self._frames.get(physical & FRAME_MASK)
        return None if lines is None else lines.get(physical & self._line_mask)

    def lines_in(self, frame: int) -> Mapping[int, Line]:
        """The records of a frame, by line address."""
        return self._frames.get(frame, {})

    def _line(self, physical: int) -> Line:
        address = physical & self._line_mask
        lines = self._frames.setdefault(address & FRAME_MASK, {})
        line = lines.get(address)
        if line is None:
            line = lines[address] = Line(address, self._default(address), self.pes)
        return line

    def _lines(self) -> Iterator[Line]:
        for lines in self._frames.values():
            yield from lines.values()

    def _default(self, line_address: int) -> bytes:
        """What every view of a line without a record holds: the power-on contents are zeros (clause 2)."""
        initial = self._initial.get(line_address & FRAME_MASK)
        if initial is None:
            return bytes(self.rules.line)
        offset = line_address & (FRAME_SIZE - 1)
        return initial[offset : offset + self.rules.line]

    # --- time ------------------------------------------------------------------------------------------------------

    def _tick(self) -> int:
        """An event: stores before it and after it can be told apart."""
        self._clock += 1
        self._last_event = self._clock
        return self._clock

    def _drain(self, pe: int, now: int) -> None:
        """A DSB that waits for the PE's stores."""
        self._drained[pe] = now
        if self.rules.dic and self._undrained[pe]:
            self._drains[pe].append(now)
            self._undrained[pe] = False

    def maintenance_pending(self, pe: int) -> bool:
        """Whether a DSB or DMB of `pe` has anything to complete."""
        return bool(self._outstanding[pe])

    def fetch_behind(self, pe: int) -> bool:
        """Whether a CSE on `pe` may move anything to F."""
        return bool(self._ahead[pe]) or self.rules.dic

    # --- U, I and F ------------------------------------------------------------------------------------------------

    def _key(self, page: int) -> int:
        return page if self.rules.vipt else ALL_ALIASES

    def _sides(self, pe: int, line: Line, page: int) -> list[tuple[int, InstructionSide]]:
        """The views of `pe` that an IC reaches which names `page`: every alias, or that page's own from now on."""
        sides = line.instruction[pe]
        if page == ALL_ALIASES:
            return list(sides.items())
        if page not in sides:
            sides[page] = sides[ALL_ALIASES].copy()
            if sides[page].arrivals:
                self._ahead[pe][line, page] = sides[page]
        return [(page, sides[page])]

    def _unified(self, line: Line, pe: int, views: list[Numbers] | None = None) -> Numbers:
        """U of `pe` (or what it would be, from `views`)."""
        unified = (line.unified if views is None else views)[pe]
        return newer(unified, self._joined(line, pe, _AT_ONCE, self._drained[pe])) if self.rules.idc else unified

    def _cached(self, line: Line, pe: int, cached: Numbers) -> Numbers:
        """I of `pe`, of which ICs brought `cached`."""
        return newer(cached, self._joined(line, pe, _AT_ONCE, self._drained[pe])) if self.rules.dic else cached

    def _fetched(self, line: Line, pe: int, side: InstructionSide) -> Numbers:
        """F of `pe`; with the instruction cache off a fetch reads U (clause 13)."""
        if self._instruction_cache_off[pe]:
            return self._unified(line, pe)
        if not self.rules.dic:
            return side.fetched
        return newer(side.fetched, self._joined(line, pe, *self._fetch_floor[pe]))

    def _joined(self, line: Line, pe: int, others: int, own: int) -> Numbers:
        """Clause 5: the newest store of each slot, of other PEs' up to number `others` and the PE's own up to `own`."""
        if line.newest <= own and line.newest <= others:
            return tuple(line.changed)
        numbers = [0] * len(line.changed)
        for store in line.history:
            if store.number <= (own if store.pe == pe else others):
                for slot in range(len(numbers)):
                    if store.slots >> slot & 1:
                        numbers[slot] = store.number
        return tuple(numbers)

    def _in_flight(self, line: Line) -> set[int]:
        """Stores of the line that no view of its record names, but that may still come to one."""
        keep: set[int] = set()
        for pe, pending in enumerate(self._outstanding):
            keep |= pending.numbers_of(line)
            if self.rules.idc or self.rules.dic:
                keep.update(self._joined(line, pe, _AT_ONCE, self._drained[pe]))
            if self.rules.dic:
                others, own = self._fetch_floor[pe]
                keep.update(self._joined(line, pe, others, own))
                recent = line.history[-_JOINED_HISTORY:]
                keep.update(store.number for store in recent if store.number > (own if store.pe == pe else others))
        return keep

    def _forget(self, line: Line) -> None:
        self._held.release(line)
        for pe in range(self.pes):
            self._unsettled[pe].discard(line)
            self._outstanding[pe].forget(line)
            for key in [key for key in self._ahead[pe] if key[0] is line]:
                del self._ahead[pe][key]
