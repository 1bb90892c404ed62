# SPDX-License-Identifier: GPL-2.0-or-later
"""Owns signals that exceptions raise: to a handler on the thread's stack and back (OSv's libc/signal.cc, arch signal.cc).

The frame is Linux's, so that a handler finds siginfo and ucontext where its headers say. It returns to an address in the
kernel's text (OSv's `call_signal_handler_thunk`), or by rt_sigreturn of its own restorer. Delivery and return are context
synchronisation events.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from fetchsan.kernel.errors import GuestFault
from fetchsan.kernel.signals import UNBLOCKABLE, AlternateStack, SaFlags, SignalAction, SignalInfo, signal_bit
from fetchsan.machine.hardware import Origin

if TYPE_CHECKING:
    from fetchsan.kernel.osv.thread import Thread

__all__ = ["generate_signal", "return_from_signal"]


def generate_signal(thread: Thread, info: SignalInfo) -> bool:
    """Enter the handler of `info.signal`. False: there is none, it is masked, or its frame has no room; OSv aborts then.

    An ignored signal too: OSv returns to the instruction, which faults again for ever.
    """
    application, abi = thread.application, thread.kernel.port.abi
    action = application.actions.get(info.signal, SignalAction())
    if thread.signal_mask & signal_bit(info.signal) or action.handler in (SignalAction.DEFAULT, SignalAction.IGNORE):
        return False
    sp, stack = thread.pe.get("sp"), thread.alternate_stack
    top = sp - abi.red_zone
    if action.flags & SaFlags.ONSTACK and not stack.flags & AlternateStack.DISABLE and not stack.contains(sp):
        top = stack.pointer + stack.size
    thread.memory.origin = Origin(None, "signal delivery")
    try:
        abi.push_frame(thread, info, action, top, thread.signal_mask)
    except GuestFault:
        return False
    if action.flags & SaFlags.RESETHAND:
        application.actions[info.signal] = replace(action, handler=SignalAction.DEFAULT)
    thread.signal_mask |= action.mask
    if not action.flags & SaFlags.NODEFER:
        thread.signal_mask |= signal_bit(info.signal)
    thread.kernel.hardware.context_synchronise(thread.pe.index)
    return True


def return_from_signal(thread: Thread) -> None:
    """The interrupted state comes back. Raises GuestFault or BadFrame if there is no frame at SP."""
    restored = thread.kernel.port.abi.pop_frame(thread)
    thread.signal_mask = restored.mask & ~UNBLOCKABLE
    thread.kernel.hardware.context_synchronise(thread.pe.index)
