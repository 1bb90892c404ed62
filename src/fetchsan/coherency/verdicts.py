# SPDX-License-Identifier: GPL-2.0-or-later
"""Which link of the chain is missing: the closed list of finding kinds, the ledger of steps, and how they are told.

`chain` is the second table of design section 2, read from the top: the first link that the newest store lacks names the kind.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Literal

from fetchsan.coherency.lines import Line, Numbers
from fetchsan.coherency.rules import CacheRules

__all__ = ["Judgement", "Kind", "Step", "StepName", "StepState", "chain"]


class Kind(StrEnum):
    """The finding's kind (design section 2, second table). Closed: others' scripts test against these strings."""

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


def chain(
    line: Line,
    slot: int,
    pe: int,
    rules: CacheRules,
    *,
    fetched: Numbers,
    cached: Numbers,
    unified: Sequence[Numbers],
    no_cse_since: bool,
) -> Judgement:
    """Judge a stale-able slot: `fetched` and `cached` are F and I of the executing PE, `unified` every PE's U."""
    number = line.changed[slot]
    store = line.store_at(number)
    assert store is not None, "the newest store of a slot is never forgotten"
    current = line.word(slot, number)
    stale = line.word(slot, fetched[slot])
    if stale == current:
        # The value came back: what may still be fetched is one of the values in between.
        stale = _value_between(line, slot, fetched[slot], current)
    in_cache = cached[slot] >= number
    missing = _first_missing(line, slot, number, rules, store.pe, in_cache=in_cache, unified=unified)
    kind = _KIND[missing]
    by_another = store.pe is not None and store.pe != pe
    exempt = rules.exempt(stale) and rules.exempt(current)
    if by_another and not exempt and not in_cache and no_cse_since:
        kind = Kind.UNSYNCHRONISED_MODIFICATION
    return Judgement(
        kind=kind,
        pe=pe,
        line=line.address,
        slot=slot,
        number=number,
        stale=stale,
        current=current,
        steps=_ledger(line, missing, rules),
        origin=store.origins.get(slot),
        writer_pe=store.pe,
        exempt=exempt and by_another,
        cached=in_cache,
    )


def _first_missing(
    line: Line,
    slot: int,
    number: int,
    rules: CacheRules,
    writer: int | None,
    *,
    in_cache: bool,
    unified: Sequence[Numbers],
) -> StepName:
    if in_cache:
        return "isb"
    if rules.dic:
        return "dsb-after-clean"
    if line.ic_captured[slot] >= number:
        return "dsb-after-invalidate"
    if rules.idc:
        # No DC is owed: the store is on its way from the moment it is made, and needs only its PE's DSB.
        captured_at: int | None = number
        arrived = unified[writer][slot] >= number if writer is not None else True
    else:
        captured_at = next((time for time, numbers in line.captures if numbers[slot] >= number), None)
        arrived = any(numbers[slot] >= number for numbers in unified)
    if captured_at is None and not arrived:
        return "dc-clean"
    if not arrived or (captured_at is not None and line.ic_issued > captured_at):
        return "dsb-after-clean"
    return "ic-invalidate"


def _value_between(line: Line, slot: int, since: int, current: int) -> int:
    for store in reversed(line.history):
        if store.number > since and (word := line.word(slot, store.number)) != current:
            return word
    return current


_KIND: dict[StepName, Kind] = {
    "dc-clean": Kind.MISSING_DC_CLEAN,
    "dsb-after-clean": Kind.MISSING_DSB_AFTER_CLEAN,
    "ic-invalidate": Kind.MISSING_IC_INVALIDATE,
    "dsb-after-invalidate": Kind.MISSING_DSB_AFTER_INVALIDATE,
    "isb": Kind.MISSING_ISB,
}


def _ledger(line: Line, missing: StepName, rules: CacheRules) -> tuple[Step, ...]:
    """The five steps in order: those before the missing one are done, those after it pending."""
    not_needed: set[StepName] = set()
    if rules.idc or rules.dic:
        not_needed.add("dc-clean")
    if rules.dic:
        not_needed.update(("ic-invalidate", "dsb-after-invalidate"))
    seen = {"dc-clean": line.clean_seen, "ic-invalidate": line.ic_seen}
    at = _STEPS.index(missing)
    steps = []
    for index, name in enumerate(_STEPS):
        if name == missing:
            steps.append(Step(name, "missing"))
        elif name in not_needed:
            steps.append(Step(name, "not-needed"))
        elif index < at:
            where = seen.get(name)
            steps.append(Step(name, "done", *(where or (None, None))))
        else:
            steps.append(Step(name, "pending"))
    return tuple(steps)
