# SPDX-License-Identifier: GPL-2.0-or-later
"""The machine as its PEs see it: stores noted by native code, veils that execute, maintenance and barriers of the guest.

The fast path and the model meet here: native callbacks note stores; `drain` feeds them to `Views` before every event that
could tell the difference; a veiled slot that executes is judged by `Views.fetch`.
"""

from __future__ import annotations

import ctypes
import mmap
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from fetchsan.arch.aarch64.cpus import CpuProfile
from fetchsan.arch.aarch64.system_instructions import MaintenanceOp, SystemWord, is_exempt
from fetchsan.coherency import CacheRules, Judgement, Kind, Views
from fetchsan.coherency.views import Moved
from fetchsan.machine.engine import FETCH, PROT_EXEC, PROT_READ, PROT_WRITE, WRITE
from fetchsan.machine.hardware import Origin
from fetchsan.machine.hits import Hit
from fetchsan.machine.iframe import IFrame, Planting
from fetchsan.machine.memory import FRAME_SIZE, PhysicalMemory
from fetchsan.machine.native import Shared
from fetchsan.machine.pe import PE
from fetchsan.machine.traps import TrapHandler
from fetchsan.machine.walk import walk

__all__ = ["FRAME_MASK", "GuestSide", "Ignore", "Mode", "Statistics"]

Mode = Literal["check", "stale", "coherent"]
Ignore = Literal["dc", "ic", "all"]

FRAME_MASK = ~(FRAME_SIZE - 1)
_TOUCHED_LIMIT = 1 << 15
_MAP_NORESERVE = 0x4000
_CLEANS = (MaintenanceOp.CLEAN, MaintenanceOp.CLEAN_ALL)
_IGNORED: dict[Ignore | None, tuple[MaintenanceOp, ...]] = {
    None: (),
    "dc": _CLEANS,
    "ic": (MaintenanceOp.INVALIDATE, MaintenanceOp.INVALIDATE_ALL, MaintenanceOp.INVALIDATE_LOCAL),
    "all": tuple(MaintenanceOp),
}

@dataclass(slots=True)
class Statistics:
    """What a run did, for the JSON report and the benchmarks."""

    cleans: int = 0
    invalidates: int = 0
    maintenance_ignored: int = 0
    veils_lifted: int = 0
    hits: int = 0
    latent_lines: int = 0
    kernel_synchronised_frames: int = 0
    code_stores: int = 0


class GuestSide:
    """`pes` processing elements of one CPU profile over shared RAM, in one of the three modes.

    `on_hit` is called with every hit (`check` mode only). Stores to `tracked` frames are seen from the start, so that the
    writer of code that was never executed before has a name. `user` machines run their PEs at EL0 (the Linux ABI), others at
    EL1h.
    """

    def __init__(
        self,
        profile: CpuProfile,
        *,
        memory: PhysicalMemory | None = None,
        mode: Mode = "check",
        pes: int = 1,
        user: bool = True,
        ignore_maintenance: Ignore | None = None,
        strict: bool = False,
        joined: bool = False,
        tracked: frozenset[int] = frozenset(),
        on_hit: Callable[[Hit], None] = lambda _hit: None,
    ) -> None:
        self.profile = profile
        self.mode: Mode = mode
        self.user = user
        self.memory = memory if memory is not None else PhysicalMemory(4 << 30)
        line = min(profile.dline, profile.iline)
        self.rules = CacheRules(
            dline=profile.dline,
            iline=profile.iline,
            line=line,
            idc=profile.idc,
            dic=profile.dic,
            vipt=profile.vipt,
            joined=joined,
            exempt=is_exempt,
        )
        self.views = Views(
            self.rules,
            pes,
            self.memory.read,
            due=self._due,
            strict=strict,
            every_frame=self.memory.frames_ever_used,
            is_zero=self.memory.is_zero,
        )
        joins = profile.idc or profile.dic
        self.planting = Planting(user=user, pes=pes, joins=joins)
        self.statistics = Statistics()
        self.thread = 1
        """The guest thread that is running: evidence in hits and origins."""
        self.counter: Callable[[], int] = lambda: 0
        """What CNTVCT_EL0 reads."""
        self.frequency = 62_500_000
        """What CNTFRQ_EL0 reads, in Hz."""
        self.written_directly: set[int] = set()
        """Frames that some PE may hold a plain (unseen) write translation of."""
        self.pes: list[PE] = []
        self.on_hit = on_hit
        self._ignored = _IGNORED[ignore_maintenance]
        self._windows = mode == "check" or (mode == "stale" and joins)
        self._joins = joins
        self._pe_count = pes
        self._line = line
        self._line_shift = line.bit_length() - 1
        self._windowed: set[int] = set()
        self._stored_since_dsb = [False] * pes  # IDC=1, DIC=1: a DSB has the PE's own stores to wait for
        self._code_frames: set[int] = set()
        self._writing: dict[int, set[int]] = {}  # the PEs that may hold write entries of a frame
        self._tracked = tracked
        self._tracked_origins: dict[int, Origin] = {}
        self._hit_pcs: dict[tuple[int, int], int] = {}
        lines = self.memory.size // line
        self._maps: list[mmap.mmap] = []
        self.armed = (ctypes.c_uint8 * lines).from_buffer(self._reserve(lines))
        self._touched = (ctypes.c_uint64 * lines).from_buffer(self._reserve(8 * lines))
        self._writer = (ctypes.c_uint64 * (self.memory.size // 4)).from_buffer(self._reserve(2 * self.memory.size))
        self._touched_lists: list[ctypes.Array[ctypes.c_uint32]] = []

    def add_pe(self, handler: TrapHandler) -> PE:
        """The next PE; call it `pes` times, before any of them runs."""
        pe = PE(self, len(self.pes), handler)
        self.pes.append(pe)
        return pe

    # --- what PEs ask ----------------------------------------------------------------------------------------------------

    def memory_map(self, pe: PE) -> None:
        """Give a new PE its view of RAM: never executable where the sides are split (it also makes stores fast)."""
        protection = PROT_READ | PROT_WRITE | (PROT_EXEC if self.mode == "coherent" else 0)
        pe.engine.map_host(self.memory.base, self.memory.size, protection, self.memory.host_address)

    def share(self, shared: Shared) -> None:
        """Fill in what the native callbacks of a PE need of the machine."""
        touched_list = (ctypes.c_uint32 * (_TOUCHED_LIMIT + 64))()
        self._touched_lists.append(touched_list)
        shared.ram = self.memory.host_address
        shared.touched = ctypes.addressof(self._touched)
        shared.touched_list = ctypes.addressof(touched_list)
        shared.touched_limit = _TOUCHED_LIMIT
        shared.armed = ctypes.addressof(self.armed)
        shared.writer = ctypes.addressof(self._writer)
        shared.line_shift = self._line_shift
        shared.join = int(self._joins)
        shared.isb_interest = int(self.rules.dic)

    def sees_stores(self, frame: int) -> bool:
        """Whether stores to the frame go through the window."""
        return self._windows and (self.views.watches(frame) or frame in self._tracked)

    def is_written(self, frame: int) -> bool:
        """Whether the guest has been seen to write this frame: code there is likely to change again."""
        return frame in self.written_directly or frame in self._windowed

    def note_code(self, frame: int) -> bool:
        """`coherent` mode: the frame may be translated from now on. Whether write entries of it may be about."""
        self._code_frames.add(frame)
        if frame not in self.written_directly:
            return False
        self.written_directly.discard(frame)
        return True

    def drop_code(self, frame: int) -> bool:
        """`coherent` mode: the frame changes unseen by the engine. Whether there was code of it to drop."""
        if frame not in self._code_frames:
            return False
        self._code_frames.discard(frame)
        for pe in self.pes:
            pe.engine.remove_code(frame, FRAME_SIZE)
        return True

    def arbitrate(self, pe: PE, frame: int, kind: int) -> None:
        """`coherent` mode, several PEs: a frame of code has one PE that stores to it, or none. `kind`: what `pe` is to do."""
        if kind == WRITE:
            self._writing.setdefault(frame, set()).add(pe.index)
            if frame in self._code_frames:
                for other in self.pes:
                    if other is not pe:
                        other.engine.remove_code(frame, FRAME_SIZE)
                        other.forget_all()
        elif kind == FETCH:
            writing = self._writing.get(frame, set())
            for index in writing - {pe.index}:
                writing.discard(index)
                self.pes[index].forget_all()

    def word_at(self, pe: PE, virtual: int) -> int:
        """The instruction word that memory holds at a virtual address (0 if it is not mapped)."""
        found, _level = walk(self.memory, pe.root, virtual & FRAME_MASK)
        if found is None:
            return 0
        return int.from_bytes(self.memory.read(found.physical | virtual & (FRAME_SIZE - 1), 4), "little")

    def drain(self, pe: PE) -> None:
        """Tell the model of the stores that native code noted: before any event that could tell the difference."""
        shared = pe.shared
        if shared.isb_seen and self._pe_count > 1:
            # A CSE that moved nothing still counts against `unsynchronised-modification`.
            shared.isb_seen = 0
            self.context_synchronise(pe.index)
        count = shared.touched_count
        if not count:
            return
        shared.touched_count = 0
        self._stored_since_dsb[pe.index] = True
        touched, lines = self._touched, self._touched_lists[pe.index]
        base, shift, line_slots = self.memory.base, self._line_shift, self._line // 4
        for position in range(count):
            line = lines[position]
            mask = touched[line]
            touched[line] = 0
            first = line * line_slots
            writers = self._writer[first : first + line_slots]
            origins = {slot: writers[slot] for slot in range(line_slots) if mask >> slot & 1}
            physical = base + (line << shift)
            self._windowed.add(physical & FRAME_MASK)
            self.views.stored(pe.index, physical, mask, origins)

    def settle_interest(self) -> None:
        """Tell the native filters whether barriers have something to do."""
        views = self.views
        for pe in self.pes:
            own_stores = self._joins and self._stored_since_dsb[pe.index]
            pe.shared.barrier_interest = int(own_stores or views.maintenance_pending(pe.index))
            pe.shared.isb_interest = int(views.fetch_behind(pe.index))

    def unveil(self, pe: PE, iframe: IFrame, index: int, slot: int, pc: int) -> None:
        """A veiled slot executes: judge it, report, and show the line's code."""
        self.statistics.veils_lifted += 1
        line_address = iframe.frame + index * self._line
        physical = line_address + 4 * slot
        views = self.views
        if self.mode == "check":
            prefetch_only = not iframe.fetched
            self._hit_pcs[pe.index, physical] = pc
            judgement = views.fetch(pe.index, physical, iframe.page)
            if judgement is not None:
                self._report(judgement, pc, prefetch_only=prefetch_only and judgement.kind is Kind.MISSING_ISB)
        else:
            views.fetch_stale(pe.index, physical, iframe.page)
        if self.mode == "stale":
            self._refresh(pe.index, views.moved_by_fetch)
        iframe.fetched = True
        pe.icache.heal(iframe, index, self._still_veiled(pe, iframe, line_address, slot))

    def _still_veiled(self, pe: PE, iframe: IFrame, line_address: int, slot: int) -> int:
        views = self.views
        line = views.line_at(line_address)
        if line is None:
            return 0
        stale = views.stale_slots(pe.index, line_address, iframe.page) if self.mode == "check" else 0
        observe = views.would_observe(pe.index, line_address)
        if observe:
            # What this slot's execution has shown, older slots need not show again (clause 7).
            for other, changed in enumerate(line.changed):
                if changed <= line.changed[slot]:
                    observe &= ~(1 << other)
        return (stale | observe) & ~(1 << slot)

    def veil(self, frame: int, index: int) -> None:
        """A line is about to change: hide it on every PE that may hold code of it."""
        for pe in self.pes:
            pe.icache.veil_line(frame, index)

    def guest_barrier(self, pe: PE, word: SystemWord) -> None:
        """A DSB or DMB that the guest executed."""
        self.drain(pe)
        if word.kind == "dmb":
            self.views.dmb(pe.index, word.barrier, word.domain)
        else:
            self.views.dsb(pe.index, word.barrier, word.domain)
            self._stored_since_dsb[pe.index] = False
        self.settle_interest()

    def guest_maintenance(self, pe: PE, op: MaintenanceOp, physical: int, page: int, pc: int) -> None:
        """A DC or IC that the guest executed."""
        if op in self._ignored:
            self.statistics.maintenance_ignored += 1
            return
        views = self.views
        if op in _CLEANS:
            self.statistics.cleans += 1
            if op is MaintenanceOp.CLEAN:
                views.clean(pe.index, physical, pc)
            else:
                views.clean_all(pe.index, pc)
        elif op is MaintenanceOp.INVALIDATE:
            self.statistics.invalidates += 1
            views.invalidate(pe.index, physical, page, pc)
        elif op in (MaintenanceOp.INVALIDATE_ALL, MaintenanceOp.INVALIDATE_LOCAL):
            self.statistics.invalidates += 1
            views.invalidate_all(pe.index, broadcast=op is MaintenanceOp.INVALIDATE_ALL, pc=pc)

    def context_synchronise(self, pe: int) -> None:
        """ISB, exception entry or return: a CSE on `pe`."""
        if self.mode == "coherent" or (self._pe_count == 1 and not self.views.fetch_behind(pe)):
            return  # nothing to move, and nobody to tell
        moved = self.views.context_synchronise(pe)
        if self.mode == "stale":
            self._refresh(pe, moved)
        if self.pes:
            self.settle_interest()

    # --- inside ----------------------------------------------------------------------------------------------------------

    def _refresh(self, pe: int, moved: Moved) -> None:
        """`stale` mode: show a PE what its F has become."""
        for line, _page in moved:
            self.pes[pe].icache.refresh(line.address)

    def _due(self, judgement: Judgement) -> None:
        """A hit that was held must be reported after all."""
        self._report(judgement, self._hit_pcs.get((judgement.pe, judgement.physical), 0), prefetch_only=False)

    def _report(self, judgement: Judgement, pc: int, *, prefetch_only: bool) -> None:
        self.statistics.hits += 1
        origin = judgement.origin
        if origin is None:
            origin = self._tracked_writer(judgement.physical)
        if isinstance(origin, int):
            origin = Origin(pc=origin, agent="guest", thread=self.thread)
        self.on_hit(
            Hit(
                kind=judgement.kind,
                pe=judgement.pe,
                thread=self.thread,
                pc=pc,
                physical=judgement.physical,
                line=pc & -self._line,
                stale=judgement.stale,
                current=judgement.current,
                steps=judgement.steps,
                writer=origin if isinstance(origin, Origin) else None,
                prefetch_only=prefetch_only,
                latent=judgement.latent,
            )
        )

    def _tracked_writer(self, slot: int) -> Origin | int | None:
        if slot & FRAME_MASK not in self._tracked:
            return None
        return self._writer[(slot - self.memory.base) // 4] or self._tracked_origins.get(slot)

    def _reserve(self, size: int) -> mmap.mmap:
        """Host memory that costs nothing until touched."""
        flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | _MAP_NORESERVE
        reserved = mmap.mmap(-1, max(size, mmap.PAGESIZE), flags=flags, prot=mmap.PROT_READ | mmap.PROT_WRITE)
        self._maps.append(reserved)
        return reserved
