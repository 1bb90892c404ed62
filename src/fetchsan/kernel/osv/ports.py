# SPDX-License-Identifier: GPL-2.0-or-later
"""Owns what OSv's ports have each for themselves: how a function is entered, what a fault is to the CPU, how a dump looks."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar

from fetchsan.arch.aarch64 import esr
from fetchsan.arch.aarch64.esr import ExceptionClass, FaultClass
from fetchsan.arch.x64.mmu_faults import Vector, page_fault_error
from fetchsan.kernel.abi.aarch64 import Aarch64Abi
from fetchsan.kernel.abi.aarch64_frame import GENERAL_REGISTERS, VECTOR_REGISTERS
from fetchsan.kernel.abi.abi import Abi
from fetchsan.kernel.abi.x64 import X64Abi
from fetchsan.kernel.errors import GuestFault
from fetchsan.kernel.exception_report import RegisterDump, Symbolise, backtrace, exception_report
from fetchsan.kernel.exception_report_x64 import REPORTED_REGISTERS, exception_report_x64
from fetchsan.kernel.mmu.osv_space import OsvSpace
from fetchsan.kernel.mmu.user_memory import UserMemory
from fetchsan.kernel.signals import Signal, SignalCode
from fetchsan.machine.traps import CPUException, ProcessingElement

__all__ = ["OSV_PORTS", "OsvPort"]

# Names of libraries that the kernel stands for (OSv: elf.cc); libc.so is musl's for what is linked against it.
_PROVIDED = frozenset({
    "libresolv.so.2", "libc.so.6", "libm.so.6", "libpthread.so.0", "libdl.so.2", "librt.so.1", "libaio.so.1",
    "libxenstore.so.3.0", "libcrypt.so.1", "libutil.so.1", "libc.so",
})  # fmt: skip
_GENERAL = frozenset(GENERAL_REGISTERS) | {name for name in REPORTED_REGISTERS if name not in ("rsp", "rip", "rflags")}


class OsvPort(ABC):
    """One architecture under OSv. Applications run at the kernel's own privilege; calls and frames are Linux's."""

    abi: ClassVar[type[Abi]]
    kernel_text: ClassVar[range]
    """From `kernel_base` on. Nothing is mapped there for the guest: a fetch from it comes to the kernel instead."""
    result: ClassVar[str]
    """The register of a function's result."""
    arguments: ClassVar[tuple[str, ...]]
    """Those of a function's arguments."""
    link: ClassVar[str | None]
    """The register of the address to return to; None: it is pushed."""
    vectors: ClassVar[tuple[str, ...]]
    thread_pointer: ClassVar[str]
    provided: ClassVar[frozenset[str]]
    """Names of objects that the kernel stands for: they are never looked for."""
    fault_address_exceptions: ClassVar[frozenset[int]]
    """Of the exceptions that are no page faults, those that write the register of the fault's address."""
    signals: ClassVar[Mapping[int, tuple[Signal, SignalCode]]]
    """The exceptions that OSv makes signals of; all others are fatal."""

    @property
    def main_return(self) -> int:
        """Where main() returns to."""
        return self.kernel_text.start

    @property
    def signal_return(self) -> int:
        """Where handlers return to."""
        return self.kernel_text.start + 0x1000

    @property
    def call_return(self) -> int:
        """Where functions that the kernel has called return to."""
        return self.kernel_text.start + 0x2000

    @property
    def functions(self) -> int:
        """Where functions that the kernel provides are entered (`functions`)."""
        return self.kernel_text.start + 0x3000

    @property
    def general(self) -> tuple[str, ...]:
        """The general-purpose registers, but SP and PC."""
        return tuple(name for name in self.abi.entry_state if name in _GENERAL)

    @abstractmethod
    def enter(self, pe: ProcessingElement, memory: UserMemory, address: int, top: int, arguments: tuple[int, ...]) -> None:
        """Call the function at `address` with the stack below `top`; it returns to `main_return`."""

    @abstractmethod
    def page_fault(self, space: OsvSpace, fault: GuestFault, pc: int) -> CPUException:
        """The exception that a page fault was."""

    @abstractmethod
    def report(
        self, pe: ProcessingElement, memory: UserMemory, signal: Signal, exception: CPUException, symbolise: Symbolise,
        heading: str | None,
    ) -> str:  # fmt: skip
        """OSv's dump of registers and backtrace."""


class _Aarch64(OsvPort):
    abi = Aarch64Abi
    kernel_text = range(0x4008_0000, 0x4088_0000)
    result = "x0"
    arguments = tuple(f"x{number}" for number in range(8))
    link = "x30"
    vectors = VECTOR_REGISTERS
    thread_pointer = "tpidr_el0"
    provided = _PROVIDED | {"ld-linux-aarch64.so.1", "ld-musl-aarch64.so.1", "libc.musl-aarch64.so.1"}
    fault_address_exceptions = frozenset({ExceptionClass.PC_ALIGNMENT, ExceptionClass.WATCHPOINT_SAME})  # EC=0 does not
    signals: ClassVar[Mapping[int, tuple[Signal, SignalCode]]] = {}

    def enter(self, pe: ProcessingElement, memory: UserMemory, address: int, top: int, arguments: tuple[int, ...]) -> None:
        registers = dict.fromkeys(GENERAL_REGISTERS, 0) | dict(zip(self.arguments, arguments, strict=False))
        for register, value in (registers | {"x30": self.main_return, "sp": top, "pc": address}).items():
            pe.set(register, value)

    def page_fault(self, space: OsvSpace, fault: GuestFault, pc: int) -> CPUException:
        fault_class = FaultClass.PERMISSION if fault.permission else FaultClass.TRANSLATION
        syndrome = esr.abort(fault.access, fault_class, fault.level, same_el=True)
        return CPUException(esr.Esr.EC.of(syndrome), syndrome, fault.address, pc)

    def report(
        self, pe: ProcessingElement, memory: UserMemory, signal: Signal, exception: CPUException, symbolise: Symbolise,
        heading: str | None,
    ) -> str:  # fmt: skip
        *general, sp, pstate = pe.get_many((*GENERAL_REGISTERS, "sp", "pstate"))
        state = RegisterDump(tuple(general), sp, exception.pc, pstate)
        trace = backtrace(exception.pc, general[29], memory.read_u64)
        return exception_report(signal, exception, state, trace, symbolise, heading=heading)


class _X64(OsvPort):
    abi = X64Abi
    kernel_text = range(0x4020_0000, 0x40A0_0000)
    result = "rax"
    arguments = ("rdi", "rsi", "rdx", "rcx", "r8", "r9")
    link = None
    vectors = tuple(f"xmm{number}" for number in range(16))
    thread_pointer = "fs_base"
    provided = _PROVIDED | {"ld-linux-x86-64.so.2", "ld-musl-x86_64.so.1", "libc.musl-x86_64.so.1"}
    fault_address_exceptions: ClassVar[frozenset[int]] = frozenset()
    signals: ClassVar[Mapping[int, tuple[Signal, SignalCode]]] = {
        Vector.DIVIDE_ERROR: (Signal.SIGFPE, SignalCode.FPE_INTDIV),
        Vector.SIMD_ERROR: (Signal.SIGFPE, SignalCode.FPE_FLTUNK),
    }

    def enter(self, pe: ProcessingElement, memory: UserMemory, address: int, top: int, arguments: tuple[int, ...]) -> None:
        memory.write_u64(top - 8, self.main_return)
        passed = zip(self.arguments, arguments, strict=False)
        for register, value in (dict(self.abi.entry_state) | dict(passed) | {"sp": top - 8, "pc": address}).items():
            pe.set(register, value)

    def page_fault(self, space: OsvSpace, fault: GuestFault, pc: int) -> CPUException:
        reserved = bool(space.tables.lookup(fault.address) & space.tables.format.fields["no_access"].mask)
        error = page_fault_error(fault.access, present=fault.permission, user=False, reserved=reserved)
        return CPUException(Vector.PAGE_FAULT, error, fault.address, pc)

    def report(
        self, pe: ProcessingElement, memory: UserMemory, signal: Signal, exception: CPUException, symbolise: Symbolise,
        heading: str | None,
    ) -> str:  # fmt: skip
        registers = dict(zip(REPORTED_REGISTERS, pe.get_many(REPORTED_REGISTERS), strict=True))
        trace = backtrace(exception.pc, registers["rbp"], memory.read_u64)
        return exception_report_x64(signal, exception, registers, (0x08, 0x10), trace, symbolise, heading=heading)


OSV_PORTS: Mapping[str, OsvPort] = {"aarch64": _Aarch64(), "x64": _X64()}
"""By the name of the memory manager's port."""
