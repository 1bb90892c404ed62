# SPDX-License-Identifier: GPL-2.0-or-later
"""Owns signals that exceptions raise: to a handler on the thread's stack and back (OSv's libc/signal.cc, arch signal.cc).

The frame is Linux's, so that a handler finds siginfo and ucontext where its headers say. It returns to an address in the
kernel's text (OSv's `call_signal_handler_thunk`), or by rt_sigreturn of its own restorer. Delivery and return are context
synchronisation events.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from fetchsan.kernel.abi.aarch64_frame import (
    FRAME_RECORD,
    FRAME_SIZE,
    GENERAL_REGISTERS,
    VECTOR_REGISTERS,
    MachineContext,
    decode_frame,
    encode_frame,
)
from fetchsan.kernel.abi.abi import BadFrame
from fetchsan.kernel.errors import GuestFault
from fetchsan.kernel.signals import UNBLOCKABLE, AlternateStack, SaFlags, SignalAction, SignalInfo, signal_bit
from fetchsan.machine.hardware import Origin

if TYPE_CHECKING:
    from fetchsan.kernel.osv.thread import Thread

__all__ = ["SIGNAL_RETURN", "generate_signal", "return_from_signal"]

SIGNAL_RETURN: Final = 0x4008_1000
"""Where handlers return to: in the kernel's text, where nothing is mapped, so the fetch comes to the kernel."""

_SA_RESTORER = 0x0400_0000
_NZCV = 0xF000_0000
_CONTEXT_REGISTERS = (*GENERAL_REGISTERS, "sp", "pc", "pstate", "fpsr", "fpcr")


def generate_signal(thread: Thread, info: SignalInfo) -> bool:
    """Enter the handler of `info.signal`. False: there is none, it is masked, or its frame has no room; OSv aborts then.

    An ignored signal too: OSv returns to the instruction, which faults again for ever.
    """
    application = thread.application
    action = application.actions.get(info.signal, SignalAction())
    if thread.signal_mask & signal_bit(info.signal) or action.handler in (SignalAction.DEFAULT, SignalAction.IGNORE):
        return False
    try:
        _push_frame(thread, info, action)
    except GuestFault:
        return False
    if action.flags & SaFlags.RESETHAND:
        application.actions[info.signal] = replace(action, handler=SignalAction.DEFAULT)
    thread.signal_mask |= action.mask
    if not action.flags & SaFlags.NODEFER:
        thread.signal_mask |= signal_bit(info.signal)
    return True


def return_from_signal(thread: Thread) -> None:
    """The interrupted state comes back. Raises GuestFault or BadFrame if there is no frame at SP."""
    pe = thread.pe
    address = pe.get("sp")
    if address % 16:
        raise BadFrame("misaligned")
    context = decode_frame(thread.memory.read(address, FRAME_SIZE))
    pstate = pe.get("pstate") & ~_NZCV | context.pstate & _NZCV
    values = (*context.general, context.sp, context.pc, pstate, context.fpsr, context.fpcr, *context.vectors)
    for register, value in zip((*_CONTEXT_REGISTERS, *VECTOR_REGISTERS), values, strict=True):
        pe.set(register, value)
    thread.signal_mask = context.mask & ~UNBLOCKABLE
    thread.kernel.hardware.context_synchronise(pe.index)


def _push_frame(thread: Thread, info: SignalInfo, action: SignalAction) -> None:
    pe = thread.pe
    registers = dict(zip(_CONTEXT_REGISTERS, pe.get_many(_CONTEXT_REGISTERS), strict=True))
    sp = registers["sp"]
    context = _context(thread, info, registers)
    stack = thread.alternate_stack
    top = sp
    if action.flags & SaFlags.ONSTACK and not stack.flags & AlternateStack.DISABLE and not stack.contains(sp):
        top = stack.pointer + stack.size
    record = (top - FRAME_RECORD.size) & -16
    frame = record - FRAME_SIZE
    thread.memory.origin = Origin(None, "signal delivery")
    link = FRAME_RECORD.pack(registers["x29"], registers["x30"])
    thread.memory.write(frame & (1 << 64) - 1, encode_frame(info.encode(), context) + link)
    entry = {
        "x0": info.signal,
        "x1": frame,
        "x2": frame + SignalInfo.SIZE,
        "x29": record,
        "x30": action.restorer if action.flags & _SA_RESTORER else SIGNAL_RETURN,
        "sp": frame,
        "pc": action.handler,
    }
    for register, value in entry.items():
        pe.set(register, value)
    thread.kernel.hardware.context_synchronise(pe.index)


def _context(thread: Thread, info: SignalInfo, registers: dict[str, int]) -> MachineContext:
    return MachineContext(
        tuple(registers[name] for name in GENERAL_REGISTERS),
        registers["sp"],
        registers["pc"],
        registers["pstate"] & _NZCV,
        tuple(thread.pe.get(register) for register in VECTOR_REGISTERS),
        registers["fpsr"],
        registers["fpcr"],
        thread.signal_mask,
        thread.alternate_stack.encode(registers["sp"]),
        fault_address=info.address,
        esr=info.exception.esr if info.exception is not None else 0,
    )
