# SPDX-License-Identifier: GPL-2.0-or-later
"""The x86-64 machine: RAM and PEs whose instruction fetches see every store, so that cache maintenance has nothing to do.

It is the contrast of `Machine`, and looks like it to kernels (`Hardware`) and to whoever runs them: the same attributes,
and never a hit.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from fetchsan.machine.code_frames import CodeFrames
from fetchsan.machine.guest_side import Mode, Statistics
from fetchsan.machine.hardware import Origin
from fetchsan.machine.hits import Hit
from fetchsan.machine.memory import FRAME_SIZE, PhysicalMemory
from fetchsan.machine.traps import TrapHandler
from fetchsan.machine.x64_pe import X64PE

__all__ = ["X64Machine"]


class X64Machine:
    """`pes` processing elements over shared RAM, at ring 3 (`user`: the Linux ABI) or ring 0. Implements `Hardware`."""

    def __init__(
        self,
        *,
        memory: PhysicalMemory | None = None,
        pes: int = 1,
        user: bool = True,
        mode: Mode = "check",
        on_hit: Callable[[Hit], None] = lambda _hit: None,
    ) -> None:
        self.memory = memory if memory is not None else PhysicalMemory(4 << 30)
        self.mode: Mode = mode
        self.user = user
        self.on_hit = on_hit
        self.statistics = Statistics()
        self.thread = 1
        self.counter: Callable[[], int] = lambda: 0
        """What RDTSC reads."""
        self.frequency = 1_000_000_000
        """How often a second `counter` counts, in Hz."""
        self.pes: list[X64PE] = []
        self.alone = pes == 1
        """One PE: its engine sees all the stores that its translations depend on."""
        self.code = CodeFrames(self)

    def add_pe(self, handler: TrapHandler) -> X64PE:
        """The next PE; call it `pes` times, before any of them runs."""
        pe = X64PE(self, len(self.pes), handler)
        self.pes.append(pe)
        return pe

    # --- Hardware: what a kernel asks ------------------------------------------------------------------------------------

    def store(self, pe: int, physical: int, data: bytes, origin: Origin) -> None:
        """Write to memory: every later fetch sees it."""
        end = physical + len(data)
        self.memory.write(physical, data)
        for frame in range(physical & -FRAME_SIZE, end, FRAME_SIZE):
            start = max(frame, physical)
            self.code.stored(start, min(end, frame + FRAME_SIZE) - start)

    def clean_line(self, pe: int, physical: int) -> None:
        """Nothing: instruction fetches snoop."""

    def invalidate_line(self, pe: int, physical: int, virtual: int) -> None:
        """Nothing: instruction fetches snoop."""

    def invalidate_all(self, pe: int) -> None:
        """Nothing: instruction fetches snoop."""

    def dsb(self, pe: int) -> None:
        """Nothing: stores are seen in order."""

    def context_synchronise(self, pe: int) -> None:
        """Nothing is behind."""

    def synchronise(self, pe: int, physical: int, virtual: int, size: int, *, context: bool = True) -> None:
        """Nothing: instruction fetches snoop."""

    def kernel_synchronise(self, pe: int, frames: Sequence[int]) -> None:
        """Nothing: instruction fetches snoop."""

    def pte_changed(
        self, pe: int, virtual: int, size: int, executable: Sequence[tuple[int, int]], *, replaced: bool
    ) -> None:
        """Leaf PTEs of [virtual, +size) were written by `pe`. What was not there was not cached either."""
        if replaced:
            for each in self.pes:
                each.forget_pages(virtual, size)

    def set_translation_root(self, pe: int, root: int) -> None:
        """CR3 of `pe`: its page walks start from physical `root` from now on."""
        self.pes[pe].root = root
        self.pes[pe].forget_all()

    def flush_tlb_all(self, pe: int) -> None:
        """OSv's flush: CR3 written again. The pages that changed were announced one by one."""

    def flush_tlb_linux(self, pe: int) -> None:
        """What Linux's mprotect and munmap do: INVLPG. The pages that changed were announced one by one."""

    def frames_freed(self, frames: Sequence[int]) -> None:
        """Frames have no owner now: translations of what they held go with it."""
        for frame in frames:
            self.code.released(frame)

    def boot_frame(self, physical: int) -> None:
        """The frame belongs to the boot image: its views are memory, as all views here."""

    def finish(self) -> None:
        """The run ends: nothing is held."""

    def close(self) -> None:
        """Free the engines."""
        for pe in self.pes:
            pe.engine.close()
