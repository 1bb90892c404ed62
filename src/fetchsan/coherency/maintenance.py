# SPDX-License-Identifier: GPL-2.0-or-later
"""D to U to I: what DC and IC capture when issued, and which barrier lets it arrive where.

The first table of docs/coherency_model.md: a DC captures D and arrives in U at a full DSB (a full DMB is enough for the *other*
PEs); an IC captures its PE's U and arrives in I at a full DSB. DSB NSH completes for its own PE only. Nothing else does.
"""

from __future__ import annotations

from collections.abc import Iterator

from fetchsan.coherency.lines import ALL_ALIASES, Line, newer
from fetchsan.coherency.pending import Clean, Invalidate
from fetchsan.coherency.rules import Barrier, Domain
from fetchsan.coherency.stores import Stores

__all__ = ["Maintenance"]


class Maintenance(Stores):
    """The second floor of `Views`."""

    def clean(self, pe: int, physical: int, pc: int | None = None) -> None:
        """DC CVAU, CVAC, CIVAC or CVAP by address: captures D of the block it affects."""
        self._tick()
        block = physical & ~(self.rules.dline - 1)
        for address in range(block, block + self.rules.dline, self.rules.line):
            line = self.observe(address)
            if line is not None:
                self._capture(pe, line, pc)

    def clean_all(self, pe: int, pc: int | None = None) -> None:
        """DC CSW or CISW: cleans every line, for that PE (clause 13)."""
        self._tick()
        for line in self._all_lines():
            self._capture(pe, line, pc)

    def _capture(self, pe: int, line: Line, pc: int | None) -> None:
        numbers = line.capture(self._clock, pe, pc)
        cleans = self._outstanding[pe].cleans
        before = cleans.get(line)
        if before is None or before.numbers != numbers:
            cleans[line] = Clean(numbers)

    def invalidate(self, pe: int, physical: int, page: int = 0, pc: int | None = None) -> None:
        """IC IVAU: captures U of its PE, for the block it affects; on VIPT only under the page it names (clause 1)."""
        self._tick()
        block = physical & ~(self.rules.iline - 1)
        for address in range(block, block + self.rules.iline, self.rules.line):
            line = self.observe(address)
            if line is not None:
                self._issue(pe, line, self._key(page), pc, local=False)

    def invalidate_all(self, pe: int, *, broadcast: bool, pc: int | None = None) -> None:
        """IC IALLUIS (`broadcast`) or IC IALLU (the issuing PE only)."""
        self._tick()
        for line in self._all_lines():
            self._issue(pe, line, ALL_ALIASES, pc, local=not broadcast)

    def _issue(self, pe: int, line: Line, page: int, pc: int | None, *, local: bool) -> None:
        numbers = self._unified(line, pe)
        line.ic_seen = (pe, pc)
        for reached in (pe,) if local else range(self.pes):
            for _, side in self._sides(reached, line, page):
                side.captured = newer(side.captured, numbers)
                side.issued = self._clock
        unaided = None if line.unaided is None else self._unified(line, pe, line.unaided.unified)
        self._outstanding[pe].invalidates[line, page, local] = Invalidate(numbers, unaided)

    def dsb(self, pe: int, barrier: Barrier = Barrier.FULL, domain: Domain = Domain.SHAREABLE) -> None:
        """A DSB: a full one lets the PE's DCs arrive in U and its ICs in I; ST and LD complete neither (clause 3)."""
        now = self._tick()
        if barrier is not Barrier.LOADS:
            self._drain(pe, now)
        pending = self._outstanding[pe]
        if barrier is not Barrier.FULL or not pending:
            return
        everyone = domain is Domain.SHAREABLE or self.pes == 1
        for line, clean in pending.cleans.items():
            if not clean.own:
                clean.own = True
                self._arrive_in_unified(line, clean, (pe,))
            if everyone and not clean.others:
                self._arrive_in_unified(line, clean, self._others(pe))
        for (line, page, local), invalidate in pending.invalidates.items():
            if not invalidate.own:
                invalidate.own = True
                self._arrive(pe, line, page, invalidate, now)
            if everyone and not local:
                for other in self._others(pe):
                    self._arrive(other, line, page, invalidate, now)
        if everyone:
            pending.clear()
        else:
            pending.completed_for_issuer()

    def dmb(self, pe: int, barrier: Barrier = Barrier.FULL, domain: Domain = Domain.SHAREABLE) -> None:
        """A full DMB lets earlier DCs arrive in the *other* PEs' U; it completes nothing for its own (clause 3)."""
        self._tick()
        if barrier is Barrier.FULL and domain is Domain.SHAREABLE:
            for line, clean in self._outstanding[pe].cleans.items():
                if not clean.others:
                    clean.others = True
                    self._arrive_in_unified(line, clean, self._others(pe))

    def _others(self, pe: int) -> list[int]:
        return [other for other in range(self.pes) if other != pe]

    def _arrive_in_unified(self, line: Line, clean: Clean, pes: tuple[int, ...] | list[int]) -> None:
        for unified in (line.unified, line.unaided.unified) if line.unaided is not None else (line.unified,):
            for pe in pes:
                unified[pe] = newer(unified[pe], clean.numbers)

    def _arrive(self, pe: int, line: Line, page: int, invalidate: Invalidate, now: int) -> None:
        for key, side in self._sides(pe, line, page):
            if side.arrive(now, invalidate.numbers):
                self._ahead[pe][line, key] = side
        if line.unaided is not None and invalidate.unaided is not None:
            line.unaided.cached[pe] = newer(line.unaided.cached[pe], invalidate.unaided)
        self._held.arrived(pe, line)

    def _all_lines(self) -> Iterator[Line]:
        for frame in {*self._frames, *self._every_frame()}:
            self.observe_frame(frame)
        return self._lines()
