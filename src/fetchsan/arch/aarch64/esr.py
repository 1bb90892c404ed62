# SPDX-License-Identifier: GPL-2.0-or-later
"""ESR_EL1 as declared fields, and the syndrome of every exception that a guest can take.

The engine gives no syndromes; these are what the architecture would present (Arm ARM DDI 0487, D24.2.40 "ESR_EL1").
Linux hands them to signal handlers (`esr_context`), OSv prints them: ESR 0x02000000 is issue #1100's signature.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Literal

from fetchsan.arch.register import Field

__all__ = [
    "Esr",
    "ExceptionClass",
    "FaultClass",
    "abort",
    "breakpoint_exception",
    "exception_class_name",
    "floating_point",
    "hypervisor_call",
    "illegal_state",
    "pc_alignment",
    "sp_alignment",
    "supervisor_call",
    "system_register",
    "unknown_reason",
]


class ExceptionClass(IntEnum):
    """ESR_EL1.EC, the classes that reach EL1 from AArch64 state."""

    UNKNOWN = 0x00
    WFX = 0x01
    FP_ACCESS = 0x07
    BRANCH_TARGET = 0x0D
    ILLEGAL_STATE = 0x0E
    SVC64 = 0x15
    HVC64 = 0x16
    SMC64 = 0x17
    SYSTEM_REGISTER = 0x18
    PAC_FAIL = 0x1C
    INSTRUCTION_ABORT_LOWER = 0x20
    INSTRUCTION_ABORT_SAME = 0x21
    PC_ALIGNMENT = 0x22
    DATA_ABORT_LOWER = 0x24
    DATA_ABORT_SAME = 0x25
    SP_ALIGNMENT = 0x26
    FP_EXCEPTION = 0x2C
    SERROR = 0x2F
    BREAKPOINT_LOWER = 0x30
    BREAKPOINT_SAME = 0x31
    SOFTWARE_STEP_LOWER = 0x32
    SOFTWARE_STEP_SAME = 0x33
    WATCHPOINT_LOWER = 0x34
    WATCHPOINT_SAME = 0x35
    BRK64 = 0x3C


class FaultClass(IntEnum):
    """Bits 5:2 of an abort's fault status code; bits 1:0 are the walk's level (for the first four)."""

    ADDRESS_SIZE = 0
    TRANSLATION = 1
    ACCESS_FLAG = 2
    PERMISSION = 3
    EXTERNAL = 4
    ALIGNMENT = 8


# What the architecture calls each class (D24.2.40, table of EC), for reports.
_CLASS_NAMES: dict[int, str] = {
    ExceptionClass.UNKNOWN: "Unknown reason",
    ExceptionClass.WFX: "Trapped WFI or WFE instruction",
    ExceptionClass.FP_ACCESS: "Access to SVE, Advanced SIMD or floating-point",
    ExceptionClass.BRANCH_TARGET: "Branch Target exception",
    ExceptionClass.ILLEGAL_STATE: "Illegal Execution state",
    ExceptionClass.SVC64: "SVC instruction execution in AArch64 state",
    ExceptionClass.HVC64: "HVC instruction execution in AArch64 state",
    ExceptionClass.SMC64: "SMC instruction execution in AArch64 state",
    ExceptionClass.SYSTEM_REGISTER: "Trapped MSR, MRS or System instruction",
    ExceptionClass.PAC_FAIL: "Pointer authentication instruction failure",
    ExceptionClass.INSTRUCTION_ABORT_LOWER: "Instruction Abort from a lower Exception level",
    ExceptionClass.INSTRUCTION_ABORT_SAME: "Instruction Abort without a change in Exception level",
    ExceptionClass.PC_ALIGNMENT: "PC alignment fault",
    ExceptionClass.DATA_ABORT_LOWER: "Data Abort from a lower Exception level",
    ExceptionClass.DATA_ABORT_SAME: "Data Abort without a change in Exception level",
    ExceptionClass.SP_ALIGNMENT: "SP alignment fault",
    ExceptionClass.FP_EXCEPTION: "Trapped floating-point exception",
    ExceptionClass.SERROR: "SError exception",
    ExceptionClass.BREAKPOINT_LOWER: "Breakpoint exception from a lower Exception level",
    ExceptionClass.BREAKPOINT_SAME: "Breakpoint exception without a change in Exception level",
    ExceptionClass.SOFTWARE_STEP_LOWER: "Software Step exception from a lower Exception level",
    ExceptionClass.SOFTWARE_STEP_SAME: "Software Step exception without a change in Exception level",
    ExceptionClass.WATCHPOINT_LOWER: "Watchpoint exception from a lower Exception level",
    ExceptionClass.WATCHPOINT_SAME: "Watchpoint exception without a change in Exception level",
    ExceptionClass.BRK64: "BRK instruction execution in AArch64 state",
}


def exception_class_name(ec: int) -> str:
    """The architecture's words for an EC value."""
    return _CLASS_NAMES.get(ec, "Reserved")


class Esr:
    """The fields, by their names in the architecture."""

    EC = Field(26, 6)
    IL = Field(25, 1)  # 1: a 32-bit instruction, and for every exception that has no instruction to speak of
    ISS = Field(0, 25)
    # Aborts
    DFSC = Field(0, 6)
    LEVEL = Field(0, 2)
    FAULT_CLASS = Field(2, 4)
    WNR = Field(6, 1)
    CM = Field(8, 1)  # the fault came from a cache maintenance (or address translation) instruction
    FNV = Field(10, 1)
    # SVC, HVC, SMC, BRK
    IMM16 = Field(0, 16)
    # Trapped MSR, MRS, SYS
    DIRECTION = Field(0, 1)  # 1: a read (MRS)
    CRM = Field(1, 4)
    RT = Field(5, 5)
    CRN = Field(10, 4)
    OP1 = Field(14, 3)
    OP2 = Field(17, 3)
    OP0 = Field(20, 2)
    # Trapped floating-point exceptions
    TFV = Field(23, 1)


def _syndrome(ec: ExceptionClass, iss: int = 0) -> int:
    return Esr.EC.put(ec) | Esr.IL.put(1) | Esr.ISS.put(iss)


def unknown_reason() -> int:
    """EC=0: an unallocated encoding, zeros, an EL1-only instruction at EL0. ISS is RES0: 0x02000000."""
    return _syndrome(ExceptionClass.UNKNOWN)


def supervisor_call(imm: int) -> int:
    """SVC #imm."""
    return _syndrome(ExceptionClass.SVC64, Esr.IMM16.put(imm))


def hypervisor_call(imm: int, *, secure_monitor: bool = False) -> int:
    """HVC #imm, or SMC #imm."""
    ec = ExceptionClass.SMC64 if secure_monitor else ExceptionClass.HVC64
    return _syndrome(ec, Esr.IMM16.put(imm))


def breakpoint_exception(imm: int) -> int:
    """BRK #imm."""
    return _syndrome(ExceptionClass.BRK64, Esr.IMM16.put(imm))


def abort(
    access: Literal["read", "write", "execute"],
    fault_class: FaultClass,
    level: int = 3,
    *,
    same_el: bool,
    cache_maintenance: bool = False,
) -> int:
    """A data or instruction abort; a DC or IC by address reports as a write, with CM set."""
    iss = Esr.FAULT_CLASS.put(fault_class)
    if fault_class <= FaultClass.PERMISSION:
        iss |= Esr.LEVEL.put(level)
    elif fault_class == FaultClass.ALIGNMENT:
        iss |= 1  # DFSC 0b100001
    if access == "execute":
        return _syndrome(
            ExceptionClass.INSTRUCTION_ABORT_SAME if same_el else ExceptionClass.INSTRUCTION_ABORT_LOWER, iss
        )
    iss |= Esr.WNR.put(access == "write" or cache_maintenance) | Esr.CM.put(cache_maintenance)
    return _syndrome(ExceptionClass.DATA_ABORT_SAME if same_el else ExceptionClass.DATA_ABORT_LOWER, iss)


def pc_alignment() -> int:
    """A branch to an address that is no multiple of 4; FAR_EL1 holds it."""
    return _syndrome(ExceptionClass.PC_ALIGNMENT)


def sp_alignment() -> int:
    """A load or store with a base SP that is no multiple of 16; FAR_EL1 is not updated."""
    return _syndrome(ExceptionClass.SP_ALIGNMENT)


def illegal_state() -> int:
    """PSTATE.IL was set by an illegal exception return."""
    return _syndrome(ExceptionClass.ILLEGAL_STATE)


def floating_point(flags: int) -> int:
    """A trapped floating-point exception; `flags` are FPSR's IOC, DZC, OFC, UFC, IXC (bits 4:0) and IDC (bit 7)."""
    return _syndrome(ExceptionClass.FP_EXCEPTION, Esr.TFV.put(1) | flags)


def system_register(word: int) -> int:
    """A trapped MRS, MSR, SYS or SYSL; `word` is the instruction, which has the same fields in other places."""
    return _syndrome(
        ExceptionClass.SYSTEM_REGISTER,
        Esr.DIRECTION.put(word >> 21 & 1)
        | Esr.OP0.put(word >> 19 & 3)
        | Esr.OP1.put(word >> 16 & 7)
        | Esr.CRN.put(word >> 12 & 15)
        | Esr.CRM.put(word >> 8 & 15)
        | Esr.OP2.put(word >> 5 & 7)
        | Esr.RT.put(word & 31),
    )
