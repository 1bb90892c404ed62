# SPDX-License-Identifier: GPL-2.0-or-later
"""The fast machine with the reference machine's interface: real page tables, a kernel of three doors that only stops."""

from __future__ import annotations

from typing import Literal

from fetchsan.arch.aarch64.cpus import get_cpu
from fetchsan.arch.aarch64.page_table import AARCH64_PAGE_TABLE as FORMAT
from fetchsan.errors import InternalError
from fetchsan.machine.hits import Hit
from fetchsan.machine.machine import Machine, Mode
from fetchsan.machine.memory import PhysicalMemory
from fetchsan.machine.traps import CPUException, ProcessingElement
from reference.guest import PAGE, RAM_BASE, RAM_SIZE, REGISTERS, Found, Guest, Outcome

__all__ = ["run_fast"]

_USER, _READ_ONLY, _PXN, _UXN = 1 << 6, 1 << 7, 1 << 53, 1 << 54
_YIELD = 0xD4000021  # SVC #1


class _Stops:
    """A kernel that does nothing but stop: the program ended, or it yields."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.ended: set[int] = set()

    def system_call(self, pe: ProcessingElement) -> None:
        """SVC: the immediate is the word's, which programs never change."""
        if self.machine.word_at(self.machine.pes[pe.index], pe.get("pc") - 4) != _YIELD:
            self.ended.add(pe.index)
        pe.stop()

    def page_fault(self, pe: ProcessingElement, _virtual: int, _access: Literal["read", "write", "execute"]) -> bool:
        """No mapping changes."""
        self.ended.add(pe.index)
        pe.stop()
        return False

    def exception(self, pe: ProcessingElement, exception: CPUException) -> None:
        """The program ends at it."""
        self.ended.add(pe.index)
        pe.set("pc", exception.pc)
        pe.stop()


def _map(memory: PhysicalMemory, root: int, virtual: int, leaf: int) -> None:
    table = root
    for shift in (39, 30, 21):
        at = table + 8 * (virtual >> shift & 511)
        if not memory.read_u64(at):
            memory.write_u64(at, memory.allocate_frame() | FORMAT.table)
        table = memory.read_u64(at) & 0x0000_FFFF_FFFF_F000
    memory.write_u64(table + 8 * (virtual >> 12 & 511), leaf)


def run_fast(guest: Guest, mode: Mode, *, strict: bool = False, user: bool = False) -> Outcome:
    """Run a guest that is known to end; at EL0 if `user`."""
    hits: list[Hit] = []
    memory = PhysicalMemory(RAM_SIZE + 64 * PAGE, RAM_BASE)
    for _ in range(0, RAM_SIZE, PAGE):
        memory.allocate_frame()
    machine = Machine(
        get_cpu(guest.cpu), memory=memory, mode=mode, pes=len(guest.starts), user=user, strict=strict, on_hit=hits.append
    )
    stops = _Stops(machine)
    try:
        _load(machine, guest, stops)
        while len(stops.ended) < len(machine.pes):
            for pe in machine.pes:
                if pe.index not in stops.ended:
                    pe.run()
        machine.finish()
        if mode == "stale" and hits:
            raise InternalError("`stale` reports nothing")
        return Outcome(
            tuple(_found(hit) for hit in hits),
            tuple(tuple(pe.get(name) for name in REGISTERS) for pe in machine.pes),
            memory.read(RAM_BASE, RAM_SIZE),
        )
    finally:
        machine.close()


def _load(machine: Machine, guest: Guest, stops: _Stops) -> None:
    memory = machine.memory
    for physical, image in guest.images:
        memory.write(physical, image)
    for frame in guest.frames:
        machine.boot_frame(frame)
    root = memory.allocate_frame()
    for start in guest.starts:
        pe = machine.add_pe(stops)
        machine.set_translation_root(pe.index, root)
        for name, value in (*start.registers, ("pc", start.pc)):
            pe.set(name, value)
    for mapping in guest.mappings:
        writable, executable = "w" in mapping.access, "x" in mapping.access
        rights = (_USER if machine.user else 0) | (0 if writable else _READ_ONLY) | (0 if executable else _PXN | _UXN)
        _map(memory, root, mapping.virtual, mapping.physical | FORMAT.leaf | rights)
        fresh = [(mapping.physical, mapping.virtual)] if executable else []
        machine.pte_changed(0, mapping.virtual, 4096, fresh, replaced=False)


def _found(hit: Hit) -> Found:
    writer = hit.writer.pc if hit.writer is not None else None
    return Found(str(hit.kind), hit.pe, hit.pc, hit.physical, writer, hit.stale, hit.current)
