# SPDX-License-Identifier: GPL-2.0-or-later
"""`struct rt_sigframe` of arm64: what a signal handler finds on its stack, and what rt_sigreturn takes back.

Pure layout (Linux `arch/arm64/kernel/signal.c` and `uapi/asm/sigcontext.h`): siginfo, then a ucontext whose mcontext
ends in a list of records (FPSIMD always, ESR for faults), each with a magic and a size, up to a null one.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from fetchsan.kernel.abi.abi import BadFrame

__all__ = [
    "FRAME_RECORD",
    "FRAME_SIZE",
    "GENERAL_REGISTERS",
    "VECTOR_REGISTERS",
    "MachineContext",
    "decode_frame",
    "encode_frame",
]

GENERAL_REGISTERS = tuple(f"x{n}" for n in range(31))
VECTOR_REGISTERS = tuple(f"v{n}" for n in range(32))

_SIGINFO = 128
_MCONTEXT = _SIGINFO + 176  # ucontext: flags, link, stack (24), mask and its padding (128), aligned to 16
_RECORDS = _MCONTEXT + 288  # fault_address, x0..x30, sp, pc, pstate, aligned to 16
FRAME_SIZE = _RECORDS + 4096
FRAME_RECORD = struct.Struct("<QQ")  # the AAPCS64 frame record above the frame, for unwinders

_UCONTEXT = struct.Struct("<QQ24sQ")
_REGISTERS = struct.Struct("<Q31QQQQ")
_RECORD = struct.Struct("<II")
_FPSIMD_MAGIC, _FPSIMD_SIZE = 0x46508001, 528
_ESR_MAGIC, _ESR_SIZE = 0x45535201, 16


@dataclass(frozen=True, slots=True)
class MachineContext:
    """The interrupted state, and the signal mask and alternate stack that go with it."""

    general: tuple[int, ...]  # x0..x30
    sp: int
    pc: int
    pstate: int
    vectors: tuple[int, ...]  # v0..v31
    fpsr: int
    fpcr: int
    mask: int
    stack: bytes  # stack_t
    fault_address: int = 0
    esr: int = 0  # 0: no esr_context


def encode_frame(siginfo: bytes, context: MachineContext) -> bytes:
    """The whole frame, FRAME_SIZE bytes; its address must be 16-byte aligned."""
    records = _RECORD.pack(_FPSIMD_MAGIC, _FPSIMD_SIZE) + struct.pack("<II", context.fpsr, context.fpcr)
    records += b"".join(vector.to_bytes(16, "little") for vector in context.vectors)
    if context.esr:
        records += _RECORD.pack(_ESR_MAGIC, _ESR_SIZE) + struct.pack("<Q", context.esr)
    ucontext = _UCONTEXT.pack(0, 0, context.stack, context.mask)
    registers = _REGISTERS.pack(context.fault_address, *context.general, context.sp, context.pc, context.pstate)
    frame = siginfo.ljust(_SIGINFO, b"\0") + ucontext
    frame = frame.ljust(_MCONTEXT, b"\0") + registers
    return frame.ljust(_RECORDS, b"\0") + records.ljust(4096, b"\0")


def decode_frame(frame: bytes) -> MachineContext:
    """Read a frame back. Raises BadFrame as Linux's parse_user_sigframe does: unknown or missing records."""
    _, _, stack, mask = _UCONTEXT.unpack_from(frame, _SIGINFO)
    fault_address, *general, sp, pc, pstate = _REGISTERS.unpack_from(frame, _MCONTEXT)
    esr = 0
    fpsimd: tuple[int, int, tuple[int, ...]] | None = None
    offset = _RECORDS
    while True:
        if offset + _RECORD.size > len(frame):
            raise BadFrame("the list of records does not end")
        magic, size = _RECORD.unpack_from(frame, offset)
        if (magic, size) == (0, 0):
            break
        if size < _RECORD.size or size % 16 or offset + size > len(frame):
            raise BadFrame(f"a record of {size} bytes")
        body = offset + _RECORD.size
        if magic == _FPSIMD_MAGIC and size == _FPSIMD_SIZE and fpsimd is None:
            fpsr, fpcr = struct.unpack_from("<II", frame, body)
            vectors = tuple(int.from_bytes(frame[at : at + 16], "little") for at in range(body + 8, body + 8 + 32 * 16, 16))
            fpsimd = fpsr, fpcr, vectors
        elif magic == _ESR_MAGIC:
            (esr,) = struct.unpack_from("<Q", frame, body)
        else:
            raise BadFrame(f"a record with magic {magic:#x}")
        offset += size
    if fpsimd is None:
        raise BadFrame("no FPSIMD record")
    fpsr, fpcr, vectors = fpsimd
    return MachineContext(tuple(general), sp, pc, pstate, vectors, fpsr, fpcr, mask, stack, fault_address, esr)
