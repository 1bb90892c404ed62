# SPDX-License-Identifier: GPL-2.0-or-later
"""Which link of the chain is missing: the closed list of finding kinds, the ledger of steps, and how they are told.

`Chain` is the second table of docs/coherency_model.md, read from the top: the first link that the newest store lacks
names the kind.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Literal

from fetchsan.coherency.lines import Line, Numbers
from fetchsan.coherency.rules import CacheRules

__all__ = ["Chain", "Judgement", "Kind", "Step", "StepName", "StepState"]


class Kind(StrEnum):
    """The finding's kind (docs/coherency_model.md, second table). Closed: others' scripts test against these strings."""

    MISSING_DC_CLEAN = "missing-dc-clean"
    MISSING_DSB_AFTER_CLEAN = "missing-dsb-after-clean"
    MISSING_IC_INVALIDATE = "missing-ic-invalidate"
    MISSING_DSB_AFTER_INVALIDATE = "missing-dsb-after-invalidate"
    MISSING_ISB = "missing-isb"
    UNSYNCHRONISED_MODIFICATION = "unsynchronised-modification"


StepName = Literal["dc-clean", "dsb-after-clean", "ic-invalidate", "dsb-after-invalidate", "isb"]
StepState = Literal["done", "missing", "pending", "not-needed"]

_STEPS: tuple[StepName, ...] = ("dc-clean", "dsb-after-clean", "ic-invalidate", "dsb-after-invalidate", "isb")


@dataclass(frozen=True, slots=True)
class Step:
    """One row of the ledger. `pe` and `pc` say where the step was seen, when it was."""

    step: StepName
    state: StepState
    pe: int | None = None
    pc: int | None = None


@dataclass(frozen=True, slots=True)
class Judgement:
    """A fetch that may be stale: the slot, what may be executed, what memory holds, and the first missing link."""

    kind: Kind
    pe: int
    line: int  # physical address of the line
    slot: int
    number: int  # of the newest store that changed the slot
    stale: int
    current: int
    steps: tuple[Step, ...]
    origin: object | None
    writer_pe: int | None
    exempt: bool  # clause 6: old-or-new is legal
    cached: bool  # the store is in I[q] already
    latent: bool = False

    @property
    def physical(self) -> int:
        """Physical address of the slot."""
        return self.line + 4 * self.slot

    def as_latent(self) -> Judgement:
        """The same, for a line that only the kernel's own synchronisation made fresh."""
        return replace(self, latent=True)


@dataclass(frozen=True, slots=True)
class Chain:
    """How far the stores of a line have come towards one PE: what is needed to judge a stale-able slot."""

    line: Line
    pe: int  # which executes
    rules: CacheRules
    fetched: Numbers  # its F
    cached: Numbers  # its I
    captured: Numbers  # what ICs bound for that I captured
    invalidated: int  # when the last of them was issued
    unified: Callable[[int], Numbers]  # U of each PE
    last_cse: int  # of the executing PE

    def judge(self, slot: int) -> Judgement:
        """Name the first link that the newest store of a stale-able slot lacks."""
        line, rules = self.line, self.rules
        number = line.changed[slot]
        store = line.store_at(number)
        assert store is not None, "the newest store of a slot is never forgotten"
        current = line.word(slot, number)
        stale = line.word(slot, self.fetched[slot])
        if stale == current:
            # The value came back: what may still be fetched is one of the values in between.
            stale = line.before[slot]
        in_cache = self.cached[slot] >= number
        missing = self._first_missing(slot, number, store.pe)
        kind = _KIND[missing]
        by_another = store.pe is not None and store.pe != self.pe
        # Any value from F on may be fetched, so all of them must be exempt.
        exempt = line.unsafe[slot] <= self.fetched[slot] and rules.exempt(stale) and rules.exempt(current)
        if by_another and not exempt and not in_cache and self.last_cse < number:
            kind = Kind.UNSYNCHRONISED_MODIFICATION
        return Judgement(
            kind=kind,
            pe=self.pe,
            line=line.address,
            slot=slot,
            number=number,
            stale=stale,
            current=current,
            steps=self._ledger(missing),
            origin=line.origin(slot),
            writer_pe=store.pe,
            exempt=exempt and by_another,
            cached=in_cache,
        )

    def _first_missing(self, slot: int, number: int, writer: int | None) -> StepName:
        line, rules = self.line, self.rules
        if self.cached[slot] >= number:
            return "isb"
        if rules.dic:
            return "dsb-after-clean"
        if self.captured[slot] >= number:
            return "dsb-after-invalidate"
        if rules.idc:
            # No DC is owed: the store is on its way from the moment it is made, and needs only its PE's DSB.
            captured_at: int | None = number
            sender = writer
        else:
            captured_at = line.captured_at(slot, number)
            sender = line.clean_seen[0] if line.clean_seen is not None else None
        # The IC that is owed may come from the PE that fetches or from the one that cleaned (IDC=1: wrote).
        arrived = any(self.unified(pe)[slot] >= number for pe in {self.pe, self.pe if sender is None else sender})
        if captured_at is None and not arrived:
            return "dc-clean"
        if not arrived or (captured_at is not None and self.invalidated > captured_at):
            return "dsb-after-clean"
        return "ic-invalidate"

    def _ledger(self, missing: StepName) -> tuple[Step, ...]:
        """The five steps in order: those before the missing one are done, those after it pending."""
        not_needed: set[StepName] = set()
        if self.rules.idc or self.rules.dic:
            not_needed.add("dc-clean")
        if self.rules.dic:
            not_needed.update(("ic-invalidate", "dsb-after-invalidate"))
        seen = {"dc-clean": self.line.clean_seen, "ic-invalidate": self.line.ic_seen}
        at = _STEPS.index(missing)
        steps = []
        for index, name in enumerate(_STEPS):
            if name == missing:
                steps.append(Step(name, "missing"))
            elif name in not_needed:
                steps.append(Step(name, "not-needed"))
            elif index < at:
                steps.append(Step(name, "done", *(seen.get(name) or (None, None))))
            else:
                steps.append(Step(name, "pending"))
        return tuple(steps)


_KIND: dict[StepName, Kind] = {
    "dc-clean": Kind.MISSING_DC_CLEAN,
    "dsb-after-clean": Kind.MISSING_DSB_AFTER_CLEAN,
    "ic-invalidate": Kind.MISSING_IC_INVALIDATE,
    "dsb-after-invalidate": Kind.MISSING_DSB_AFTER_INVALIDATE,
    "isb": Kind.MISSING_ISB,
}

