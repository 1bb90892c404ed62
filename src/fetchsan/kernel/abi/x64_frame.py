# SPDX-License-Identifier: GPL-2.0-or-later
"""`struct rt_sigframe` of x86-64: what a signal handler finds on its stack, and what rt_sigreturn takes back.

Pure layout (Linux `arch/x86/kernel/signal_64.c` and `uapi/asm/sigcontext.h`): return address, ucontext, siginfo; and
apart from it an FXSAVE area, which is all there is of floating-point state without XSAVE.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

__all__ = [
    "FPU_SIZE",
    "FRAME_SIZE",
    "INITIAL_FPU",
    "SAVED_REGISTERS",
    "SIGINFO",
    "UCONTEXT",
    "FpuState",
    "MachineContext",
    "decode_fpu",
    "decode_frame",
    "encode_fpu",
    "encode_frame",
]

# In the order of struct sigcontext.
SAVED_REGISTERS = (
    "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15", "rdi", "rsi", "rbp", "rbx", "rdx", "rax", "rcx", "rsp", "rip",
    "rflags",
)  # fmt: skip

_SIGINFO_SIZE = 128
_HEAD = struct.Struct("<QQQ24s")  # where the handler returns to; uc_flags, uc_link, uc_stack
_REGISTERS = struct.Struct("<18Q4H")  # and cs, gs, fs, ss
_FAULT = struct.Struct("<QQQQQ64x")  # err, trapno, oldmask, cr2, fpstate
_MASK = struct.Struct("<Q")
_CONTEXT = _HEAD.size
_FAULT_AT = _CONTEXT + _REGISTERS.size
_MASK_AT = _FAULT_AT + _FAULT.size
UCONTEXT = 8
SIGINFO = _MASK_AT + _MASK.size
FRAME_SIZE = SIGINFO + _SIGINFO_SIZE

_UC_SIGCONTEXT_SS, _UC_STRICT_RESTORE_SS = 2, 4  # and not UC_FP_XSTATE: there is no XSAVE
_USER_CS, _USER_SS = 0x33, 0x2B

_FXSAVE = struct.Struct("<HHBxHQQII")  # control, status, tags, opcode, instruction, operand, MXCSR and its mask
_ST_AT, _XMM_AT = 32, 160
FPU_SIZE = 512
_MXCSR_MASK = 0xFFFF
_EMPTY = 3  # an x87 tag


@dataclass(frozen=True, slots=True)
class FpuState:
    """x87 and SSE; `tags` is the whole tag word, two bits a register."""

    control: int
    status: int
    tags: int
    mxcsr: int
    st: tuple[int, ...]
    xmm: tuple[int, ...]


INITIAL_FPU = FpuState(0x37F, 0, 0xFFFF, 0x1F80, (0,) * 8, (0,) * 16)
"""What a program and a signal handler begin with."""


@dataclass(frozen=True, slots=True)
class MachineContext:
    """The interrupted state, and the signal mask and alternate stack that go with it."""

    registers: tuple[int, ...]  # of SAVED_REGISTERS
    mask: int
    stack: bytes  # stack_t
    fpstate: int  # address of the FXSAVE area; 0: none
    error: int = 0
    vector: int = 0
    cr2: int = 0


def encode_frame(siginfo: bytes, context: MachineContext, restorer: int) -> bytes:
    """The frame, FRAME_SIZE bytes; its address is 8 below a multiple of 16, as RSP is in a function that was called."""
    return (
        _HEAD.pack(restorer, _UC_SIGCONTEXT_SS | _UC_STRICT_RESTORE_SS, 0, context.stack)
        + _REGISTERS.pack(*context.registers, _USER_CS, 0, 0, _USER_SS)
        + _FAULT.pack(context.error, context.vector, context.mask, context.cr2, context.fpstate)
        + _MASK.pack(context.mask)
        + siginfo.ljust(_SIGINFO_SIZE, b"\0")
    )


def decode_frame(frame: bytes) -> MachineContext:
    """Read a frame back; segment selectors are not a program's to choose."""
    *_, stack = _HEAD.unpack_from(frame)
    registers = _REGISTERS.unpack_from(frame, _CONTEXT)[: len(SAVED_REGISTERS)]
    error, vector, _, cr2, fpstate = _FAULT.unpack_from(frame, _FAULT_AT)
    (mask,) = _MASK.unpack_from(frame, _MASK_AT)
    return MachineContext(registers, mask, stack, fpstate, error, vector, cr2)


def encode_fpu(state: FpuState) -> bytes:
    """What FXSAVE64 stores."""
    used = sum(1 << register for register in range(8) if state.tags >> 2 * register & 3 != _EMPTY)
    head = _FXSAVE.pack(state.control, state.status, used, 0, 0, 0, state.mxcsr, _MXCSR_MASK)
    area = head + b"".join(value.to_bytes(16, "little") for value in (*state.st, *state.xmm))
    return area.ljust(FPU_SIZE, b"\0")


def decode_fpu(area: bytes) -> FpuState:
    """What FXRSTOR64 loads; reserved bits of MXCSR, which would fault, are dropped as Linux drops them."""
    control, status, used, _, _, _, mxcsr, _ = _FXSAVE.unpack_from(area)
    tags = sum(0 if used >> register & 1 else _EMPTY << 2 * register for register in range(8))
    st = tuple(int.from_bytes(area[at : at + 10], "little") for at in range(_ST_AT, _XMM_AT, 16))
    xmm = tuple(int.from_bytes(area[at : at + 16], "little") for at in range(_XMM_AT, _XMM_AT + 256, 16))
    return FpuState(control, status, tags, mxcsr & _MXCSR_MASK, st, xmm)
