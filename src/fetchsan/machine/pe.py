# SPDX-License-Identifier: GPL-2.0-or-later
"""A processing element: one engine, its traps, and the run loop.

What happens when (all hooks are installed before the first run):

1. the engine asks `fill` for a page: native table, else `_fill` walks the page tables. Data gets the RAM frame (or the store
   window), a fetch gets the I-frame. No translation: the run ends, the kernel maps or delivers a signal, it goes on;
2. an instruction traps (SVC, BRK, undefined): `_interrupt`. A BRK of ours is a veil or a planted trap, else it is the guest's;
3. a planted barrier or a DC/IC at EL1 calls `_sys` or `_msr`, only when there is something for it to do.
"""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING, Any

from fetchsan.arch.aarch64 import esr
from fetchsan.arch.aarch64.load_store import access_address
from fetchsan.arch.aarch64.system_instructions import MSR_TPIDR_XZR, WFI, MaintenanceOp, SystemWord, classify
from fetchsan.machine import native
from fetchsan.machine.engine import (
    FETCH,
    PROT_EXEC,
    PROT_READ,
    PROT_WRITE,
    READ,
    WRITE,
    Aarch64Engine,
    FillCallback,
    InterruptCallback,
    StoreCallback,
    SystemCallback,
    address_of,
)
from fetchsan.machine.engine_pe import PAGE, PAGE_MASK, Access, EnginePE
from fetchsan.machine.hardware import Translation
from fetchsan.machine.instruction_cache import InstructionCache
from fetchsan.machine.traps import CPUException, TrapHandler
from fetchsan.machine.walk import walk

if TYPE_CHECKING:
    from fetchsan.machine.guest_side import GuestSide

__all__ = ["PE", "WINDOW_BASE"]

WINDOW_BASE = 1 << 41
"""Engine-physical address of the store window: the byte at p of RAM is written through WINDOW_BASE + p - RAM base."""
_VA_MASK = (1 << 56) - 1
_INTR_SVC, _INTR_BRK, _INTR_UNDEFINED = 2, 7, 1
# SCTLR_EL1: UCI, UCT, DZE, nTWE, nTWI: what Linux lets EL0 do.
_SCTLR_USER = 1 << 26 | 1 << 15 | 1 << 14 | 1 << 18 | 1 << 16
_SCTLR_EL1 = (3, 0, 1, 0, 0)


class PE(EnginePE):
    """AArch64 PE `index` of `machine`."""

    def __init__(self, machine: GuestSide, index: int, handler: TrapHandler) -> None:
        self.engine = Aarch64Engine(machine.profile.engine)
        super().__init__(index, handler, self.engine, user=machine.user)
        self.machine = machine
        self.shared = native.Shared()
        self._executing: dict[int, Any] = {}
        machine.memory_map(self)
        self.icache = InstructionCache(
            index,
            self.engine,
            machine.memory,
            machine.views,
            machine.planting,
            machine.armed,
            stale=machine.mode == "stale",
        )
        self._install()
        self.engine.set("pstate", 0 if self.user else 0x3C5)  # EL0t, or EL1h with exceptions masked
        sctlr = self.engine.read_system(*_SCTLR_EL1)
        self.engine.write_system(*_SCTLR_EL1, sctlr | _SCTLR_USER)

    # --- translations ----------------------------------------------------------------------------------------------------

    def forget_pages(self, virtual: int, size: int) -> None:
        """The PTEs of [virtual, +size) changed: drop what was cached of them before the guest runs again."""
        super().forget_pages(virtual, size)
        if size == PAGE:
            self._executing.pop(virtual, None)
        else:
            for page in [page for page in self._executing if virtual <= page < virtual + size]:
                del self._executing[page]

    def forget_all(self) -> None:
        """Drop every cached translation."""
        super().forget_all()
        self._executing.clear()

    def _paused(self) -> bool:
        self.machine.drain(self)
        return False

    def _waits(self) -> bool:
        return self.machine.word_at(self, self.engine.pc() - 4) == WFI

    def _translate(self, virtual: int, kind: int) -> int:
        """Engine page | protection for a virtual page, or 0: no translation for a fetch."""
        machine = self.machine
        page = virtual & PAGE_MASK
        if not page >> 55 & 1:
            page &= _VA_MASK  # top-byte-ignore: the engine does not do it
        found, _level = walk(machine.memory, self.root, page)
        if kind == FETCH:
            if found is None or not found.executable:
                self._fault = (self.engine.pc(), "execute")
                return 0
            if machine.mode == "coherent":
                return self._coherent(found, virtual, kind)
            machine.drain(self)
            pc = self.engine.pc()
            offset = pc - page if 0 <= pc - page < PAGE else -1
            iframe = self.icache.populate(found.physical, page, offset, lazy=machine.is_written(found.physical))
            self._executing[page] = iframe
            entry = iframe.physical | PROT_EXEC
            self._fills.remember(FETCH, virtual, entry)
            return entry
        if found is None or not (found.writable if kind == WRITE else found.readable):
            self._fault = (page, "write" if kind == WRITE else "read")
            return 0
        if machine.mode == "coherent":
            return self._coherent(found, virtual, kind)
        if kind == WRITE and machine.sees_stores(found.physical):
            entry = WINDOW_BASE + (found.physical - machine.memory.base) | PROT_WRITE
            self._fills.remember(WRITE, virtual, entry | native.WINDOW)
            self.shared.store_pc = self.engine.pc()
            if self.shared.window_page != virtual:
                self.shared.other_window_page = self.shared.window_page
            self.shared.window_page = virtual
            self.shared.abort_store = 0
            return entry
        entry = found.physical | PROT_READ
        if found.writable and not machine.sees_stores(found.physical):
            entry |= PROT_WRITE
            machine.written_directly.add(found.physical)
            self._fills.remember(WRITE, virtual, entry)
        self._fills.remember(READ, virtual, entry)
        return entry

    def _coherent(self, found: Translation, virtual: int, kind: int) -> int:
        """`coherent` mode: one page for fetches and data, and the engine's own detection of stores to code.

        It works for entries that are executable. Where code is written through another mapping, either the frame's
        translations live or a write entry does: whoever comes asks, and the other is dropped. Several PEs have an engine each:
        there a write entry is given to stores only, and `arbitrate` takes it from one PE when another comes.
        """
        machine = self.machine
        several = len(machine.pes) > 1
        if several:
            machine.arbitrate(self, found.physical, kind)
        entry = found.physical | PROT_READ | (PROT_WRITE if found.writable and (kind == WRITE or not several) else 0)
        if found.executable:
            entry |= PROT_EXEC
            if machine.note_code(found.physical):
                self.forget_all()
                self.engine.flush_tlb()
        elif entry & PROT_WRITE:
            machine.written_directly.add(found.physical)
            if machine.drop_code(found.physical):
                self.forget_all()
                self.engine.flush_tlb()
        self._fills.remember(kind, virtual, entry)
        return entry

    def _page_fault(self, virtual: int, access: Access) -> None:
        if access == "execute" and virtual & 3:
            self.handler.exception(self, CPUException(esr.ExceptionClass.PC_ALIGNMENT, esr.pc_alignment(), virtual, virtual))
            return
        if access != "execute":
            virtual = self._exact(virtual)
        if self._ask_handler(virtual, access) and access != "execute":
            # The instruction misses the TLB again: let native code answer.
            self._translate(virtual & PAGE_MASK, WRITE if access == "write" else READ)

    def _exact(self, page: int) -> int:
        """The address within `page` that the instruction at PC accesses: the engine tells only the page."""
        pc = self.engine.pc()
        running = self._executing.get(pc & PAGE_MASK)
        if running is not None:
            word = self.machine.memory.read_u32(running.frame | pc & ~PAGE_MASK)
        else:
            word = self.machine.word_at(self, pc)
        address = access_address(word, pc, self.engine.get)
        if address is None:
            return page
        if not address >> 55 & 1:
            address &= _VA_MASK
        # An access that crosses into the page faults at its beginning.
        return address if address & PAGE_MASK == page else page

    # --- traps -----------------------------------------------------------------------------------------------------------

    def _interrupt(self, _uc: Any, number: int, _data: Any) -> None:
        """An exception the engine announces (phase 2)."""
        try:
            machine = self.machine
            machine.drain(self)
            if number == _INTR_SVC:
                self.handler.system_call(self)
            elif number == _INTR_BRK:
                self._breakpoint(self.engine.pc())
            else:
                self._undefined(number)
            machine.settle_interest()
            if self._flush:
                self._flush = False
                self.engine.flush_tlb()
        except BaseException as error:
            self.fail(error)

    def _breakpoint(self, pc: int) -> None:
        """Ours (a veil, a planted trap) or the guest's own."""
        iframe = self._executing.get(pc & PAGE_MASK)
        if iframe is not None:
            offset = pc & (PAGE - 1)
            line = self.machine.rules.line
            index, slot = offset // line, offset % line >> 2
            if iframe.veil[index] >> slot & 1:
                self.machine.unveil(self, iframe, index, slot, pc)
                if not self._stopping:
                    self.engine.set("pc", pc)
                return
            word = iframe.planted.get(offset)
            if word is not None:
                self._planted(word, pc)
                return
        syndrome = esr.breakpoint_exception(self.machine.word_at(self, pc) >> 5 & 0xFFFF)
        self.handler.exception(self, CPUException(esr.ExceptionClass.BRK64, syndrome, 0, pc))

    def _planted(self, word: int, pc: int) -> None:
        """An instruction that was replaced by a trap: do what it would do."""
        if word == MSR_TPIDR_XZR:
            self.engine.set("tpidr_el0", 0)
            self.engine.set("pc", pc + 4)
            return
        system = classify(word)
        assert system is not None
        if system.register == 31:
            virtual = 0
        elif system.register == 30:
            virtual = self.engine.get("x30")
        else:
            virtual = self.engine.get(f"x{system.register}")
        virtual &= _VA_MASK if not virtual >> 55 & 1 else (1 << 64) - 1
        found, _level = walk(self.machine.memory, self.root, virtual & PAGE_MASK)
        if found is None or not found.readable:
            # It faults like a load (case #62: an unreadable alias); a handled fault comes back to the same instruction.
            self.engine.set("pc", pc)
            self.handler.page_fault(self, virtual, "read")
            return
        self._maintain(system, found.physical | virtual & (PAGE - 1), virtual, pc)
        self.engine.set("pc", pc + 4)

    def _maintain(self, system: SystemWord, physical: int, virtual: int, pc: int) -> None:
        assert system.maintenance is not None
        self.machine.guest_maintenance(self, system.maintenance.op, physical, virtual & PAGE_MASK, pc)

    def _undefined(self, number: int) -> None:
        pc = self.engine.pc()
        if number == _INTR_UNDEFINED and pc & 3:
            pc -= 4  # the engine has stepped past the address it could not fetch from
            self.handler.exception(self, CPUException(esr.ExceptionClass.PC_ALIGNMENT, esr.pc_alignment(), pc, pc))
        elif number == 4:
            syndrome = esr.abort("read", esr.FaultClass.ALIGNMENT, same_el=not self.user)
            self.handler.exception(self, CPUException(syndrome >> 26, syndrome, 0, pc))
        elif number in (11, 13):  # HVC, SMC: the engine has stepped past
            self.handler.exception(self, CPUException(0, esr.unknown_reason(), 0, pc - 4))
        else:
            self.handler.exception(self, CPUException(0, esr.unknown_reason(), 0, pc))

    def _sys(self, _uc: Any, register: int, cp: Any, _data: Any) -> int:
        """A barrier probe with something to do, or a DC/IC where no trap was planted (phase 3)."""
        try:
            machine = self.machine
            pc = self.engine.pc()
            iframe = self._executing.get(pc & PAGE_MASK)
            word = iframe.planted.get(pc & (PAGE - 1)) if iframe is not None else None
            system = classify(word) if word is not None else None
            if system is None or system.kind == "maintenance":
                return self._maintenance_at_el1(register, cp, pc)
            machine.guest_barrier(self, system)
        except BaseException as error:
            self.fail(error)
        return 1

    def _maintenance_at_el1(self, register: int, cp: Any, pc: int) -> int:
        crn, crm, _op0, op1, op2 = cp[0], cp[1], cp[2], cp[3], cp[4]
        word = 0xD508_0000 | op1 << 16 | crn << 12 | crm << 8 | op2 << 5
        system = classify(word)
        if system is None or system.maintenance is None or self.user:
            return 0  # at EL0 these are EL1's own: undefined, which the engine knows
        op = system.maintenance.op
        virtual = self.engine.get_id(register)
        physical = 0
        if op in (MaintenanceOp.CLEAN, MaintenanceOp.INVALIDATE):
            found, _level = walk(self.machine.memory, self.root, virtual & PAGE_MASK)
            if found is None:
                return 1
            physical = found.physical | virtual & (PAGE - 1)
        self.machine.drain(self)
        self.machine.guest_maintenance(self, op, physical, virtual & PAGE_MASK, pc)
        self.machine.settle_interest()
        return 1

    def _msr(self, _uc: Any, _register: int, _cp: Any, _data: Any) -> int:
        """An ISB with something to move."""
        try:
            self.machine.drain(self)
            self.machine.context_synchronise(self.index)
            self.machine.settle_interest()
        except BaseException as error:
            self.fail(error)
        return 1

    def _mrs(self, _uc: Any, register: int, cp: Any, _data: Any) -> int:
        """The counters as the kernel's clock has them."""
        try:
            crn, crm, _op0, op1, op2 = cp[0], cp[1], cp[2], cp[3], cp[4]
            if (op1, crn, crm) == (3, 14, 0):
                self.engine.set_id(register, self.machine.frequency if op2 == 0 else self.machine.counter())
                return 1
        except BaseException as error:
            self.fail(error)
        return 0

    def _store(self, _uc: Any, offset: int, _size: int, _value: int, _data: Any) -> None:
        """A store through the window to a line that may be translated (or the list of touched lines is full)."""
        try:
            machine = self.machine
            machine.drain(self)
            line = machine.rules.line
            frame_offset = offset & PAGE_MASK
            frame = machine.memory.base + frame_offset
            index = (offset - frame_offset) // line
            if not machine.armed[offset // line]:
                return
            machine.veil(frame, index)
            pc = self.shared.store_pc
            running = self._executing.get(pc & PAGE_MASK)
            if running is not None and running.frame == frame and (pc & (PAGE - 1)) // line <= index:
                # The running block may still come to old translations of the line, and to stores to it that nobody would
                # see now. Execute the store again by itself: leaving the block here would lose the rest of an STP or a
                # post-index.
                self.shared.abort_store = 1
                self.icache.expose(running, pc & (PAGE - 1))
                self.engine.set("pc", pc)
        except BaseException as error:
            self.fail(error)

    # --- set-up ----------------------------------------------------------------------------------------------------------

    def _install(self) -> None:
        compiled = native.callbacks()
        shared = self.shared
        data = ctypes.addressof(shared)
        self._callbacks = (
            FillCallback(self._fill),
            StoreCallback(self._store),
            SystemCallback(self._sys),
            SystemCallback(self._mrs),
            SystemCallback(self._msr),
            InterruptCallback(self._interrupt),
        )
        addresses = [ctypes.cast(callback, ctypes.c_void_p).value or 0 for callback in self._callbacks]
        shared.python_fill, shared.python_store, shared.python_sys, shared.python_mrs, shared.python_msr = addresses[:5]
        shared.reg_read = address_of("uc_reg_read")
        shared.translate = address_of("uc_vmem_translate")
        shared.reg_write = address_of("uc_reg_write")
        shared.ctr = self.machine.profile.ctr
        shared.control = address_of("uc_ctl")
        shared.next_flush = shared.flush_step = native.FLUSH_STEP
        shared.fill_table = self._fills.host_address
        shared.removing = ctypes.addressof(self.engine.removing)
        self.machine.share(shared)
        engine = self.engine
        if self.machine.mode != "coherent":
            engine.map_window(WINDOW_BASE, self.machine.memory.size, compiled.store, data)
        engine.hook("fill", compiled.fill, data)
        engine.hook("interrupt", self._callbacks[5])
        engine.hook("mrs", compiled.mrs, data)
        if self.machine.mode != "coherent":
            engine.hook("sys", compiled.sys, data)
            engine.hook("msr", compiled.msr, data)


