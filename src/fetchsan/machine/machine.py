# SPDX-License-Identifier: GPL-2.0-or-later
"""The machine: RAM, PEs with private instruction sides, and the coherency model that decides what a fetch may see.

It knows nothing of Linux or OSv. A kernel reaches it through `Hardware` (this class) and is reached through `TrapHandler`.
"""

from __future__ import annotations

from collections.abc import Sequence

from fetchsan.machine.guest_side import FRAME_MASK, GuestSide, Ignore, Mode, Statistics
from fetchsan.machine.hardware import Origin
from fetchsan.machine.memory import FRAME_SIZE

__all__ = ["Ignore", "Machine", "Mode", "Statistics"]


class Machine(GuestSide):
    """A whole machine; see `GuestSide` for what it is made with. Implements `machine.hardware.Hardware`."""

    # --- Hardware: what a kernel asks ------------------------------------------------------------------------------------

    def store(self, pe: int, physical: int, data: bytes, origin: Origin) -> None:
        """Write through the data side (a store like any other: it reaches no other view)."""
        if self.pes:
            self.drain(self.pes[pe])
        offset = 0
        while offset < len(data):
            address = physical + offset
            room = FRAME_SIZE - (address & (FRAME_SIZE - 1))
            self._store_in_frame(pe, address, data[offset : offset + room], origin)
            offset += room

    def _store_in_frame(self, pe: int, physical: int, data: bytes, origin: Origin) -> None:
        frame = physical & FRAME_MASK
        if self.mode == "coherent":
            self.memory.write(physical, data)
            if self.drop_code(frame):
                for each in self.pes:
                    each.forget_all()  # the next fetch must ask again, or later stores would go unseen
            return
        if not self.views.watches(frame):
            self.memory.write(physical, data)
            if len(data) == FRAME_SIZE:
                self.views.filled(frame, data, origin)
            if frame in self._tracked:
                self._track(physical, len(data), origin)
            return
        before = self.memory.read(frame, FRAME_SIZE)
        start = physical - frame
        after = before[:start] + data + before[start + len(data) :]
        changed: list[tuple[int, int]] = []
        for address in range(start & -self._line, start + len(data), self._line):
            mask = 0
            for slot in range(self._line // 4):
                at = address + 4 * slot
                if before[at : at + 4] != after[at : at + 4]:
                    mask |= 1 << slot
            if mask:
                changed.append((address, mask))
                self.veil(frame, address // self._line)
        self.memory.write(physical, data)
        self._stored_since_dsb[pe] = self._stored_since_dsb[pe] or bool(changed)
        for address, mask in changed:
            origins = {slot: origin for slot in range(self._line // 4) if mask >> slot & 1}
            self.views.stored(pe, frame + address, mask, origins)
        self.settle_interest()

    def clean_line(self, pe: int, physical: int) -> None:
        """DC CVAU of the line that contains `physical`."""
        self._before_event(pe)
        self.views.clean(pe, physical)
        self.settle_interest()

    def invalidate_line(self, pe: int, physical: int, virtual: int) -> None:
        """IC IVAU of the line that contains `physical`, issued by the address `virtual`."""
        self._before_event(pe)
        self.views.invalidate(pe, physical, virtual & FRAME_MASK)
        self.settle_interest()

    def invalidate_all(self, pe: int) -> None:
        """IC IALLUIS."""
        self._before_event(pe)
        self.views.invalidate_all(pe, broadcast=True)
        self.settle_interest()

    def dsb(self, pe: int) -> None:
        """DSB ISH."""
        self._before_event(pe)
        self.views.dsb(pe)
        self._stored_since_dsb[pe] = False
        self.settle_interest()

    def synchronise(self, pe: int, physical: int, virtual: int, size: int, *, context: bool = True) -> None:
        """The whole sequence over a physically contiguous range: DC loop, DSB ISH, IC loop, DSB ISH, then ISB if `context`."""
        if self.mode == "coherent" or self.rules.joined:
            return
        self._before_event(pe)
        views = self.views
        whole = physical % FRAME_SIZE == 0 and size % FRAME_SIZE == 0
        if whole and context and self._pe_count == 1:
            # One PE: afterwards D = U = I = F of these frames, which needs no records.
            views.dsb(pe)
            frames = range(physical, physical + size, FRAME_SIZE)
            views.settle_all(frames)
            if self.mode == "stale":
                for frame in frames:
                    self._refresh_frame(pe, frame)
        else:
            for address in range(physical & -self.rules.dline, physical + size, self.rules.dline):
                views.clean(pe, address)
            views.dsb(pe)
            if self.rules.vipt:
                # Linux, sync_icache_aliases: other aliases of the frame are reached only by IALLUIS.
                views.invalidate_all(pe, broadcast=True)
            else:
                for address in range(physical & -self.rules.iline, physical + size, self.rules.iline):
                    views.invalidate(pe, address, (virtual + address - physical) & FRAME_MASK)
            views.dsb(pe)
        if context:
            self.context_synchronise(pe)
        self.settle_interest()

    def kernel_synchronise(self, pe: int, frames: Sequence[int]) -> None:
        """Linux's `__sync_icache_dcache` of frames, before their first executable PTE: the sequence without a CSE."""
        if self.mode == "coherent" or self.rules.joined:
            return
        self._before_event(pe)
        views = self.views
        self.statistics.kernel_synchronised_frames += len(frames)
        for frame in () if views.never_written(frames) else frames:
            if not views.watches(frame) and views.is_fill(frame):
                views.settle(frame)  # nobody executes it yet, and nobody but the kernel wrote it
            else:
                self.statistics.latent_lines += views.kernel_synchronise(pe, frame)
        self.settle_interest()

    def pte_changed(
        self, pe: int, virtual: int, size: int, executable: Sequence[tuple[int, int]], *, replaced: bool
    ) -> None:
        """Leaf PTEs of [virtual, +size) were written by `pe`. What was not there was not cached either."""
        if replaced:
            for each in self.pes:
                each.forget_pages(virtual, size)
        if not executable or self.mode == "coherent":
            return
        self._before_event(pe)
        # From now on the frames' stores are seen.
        frames = [frame for frame, _page in executable if not self.views.watches(frame)]
        self.views.watch_all(frames)
        if self._windows and not self.written_directly.isdisjoint(frames):
            for each in self.pes:
                each.forget_data()
        for each in self.pes:
            # Clause 10: no translation, no fetch.
            moved = self.views.made_executable_all(each.index, executable)
            each.icache.begin_anew(executable)
            if self.mode == "stale":
                self._refresh(each.index, moved)
        self.settle_interest()

    def set_translation_root(self, pe: int, root: int) -> None:
        """TTBR0_EL1 of `pe`: its page walks start from physical `root` from now on."""
        self.pes[pe].root = root
        self.pes[pe].forget_all()

    def flush_tlb_all(self, pe: int) -> None:
        """OSv's flush: DSB SY, TLBI VMALLE1IS, DSB SY, ISB."""
        self.dsb(pe)
        self.context_synchronise(pe)

    def flush_tlb_linux(self, pe: int) -> None:
        """What Linux's mprotect and munmap do: DSB ISHST, TLBI, DSB ISH (no CSE)."""
        self.dsb(pe)

    def frames_freed(self, frames: Sequence[int]) -> None:
        """Frames have no owner now: held findings on them become due (clause 6). They keep their views (clause 2)."""
        self.written_directly.difference_update(frames)
        self._windowed.difference_update(frames)
        if self.mode == "coherent":
            for frame in self._code_frames.intersection(frames):
                self.drop_code(frame)
            return
        watched = [frame for frame in frames if self.views.watches(frame)]
        if not watched:
            return
        for each in self.pes:
            self.drain(each)
            for frame in watched:
                each.icache.drop(frame)
        for frame in watched:
            self.views.freed(frame)

    def boot_frame(self, physical: int) -> None:
        """The frame belongs to the boot image: D = U = I = F (clause 2)."""
        self.views.boot(physical & FRAME_MASK)

    def finish(self) -> None:
        """The run ends: held hits are due."""
        for pe in self.pes:
            self.drain(pe)
            self.statistics.code_stores += pe.shared.stores
            pe.shared.stores = 0
        self.views.finish()

    def close(self) -> None:
        """Free the engines."""
        for pe in self.pes:
            pe.engine.close()

    # --- inside ----------------------------------------------------------------------------------------------------------

    def _before_event(self, pe: int) -> None:
        if self.pes:
            self.drain(self.pes[pe])

    def _refresh_frame(self, pe: int, frame: int) -> None:
        icache = self.pes[pe].icache
        if frame in icache.by_frame:
            for address in range(frame, frame + FRAME_SIZE, self._line):
                icache.refresh(address)

    def _track(self, physical: int, size: int, origin: Origin) -> None:
        """The kernel wrote into a tracked frame that nobody executes yet."""
        for slot in range(physical & -4, physical + size, 4):
            self._tracked_origins[slot] = origin
            self._writer[(slot - self.memory.base) // 4] = 0
