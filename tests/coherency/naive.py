# SPDX-License-Identifier: GPL-2.0-or-later
"""Section 2 once more, deliberately naive: every store and event kept for ever, every view recomputed slot by slot.

An independent reading of the text, to compare `Views` with: no lines of state, no pruning, no sharing of numbers. PIPT only.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from fetchsan.coherency import Barrier, CacheRules, Domain, Kind

__all__ = ["Naive"]

Slot = int  # physical address of a slot


@dataclass
class _Operation:
    """A DC or IC: when and by whom, what it captured, which PEs it is bound for, and where it has arrived."""

    time: int
    pe: int
    captured: dict[Slot, int]
    bound: set[int]
    arrived: set[int] = field(default_factory=set)
    dropped: bool = False


@dataclass
class _Held:
    pe: int
    slot: Slot
    number: int
    kind: Kind


class Naive:
    """The model for `pes` PEs over the slots that were ever stored; memory begins as `initial` words."""

    def __init__(self, rules: CacheRules, pes: int, slots: list[Slot], initial: int) -> None:
        self.rules = rules
        self.pes = range(pes)
        self.slots = slots
        self.time = 0
        self.stores: dict[Slot, list[tuple[int, int | None, int]]] = {slot: [(0, None, initial)] for slot in slots}
        self.dcs: list[_Operation] = []
        self.ics: list[_Operation] = []
        self.u = {(pe, slot): 0 for pe in self.pes for slot in slots}
        self.i = {(pe, slot): [(0, 0)] for pe in self.pes for slot in slots}  # (since, number)
        self.f = {(pe, slot): 0 for pe in self.pes for slot in slots}
        self.drains: dict[int, list[int]] = {pe: [0] for pe in self.pes}
        self.cse = dict.fromkeys(self.pes, 0)
        self.reported: dict[tuple[int, int], int] = {}
        self.quiet: set[tuple[int, Slot, int]] = set()
        self.held: list[_Held] = []
        self.told: list[tuple[int, Slot, Kind]] = []

    # --- views -------------------------------------------------------------------------------------------------------

    def newest(self, slot: Slot) -> int:
        return self.stores[slot][-1][0]

    def _joined(self, pe: int, slot: Slot, at: int) -> int:
        drained = max(time for time in self.drains[pe] if time <= at)
        return max(time for time, writer, _ in self.stores[slot] if time <= (drained if writer == pe else at))

    def unified(self, pe: int, slot: Slot) -> int:
        return max(self.u[pe, slot], self._joined(pe, slot, self.time)) if self.rules.idc else self.u[pe, slot]

    def cached(self, pe: int, slot: Slot, at: int | None = None) -> int:
        """I (as it was just before `at`)."""
        arrived = [number for since, number in self.i[pe, slot] if at is None or since < at][-1]
        return max(arrived, self._joined(pe, slot, self.time if at is None else at)) if self.rules.dic else arrived

    # --- events ------------------------------------------------------------------------------------------------------

    def store(self, pe: int, slot: Slot, word: int) -> None:
        if self.stores[slot][-1][2] == word:
            return
        self.time += 1
        for hit in [hit for hit in self.held if hit.slot == slot]:
            self.held.remove(hit)
            self.told.append((hit.pe, slot, hit.kind))
        self.stores[slot].append((self.time, pe, word))

    def _block(self, slot: Slot, size: int) -> list[Slot]:
        return [each for each in self.slots if each // size == slot // size]

    def clean(self, pe: int, slot: Slot | None) -> None:
        self.time += 1
        block = self.slots if slot is None else self._block(slot, self.rules.dline)
        self.dcs.append(_Operation(self.time, pe, {each: self.newest(each) for each in block}, set(self.pes)))

    def invalidate(self, pe: int, slot: Slot | None, *, local: bool = False) -> None:
        self.time += 1
        block = self.slots if slot is None else self._block(slot, self.rules.iline)
        bound = {pe} if local else set(self.pes)
        self.ics.append(_Operation(self.time, pe, {each: self.unified(pe, each) for each in block}, bound))

    def _arrive(self, operations: list[_Operation], pe: int, reached: set[int]) -> list[tuple[int, Slot, int]]:
        arrivals = []
        for operation in operations:
            if operation.pe == pe and not operation.dropped:
                for to in reached & operation.bound - operation.arrived:
                    operation.arrived.add(to)
                    arrivals += [(to, slot, number) for slot, number in operation.captured.items()]
        return arrivals

    def dsb(self, pe: int, barrier: Barrier, domain: Domain) -> None:
        self.time += 1
        if barrier is not Barrier.LOADS:
            self.drains[pe].append(self.time)
        if barrier is not Barrier.FULL:
            return
        reached = {pe} if domain is Domain.NON_SHAREABLE else set(self.pes)
        for to, slot, number in self._arrive(self.dcs, pe, reached):
            self.u[to, slot] = max(self.u[to, slot], number)
        for to, slot, number in self._arrive(self.ics, pe, reached):
            self.i[to, slot].append((self.time, max(self.i[to, slot][-1][1], number)))
        self._drop_held()

    def dmb(self, pe: int, barrier: Barrier, domain: Domain) -> None:
        self.time += 1
        if barrier is Barrier.FULL and domain is Domain.SHAREABLE:
            for to, slot, number in self._arrive(self.dcs, pe, set(self.pes) - {pe}):
                self.u[to, slot] = max(self.u[to, slot], number)

    def context_synchronise(self, pe: int) -> None:
        self.time += 1
        self.cse[pe] = self.time
        for slot in self.slots:
            self.f[pe, slot] = max(self.f[pe, slot], self.cached(pe, slot))

    def made_executable(self, pe: int, frame: int) -> None:
        self.time += 1
        for slot in self.slots:
            if slot // 4096 == frame // 4096:
                self.f[pe, slot] = max(self.f[pe, slot], self.cached(pe, slot))

    def reset(self, pe: int) -> None:
        self.time += 1
        self.cse[pe] = self.time
        for operation in self.dcs + self.ics:
            operation.dropped = operation.dropped or operation.pe == pe
        for slot in self.slots:
            self.i[pe, slot] = [(0, self.unified(pe, slot))]
            self.f[pe, slot] = self.unified(pe, slot)
        self._drop_held()

    def fetch(self, pe: int, slot: Slot) -> None:
        kind = self.kind(pe, slot)
        line = slot // self.rules.line
        newest = max(self.newest(each) for each in self._block(slot, self.rules.line))
        silenced = self.reported.get((pe, line)) == newest or (pe, slot, newest) in self.quiet
        if kind is not None and not silenced:
            if self._exempt(pe, slot):
                self.quiet.add((pe, slot, newest))
                if kind is not Kind.MISSING_ISB:
                    self.held.append(_Held(pe, slot, self.newest(slot), kind))
            else:
                self.reported[pe, line] = newest
                self.told.append((pe, slot, kind))
        at = self.newest(slot)
        if at:
            for each in self.slots:
                self.f[pe, each] = max(self.f[pe, each], self.cached(pe, each, at))

    def finish(self) -> None:
        self.told += [(hit.pe, hit.slot, hit.kind) for hit in self.held]
        self.held.clear()

    def _drop_held(self) -> None:
        self.held = [hit for hit in self.held if self.cached(hit.pe, hit.slot) < hit.number]

    # --- the second table ----------------------------------------------------------------------------------------------

    def _exempt(self, pe: int, slot: Slot) -> bool:
        words = [word for time, _, word in self.stores[slot] if time >= self.f[pe, slot]]
        return self.stores[slot][-1][1] != pe and all(self.rules.exempt(word) for word in words)

    def kind(self, pe: int, slot: Slot) -> Kind | None:
        number, writer, _ = self.stores[slot][-1]
        if self.f[pe, slot] >= number:
            return None
        if self.cached(pe, slot) >= number:
            return Kind.MISSING_ISB
        if writer != pe and not self._exempt(pe, slot) and self.cse[pe] < number:
            return Kind.UNSYNCHRONISED_MODIFICATION
        if self.rules.dic:
            return Kind.MISSING_DSB_AFTER_CLEAN
        bound = [ic for ic in self.ics if pe in ic.bound and slot in ic.captured]
        if any(ic.captured[slot] >= number for ic in bound):
            return Kind.MISSING_DSB_AFTER_INVALIDATE
        cleans = [dc for dc in self.dcs if slot in dc.captured]
        if self.rules.idc:
            captured_at, sender = number, writer
        else:
            captured_at = next((dc.time for dc in cleans if dc.captured[slot] >= number), None)
            sender = cleans[-1].pe if cleans else None
        if captured_at is None:
            return Kind.MISSING_DC_CLEAN
        arrived = any(self.unified(of, slot) >= number for of in (pe, sender) if of is not None)
        if not arrived or (bound and bound[-1].time > captured_at):
            return Kind.MISSING_DSB_AFTER_CLEAN
        return Kind.MISSING_IC_INVALIDATE
