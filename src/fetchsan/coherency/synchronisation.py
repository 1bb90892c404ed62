# SPDX-License-Identifier: GPL-2.0-or-later
"""I to F: context synchronisation, and the other moments at which a PE cannot have fetched before.

A CSE is a PE's own. Clause 7 (fetching a newly stored slot is an observation), clause 10 (no translation, no fetch) and
reset (clause 13) are the only other ways into F. The kernel's own synchronisation of a frame is here too.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence

from fetchsan.coherency.lines import ALL_ALIASES, Line, Unaided, newer
from fetchsan.coherency.maintenance import Maintenance
from fetchsan.coherency.state import FRAME_MASK, Moved

__all__ = ["Synchronisation"]


class Synchronisation(Maintenance):
    """The third floor of `Views`."""

    def context_synchronise(self, pe: int) -> Moved:
        """A CSE on `pe`: F takes I. Returns what moved."""
        now = self._tick()
        self._cse[pe] = now
        moved = list(self._ahead[pe])
        for side in self._ahead[pe].values():
            side.fetched = side.cached
            side.arrivals.clear()
        self._ahead[pe].clear()
        if self.rules.dic:
            moved.extend(self._move_fetch_floor(pe, now, self._drained[pe]))
            self._drains[pe].clear()
        return moved

    def _move_fetch_floor(self, pe: int, others: int, own: int) -> Moved:
        """DIC=1: F takes other PEs' stores up to one number and the PE's own up to another."""
        self._fetch_floor[pe] = floor = others, own
        moved = [(line, page) for line in self._unsettled[pe] for page in line.instruction[pe]]
        self._unsettled[pe] = {line for line in self._unsettled[pe] if self._joined(line, pe, *floor) != tuple(line.changed)}
        return moved

    def _fetched_store(self, pe: int, number: int) -> Moved:
        """Clause 7: `pe` executed what store `number` wrote, so it needs no ISB for what its I had when that was stored."""
        moved: Moved = []
        for (line, page), side in list(self._ahead[pe].items()):
            taken = [arrival for arrival in side.arrivals if arrival.time < number]
            if taken:
                side.fetched = newer(side.fetched, taken[-1].numbers)
                del side.arrivals[: len(taken)]
                if not side.arrivals:
                    del self._ahead[pe][line, page]
                moved.append((line, page))
        if self.rules.dic and number > self._fetch_floor[pe][0]:
            drains = self._drains[pe]
            before = bisect_right(drains, number)
            own = drains[before - 1] if before else self._fetch_floor[pe][1]
            del drains[:before]
            moved.extend(self._move_fetch_floor(pe, number, own))
        if moved:
            self._tick()  # what moved has taken a store's number: later stores may not share it
        return moved

    def made_executable(self, pe: int, frame: int, page: int = 0) -> Moved:
        """A PTE gave `pe`, which had none, an executable translation of the frame: no translation, no fetch (clause 10)."""
        if frame not in self._watched:
            self.observe_frame(frame)
        self._tick()
        moved: Moved = []
        for line in self._may_be_behind(pe, frame):
            for key, side in self._sides(pe, line, self._key(page)):
                cached = self._cached(line, pe, side.cached)
                if cached != side.fetched:
                    side.fetched = newer(side.fetched, cached)
                    side.arrivals.clear()
                    self._ahead[pe].pop((line, key), None)
                    moved.append((line, key))
        return moved

    def made_executable_all(self, pe: int, pages: Sequence[tuple[int, int]]) -> Moved:
        """`made_executable` each (frame, page)."""
        if self.fetch_behind(pe) or self.rules.vipt or any(frame not in self._watched for frame, _page in pages):
            return [moved for frame, page in pages for moved in self.made_executable(pe, frame, page)]
        self._tick()  # F lacks nothing of I anywhere
        return []

    def _may_be_behind(self, pe: int, frame: int) -> list[Line]:
        """Lines of the frame whose F may lack something of I. Engines that flip W and X do this for whole areas at a time."""
        if self.rules.dic or self.rules.vipt:
            return list(self.lines_in(frame).values())
        return [line for line, _page in self._ahead[pe] if line.address & FRAME_MASK == frame]

    def reset(self, pe: int) -> None:
        """Power-on or CPU_ON: empties the pending sets and sets I and F of the PE to its U (clause 13)."""
        now = self._tick()
        self._cse[pe] = now
        self._outstanding[pe].clear()
        self._ahead[pe].clear()
        self._drains[pe].clear()
        self._fetch_floor[pe] = now, self._drained[pe]
        for line in self._lines():
            line.reset_instruction_side(pe, self._unified(line, pe))
            self._held.arrived(pe, line)

    def instruction_cache(self, pe: int, enabled: bool) -> None:
        """SCTLR_ELx.I of `pe`: while it is 0, fetches read U (clause 13)."""
        self._tick()
        self._instruction_cache_off[pe] = not enabled

    # --- the kernel's own synchronisation --------------------------------------------------------------------------

    def kernel_synchronise(self, pe: int, frame: int) -> int:
        """Linux's first-executable-PTE sync of a frame by the kernel; returns how many lines only it made fresh.

        Afterwards U and I of every PE hold D of the frame. F follows by clause 10 when the PTE is written.
        """
        self.observe_frame(frame)
        now = self._tick()
        latent = 0
        for line in self.lines_in(frame).values():
            if line.unaided is None:
                line.unaided = Unaided(list(line.unified), [sides[ALL_ALIASES].cached for sides in line.instruction])
            if self._latent_slots(line, pe):
                latent += 1
            else:
                line.unaided = None
            newest = tuple(line.changed)
            line.unified = [newest] * self.pes
            for other, sides in enumerate(line.instruction):
                for page, side in sides.items():
                    if side.arrive(now, newest):
                        self._ahead[other][line, page] = side
                self._held.arrived(other, line)
        return latent

    def is_latent(self, physical: int) -> bool:
        """Whether the line at `physical` waits to be counted when first executed."""
        line = self.line_at(physical)
        return line is not None and any(self._latent_slots(line, pe) for pe in range(self.pes))

    def _latent_slots(self, line: Line, pe: int) -> int:
        """Slots that the program wrote and did not bring to I by itself."""
        if line.unaided is None or self.rules.joined:
            return 0
        cached = self._cached(line, pe, line.unaided.cached[pe])
        return sum(
            1 << slot
            for slot, number in enumerate(line.changed)
            if number > cached[slot] and getattr(line.origin(slot), "agent", "guest") == "guest"
        )
