# SPDX-License-Identifier: GPL-2.0-or-later
"""I-frames: the private copies of frames that a PE executes, and everything that is planted in them.

The guest cannot read an I-frame, so whatever is planted there is invisible to it:

* a **veil**: a reserved BRK on slots whose next execution we must see (their fetch may be a finding, or clause 7 needs to
  know). Lifted when executed; zero cost until then;
* **probes**: barriers become instructions that are no-ops to us but call a native filter;
* traps for instructions that the engine cannot fault on (DC and IC at EL0).

`planted`, a table of the words replaced, decides whose an instruction is: never its encoding.
"""

from __future__ import annotations

from collections.abc import Callable

from fetchsan.arch.aarch64.system_instructions import BRK, DC_CVAU_XZR, MSR_TPIDR_XZR, classify, system_words
from fetchsan.coherency.rules import Barrier

__all__ = ["VEIL_WORD", "IFrame", "Planting"]

FRAME_SIZE = 4096
VEIL_WORD = BRK | 0xFE7C << 5
"""The reserved BRK: a guest's own use of the same encoding is told apart by the tables."""
_TRAP_WORD = BRK | 0xFE7D << 5


class Planting:
    """Which words of the system space are replaced on this machine, and by what (decided once per machine)."""

    def __init__(self, *, user: bool, pes: int, joins: bool, check_maintenance: bool = True) -> None:
        self._user = user
        self._pes = pes
        self._joins = joins
        self._maintenance = check_maintenance
        self._known: dict[int, int | None] = {}

    def substitute(self, word: int) -> int | None:
        """The word to plant for `word`, or None to leave it."""
        try:
            return self._known[word]
        except KeyError:
            planted = self._known[word] = self._decide(word)
            return planted

    def _decide(self, word: int) -> int | None:
        if word in (MSR_TPIDR_XZR, DC_CVAU_XZR):
            # The guest's own use of a probe's encoding.
            return _TRAP_WORD
        system = classify(word)
        if system is None:
            return None
        if system.kind == "isb":
            return MSR_TPIDR_XZR
        if system.kind == "dsb":
            # A DSB ST only matters where a store needs no DC; a DSB LD never does (clauses 3 and 5).
            matters = system.barrier is Barrier.FULL or (system.barrier is Barrier.STORES and self._joins)
            return DC_CVAU_XZR if matters else None
        if system.kind == "dmb":
            # A full DMB lets a DC arrive in the other PEs' U: there must be some.
            return DC_CVAU_XZR if system.barrier is Barrier.FULL and self._pes > 1 else None
        assert system.maintenance is not None
        if self._user and system.maintenance.user and system.maintenance.name != "dc zva":
            # At EL0 a DC or IC by address faults like a load, and the engine's hooks cannot fault.
            return _TRAP_WORD
        return None


class IFrame:
    """One PE's copy of one frame (on a VIPT machine: for one executing page)."""

    __slots__ = ("_host", "_line", "_planting", "_slots", "fetched", "frame", "page", "physical", "planted", "veil")

    def __init__(self, frame: int, page: int, physical: int, host: memoryview, line: int, planting: Planting) -> None:
        self.frame = frame
        self.page = page
        self.physical = physical
        """Engine-physical address of the copy."""
        self.veil = [0] * (FRAME_SIZE // line)
        """Per line: bit mask of veiled slots."""
        self.planted: dict[int, int] = {}
        """Offset in the frame -> the word that was there."""
        self.fetched = False
        """Whether this PE executed anything of the page since it became executable."""
        self._host = host
        self._line = line
        self._slots = line // 4
        self._planting = planting

    @property
    def full(self) -> int:
        """The mask of a whole veiled line."""
        return (1 << self._slots) - 1

    def fill(self, contents: bytes, veil: Callable[[int], int]) -> None:
        """Write the whole frame: `contents` with probes planted, and for each line index the slots `veil` names."""
        code = bytearray(contents)
        self.planted.clear()
        for offset, word in system_words(contents):
            planted = self._planting.substitute(word)
            if planted is not None:
                self.planted[offset] = word
                code[offset : offset + 4] = planted.to_bytes(4, "little")
        for index in range(len(self.veil)):
            mask = self.veil[index] = veil(index)
            if mask:
                self._veil_slots(code, index * self._line, mask)
        self._host[:] = code

    def write_line(self, index: int, contents: bytes, mask: int) -> bool:
        """Write one line with slots `mask` veiled; returns whether anything changed."""
        start = index * self._line
        self.veil[index] = mask
        if mask == self.full:
            # `planted` stays: a block that is running may still come to a probe of this line.
            self._host[start : start + self._line] = _VEIL * self._slots
            return True
        if self.planted:
            for offset in range(start, start + self._line, 4):
                self.planted.pop(offset, None)
        code = bytearray(contents)
        for offset, word in system_words(contents):
            planted = self._planting.substitute(word)
            if planted is not None:
                self.planted[start + offset] = word
                code[offset : offset + 4] = planted.to_bytes(4, "little")
        if mask:
            self._veil_slots(code, 0, mask)
        if self._host[start : start + self._line] == code:
            return False
        self._host[start : start + self._line] = code
        return True

    def _veil_slots(self, code: bytearray, start: int, mask: int) -> None:
        if mask == self.full:
            code[start : start + self._line] = _VEIL * self._slots
            return
        slot = 0
        while mask:
            if mask & 1:
                code[start + 4 * slot : start + 4 * slot + 4] = _VEIL
            mask >>= 1
            slot += 1


_VEIL = VEIL_WORD.to_bytes(4, "little")
