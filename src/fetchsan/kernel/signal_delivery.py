# SPDX-License-Identifier: GPL-2.0-or-later
"""Sending and delivering signals: default actions, frames on the guest's stack, and the way back (rt_sigreturn).

Follows Linux `kernel/signal.c`; the frames are the port's (`kernel/abi`). A signal is taken on the way back to the program,
so that one system call can be interrupted by several. Delivery and return are context synchronisation events (coherency
model, rule 11).
"""

from __future__ import annotations

import errno
from dataclasses import replace

from fetchsan.kernel.abi.abi import BadFrame
from fetchsan.kernel.errors import GuestFault, LinuxError
from fetchsan.kernel.signals import (
    UNBLOCKABLE,
    AlternateStack,
    SaFlags,
    Signal,
    SignalAction,
    SignalCode,
    SignalInfo,
    default_action,
    signal_bit,
)
from fetchsan.kernel.task import Task
from fetchsan.machine.hardware import Origin

__all__ = ["deliver_pending", "force_signal", "has_deliverable", "return_from_signal", "send_signal"]


def send_signal(task: Task, info: SignalInfo, *, to_process: bool = True) -> None:
    """kill(2), or tgkill(2) with `to_process` False. Delivered when the task next returns to the program."""
    if not task.signal_mask & signal_bit(info.signal) and _is_ignored(task, info.signal):
        return
    pending = task.process.pending if to_process else task.pending
    if not pending.add(info):
        raise LinuxError(errno.EAGAIN)


def has_deliverable(task: Task) -> bool:
    """Whether a call that waits must end with EINTR: a signal is pending that is neither blocked nor ignored."""
    return any(
        not task.signal_mask & signal_bit(info.signal) and not _is_ignored(task, info.signal)
        for info in (*task.pending.queue, *task.process.pending.queue)
    )


def force_signal(task: Task, info: SignalInfo) -> None:
    """A signal that an exception raised: it cannot wait, so blocked or ignored means fatal (Linux force_sig_info)."""
    bit = signal_bit(info.signal)
    if task.signal_mask & bit or _is_ignored(task, info.signal):
        task.process.actions.pop(info.signal, None)
        task.signal_mask &= ~bit
    _take(task, info)


def deliver_pending(task: Task) -> None:
    """Take every signal that is not blocked: the way back from the kernel to the program."""
    process = task.process
    if task.pending.queue or process.pending.queue:
        while not task.kernel.ended:
            info = task.pending.take(task.signal_mask) or process.pending.take(task.signal_mask)
            if info is None:
                break
            _take(task, info)
    _restart(task)
    if task.restored_mask is not None:  # no handler ran that would put it back
        task.signal_mask, task.restored_mask = task.restored_mask, None


def return_from_signal(task: Task) -> int:
    """rt_sigreturn: the interrupted state comes back, the result too. A forged frame is SIGSEGV, as on Linux."""
    pe, abi = task.pe, task.kernel.abi
    result = abi.calling.result
    address = pe.get("sp")
    try:
        restored = abi.pop_frame(task)
    except (BadFrame, GuestFault):
        force_signal(task, SignalInfo(Signal.SIGSEGV, SignalCode.SEGV_MAPERR, address))
        return pe.get(result)
    task.signal_mask = restored.mask & ~UNBLOCKABLE
    pointer, flags, _, size = AlternateStack.LAYOUT.unpack(restored.stack)
    # SS_ONSTACK is a report, not a state: whether the stack is in use follows from SP.
    task.alternate_stack = AlternateStack(pointer, flags & 0xFFFF_FFFF & ~AlternateStack.ONSTACK, size)
    task.kernel.hardware.context_synchronise(pe.index)
    return pe.get(result)


def _is_ignored(task: Task, signal: int) -> bool:
    handler = task.process.actions.get(signal, SignalAction()).handler
    if handler == SignalAction.DEFAULT:
        return default_action(signal) == "ignore"
    return handler == SignalAction.IGNORE


def _take(task: Task, info: SignalInfo) -> None:
    action = task.process.actions.get(info.signal, SignalAction())
    if action.handler == SignalAction.IGNORE:
        return
    if action.handler == SignalAction.DEFAULT:
        # A stopped process waits for somebody to continue it. There is nobody but us, so it goes on at once.
        if default_action(info.signal) in ("terminate", "core"):
            task.kernel.kill(task, info)
        return
    _restart(task, action)
    try:
        _push_frame(task, info, action)
    except GuestFault:
        # No room for the frame: SIGSEGV, fatal if it was that which did not fit (signal_setup_done in Linux).
        if info.signal == Signal.SIGSEGV:
            task.process.actions.pop(Signal.SIGSEGV, None)
            _take(task, info)
        else:
            force_signal(task, SignalInfo(Signal.SIGSEGV, SignalCode.SI_KERNEL))
        return
    if action.flags & SaFlags.RESETHAND:
        task.process.actions[info.signal] = replace(action, handler=SignalAction.DEFAULT)
    task.signal_mask |= action.mask
    if not action.flags & SaFlags.NODEFER:
        task.signal_mask |= signal_bit(info.signal)


def _restart(task: Task, action: SignalAction | None = None) -> None:
    """Go back to an interrupted system call: when no handler runs, or its handler has SA_RESTART (signal(7))."""
    value, task.restart_value = task.restart_value, None
    if value is not None and (action is None or action.flags & SaFlags.RESTART):
        abi = task.kernel.abi
        task.pe.set(abi.calling.result, value)
        task.pe.set("pc", task.pe.get("pc") - abi.calling.size)


def _push_frame(task: Task, info: SignalInfo, action: SignalAction) -> None:
    pe, abi = task.pe, task.kernel.abi
    sp, stack = pe.get("sp"), task.alternate_stack
    top = sp - abi.red_zone
    if action.flags & SaFlags.ONSTACK and not stack.flags & stack.DISABLE and not stack.contains(sp):
        top = stack.pointer + stack.size
    task.memory.origin = Origin(None, "signal delivery", task.tid)
    abi.push_frame(task, info, action, top, task.signal_mask if task.restored_mask is None else task.restored_mask)
    task.restored_mask = None
    if stack.flags & stack.AUTODISARM:
        task.alternate_stack = AlternateStack()
    task.kernel.hardware.context_synchronise(pe.index)
