# SPDX-License-Identifier: GPL-2.0-or-later
"""The four views D, U, I and F of every line, and the events that move stores from one to the next.

This is section 2 of the design (docs/coherency_model.md), in its words: a store enters D; a DC and a DSB bring it to U; an
IC and a DSB bring it from U to I; a context synchronisation event (CSE) brings it from I to F; *nothing else moves a view*.
`Views` is fed one event at a time, by the fast machine and by the reference machine alike, and is asked at each fetch
that may matter whether the architecture allows it to be stale.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from fetchsan.coherency.lines import Arrival, InstructionSide, Line, Numbers, Store, newer
from fetchsan.coherency.maintenance import ALL_ALIASES, Clean, Invalidate, Outstanding
from fetchsan.coherency.rules import Barrier, CacheRules, Domain
from fetchsan.coherency.verdicts import Judgement, chain

__all__ = ["FRAME_SIZE", "Views"]

FRAME_SIZE = 4096
_FOREVER = 1 << 62
_FRAME_MASK = ~(FRAME_SIZE - 1)

Moved = list[tuple[Line, int]]
"""Lines (with the executing page they are keyed by) whose F moved: what a machine that executes F must refresh."""


class Views:
    """U, I and F of every line for `pes` PEs; D is memory itself, read through `data(physical, size)`.

    `due` is called with each held hit that must be reported after all (clause 6). `strict` reports at once instead.
    """

    def __init__(
        self,
        rules: CacheRules,
        pes: int,
        data: Callable[[int, int], bytes],
        *,
        due: Callable[[Judgement], None] = lambda _judgement: None,
        strict: bool = False,
    ) -> None:
        self.rules = rules
        self.pes = pes
        self.strict = strict
        self.frames: dict[int, dict[int, Line]] = {}
        self.outstanding = [Outstanding() for _ in range(pes)]
        self.ahead: list[dict[tuple[Line, int], InstructionSide]] = [{} for _ in range(pes)]
        """Per PE: where I is newer than F, so that a CSE has something to move."""
        self._data = data
        self._due = due
        self._line_mask = ~(rules.line - 1)
        self._clock = 0
        self._last_event = 0
        self._watched: set[int] = set()
        self._initial: dict[int, bytes] = {}
        self._filled: dict[int, tuple[bytes, object]] = {}
        self._drained = [0] * pes  # clock of each PE's last DSB that waits for stores (IDC=1, DIC=1)
        self._cse = [0] * pes
        self._fetch_floor = [(0, 0)] * pes  # DIC=1: (others' stores, own stores) that F has taken, by number
        self._unsettled: list[set[Line]] = [set() for _ in range(pes)]  # DIC=1: lines a CSE may move
        self._instruction_cache_off = [False] * pes
        self._held: dict[tuple[int, Line], list[Judgement]] = {}
        self._latent: dict[Line, dict[int, Judgement]] = {}

    # --- D: stores -----------------------------------------------------------------------------------------------

    def watch(self, frame: int) -> None:
        """From now on every store to `frame` is announced (it is, or was, executable)."""
        if frame not in self._watched:
            self._watched.add(frame)
            self.observe_frame(frame)

    def watches(self, frame: int) -> bool:
        """Whether single stores to `frame` count."""
        return frame in self._watched

    def stored(
        self,
        pe: int | None,
        physical: int,
        slots: int,
        origins: Mapping[int, object] | None = None,
        *,
        uncached: bool = False,
    ) -> None:
        """A store changed the slots of bit mask `slots` in the line at `physical`; D holds the new bytes already.

        Bytes rewritten with the same value must not be announced (clause 8). Ignored in frames that are not watched:
        there `observe` compares bytes, as the model says. `uncached` stores reach every U at once (clause 13).
        """
        if not slots or physical & _FRAME_MASK not in self._watched:
            return
        line = self.line_at(physical, create=True)
        assert line is not None
        self._record(line, pe, slots, self._data(line.address, self.rules.line), dict(origins or {}))
        if uncached:
            newest = tuple(line.changed)
            line.unified = [newest] * self.pes

    def filled(self, frame: int, data: bytes, origin: object) -> None:
        """The kernel or a device filled a whole frame that is not watched: remembered as the writer of what is found later."""
        self._filled[frame] = (data, origin)

    def observe(self, line_address: int, *, create: bool = True) -> Line | None:
        """Compare D with what the line held when last seen; a difference is a store whose writer was not seen."""
        line = self.line_at(line_address, create=False)
        frame = line_address & _FRAME_MASK
        now = self._data(line_address, self.rules.line)
        before = line.latest if line is not None else self._default(line_address)
        if now == before:
            return line
        if not create:
            return None
        if line is None:
            line = self.line_at(line_address, create=True)
            assert line is not None
        changed = 0
        origins: dict[int, object] = {}
        fill = self._filled.get(frame)
        for slot in range(self.rules.line // 4):
            piece = now[4 * slot : 4 * slot + 4]
            if piece != before[4 * slot : 4 * slot + 4]:
                changed |= 1 << slot
                if fill is not None:
                    offset = line_address - frame + 4 * slot
                    if fill[0][offset : offset + 4] == piece:
                        origins[slot] = fill[1]
        self._record(line, None, changed, now, origins)
        return line

    def observe_frame(self, frame: int) -> None:
        """`observe` every line of a frame (cheap when nothing changed)."""
        if frame not in self.frames and self._data(frame, FRAME_SIZE) == self._initial.get(frame, _ZEROS):
            return
        for address in range(frame, frame + FRAME_SIZE, self.rules.line):
            self.observe(address)

    def boot(self, frame: int) -> None:
        """The frame belongs to the boot image: D = U = I = F (clause 2)."""
        self.settle(frame)

    def settle(self, frame: int) -> None:
        """D, U, I and F of the frame are one: forget its records."""
        for line in self.frames.pop(frame, {}).values():
            self._forget(line)
        self._initial[frame] = self._data(frame, FRAME_SIZE)
        self._filled.pop(frame, None)

    def freed(self, frame: int) -> None:
        """The frame has no owner now. It keeps its views (clause 2); held hits on it are due (clause 6)."""
        if frame in self._watched:
            self.observe_frame(frame)
            self._watched.discard(frame)
        for line in self.frames.get(frame, {}).values():
            self._latent.pop(line, None)
            for pe in range(self.pes):
                self._release_held(pe, line)

    # --- D to U to I: maintenance ----------------------------------------------------------------------------------

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
        for frame in list(self.frames):
            self.observe_frame(frame)
        for line in self._lines():
            self._capture(pe, line, pc)

    def _capture(self, pe: int, line: Line, pc: int | None) -> None:
        numbers = tuple(line.changed)
        line.clean_seen = (pe, pc)
        if not line.captures or line.captures[-1][1] != numbers:
            line.captures.append((self._clock, numbers))
        # An older clean of the same line still in flight is overtaken: arrival takes the maximum.
        self.outstanding[pe].cleans.append(Clean(line, numbers))

    def invalidate(self, pe: int, physical: int, page: int = 0, pc: int | None = None) -> None:
        """IC IVAU: captures U of its PE, for the block it affects; on VIPT only under the page it names (clause 1)."""
        self._tick()
        block = physical & ~(self.rules.iline - 1)
        key = page if self.rules.vipt else ALL_ALIASES
        for address in range(block, block + self.rules.iline, self.rules.line):
            line = self.observe(address)
            if line is not None:
                self._issue_invalidate(pe, line, key, pc, local=False)

    def invalidate_all(self, pe: int, *, broadcast: bool, pc: int | None = None) -> None:
        """IC IALLUIS (`broadcast`) or IC IALLU (the issuing PE only)."""
        self._tick()
        for frame in list(self.frames):
            self.observe_frame(frame)
        for line in self._lines():
            self._issue_invalidate(pe, line, ALL_ALIASES, pc, local=not broadcast)

    def _issue_invalidate(self, pe: int, line: Line, page: int, pc: int | None, *, local: bool) -> None:
        numbers = self._unified(line, pe)
        line.ic_issued = self._clock
        line.ic_captured = newer(line.ic_captured, numbers)
        line.ic_seen = (pe, pc)
        self.outstanding[pe].invalidates.append(Invalidate(line, page, numbers, local))

    def dsb(self, pe: int, barrier: Barrier = Barrier.FULL, domain: Domain = Domain.SHAREABLE) -> None:
        """A DSB: a full one lets the PE's DCs arrive in U and its ICs in I; ST and LD complete neither (clause 3)."""
        now = self._tick()
        if barrier is not Barrier.LOADS:
            self._drained[pe] = now
        pending = self.outstanding[pe]
        if barrier is not Barrier.FULL or not pending:
            return
        everyone = domain is Domain.SHAREABLE or self.pes == 1
        for clean in pending.cleans:
            if not clean.own:
                clean.own = True
                clean.line.unified[pe] = newer(clean.line.unified[pe], clean.numbers)
            if everyone and not clean.others:
                self._arrive_elsewhere(pe, clean)
        for invalidate in pending.invalidates:
            if not invalidate.own:
                invalidate.own = True
                self._arrive(pe, invalidate, now)
            if everyone and not invalidate.local:
                for other in range(self.pes):
                    if other != pe:
                        self._arrive(other, invalidate, now)
        if everyone:
            pending.clear()
        else:
            pending.cleans = [clean for clean in pending.cleans if not clean.others]
            pending.invalidates = [invalidate for invalidate in pending.invalidates if not invalidate.local]

    def dmb(self, pe: int, barrier: Barrier = Barrier.FULL, domain: Domain = Domain.SHAREABLE) -> None:
        """A full DMB lets earlier DCs arrive in the *other* PEs' U; it completes nothing for its own (clause 3)."""
        self._tick()
        if barrier is Barrier.FULL and domain is Domain.SHAREABLE:
            for clean in self.outstanding[pe].cleans:
                if not clean.others:
                    self._arrive_elsewhere(pe, clean)

    def _arrive_elsewhere(self, pe: int, clean: Clean) -> None:
        clean.others = True
        unified = clean.line.unified
        for other in range(self.pes):
            if other != pe:
                unified[other] = newer(unified[other], clean.numbers)

    def _arrive(self, pe: int, invalidate: Invalidate, now: int) -> None:
        line = invalidate.line
        if invalidate.page == ALL_ALIASES:
            reached = list(line.instruction[pe].items())
        else:
            reached = [(invalidate.page, line.side(pe, invalidate.page))]
        for page, side in reached:
            numbers = newer(side.cached, invalidate.numbers)
            if numbers != side.cached:
                side.cached = numbers
                side.arrivals.append(Arrival(now, numbers))
                self.ahead[pe][line, page] = side
        self._drop_held(pe, line)

    # --- I to F ----------------------------------------------------------------------------------------------------

    def context_synchronise(self, pe: int) -> Moved:
        """A CSE on `pe`: F takes I. Returns what moved."""
        now = self._tick()
        self._cse[pe] = now
        moved = list(self.ahead[pe])
        for side in self.ahead[pe].values():
            side.fetched = side.cached
            side.arrivals.clear()
        self.ahead[pe].clear()
        if self.rules.dic:
            self._fetch_floor[pe] = (now, self._drained[pe])
            moved.extend((line, page) for line in self._unsettled[pe] for page in line.instruction[pe])
            self._unsettled[pe].clear()
        return moved

    def made_executable(self, pe: int, frame: int, page: int = 0) -> Moved:
        """A PTE gave `pe`, which had none, an executable translation of the frame: no translation, no fetch (clause 10)."""
        self._tick()
        moved: Moved = []
        for line in self.frames.get(frame, {}).values():
            side = line.side(pe, page if self.rules.vipt else 0)
            cached = self._cached(line, pe, side)
            if cached != side.fetched:
                side.fetched = newer(side.fetched, cached)
                side.arrivals = [arrival for arrival in side.arrivals if newer(arrival.numbers, side.fetched) != side.fetched]
                if not side.arrivals:
                    self.ahead[pe].pop((line, page if self.rules.vipt else 0), None)
                moved.append((line, page))
        return moved

    def reset(self, pe: int) -> None:
        """Power-on or CPU_ON: empties the pending sets and sets I and F of the PE to its U (clause 13)."""
        self._tick()
        self.outstanding[pe].clear()
        self.ahead[pe].clear()
        for line in self._lines():
            unified = self._unified(line, pe)
            line.instruction[pe] = {0: InstructionSide(unified, unified)}

    def instruction_cache(self, pe: int, enabled: bool) -> None:
        """SCTLR_ELx.I of `pe`: while it is 0, fetches read U (clause 13)."""
        self._tick()
        self._instruction_cache_off[pe] = not enabled

    # --- fetches ---------------------------------------------------------------------------------------------------

    def judge(self, pe: int, physical: int, page: int = 0) -> Judgement | None:
        """Whether the architecture allows this fetch to be stale, and why. Moves nothing."""
        if self.rules.joined:
            return None
        line = self.line_at(physical, create=False)
        if line is None:
            return None
        slot = (physical - line.address) >> 2
        changed = line.changed[slot]
        if not changed:
            return None
        side = line.side(pe, page if self.rules.vipt else 0)
        fetched = self._fetched(line, pe, side)
        if fetched[slot] >= changed:
            return None
        unified = [self._unified(line, other) for other in range(self.pes)]
        return chain(
            line,
            slot,
            pe,
            self.rules,
            fetched=fetched,
            cached=self._cached(line, pe, side),
            unified=unified,
            no_cse_since=self._cse[pe] < changed,
        )

    def stale_slots(self, pe: int, physical: int, page: int = 0) -> int:
        """Bit mask of the line's slots whose fetch by `pe` now would be judged (stale-able, or latent)."""
        line = self.line_at(physical, create=False)
        if line is None or self.rules.joined:
            return 0
        mask = 0
        fetched = self._fetched(line, pe, line.side(pe, page if self.rules.vipt else 0))
        for slot, (changed, have) in enumerate(zip(line.changed, fetched, strict=True)):
            if changed > have:
                mask |= 1 << slot
        return mask

    def fetch(self, pe: int, physical: int, page: int = 0) -> Judgement | None:
        """`pe` executes the slot (its new bytes): the hit to report now, if any. A hit never moves a view.

        Applies clause 6 (a hit on exempt opcodes is held), the (PE, line, newest store) mark, and clause 7: executing a
        newly stored slot is an observation.
        """
        judgement = self.judge(pe, physical, page)
        line = self.line_at(physical, create=False)
        report: Judgement | None = None
        if judgement is not None and line is not None and line.reported.get(pe) != line.newest:
            line.reported[pe] = line.newest
            self._tick()
            if not judgement.exempt or self.strict:
                report = judgement
            elif not judgement.cached:
                self._held.setdefault((pe, line), []).append(judgement)
        if line is not None:
            self.observed(pe, line, (physical - line.address) >> 2)
            if report is None and line in self._latent:
                report = self._latent[line].pop((physical - line.address) >> 2, None)
                if report is not None:
                    del self._latent[line]
        return report

    def observed(self, pe: int, line: Line, slot: int) -> None:
        """Clause 7: a fetch of a slot stored after an IC completed needs no ISB for that IC's lines."""
        stored = line.changed[slot]
        if not stored:
            return
        if self.rules.dic:
            others, own = self._fetch_floor[pe]
            self._fetch_floor[pe] = (max(others, stored if line.store_at(stored) else 0), own)
        for key, side in list(self.ahead[pe].items()):
            taken = [arrival for arrival in side.arrivals if arrival.time < stored]
            if taken:
                side.fetched = newer(side.fetched, taken[-1].numbers)
                del side.arrivals[: len(taken)]
                if not side.arrivals:
                    del self.ahead[pe][key]

    def would_observe(self, pe: int, physical: int) -> int:
        """Bit mask of slots of the line whose first execution clause 7 still needs to see."""
        line = self.line_at(physical, create=False)
        if line is None or not (self.ahead[pe] or self.rules.dic):
            return 0
        if self.rules.dic:
            oldest = self._fetch_floor[pe][0]
        else:
            oldest = min(side.arrivals[0].time for side in self.ahead[pe].values())
        mask = 0
        for slot, changed in enumerate(line.changed):
            if changed > oldest:
                mask |= 1 << slot
        return mask

    def fetch_bytes(self, pe: int, physical: int, page: int = 0) -> bytes:
        """F of the line at `physical`: what the worst hardware executes (`stale` mode)."""
        line = self.line_at(physical, create=False)
        if line is None:
            return self._default(physical & self._line_mask)
        if self.rules.joined:
            return line.latest
        return line.contents(self._fetched(line, pe, line.side(pe, page if self.rules.vipt else 0)))

    def finish(self) -> None:
        """The run ends: hits still held are due (clause 6)."""
        for pe, line in list(self._held):
            self._release_held(pe, line)

    # --- the kernel's own synchronisation --------------------------------------------------------------------------

    def kernel_synchronise(self, pe: int, frame: int) -> int:
        """Linux's first-executable-PTE sync of a frame by the kernel; returns how many lines only it made fresh.

        Afterwards U and I of every PE hold D of the frame. F follows by clause 10 when the PTE is written.
        """
        self.observe_frame(frame)
        now = self._tick()
        latent = 0
        for line in self.frames.get(frame, {}).values():
            verdicts: dict[int, Judgement] = {}
            side = line.side(pe, 0)
            cached = self._cached(line, pe, side)
            for slot, changed in enumerate(line.changed):
                if changed > cached[slot]:
                    store = line.store_at(changed)
                    origin = store.origins.get(slot) if store is not None else None
                    if origin is None or getattr(origin, "agent", "guest") == "guest":
                        unified = [self._unified(line, other) for other in range(self.pes)]
                        verdict = chain(
                            line, slot, pe, self.rules, fetched=cached, cached=cached, unified=unified, no_cse_since=False
                        )
                        verdicts[slot] = verdict.as_latent()
            if verdicts and not self.rules.joined:
                latent += 1
                self._latent[line] = verdicts
            newest = tuple(line.changed)
            line.unified = [newest] * self.pes
            for other in range(self.pes):
                for page, each in line.instruction[other].items():
                    if each.cached != newest:
                        each.cached = newest
                        each.arrivals.append(Arrival(now, newest))
                        self.ahead[other][line, page] = each
                self._drop_held(other, line)
        return latent

    def is_latent(self, physical: int) -> bool:
        """Whether the line at `physical` waits to be counted when first executed."""
        line = self.line_at(physical, create=False)
        return line is not None and line in self._latent

    # --- inside ----------------------------------------------------------------------------------------------------

    def line_at(self, physical: int, *, create: bool) -> Line | None:
        """The record of the line that contains `physical`, if there is one or `create`."""
        address = physical & self._line_mask
        frame = address & _FRAME_MASK
        lines = self.frames.get(frame)
        if lines is None:
            if not create:
                return None
            lines = self.frames[frame] = {}
        line = lines.get(address)
        if line is None and create:
            line = lines[address] = Line(address, self._default(address), self.pes)
        return line

    def lines_in(self, frame: int) -> Mapping[int, Line]:
        """The records of a frame, by line address."""
        return self.frames.get(frame, {})

    def _lines(self) -> Iterator[Line]:
        for lines in self.frames.values():
            yield from lines.values()

    def _default(self, line_address: int) -> bytes:
        initial = self._initial.get(line_address & _FRAME_MASK)
        if initial is None:
            return bytes(self.rules.line)
        offset = line_address & (FRAME_SIZE - 1)
        return initial[offset : offset + self.rules.line]

    def _tick(self) -> int:
        self._clock += 1
        self._last_event = self._clock
        return self._clock

    def _record(self, line: Line, pe: int | None, slots: int, after: bytes, origins: dict[int, object]) -> None:
        self._release_held_slots(line, slots)
        self._latent.pop(line, None)
        self._clock += 1
        number = self._clock
        last = line.history[-1] if line.history else None
        if last is not None and last.pe == pe and last.number > self._last_event:
            # No event since: nobody can tell the two stores apart, so they share a number.
            slots |= last.slots
            last.number, last.after, last.slots = number, after, slots
            last.origins.update(origins)
        else:
            line.history.append(Store(number, pe, after, slots, origins))
        for slot in range(len(line.changed)):
            if slots >> slot & 1:
                line.changed[slot] = number
        if self.rules.dic:
            for unsettled in self._unsettled:
                unsettled.add(line)
        if len(line.history) > 32:
            line.forget_unreferenced(self._numbers_in_flight(line))

    def _numbers_in_flight(self, line: Line) -> set[int]:
        keep: set[int] = set()
        for pe, pending in enumerate(self.outstanding):
            for clean in pending.cleans:
                if clean.line is line:
                    keep.update(clean.numbers)
            for invalidate in pending.invalidates:
                if invalidate.line is line:
                    keep.update(invalidate.numbers)
            if self.rules.idc or self.rules.dic:
                keep.update(self._joined(line, pe, _FOREVER, self._drained[pe]))
                keep.update(self._joined(line, pe, *self._fetch_floor[pe]))
        return keep

    def _joined(self, line: Line, pe: int, others: int, own: int) -> Numbers:
        """Clause 5: the newest store of each slot that counts at once (another PE's) or since p's DSB (p's own)."""
        numbers = [0] * len(line.changed)
        for store in line.history:
            if store.number <= (own if store.pe == pe else others):
                for slot in range(len(numbers)):
                    if store.slots >> slot & 1:
                        numbers[slot] = store.number
        return tuple(numbers)

    def _unified(self, line: Line, pe: int) -> Numbers:
        if not self.rules.idc:
            return line.unified[pe]
        return newer(line.unified[pe], self._joined(line, pe, _FOREVER, self._drained[pe]))

    def _cached(self, line: Line, pe: int, side: InstructionSide) -> Numbers:
        if not self.rules.dic:
            return side.cached
        return newer(side.cached, self._joined(line, pe, _FOREVER, self._drained[pe]))

    def _fetched(self, line: Line, pe: int, side: InstructionSide) -> Numbers:
        if self._instruction_cache_off[pe]:
            return self._unified(line, pe)
        if not self.rules.dic:
            return side.fetched
        return newer(side.fetched, self._joined(line, pe, *self._fetch_floor[pe]))

    def _forget(self, line: Line) -> None:
        self._latent.pop(line, None)
        for pe in range(self.pes):
            self._release_held(pe, line)
            self._unsettled[pe].discard(line)
            for key in [key for key in self.ahead[pe] if key[0] is line]:
                del self.ahead[pe][key]
            pending = self.outstanding[pe]
            pending.cleans = [clean for clean in pending.cleans if clean.line is not line]
            pending.invalidates = [each for each in pending.invalidates if each.line is not line]

    def _release_held(self, pe: int, line: Line) -> None:
        for judgement in self._held.pop((pe, line), ()):
            self._due(judgement)

    def _release_held_slots(self, line: Line, slots: int) -> None:
        if not self._held:
            return
        for pe in range(self.pes):
            held = self._held.pop((pe, line), None)
            if held is None:
                continue
            keep = [judgement for judgement in held if not slots >> judgement.slot & 1]
            if keep:
                self._held[pe, line] = keep
            for judgement in held:
                if judgement not in keep:
                    self._due(judgement)

    def _drop_held(self, pe: int, line: Line) -> None:
        """The store reached I[q]: old-or-new was legal and now it is new (clause 6)."""
        held = self._held.get((pe, line))
        if not held:
            return
        sides = line.instruction[pe].values()
        keep = [judgement for judgement in held if not any(side.cached[judgement.slot] >= judgement.number for side in sides)]
        if keep:
            self._held[pe, line] = keep
        else:
            del self._held[pe, line]


_ZEROS = bytes(FRAME_SIZE)
