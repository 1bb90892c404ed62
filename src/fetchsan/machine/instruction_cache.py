# SPDX-License-Identifier: GPL-2.0-or-later
"""One PE's instruction side: its I-frames, what is veiled in them, and the engine's translations of them.

In `check` mode an I-frame holds D, with a veil over every slot whose next execution must be seen; in `stale` mode it
holds F. Lines are healed *lazily*: no barrier writes an I-frame; a veiled slot is judged when it executes.
"""

from __future__ import annotations

import ctypes
import mmap
from collections.abc import Iterable

from fetchsan.coherency import Views
from fetchsan.machine.engine import PROT_EXEC, PROT_READ, Engine
from fetchsan.machine.iframe import IFrame, Planting
from fetchsan.machine.memory import FRAME_SIZE, PhysicalMemory

__all__ = ["I_BASE", "InstructionCache"]

I_BASE = 1 << 40
"""Engine-physical address of the I-frames: frame f of RAM at I_BASE + f; further aliases of VIPT machines after them."""
_MAP_NORESERVE = 0x4000


class InstructionCache:
    """The I-frames of PE `index`. `armed` has one byte per line: bit `index` set where code of it may be translated."""

    def __init__(
        self,
        index: int,
        engine: Engine,
        memory: PhysicalMemory,
        views: Views,
        planting: Planting,
        armed: ctypes.Array[ctypes.c_uint8],
        *,
        stale: bool,
    ) -> None:
        self.index = index
        self.by_frame: dict[int, list[IFrame]] = {}
        self._engine = engine
        self._memory = memory
        self._views = views
        self._planting = planting
        self._armed = armed
        self._bit = 1 << index
        self._stale = stale
        self._line = views.rules.line
        self._vipt = views.rules.vipt
        self._frames: dict[tuple[int, int], IFrame] = {}
        self._aliases = 0
        size = 2 * memory.size
        self._map = mmap.mmap(
            -1,
            size,
            flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | _MAP_NORESERVE,
            prot=mmap.PROT_READ | mmap.PROT_WRITE,
        )
        self._host = memoryview(self._map)
        engine.map_host(I_BASE, size, PROT_READ | PROT_EXEC, ctypes.addressof(ctypes.c_char.from_buffer(self._map)))

    def frame(self, frame: int, page: int) -> IFrame | None:
        """The I-frame of `frame` as executed at virtual `page`, if there is one."""
        return self._frames.get((frame, page if self._vipt else 0))

    def begin_anew(self, pages: Iterable[tuple[int, int]]) -> None:
        """(frame, page) pairs that have a new executable translation: nothing was fetched through it yet."""
        if self._frames:
            for frame, page in pages:
                iframe = self.frame(frame, page)
                if iframe is not None:
                    iframe.fetched = False

    def populate(self, frame: int, page: int, entry: int, *, lazy: bool) -> IFrame:
        """The I-frame of `frame`, filled on first use. `entry` is the offset about to execute (-1: none).

        `lazy`: the frame is being written to, so lines that nobody has executed stay veiled: stores to them then cost
        70 ns instead of a call to Python.
        """
        key = (frame, page if self._vipt else 0)
        iframe = self._frames.get(key)
        if iframe is None:
            siblings = self.by_frame.setdefault(frame, [])
            if not siblings:
                offset = frame - self._memory.base
            else:
                offset = self._memory.size + self._aliases * FRAME_SIZE
                self._aliases += 1
            host = self._host[offset : offset + FRAME_SIZE]
            iframe = IFrame(frame, key[1], I_BASE + offset, host, self._line, self._planting)
            self._frames[key] = iframe
            siblings.append(iframe)
            self._fill(iframe, lazy=lazy)
        if entry >= 0 and not iframe.veil[entry // self._line] >> (entry % self._line >> 2) & 1:
            iframe.fetched = True
        return iframe

    def _fill(self, iframe: IFrame, *, lazy: bool) -> None:
        frame, page = iframe.frame, iframe.page
        if self._stale:
            contents = b"".join(
                self._views.fetch_bytes(self.index, frame + offset, page) for offset in range(0, FRAME_SIZE, self._line)
            )
        else:
            contents = self._memory.read(frame, FRAME_SIZE)
        first = (frame - self._memory.base) // self._line
        known = self._views.lines_in(frame)
        full = iframe.full

        def veil(index: int) -> int:
            if self._stale:
                mask = self._views.would_observe(self.index, frame + index * self._line)
            elif lazy:
                mask = full
            elif frame + index * self._line in known:
                mask = self.needs_veil(frame + index * self._line, page)
            else:
                mask = 0
            if mask != full:
                self._armed[first + index] |= self._bit
            return mask

        iframe.fill(contents, veil)

    def needs_veil(self, line: int, page: int) -> int:
        """Slots of the line whose next execution by this PE must be seen."""
        views = self._views
        return views.stale_slots(self.index, line, page) | views.would_observe(self.index, line)

    def veil_line(self, frame: int, index: int) -> None:
        """Before the line changes: no translation of it survives, and its next execution is seen."""
        self._armed[(frame - self._memory.base) // self._line + index] &= ~self._bit & 0xFF
        for iframe in self.by_frame.get(frame, ()):
            if iframe.veil[index] != iframe.full:
                iframe.write_line(index, b"", iframe.full)
                self._engine.remove_code(iframe.physical + index * self._line, self._line)

    def heal(self, iframe: IFrame, index: int, mask: int) -> None:
        """Show the line's code (D in `check`, F in `stale`) except slots `mask`, and let it be translated."""
        address = iframe.frame + index * self._line
        if self._stale:
            contents = self._views.fetch_bytes(self.index, address, iframe.page)
        else:
            contents = self._memory.read(address, self._line)
        if iframe.write_line(index, contents, mask):
            self._engine.remove_code(iframe.physical + index * self._line, self._line)
        self._armed[(address - self._memory.base) // self._line] |= self._bit

    def expose(self, iframe: IFrame, offset: int) -> None:
        """Let the one instruction at `offset` execute again by itself, with what follows it as veiled as it is.

        The line is not armed: its next slot is veiled, so nothing is translated of it that a store could miss.
        """
        index, slot = offset // self._line, offset % self._line >> 2
        if iframe.veil[index] >> slot & 1:
            contents = self._memory.read(iframe.frame + index * self._line, self._line)
            iframe.write_line(index, contents, iframe.veil[index] & ~(1 << slot))
        self._engine.remove_code(iframe.physical + offset, 4)

    def refresh(self, address: int) -> None:
        """`stale` mode: F of the line moved."""
        frame = address & -FRAME_SIZE
        index = (address - frame) // self._line
        for iframe in self.by_frame.get(frame, ()):
            self.heal(iframe, index, self._views.would_observe(self.index, address))

    def drop(self, frame: int) -> None:
        """The frame is not executable for anyone now, or was given away: forget its I-frames and their translations."""
        for iframe in self.by_frame.pop(frame, ()):
            self._engine.remove_code(iframe.physical, FRAME_SIZE)
            del self._frames[iframe.frame, iframe.page]
            first = (frame - self._memory.base) // self._line
            for index in range(first, first + FRAME_SIZE // self._line):
                self._armed[index] &= ~self._bit & 0xFF
