# SPDX-License-Identifier: GPL-2.0-or-later
"""Owns sigaction, sigprocmask, sigaltstack and the return from a handler as OSv's applications call them."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from fetchsan.kernel.errors import LinuxError
from fetchsan.kernel.osv.calls import call
from fetchsan.kernel.signals import SIGNAL_COUNT, UNBLOCKABLE, AlternateStack, SignalAction, changed_mask, signal_bit
from fetchsan.kernel.syscalls.table import s32

if TYPE_CHECKING:
    from fetchsan.kernel.osv.thread import Thread

__all__: list[str] = []

_SIGSET_SIZE = 8


@call
def sys_rt_sigaction(thread: Thread, signal: int, new: int, old: int, size: int) -> int:
    number = s32(signal)
    if size != _SIGSET_SIZE or not 1 <= number <= SIGNAL_COUNT or (new and signal_bit(number) & UNBLOCKABLE):
        raise LinuxError(errno.EINVAL)
    actions = thread.application.actions
    previous = actions.get(number, SignalAction())
    if new:
        actions[number] = SignalAction.decode(thread.memory.read(new, SignalAction.LAYOUT.size))
    if old:
        thread.memory.write(old, previous.encode())
    return 0


@call
def sys_rt_sigprocmask(thread: Thread, how: int, new: int, old: int, size: int) -> int:
    if size != _SIGSET_SIZE:
        raise LinuxError(errno.EINVAL)
    previous = thread.signal_mask
    if new:
        thread.signal_mask = changed_mask(previous, s32(how), thread.memory.read_u64(new))
    if old:
        thread.memory.write_u64(old, previous)
    return 0


@call
def sys_rt_sigreturn(thread: Thread) -> int:
    thread.kernel.return_from_signal(thread)
    return thread.pe.get(thread.kernel.port.abi.calling.result)


@call
def sys_sigaltstack(thread: Thread, new: int, old: int) -> int:
    pointer = thread.pe.get("sp")
    current = thread.alternate_stack
    wanted = None
    if new:
        base, flags, _, size = AlternateStack.LAYOUT.unpack(thread.memory.read(new, AlternateStack.LAYOUT.size))
        if current.contains(pointer):
            raise LinuxError(errno.EPERM)
        if flags not in (0, AlternateStack.ONSTACK, AlternateStack.DISABLE):
            raise LinuxError(errno.EINVAL)
        if flags != AlternateStack.DISABLE and size < thread.kernel.port.abi.least_alternate_stack:
            raise LinuxError(errno.ENOMEM)
        wanted = AlternateStack() if flags == AlternateStack.DISABLE else AlternateStack(base, 0, size)
    if old:
        thread.memory.write(old, current.encode(pointer))
    if wanted is not None:
        thread.alternate_stack = wanted
    return 0
