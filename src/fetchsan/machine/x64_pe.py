# SPDX-License-Identifier: GPL-2.0-or-later
"""An x86-64 processing element: its fills, its traps, and what the engine leaves out of x86's exceptions.

Instruction fetches are coherent here, so there are no views and no veils: one mapping of RAM serves fetches, loads and
stores, and `CodeFrames` decides which TLB entries let the engine see stores to translated code.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from fetchsan.arch.x64.cpuid import cpuid
from fetchsan.arch.x64.load_store import MAXIMUM_LENGTH, find_access, first_reaching, first_vex, next_instruction
from fetchsan.arch.x64.mmu_faults import Vector, page_fault_error
from fetchsan.errors import InternalError
from fetchsan.machine import native, native_x64
from fetchsan.machine.engine import (
    FETCH,
    PROT_EXEC,
    PROT_READ,
    PROT_WRITE,
    READ,
    WRITE,
    FillCallback,
    InterruptCallback,
    X64BlockCallback,
    X64Callback,
    X64PortCallback,
    X64UndefinedCallback,
    address_of,
)
from fetchsan.machine.engine_pe import PAGE, PAGE_MASK, Access, EnginePE
from fetchsan.machine.engine_x64 import X64Engine
from fetchsan.machine.hardware import Translation
from fetchsan.machine.traps import CPUException, TrapHandler
from fetchsan.machine.walk_x64 import VIRTUAL_BITS, find_leaf, is_canonical, walk

if TYPE_CHECKING:
    from fetchsan.machine.x64_machine import X64Machine

__all__ = ["X64PE"]

_MASK32 = (1 << 32) - 1
_VA_MASK = (1 << VIRTUAL_BITS) - 1
_INT, _ICEBP, _HLT = 0xCD, 0xF1, 0xF4
_SOFTWARE_VECTORS = (Vector.BREAKPOINT, Vector.OVERFLOW)  # what ring 3 may raise by INT n
_SILENT_LIMIT = 100


class X64PE(EnginePE):
    """x86-64 PE `index` of `machine`."""

    def __init__(self, machine: X64Machine, index: int, handler: TrapHandler) -> None:
        self.engine = X64Engine("sandybridge", user=machine.user)
        super().__init__(index, handler, self.engine, user=machine.user)
        self.machine = machine
        self.shared = native.Shared()
        self._alone: int | None = None  # address of an instruction that runs in a block of its own
        self._until = False  # an exit was set
        self._pending: Callable[[], None] | None = None  # to do when the engine has come back
        self._silent = (0, 0)  # RIP of the last end without a reason, and how often in a row
        memory = machine.memory
        self.engine.map_host(memory.base, memory.size, PROT_READ | PROT_WRITE | PROT_EXEC, memory.host_address)
        self._install()

    def forget_now(self) -> None:
        """Drop every cached translation, also in the middle of a fill."""
        self._fills.forget_all()
        self.engine.flush_tlb()

    # --- translations ----------------------------------------------------------------------------------------------------

    def _translate(self, virtual: int, kind: int) -> int:
        machine = self.machine
        page = virtual & PAGE_MASK
        found = self._find(page)
        if kind == FETCH:
            if found is None or not found.executable:
                self._fault = self._fault or (page, "execute")  # the first one ends the run
                return 0
            machine.code.fetched(self, found.physical, page)
            entry = found.physical | PROT_READ | PROT_EXEC
            if found.writable and machine.alone:
                entry |= PROT_WRITE
                self._fills.remember(WRITE, page, entry)
            self._fills.remember(FETCH, page, entry)
            self._fills.remember(READ, page, entry)
            return entry
        if found is None or not (found.writable if kind == WRITE else found.readable):
            self._fault = (page, "write" if kind == WRITE else "read")
            return 0
        frame = found.physical
        entry = frame | PROT_READ
        if machine.code.holds_code(frame):
            if found.executable:
                entry |= PROT_EXEC
            if found.writable and found.executable and machine.alone:
                entry |= PROT_WRITE
                self._fills.remember(WRITE, page, entry)
            elif kind == WRITE:
                if self._runs_from(frame) and self._alone != self.engine.pc():
                    self._alone = self.engine.pc()
                    self._fault = (page, "write")
                    return 0
                machine.code.written(frame)
                entry = frame | PROT_READ | PROT_WRITE
                self._fills.remember(WRITE, page, entry)
        elif found.writable:
            machine.code.written(frame)
            entry |= PROT_WRITE
            self._fills.remember(WRITE, page, entry)
        self._fills.remember(READ, page, entry)
        return entry

    def _runs_from(self, frame: int) -> bool:
        """Whether the rest of the running block may be in `frame` (reached through another mapping)."""
        page = self.engine.pc() & PAGE_MASK
        for each in (page, page + PAGE):
            found = self._find(each)
            if found is not None and found.physical == frame:
                return True
        return False

    def _find(self, page: int) -> Translation | None:
        """What the page tables say of a page, for the ring that the PE is in."""
        if not is_canonical(page):
            return None
        return walk(self.machine.memory, self.root, page & _VA_MASK, user=self.user)[0]

    def _page_fault(self, virtual: int, access: Access) -> None:
        if self._alone is not None:
            self._run_alone(self._alone)
            return
        if access == "execute":
            self._fetch_fault(virtual)
            return
        pc = self.engine.pc()
        found = find_access(self.code_at(pc), pc, self.engine.get, virtual, access)
        address = virtual
        if found is not None:
            address = found.address
            if found.write:
                access = "write"
        if not is_canonical(virtual):
            vector = Vector.STACK_FAULT if found is not None and found.stack else Vector.GENERAL_PROTECTION
            self._raise(vector, pc)
            return
        self._ask_handler(address, access)

    def _fetch_fault(self, page: int) -> None:
        pc = self.engine.pc()
        if not is_canonical(page):
            self._raise(Vector.GENERAL_PROTECTION, pc)
            return
        if pc & PAGE_MASK == page:
            self._ask_handler(pc, "execute")
            return
        if page - pc > PAGE or page < pc:
            return  # not the program's: the engine dropped the block of an exit whose page is gone
        # The engine translates ahead: only an instruction that is reached and has bytes in the page takes the fault.
        reached = first_reaching(self.code_at(pc, page - pc), pc, page)
        if reached == pc:
            self._ask_handler(page, "execute")
            return
        self._run_until(reached)

    def _run_alone(self, pc: int) -> None:
        """A store, through a mapping that is not executable, to code of the running block: nothing may follow in the block."""
        self._drop_block(pc)
        self._run_until(next_instruction(self.code_at(pc), pc) or pc + 1)

    def _drop_block(self, pc: int) -> None:
        found = self._find(pc & PAGE_MASK)
        if found is not None:
            self.engine.remove_code(found.physical | pc & (PAGE - 1), 1)

    def _run_until(self, address: int) -> None:
        self.engine.set_exit(address)
        self._until = True

    def _paused(self) -> bool:
        if self._until:
            self._until = False
            self._alone = None
            self.engine.set_exit(None)
        if self._pending is None:
            return False
        pending, self._pending = self._pending, None
        pending()
        return True

    def _waits(self) -> bool:
        """HLT (ring 0 only); else an exit that was set."""
        pc = self.engine.pc()
        if self.code_at(pc - 1, 1) == bytes((_HLT,)):
            return True
        last, times = self._silent
        self._silent = (pc, times + 1 if last == pc else 0)
        if times > _SILENT_LIMIT:
            raise InternalError(f"the engine stops at pc {pc:#x} again and again without a reason")
        return False

    def code_at(self, pc: int, size: int = MAXIMUM_LENGTH) -> bytes:
        """The bytes that a fetch at `pc` sees, as far as they are mapped."""
        code = b""
        while size > 0:
            found = self._find(pc & PAGE_MASK)
            if found is None or not found.executable:
                break
            part = min(size, PAGE - (pc & (PAGE - 1)))
            code += self.machine.memory.read(found.physical | pc & (PAGE - 1), part)
            pc += part
            size -= part
        return code

    def page_fault_error(self, virtual: int, access: Access) -> int:
        """The error code that a fault at `virtual` pushes."""
        entry, _level = find_leaf(self.machine.memory, self.root, virtual & _VA_MASK)
        present = self._find(virtual & PAGE_MASK) is not None
        return page_fault_error(access, present=present, user=self.user, reserved=bool(entry) and not present)

    # --- traps -----------------------------------------------------------------------------------------------------------

    def _raise(self, vector: int, pc: int, error: int = 0) -> None:
        self.handler.exception(self, CPUException(vector, error, 0, pc))

    def _trapped(self) -> None:
        """After every trap: what the kernel changed must be seen."""
        if self._flush:
            self._flush = False
            self.engine.flush_tlb()

    def _syscall(self, _uc: Any, _data: Any) -> int:
        if self._pending is not None:
            return 0  # the block should not have come so far
        try:
            self.handler.system_call(self)
            self._trapped()
        except BaseException as error:
            self.fail(error)
        return 0

    def _interrupt(self, _uc: Any, number: int, _data: Any) -> None:
        """An exception, or INT n: then RIP is past it."""
        if self._pending is not None:
            return
        try:
            pc = self.engine.pc()
            self.engine.forget_exception()
            before = self.code_at(pc - 2, 2)
            if before == bytes((_INT, number)):
                self._software_interrupt(number, pc)
            else:
                self._raise(number, pc)
            self._trapped()
        except BaseException as error:
            self.fail(error)

    def _software_interrupt(self, number: int, pc: int) -> None:
        if number in _SOFTWARE_VECTORS:
            self._raise(number, pc)
            return
        # Everything else has a gate for ring 0 only, or none (also 0x80: no 32-bit system calls).
        self.engine.set("pc", pc - 2)
        self._raise(Vector.GENERAL_PROTECTION, pc - 2, number << 3 | 2)

    def _undefined(self, _uc: Any, _data: Any) -> bool:
        if self._pending is not None:
            return True
        try:
            pc = self.engine.pc()
            code = self.code_at(pc, 2)
            if code[:1] == bytes((_ICEBP,)):
                self.engine.set("pc", pc + 1)
                self._raise(Vector.DEBUG, pc + 1)
            elif code == bytes((_INT, Vector.INVALID_OPCODE)):
                self._software_interrupt(Vector.INVALID_OPCODE, pc + 2)
            else:
                self._raise(Vector.INVALID_OPCODE, pc)
            self._trapped()
        except BaseException as error:
            self.fail(error)
        return True

    def _sysenter(self, _uc: Any, _data: Any) -> int:
        """No 32-bit system calls: IA32_SYSENTER_CS is 0."""
        try:
            self._raise(Vector.GENERAL_PROTECTION, self.engine.pc())
            self._trapped()
            # The engine will add the instruction's size.
            self.engine.set("pc", self.engine.pc() - native_x64.SYSCALL_SIZE)
        except BaseException as error:
            self.fail(error)
        return 0

    def _port(self, _uc: Any, _port: int, _size: int, _third: int, _fourth: int) -> int:
        """IN, OUT and their string forms at ring 3, which the engine allows: it goes on to the end of the block."""
        try:
            if self._pending is None:
                self._pending = partial(self._refuse_port, self.engine.save())
                self.engine.stop()
        except BaseException as error:
            self.fail(error)
        return 0

    def _refuse_port(self, context: Any) -> None:
        """Registers are as they were at the instruction; what the rest of its block stored stays."""
        self.engine.restore(context)
        self.engine.free(context)
        self._raise(Vector.GENERAL_PROTECTION, self.engine.pc())

    def _translated(self, _uc: Any, block: Any, _previous: Any, _data: Any) -> None:
        """A block that is about to run may have a VEX prefix."""
        try:
            pc, size = block[0], block[1] >> 16 & 0xFFFF
            vex = first_vex(self.code_at(pc, size), pc)
            if vex is not None and self._pending is None:
                self._pending = partial(self._refuse_vex, pc, vex)
                self.engine.stop()
        except BaseException as error:
            self.fail(error)

    def _refuse_vex(self, pc: int, vex: int) -> None:
        """There is no AVX: run what is before the instruction, then it is undefined."""
        self._drop_block(pc)
        if vex == pc:
            self._raise(Vector.INVALID_OPCODE, pc)
        else:
            self._run_until(vex)

    def _cpuid(self, _uc: Any, _data: Any) -> int:
        try:
            engine = self.engine
            answer = cpuid(engine.get("rax") & _MASK32, engine.get("rcx") & _MASK32)
            for register, value in zip(("rax", "rbx", "rcx", "rdx"), answer, strict=True):
                engine.set(register, value)
        except BaseException as error:
            self.fail(error)
        return 1

    def _rdtsc(self, _uc: Any, _data: Any) -> int:
        try:
            value = self.machine.counter()
            self.engine.set("rax", value & _MASK32)
            self.engine.set("rdx", value >> 32 & _MASK32)
        except BaseException as error:
            self.fail(error)
        return 1

    def _rdtscp(self, uc: Any, data: Any) -> int:
        self._rdtsc(uc, data)
        self.engine.set("rcx", self.index)  # Linux's TSC_AUX: the processor's number
        return 1

    # --- set-up ----------------------------------------------------------------------------------------------------------

    def _install(self) -> None:
        compiled = native_x64.callbacks()
        shared = self.shared
        data = ctypes.addressof(shared)
        self._callbacks = (FillCallback(self._fill), X64Callback(self._syscall), X64BlockCallback(self._translated))
        addresses = [ctypes.cast(callback, ctypes.c_void_p).value or 0 for callback in self._callbacks]
        shared.python_fill, shared.python_syscall, shared.python_block = addresses
        memory = self.machine.memory
        shared.ram = memory.host_address - memory.base  # so that a physical address is an offset
        shared.reg_read = address_of("uc_reg_read")
        shared.reg_write = address_of("uc_reg_write")
        shared.control = address_of("uc_ctl")
        shared.next_flush = shared.flush_step = native.FLUSH_STEP
        shared.fill_table = self._fills.host_address
        shared.removing = ctypes.addressof(self.engine.removing)
        engine = self.engine
        engine.hook("fill", compiled.fill, data)
        engine.hook("syscall", compiled.syscall, data)
        engine.hook("translated", compiled.block, data)
        if self.user:
            for kind in ("in", "out"):
                engine.hook(kind, X64PortCallback(self._port))
        engine.hook("interrupt", InterruptCallback(self._interrupt))
        engine.hook("undefined", X64UndefinedCallback(self._undefined))
        engine.hook("sysenter", X64Callback(self._sysenter))
        engine.hook("cpuid", X64Callback(self._cpuid))
        engine.hook("rdtsc", X64Callback(self._rdtsc))
        engine.hook("rdtscp", X64Callback(self._rdtscp))
