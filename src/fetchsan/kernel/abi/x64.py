# SPDX-License-Identifier: GPL-2.0-or-later
"""The Linux x86-64 ABI."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar, NamedTuple

from fetchsan.arch.x64.cpuid import cpuid
from fetchsan.arch.x64.mmu_faults import Vector, page_fault_error
from fetchsan.kernel.abi.abi import Abi, BadFrame, Interrupted, RestoredSignalState
from fetchsan.kernel.abi.open_flags import OpenFlags
from fetchsan.kernel.abi.x64_calling import CALLING
from fetchsan.kernel.abi.x64_frame import (
    FPU_SIZE,
    FRAME_SIZE,
    INITIAL_FPU,
    SAVED_REGISTERS,
    SIGINFO,
    UCONTEXT,
    FpuState,
    MachineContext,
    decode_fpu,
    decode_frame,
    encode_fpu,
    encode_frame,
)
from fetchsan.kernel.errors import GuestFault
from fetchsan.kernel.exception_report import Symbolise, backtrace
from fetchsan.kernel.exception_report_x64 import REPORTED_REGISTERS, exception_report_x64
from fetchsan.kernel.mmu.layout import X86_64_LAYOUT
from fetchsan.kernel.mmu.ports import X64
from fetchsan.kernel.signals import SaFlags, Signal, SignalAction, SignalCode, SignalInfo
from fetchsan.kernel.syscalls.layouts import pack_stat_x86_64
from fetchsan.machine.traps import CPUException, ProcessingElement

if TYPE_CHECKING:
    from fetchsan.kernel.host import FileStat
    from fetchsan.kernel.task import Task

__all__ = ["X64Abi"]

_ADDRESS_MASK = (1 << 64) - 1
_USER_HALF = 1 << 47
_USER_SELECTORS = 0x33, 0x2B

# RFLAGS: what a program may choose (FIX_EFLAGS), and what a handler begins without.
_USER_FLAGS = 0x0005_0DD5  # AC RF OF DF TF SF ZF AF PF CF
_TF, _DF, _RF = 1 << 8, 1 << 10, 1 << 16

_ST = tuple(f"st{n}" for n in range(8))
_XMM = tuple(f"xmm{n}" for n in range(16))
_FPU_REGISTERS = ("fpcw", "fpsw", "fptag", "mxcsr", *_ST, *_XMM)


class _ExceptionSignal(NamedTuple):
    signal: Signal
    code: SignalCode
    at_pc: bool = False  # si_addr is the instruction; else there is none


# What each vector is to a program (Linux `arch/x86/kernel/traps.c`); floating-point ones say why in their status.
_SIGNALS: dict[int, _ExceptionSignal] = {
    Vector.DIVIDE_ERROR: _ExceptionSignal(Signal.SIGFPE, SignalCode.FPE_INTDIV, at_pc=True),
    Vector.DEBUG: _ExceptionSignal(Signal.SIGTRAP, SignalCode.TRAP_TRACE, at_pc=True),
    Vector.BREAKPOINT: _ExceptionSignal(Signal.SIGTRAP, SignalCode.SI_KERNEL),
    Vector.OVERFLOW: _ExceptionSignal(Signal.SIGSEGV, SignalCode.SI_KERNEL),
    Vector.INVALID_OPCODE: _ExceptionSignal(Signal.SIGILL, SignalCode.ILL_ILLOPN, at_pc=True),
    Vector.STACK_FAULT: _ExceptionSignal(Signal.SIGBUS, SignalCode.SI_KERNEL),
    Vector.GENERAL_PROTECTION: _ExceptionSignal(Signal.SIGSEGV, SignalCode.SI_KERNEL),
    Vector.X87_ERROR: _ExceptionSignal(Signal.SIGFPE, SignalCode.FPE_FLTUNK, at_pc=True),
    Vector.ALIGNMENT_CHECK: _ExceptionSignal(Signal.SIGBUS, SignalCode.BUS_ADRALN),
    Vector.SIMD_ERROR: _ExceptionSignal(Signal.SIGFPE, SignalCode.FPE_FLTUNK, at_pc=True),
}
_OTHER_EXCEPTION = _ExceptionSignal(Signal.SIGSEGV, SignalCode.SI_KERNEL)
# Status bits to si_code, the first that is set (fpu__exception_code).
_FPE_CODES = (
    (0x01, SignalCode.FPE_FLTINV),
    (0x04, SignalCode.FPE_FLTDIV),
    (0x08, SignalCode.FPE_FLTOVF),
    (0x12, SignalCode.FPE_FLTUND),
    (0x20, SignalCode.FPE_FLTRES),
)
_FEATURES = {  # of CPUID leaf 1, as /proc/cpuinfo names them: (register, bit)
    "fpu": (3, 0), "de": (3, 2), "pse": (3, 3), "tsc": (3, 4), "msr": (3, 5), "pae": (3, 6), "mce": (3, 7), "cx8": (3, 8),
    "apic": (3, 9), "mtrr": (3, 12), "pge": (3, 13), "mca": (3, 14), "cmov": (3, 15), "pat": (3, 16), "pse36": (3, 17),
    "clflush": (3, 19), "mmx": (3, 23), "fxsr": (3, 24), "sse": (3, 25), "sse2": (3, 26), "pni": (2, 0), "ssse3": (2, 9),
    "cx16": (2, 13), "sse4_1": (2, 19), "sse4_2": (2, 20), "popcnt": (2, 23),
}  # fmt: skip
_EXTENDED_FEATURES = "syscall nx rdtscp lm constant_tsc lahf_lm"  # of leaf 0x80000001


class X64Abi(Abi):
    """x86-64, 47-bit addresses, no XSAVE."""

    name = "x86-64"
    platform = "x86_64"
    elf_machine = 62
    port = X64
    layout_rules = X86_64_LAYOUT

    calling = CALLING

    entry_state: ClassVar[Mapping[str, int]] = {
        **dict.fromkeys((*SAVED_REGISTERS[:-3], "fs_base", "gs_base", *_ST, *_XMM), 0),
        "rflags": 0x202,
        "fpcw": INITIAL_FPU.control,
        "fpsw": INITIAL_FPU.status,
        "fptag": INITIAL_FPU.tags,
        "mxcsr": INITIAL_FPU.mxcsr,
    }
    signal_frame_size = 1440  # what Linux announces on a processor without XSAVE
    least_alternate_stack = 2048
    red_zone = 128
    fault_address_exceptions = frozenset({Vector.PAGE_FAULT})  # the others leave CR2 as it was

    open_flags = OpenFlags(
        (
            (0o40000, 0o200000),  # O_DIRECT
            (0o100000, 0o400000),  # O_LARGEFILE
            (0o200000, 0o40000),  # O_DIRECTORY
            (0o400000, 0o100000),  # O_NOFOLLOW
        )
    )
    epoll_event = struct.Struct("<IQ")  # packed, on this port only

    def __init__(self) -> None:
        self.hwcap = cpuid(1, 0).edx

    def cpuinfo(self, number: int) -> str:
        vendor, features = cpuid(0, 0), cpuid(1, 0)
        signature = features.eax
        name = b"".join(struct.pack("<4I", *cpuid(0x8000_0002 + part, 0)) for part in range(3)).rstrip(b"\0").decode()
        flags = [name for name, (register, bit) in _FEATURES.items() if features[register] >> bit & 1]
        model = signature >> 4 & 0xF | signature >> 12 & 0xF0
        return (
            f"processor\t: {number}\nvendor_id\t: {struct.pack('<3I', vendor.ebx, vendor.edx, vendor.ecx).decode()}\n"
            f"cpu family\t: {signature >> 8 & 0xF}\nmodel\t\t: {model}\nmodel name\t: {name}\nstepping\t: {signature & 0xF}\n"
            f"cpu MHz\t\t: 1000.000\ncache size\t: 8192 KB\nphysical id\t: 0\nsiblings\t: 1\ncore id\t\t: {number}\n"
            f"cpu cores\t: 1\napicid\t\t: {number}\nfpu\t\t: yes\nfpu_exception\t: yes\n"
            f"cpuid level\t: {vendor.eax}\nwp\t\t: yes\n"
            f"flags\t\t: {' '.join(flags)} {_EXTENDED_FEATURES}\nbugs\t\t:\nbogomips\t: 2000.00\nclflush size\t: 64\n"
            "cache_alignment\t: 64\naddress sizes\t: 46 bits physical, 48 bits virtual\npower management:\n\n"
        )

    def pack_stat(self, st: FileStat) -> bytes:
        return pack_stat_x86_64(st)

    def abort(self, fault: GuestFault, pc: int) -> CPUException:
        """A fault in the kernel's half always looks like one of rights (Linux, set_signal_archinfo)."""
        present = fault.permission or fault.address >= _USER_HALF
        error = page_fault_error(fault.access, present=present, user=True)
        return CPUException(Vector.PAGE_FAULT, error, fault.address, pc)

    def signal_of(self, task: Task, exception: CPUException) -> SignalInfo:
        rule = _SIGNALS.get(exception.ec, _OTHER_EXCEPTION)
        code = _fpe_code(task.pe, exception.ec) if rule.code == SignalCode.FPE_FLTUNK else rule.code
        return SignalInfo(rule.signal, code, exception.pc if rule.at_pc else 0, exception=exception)

    def cause(self, exception: CPUException) -> dict[str, int]:
        return {"vector": exception.ec, "error_code": exception.esr}

    def crash_report(self, task: Task, signal: int, exception: CPUException, symbolise: Symbolise) -> str:
        registers = dict(zip(REPORTED_REGISTERS, task.pe.get_many(REPORTED_REGISTERS), strict=True))
        trace = backtrace(exception.pc, registers["rbp"], task.memory.read_u64)
        return exception_report_x64(signal, exception, registers, _USER_SELECTORS, trace, symbolise)

    @staticmethod
    def push_frame(thread: Interrupted, info: SignalInfo, action: SignalAction, top: int, mask: int) -> None:
        pe = thread.pe
        fpstate = (top - FPU_SIZE) & ~63 & _ADDRESS_MASK
        frame = (((fpstate - FRAME_SIZE) & ~15) - 8) & _ADDRESS_MASK
        back = action.restorer if action.flags & SaFlags.RESTORER else thread.trampoline
        if not back:
            raise GuestFault(action.handler, "execute", Signal.SIGSEGV, SignalCode.SI_KERNEL)
        registers = tuple(pe.get_many(SAVED_REGISTERS))
        exception = info.exception or CPUException(0, 0, 0, 0)
        context = MachineContext(
            registers,
            mask,
            thread.alternate_stack.encode(pe.get("sp")),
            fpstate,
            error=exception.esr,
            vector=exception.ec,
            cr2=exception.far,
        )
        thread.memory.write(fpstate, encode_fpu(_fpu(pe)))
        thread.memory.write(frame, encode_frame(info.encode(), context, back))
        handler = {
            "rdi": info.signal,
            "rsi": frame + SIGINFO,
            "rdx": frame + UCONTEXT,
            "rax": 0,
            "sp": frame,
            "pc": action.handler,
            "rflags": registers[-1] & ~(_TF | _DF | _RF),
        }
        for register, value in handler.items():
            pe.set(register, value)
        _set_fpu(pe, INITIAL_FPU)

    @staticmethod
    def pop_frame(thread: Interrupted) -> RestoredSignalState:
        pe = thread.pe
        address = (pe.get("sp") - 8) & _ADDRESS_MASK  # the handler's RET took the return address
        context = decode_frame(thread.memory.read(address, FRAME_SIZE))
        if context.fpstate % 16:
            raise BadFrame("misaligned floating-point state")
        fpu = decode_fpu(thread.memory.read(context.fpstate, FPU_SIZE)) if context.fpstate else INITIAL_FPU
        *general, flags = context.registers
        flags = pe.get("rflags") & ~_USER_FLAGS | flags & _USER_FLAGS
        for register, value in zip(SAVED_REGISTERS, (*general, flags), strict=True):
            pe.set(register, value)
        _set_fpu(pe, fpu)
        return RestoredSignalState(context.mask, context.stack)


def _fpe_code(pe: ProcessingElement, vector: int) -> SignalCode:
    if vector == Vector.X87_ERROR:
        raised = pe.get("fpsw") & ~pe.get("fpcw")
    else:
        mxcsr = pe.get("mxcsr")
        raised = mxcsr & ~(mxcsr >> 7)
    return next((code for bits, code in _FPE_CODES if raised & bits), SignalCode.FPE_FLTUNK)


def _fpu(pe: ProcessingElement) -> FpuState:
    control, status, tags, mxcsr = (pe.get(register) for register in ("fpcw", "fpsw", "fptag", "mxcsr"))
    st, xmm = tuple(pe.get(register) for register in _ST), tuple(pe.get(register) for register in _XMM)
    return FpuState(control, status, tags, mxcsr, st, xmm)


def _set_fpu(pe: ProcessingElement, state: FpuState) -> None:
    values = (state.control, state.status, state.tags, state.mxcsr, *state.st, *state.xmm)
    for register, value in zip(_FPU_REGISTERS, values, strict=True):
        pe.set(register, value)
