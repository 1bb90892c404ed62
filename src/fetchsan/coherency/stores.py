# SPDX-License-Identifier: GPL-2.0-or-later
"""Stores: what enters D, which of it was seen as it happened, and what frames hold when nobody watched them.

D is memory itself. In a watched frame (it is, or was, executable) every store is announced with its writer; elsewhere D
is compared with what it last was, whenever something asks (clause 14: "where single stores were not seen").
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

from fetchsan.coherency.lines import Line, Store
from fetchsan.coherency.state import FRAME_MASK, FRAME_SIZE, State

__all__ = ["Stores"]

_ZEROS = bytes(FRAME_SIZE)


class Stores(State):
    """The first floor of `Views`."""

    def watch(self, frame: int) -> None:
        """From now on every store to `frame` is announced (it is, or was, executable)."""
        if frame not in self._watched:
            self._watched.add(frame)
            self.observe_frame(frame)

    def watch_all(self, frames: Sequence[int]) -> None:
        """`watch` each."""
        if self.never_written(frames):
            self._watched.update(frames)
        else:
            for frame in frames:
                self.watch(frame)

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

        Bytes rewritten with the same value must not be announced (clause 8). In frames that are not watched it is left to
        `observe`, which compares bytes, as the model says. `uncached` stores reach every U at once (clause 13).
        """
        if not slots:
            return
        if physical & FRAME_MASK in self._watched:
            line = self._line(physical)
            self._record(line, pe, slots, self._data(line.address, self.rules.line), dict(origins or {}))
        elif uncached:
            line = self.observe(physical & self._line_mask) or self._line(physical)
        else:
            return
        if uncached:
            for unified in (line.unified, line.unaided.unified) if line.unaided is not None else (line.unified,):
                for other, numbers in enumerate(unified):
                    unified[other] = tuple(
                        line.changed[slot] if slots >> slot & 1 else number for slot, number in enumerate(numbers)
                    )

    def filled(self, frame: int, data: bytes, origin: object) -> None:
        """The kernel or a device filled a whole frame that is not watched: remembered as the writer of what is found later."""
        self._filled[frame] = (data, origin)

    def is_fill(self, frame: int) -> bool:
        """Whether the frame still holds what the kernel filled it with: nothing of it is the program's."""
        return frame in self._filled and self._filled[frame][0] == self._data(frame, FRAME_SIZE)

    def observe(self, line_address: int) -> Line | None:
        """Compare D with what the line held when last seen; a difference is a store whose writer was not seen."""
        return self._compare(line_address, self._data(line_address, self.rules.line))

    def observe_frame(self, frame: int) -> None:
        """`observe` every line of a frame (cheap when nothing changed)."""
        now = self._data(frame, FRAME_SIZE)
        if frame in self._frames or now != self._initial.get(frame, _ZEROS):
            for offset in range(0, FRAME_SIZE, self.rules.line):
                self._compare(frame + offset, now[offset : offset + self.rules.line])

    def _compare(self, line_address: int, now: bytes) -> Line | None:
        line = self.line_at(line_address)
        before = line.latest if line is not None else self._default(line_address)
        if now == before:
            return line
        changed = 0
        origins: dict[int, object] = {}
        frame = line_address & FRAME_MASK
        fill, origin = self._filled.get(frame, (b"", None))
        for slot in range(self.rules.line // 4):
            piece = now[4 * slot : 4 * slot + 4]
            if piece != before[4 * slot : 4 * slot + 4]:
                changed |= 1 << slot
                offset = line_address - frame + 4 * slot
                if fill[offset : offset + 4] == piece:
                    origins[slot] = origin
        line = line or self._line(line_address)
        self._record(line, None, changed, now, origins)
        return line

    def boot(self, frame: int) -> None:
        """The frame belongs to the boot image: D = U = I = F (clause 2)."""
        self.settle(frame)

    def settle(self, frame: int) -> None:
        """D, U, I and F of the frame are one: forget its records."""
        for line in self._frames.pop(frame, {}).values():
            self._forget(line)
        contents = self._data(frame, FRAME_SIZE)
        if contents != _ZEROS:
            self._initial[frame] = contents
        else:
            self._initial.pop(frame, None)
        self._filled.pop(frame, None)

    def settle_all(self, frames: Sequence[int]) -> None:
        """`settle` each."""
        if not self.never_written(frames):
            for frame in frames:
                self.settle(frame)

    def freed(self, frame: int) -> None:
        """The frame has no owner now. It keeps its views (clause 2); held hits on it are due (clause 6)."""
        if frame in self._watched:
            self.observe_frame(frame)
            self._watched.discard(frame)
        for line in self.lines_in(frame).values():
            line.unaided = None
            self._held.release(line)

    def never_written(self, frames: Sequence[int]) -> bool:
        """Whether all views of these frames hold the zeros of power-on, and no record is kept of them.

        One look at fresh memory instead of one a frame. False also where that is not worth finding out.
        """
        size = len(frames) * FRAME_SIZE
        if len(frames) < 2 or frames[-1] - frames[0] != size - FRAME_SIZE:
            return False
        if any(not known.keys().isdisjoint(frames) for known in (self._frames, self._initial, self._filled)):
            return False
        return self._is_zero(frames[0], size) and all(b - a == FRAME_SIZE for a, b in pairwise(frames))

    def _record(self, line: Line, pe: int | None, slots: int, after: bytes, origins: dict[int, object]) -> None:
        self._held.stored(line, slots)
        self._clock += 1
        line.record(
            Store(self._clock, pe, after, slots, origins),
            since=self._last_event,
            exempt=self.rules.exempt if self.pes > 1 else None,
            in_flight=self._in_flight,
        )
        if self.rules.dic:
            for unsettled in self._unsettled:
                unsettled.add(line)
            if pe is not None:
                self._undrained[pe] = True
