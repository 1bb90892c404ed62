# SPDX-License-Identifier: GPL-2.0-or-later
"""The Linux arm64 ABI on one CPU profile."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from fetchsan.arch.aarch64 import esr
from fetchsan.arch.aarch64.cpus import CpuProfile, Hwcap
from fetchsan.arch.aarch64.esr import ExceptionClass, FaultClass
from fetchsan.kernel.abi.aarch64_calling import CALLING
from fetchsan.kernel.abi.aarch64_emulation import emulate_register_read
from fetchsan.kernel.abi.aarch64_frame import (
    FRAME_RECORD,
    FRAME_SIZE,
    GENERAL_REGISTERS,
    VECTOR_REGISTERS,
    MachineContext,
    decode_frame,
    encode_frame,
)
from fetchsan.kernel.abi.aarch64_vdso import map_vdso
from fetchsan.kernel.abi.abi import Abi, BadFrame, Interrupted, RestoredSignalState
from fetchsan.kernel.abi.open_flags import OpenFlags
from fetchsan.kernel.errors import GuestFault
from fetchsan.kernel.exception_report import RegisterDump, Symbolise, backtrace, exception_report
from fetchsan.kernel.mmu.layout import ARM64_LAYOUT
from fetchsan.kernel.mmu.ports import AARCH64
from fetchsan.kernel.signals import SaFlags, Signal, SignalAction, SignalCode, SignalInfo
from fetchsan.kernel.syscalls.layouts import pack_stat
from fetchsan.machine.traps import CPUException

if TYPE_CHECKING:
    from fetchsan.kernel.host import FileStat
    from fetchsan.kernel.mmu.linux_space import LinuxSpace
    from fetchsan.kernel.mmu.user_memory import UserMemory
    from fetchsan.kernel.task import Task

__all__ = ["Aarch64Abi"]

_ADDRESS_MASK = (1 << 64) - 1
_USER_PSTATE = 0xF000_0000  # NZCV: all of PSTATE that a program may choose
_CONTEXT_REGISTERS = (*GENERAL_REGISTERS, "sp", "pc", "pstate", "fpsr", "fpcr")


@dataclass(frozen=True, slots=True)
class _ExceptionSignal:
    signal: Signal
    code: SignalCode
    address: Literal["pc", "far", "sp"]


# What each exception class is to a program (Linux `arch/arm64/kernel/traps.c` and `mm/fault.c`, fault_info).
_SIGNALS: dict[int, _ExceptionSignal] = {
    ExceptionClass.UNKNOWN: _ExceptionSignal(Signal.SIGILL, SignalCode.ILL_ILLOPC, "pc"),
    ExceptionClass.FP_ACCESS: _ExceptionSignal(Signal.SIGILL, SignalCode.ILL_ILLOPC, "pc"),
    ExceptionClass.BRANCH_TARGET: _ExceptionSignal(Signal.SIGILL, SignalCode.ILL_ILLOPC, "pc"),
    ExceptionClass.ILLEGAL_STATE: _ExceptionSignal(Signal.SIGILL, SignalCode.ILL_ILLOPC, "pc"),
    ExceptionClass.SYSTEM_REGISTER: _ExceptionSignal(Signal.SIGILL, SignalCode.ILL_ILLOPC, "pc"),
    ExceptionClass.PAC_FAIL: _ExceptionSignal(Signal.SIGILL, SignalCode.ILL_ILLOPN, "pc"),
    ExceptionClass.HVC64: _ExceptionSignal(Signal.SIGILL, SignalCode.ILL_ILLOPC, "pc"),
    ExceptionClass.SMC64: _ExceptionSignal(Signal.SIGILL, SignalCode.ILL_ILLOPC, "pc"),
    ExceptionClass.PC_ALIGNMENT: _ExceptionSignal(Signal.SIGBUS, SignalCode.BUS_ADRALN, "far"),
    ExceptionClass.SP_ALIGNMENT: _ExceptionSignal(Signal.SIGBUS, SignalCode.BUS_ADRALN, "sp"),
    ExceptionClass.DATA_ABORT_LOWER: _ExceptionSignal(Signal.SIGBUS, SignalCode.BUS_ADRALN, "far"),
    ExceptionClass.INSTRUCTION_ABORT_LOWER: _ExceptionSignal(Signal.SIGBUS, SignalCode.BUS_ADRALN, "far"),
    ExceptionClass.FP_EXCEPTION: _ExceptionSignal(Signal.SIGFPE, SignalCode.FPE_FLTUNK, "pc"),
    ExceptionClass.BREAKPOINT_LOWER: _ExceptionSignal(Signal.SIGTRAP, SignalCode.TRAP_HWBKPT, "pc"),
    ExceptionClass.SOFTWARE_STEP_LOWER: _ExceptionSignal(Signal.SIGTRAP, SignalCode.TRAP_TRACE, "pc"),
    ExceptionClass.WATCHPOINT_LOWER: _ExceptionSignal(Signal.SIGTRAP, SignalCode.TRAP_HWBKPT, "far"),
    ExceptionClass.BRK64: _ExceptionSignal(Signal.SIGTRAP, SignalCode.TRAP_BRKPT, "pc"),
}
_OTHER_EXCEPTION = _ExceptionSignal(Signal.SIGILL, SignalCode.ILL_ILLOPC, "pc")


class Aarch64Abi(Abi):
    """arm64, 48-bit addresses, 4 KiB pages."""

    name = "aarch64"
    platform = "aarch64"
    elf_machine = 183
    port = AARCH64
    layout_rules = ARM64_LAYOUT

    calling = CALLING
    call_exception = ExceptionClass.SVC64  # Linux looks at x8 whatever the immediate is

    entry_state: ClassVar[Mapping[str, int]] = dict.fromkeys(
        (*GENERAL_REGISTERS, *VECTOR_REGISTERS, "tpidr_el0", "fpcr", "fpsr"), 0
    )
    signal_frame_size = 4720  # the signal frame and its frame record, in whole 16 bytes
    least_alternate_stack = 5120
    red_zone = 0
    # The others leave FAR_EL1 as it was: issue #1100's reports show the address of an earlier, innocent fault.
    fault_address_exceptions = frozenset(
        {
            ExceptionClass.INSTRUCTION_ABORT_LOWER,
            ExceptionClass.DATA_ABORT_LOWER,
            ExceptionClass.PC_ALIGNMENT,
            ExceptionClass.WATCHPOINT_LOWER,
        }
    )

    open_flags = OpenFlags()
    epoll_event = struct.Struct("<IxxxxQ")

    def __init__(self, cpu: CpuProfile) -> None:
        self.cpu = cpu
        self.hwcap = int(cpu.hwcap | Hwcap.CPUID)

    def cpuinfo(self, number: int) -> str:
        """The fields of MIDR_EL1 as its register description has them."""
        midr = self.cpu.midr
        features = " ".join(bit.name.lower() for bit in Hwcap if bit.name and bit & self.hwcap)
        return (
            f"processor\t: {number}\n"
            f"BogoMIPS\t: 100.00\nFeatures\t: {features}\nCPU implementer\t: {midr >> 24 & 0xFF:#04x}\n"
            f"CPU architecture: 8\nCPU variant\t: {midr >> 20 & 0xF:#x}\nCPU part\t: {midr >> 4 & 0xFFF:#05x}\n"
            f"CPU revision\t: {midr & 0xF}\n\n"
        )

    def identification(self) -> dict[str, str]:
        return {"midr_el1": f"{self.cpu.midr:#018x}\n"}

    def pack_stat(self, st: FileStat) -> bytes:
        return pack_stat(st)

    def map_vdso(self, space: LinuxSpace, memory: UserMemory, pe: int) -> int:
        return map_vdso(space, memory, pe)

    def abort(self, fault: GuestFault, pc: int) -> CPUException:
        """An address of the kernel's half looks unmapped from level 0 on, so that a program learns nothing of it (Linux,
        set_thread_esr).
        """
        if fault.address >= self.layout_rules.limit:
            syndrome = esr.abort(fault.access, FaultClass.TRANSLATION, 0, same_el=False)
        else:
            fault_class = FaultClass.PERMISSION if fault.permission else FaultClass.TRANSLATION
            syndrome = esr.abort(fault.access, fault_class, fault.level, same_el=False)
        return CPUException(esr.Esr.EC.of(syndrome), syndrome, fault.address, pc)

    def signal_of(self, task: Task, exception: CPUException) -> SignalInfo:
        rule = _SIGNALS.get(exception.ec, _OTHER_EXCEPTION)
        address = {"pc": exception.pc, "far": exception.far, "sp": task.pe.get("sp")}[rule.address]
        return SignalInfo(rule.signal, rule.code, address, exception=exception)

    def cause(self, exception: CPUException) -> dict[str, int]:
        return {"esr": exception.esr}

    def emulate(self, task: Task, exception: CPUException) -> bool:
        """Reads of identification registers."""
        if exception.ec not in (ExceptionClass.UNKNOWN, ExceptionClass.SYSTEM_REGISTER):
            return False
        try:
            word = task.memory.read_u32(exception.pc)
        except GuestFault:
            return False
        emulated = emulate_register_read(word, self.cpu.id_registers)
        if emulated is None:
            return False
        register, value = emulated
        if register != 31:
            task.pe.set(f"x{register}", value)
        task.pe.set("pc", exception.pc + 4)
        task.kernel.hardware.context_synchronise(task.pe.index)  # Linux took an exception and returned from it
        return True

    def crash_report(self, task: Task, signal: int, exception: CPUException, symbolise: Symbolise) -> str:
        *general, sp, pstate = task.pe.get_many((*GENERAL_REGISTERS, "sp", "pstate"))
        state = RegisterDump(tuple(general), sp, exception.pc, pstate)
        trace = backtrace(exception.pc, general[29], task.memory.read_u64)
        return exception_report(signal, exception, state, trace, symbolise)

    @staticmethod
    def push_frame(thread: Interrupted, info: SignalInfo, action: SignalAction, top: int, mask: int) -> None:
        pe = thread.pe
        *general, sp, pc, pstate, fpsr, fpcr = pe.get_many(_CONTEXT_REGISTERS)
        context = MachineContext(
            tuple(general),
            sp,
            pc,
            pstate & _USER_PSTATE,
            tuple(pe.get(register) for register in VECTOR_REGISTERS),
            fpsr,
            fpcr,
            mask,
            thread.alternate_stack.encode(sp),
            fault_address=info.address,
            esr=info.exception.esr if info.exception is not None else 0,
        )
        record = (top - FRAME_RECORD.size) & ~15 & _ADDRESS_MASK
        frame = (record - FRAME_SIZE) & _ADDRESS_MASK
        thread.memory.write(frame, encode_frame(info.encode(), context) + FRAME_RECORD.pack(general[29], general[30]))
        back = action.restorer if action.flags & SaFlags.RESTORER else thread.trampoline
        registers = {"x0": info.signal, "sp": frame, "pc": action.handler, "x29": record, "x30": back}
        if action.flags & SaFlags.SIGINFO:
            registers |= {"x1": frame, "x2": frame + SignalInfo.SIZE}
        for register, value in registers.items():
            pe.set(register, value)

    @staticmethod
    def pop_frame(thread: Interrupted) -> RestoredSignalState:
        pe = thread.pe
        address = pe.get("sp")
        if address % 16:
            raise BadFrame("misaligned")
        context = decode_frame(thread.memory.read(address, FRAME_SIZE))
        state = zip(
            (*GENERAL_REGISTERS, *VECTOR_REGISTERS, "sp", "pc", "fpsr", "fpcr"),
            (*context.general, *context.vectors, context.sp, context.pc, context.fpsr, context.fpcr),
            strict=True,
        )
        for register, value in state:
            pe.set(register, value)
        pe.set("pstate", pe.get("pstate") & ~_USER_PSTATE | context.pstate & _USER_PSTATE)
        return RestoredSignalState(context.mask, context.stack)
