# SPDX-License-Identifier: GPL-2.0-or-later
"""Owns which frames may hold translated code of a machine whose instruction fetches are coherent, and when it must go.

The engine itself sees stores to translated code, and leaves the running block at once, but only through a TLB entry that
is executable too (and then every store through it is slow). So a page gets such an entry only while its frame holds code.
Where the writing mapping is not executable, either the frame's translations live or a write entry does: who comes drops
the other. If nobody can execute the frame meanwhile (a JIT that toggles W and X), the code is kept aside, and only what
really changed is dropped when somebody comes back to execute.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fetchsan.machine.memory import FRAME_SIZE
from fetchsan.machine.walk_x64 import walk

if TYPE_CHECKING:
    from fetchsan.machine.x64_machine import X64Machine
    from fetchsan.machine.x64_pe import X64PE

__all__ = ["CodeFrames"]

_GRAIN = 64
"""Changes are looked for, and translations dropped, by so many bytes."""


class CodeFrames:
    """Of all PEs of `machine`; frames by physical address."""

    def __init__(self, machine: X64Machine) -> None:
        self._machine = machine
        self._memory = machine.memory
        self._executed: dict[int, set[tuple[int, int]]] = {}  # (PE, virtual page) at which each was fetched
        self._written: set[int] = set()  # some TLB may hold a write entry through which stores are not seen
        self._aside: dict[int, bytes] = {}  # what translations were made from, of frames being rewritten

    def holds_code(self, frame: int) -> bool:
        """Whether translations of the frame may exist and are live."""
        return frame in self._executed

    def fetched(self, pe: X64PE, frame: int, page: int) -> None:
        """`pe` is about to translate code of the frame at a virtual page: no store may go unseen from now on."""
        before = self._aside.pop(frame, None)
        if before is not None:
            self._drop_changed(frame, before)
        self._executed.setdefault(frame, set()).add((pe.index, page))
        if frame in self._written:
            self._written.discard(frame)
            self._forget_translations()

    def written(self, frame: int) -> None:
        """A write entry that the engine does not watch is about to be made: no translation may go stale unseen."""
        if frame in self._written:
            return
        self._written.add(frame)
        pages = self._executed.pop(frame, None)
        if pages is None:
            return
        if any(self._executable(frame, pe, page) for pe, page in pages):
            self._remove(frame, FRAME_SIZE)
        else:
            self._aside[frame] = self._memory.read(frame, FRAME_SIZE)
        self._forget_translations()

    def stored(self, physical: int, size: int) -> None:
        """Somebody who is no PE is about to write there (all in one frame)."""
        if physical & -FRAME_SIZE in self._executed:
            self._remove(physical, size)

    def released(self, frame: int) -> None:
        """The frame changes owner: what it held is history."""
        if self._executed.pop(frame, None) is not None or self._aside.pop(frame, None) is not None:
            self._remove(frame, FRAME_SIZE)

    def _executable(self, frame: int, pe: int, page: int) -> bool:
        found, _level = walk(self._memory, self._machine.pes[pe].root, page, user=self._machine.user)
        return found is not None and found.executable and found.physical == frame

    def _drop_changed(self, frame: int, before: bytes) -> None:
        now = self._memory.read(frame, FRAME_SIZE)
        if now == before:
            return
        for offset in range(0, FRAME_SIZE, _GRAIN):
            if now[offset : offset + _GRAIN] != before[offset : offset + _GRAIN]:
                self._remove(frame + offset, _GRAIN)

    def _remove(self, physical: int, size: int) -> None:
        for pe in self._machine.pes:
            pe.engine.remove_code(physical, size)

    def _forget_translations(self) -> None:
        for pe in self._machine.pes:
            pe.forget_now()
