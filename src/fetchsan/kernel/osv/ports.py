# SPDX-License-Identifier: GPL-2.0-or-later
"""Owns what the OSv personality takes from each port: how functions are entered, faults and reports."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from fetchsan.arch.aarch64.esr import ExceptionClass
from fetchsan.arch.x64.mmu_faults import Vector, page_fault_error
from fetchsan.kernel.abi.aarch64_calling import CALLING as AARCH64_CALLING
from fetchsan.kernel.abi.aarch64_frame import GENERAL_REGISTERS
from fetchsan.kernel.abi.calling import Calling
from fetchsan.kernel.abi.x64_calling import CALLING as X64_CALLING
from fetchsan.kernel.errors import GuestFault
from fetchsan.kernel.exception_report import RegisterDump, Symbolise, backtrace, exception_report
from fetchsan.kernel.exception_report_x64 import REPORTED_REGISTERS, exception_report_x64
from fetchsan.kernel.mmu.ports import AARCH64, X64, Port
from fetchsan.kernel.osv.faults import fault_exception
from fetchsan.machine.traps import CPUException, ProcessingElement

__all__ = ["OSV_PORTS", "OsvPort"]

_KERNEL_SELECTORS = (8, 16)  # CS and SS in ring 0 (OSv's gdt)

Report = Callable[[ProcessingElement, int, CPUException, Callable[[int], int], Symbolise, str | None], str]
"""(pe, signal, exception, read_u64, symbolise, heading) -> the text."""


@dataclass(frozen=True, slots=True)
class OsvPort:
    """`calling` passes the first arguments of functions too. `link`: where the return address goes; None: onto the stack.

    `updates_far` are the exceptions, beside page faults, that write the register of the fault's address. `signals`: faults
    may become signals; without, every one aborts.
    """

    port: Port
    calling: Calling
    general: tuple[str, ...]
    link: str | None
    updates_far: frozenset[int]
    fault: Callable[[GuestFault, int], CPUException]
    report: Report
    signals: bool


def _report_aarch64(
    pe: ProcessingElement,
    signal: int,
    exception: CPUException,
    read_u64: Callable[[int], int],
    symbolise: Symbolise,
    heading: str | None,
) -> str:
    *general, sp, pstate = pe.get_many((*GENERAL_REGISTERS, "sp", "pstate"))
    state = RegisterDump(tuple(general), sp, exception.pc, pstate)
    trace = backtrace(exception.pc, general[29], read_u64)
    return exception_report(signal, exception, state, trace, symbolise, heading=heading)


def _report_x64(
    pe: ProcessingElement,
    signal: int,
    exception: CPUException,
    read_u64: Callable[[int], int],
    symbolise: Symbolise,
    _heading: str | None,
) -> str:
    registers = dict(zip(REPORTED_REGISTERS, pe.get_many(REPORTED_REGISTERS), strict=True))
    trace = backtrace(exception.pc, registers["rbp"], read_u64)
    return exception_report_x64(signal, exception, registers, _KERNEL_SELECTORS, trace, symbolise)


def _fault_x64(fault: GuestFault, pc: int) -> CPUException:
    error = page_fault_error(fault.access, present=fault.permission, user=False)
    return CPUException(Vector.PAGE_FAULT, error, fault.address, pc)


OSV_PORTS = {
    each.port.name: each
    for each in (
        OsvPort(
            AARCH64,
            AARCH64_CALLING,
            GENERAL_REGISTERS,
            "x30",
            # Arm ARM, "FAR_EL1". EC=0 is not among them.
            frozenset({ExceptionClass.PC_ALIGNMENT, ExceptionClass.WATCHPOINT_SAME}),
            fault_exception,
            _report_aarch64,
            signals=True,
        ),
        OsvPort(
            X64,
            X64_CALLING,
            tuple(name for name in REPORTED_REGISTERS if name not in ("rsp", "rflags")),
            None,
            frozenset({Vector.PAGE_FAULT}),
            _fault_x64,
            _report_x64,
            signals=False,
        ),
    )
}
"""By the port's name."""
