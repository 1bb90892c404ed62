# SPDX-License-Identifier: GPL-2.0-or-later
"""`Views`: the whole model, and its question: may this fetch be stale, and which step is missing?

Section 2 of the design (docs/coherency_model.md) in its words, a floor for each arrow: a store enters D (`stores`); a DC
and a DSB bring it to U, an IC and a DSB to I (`maintenance`); a context synchronisation event, CSE, brings it to F
(`synchronisation`); *nothing else moves a view*. Fetches, here, ask and are told.
"""

from __future__ import annotations

from fetchsan.coherency.lines import Line, Numbers
from fetchsan.coherency.state import FRAME_SIZE, Moved
from fetchsan.coherency.synchronisation import Synchronisation
from fetchsan.coherency.verdicts import Chain, Judgement

__all__ = ["FRAME_SIZE", "Moved", "Views"]


class Views(Synchronisation):
    """U, I and F of every line for `pes` PEs; D is memory itself, read through `data(physical, size)`.

    `due` is called with each held hit that must be reported after all (clause 6); `strict` reports at once instead.
    `is_zero(physical, size)` may say that D of whole frames is all zeros, where that is cheaper to know than to read.
    `every_frame` names all frames that stores may have reached unseen: DC CSW and IC IALLU reach those too.
    """

    def judge(self, pe: int, physical: int, page: int = 0) -> Judgement | None:
        """Whether the architecture allows this fetch to be stale, and why. Moves nothing."""
        line = self.line_at(physical)
        if line is None or self.rules.joined:
            return None
        slot = (physical - line.address) >> 2
        fetched = self._fetched(line, pe, line.side(pe, self._key(page)))
        if fetched[slot] >= line.changed[slot]:
            return None
        return self._chain(line, pe, page, fetched).judge(slot)

    def stale_slots(self, pe: int, physical: int, page: int = 0) -> int:
        """Bit mask of the line's slots whose fetch by `pe` now would be a hit: stale-able and not told yet, or latent."""
        line = self.line_at(physical)
        if line is None or self.rules.joined:
            return 0
        fetched = self._fetched(line, pe, line.side(pe, self._key(page)))
        mask = self._latent_slots(line, pe)
        for slot, (changed, have) in enumerate(zip(line.changed, fetched, strict=True)):
            if changed > have:
                mask |= 1 << slot
        return mask & ~line.silenced(pe)

    def fetch(self, pe: int, physical: int, page: int = 0) -> Judgement | None:
        """`pe` executes the slot (its new bytes): the hit to report now, if any. A hit never moves a view.

        Applies clause 6 (a hit on exempt opcodes is held), the (PE, line, newest store) mark, and clause 7.
        """
        self.moved_by_fetch = []
        line = self.line_at(physical)
        if line is None:
            return None
        slot = (physical - line.address) >> 2
        report: Judgement | None = None
        if not line.silenced(pe) >> slot & 1:
            report = self._hit(line, pe, slot, page)
        self.moved_by_fetch = self._fetched_store(pe, line.changed[slot])
        return report

    def fetch_stale(self, pe: int, physical: int, page: int = 0) -> int:
        """`pe` executes the slot as F has it (`stale` mode): the word. Clause 7 applies to the store it came from."""
        self.moved_by_fetch = []
        word = self.fetch_bytes(pe, physical & self._line_mask, page)[physical & ~self._line_mask :][:4]
        line = self.line_at(physical)
        if line is not None:
            fetched = self._fetched(line, pe, line.side(pe, self._key(page)))
            self.moved_by_fetch = self._fetched_store(pe, fetched[(physical - line.address) >> 2])
        return int.from_bytes(word, "little")

    def would_observe(self, pe: int, physical: int) -> int:
        """Bit mask of slots of the line whose first execution clause 7 still needs to see."""
        line = self.line_at(physical)
        if line is None or not (self._ahead[pe] or self.rules.dic):
            return 0
        if self.rules.dic:
            oldest = self._fetch_floor[pe][0]
        else:
            oldest = min(side.arrivals[0].time for side in self._ahead[pe].values())
        return sum(1 << slot for slot, changed in enumerate(line.changed) if changed > oldest)

    def fetch_bytes(self, pe: int, physical: int, page: int = 0) -> bytes:
        """F of the line at `physical`: what the worst hardware executes (`stale` mode)."""
        if self.rules.joined:
            return self._data(physical & self._line_mask, self.rules.line)
        line = self.line_at(physical)
        if line is None:
            return self._default(physical & self._line_mask)
        return line.contents(self._fetched(line, pe, line.side(pe, self._key(page))))

    def finish(self) -> None:
        """The run ends: hits still held are due (clause 6)."""
        self._held.release_all()

    def _hit(self, line: Line, pe: int, slot: int, page: int) -> Judgement | None:
        judgement = self.judge(pe, line.address + 4 * slot, page)
        if judgement is None:
            if not self._latent_slots(line, pe) >> slot & 1:
                return None
            assert line.unaided is not None
            # Told once: the line counts, whichever PE and slot came first.
            judgement = self._chain(line, pe, page, line.unaided.cached[pe], line.unaided.unified).judge(slot).as_latent()
            line.unaided = None
            return judgement
        self._tick()  # the mark is of this newest store: later ones may not share its number
        if self.strict or not judgement.exempt:
            line.reported[pe] = line.newest
            return judgement
        line.quiet[pe] = line.newest, line.silenced(pe) | 1 << slot
        if not judgement.cached:
            self._held.hold(line, judgement, self._key(page))
        return None

    def _chain(self, line: Line, pe: int, page: int, fetched: Numbers, unaided: list[Numbers] | None = None) -> Chain:
        side = line.side(pe, self._key(page))
        return Chain(
            line=line,
            pe=pe,
            rules=self.rules,
            fetched=fetched,
            cached=self._cached(line, pe, fetched if unaided is not None else side.cached),
            captured=fetched if unaided is not None else side.captured,
            invalidated=side.issued,
            unified=lambda of: self._unified(line, of, unaided),
            last_cse=self._cse[pe],
        )
