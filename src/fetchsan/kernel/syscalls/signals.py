# SPDX-License-Identifier: GPL-2.0-or-later
"""Signal system calls: dispositions, masks, sending, waiting, alternate stacks, and the return from a handler."""

from __future__ import annotations

import errno
import struct
from typing import TYPE_CHECKING

from fetchsan.kernel.errors import LinuxError
from fetchsan.kernel.signal_delivery import return_from_signal, send_signal
from fetchsan.kernel.signals import (
    SIGNAL_COUNT,
    UNBLOCKABLE,
    AlternateStack,
    SignalAction,
    SignalCode,
    SignalInfo,
    changed_mask,
    default_action,
    signal_bit,
)
from fetchsan.kernel.syscalls.structs import read_sigset, read_timespec
from fetchsan.kernel.syscalls.table import s32, syscall
from fetchsan.kernel.task import PARENT_PID, USER_ID

if TYPE_CHECKING:
    from fetchsan.kernel.task import Task

__all__: list[str] = []



@syscall
def sys_rt_sigaction(task: Task, signal: int, new: int, old: int, size: int) -> int:
    if size != 8:
        raise LinuxError(errno.EINVAL)
    number = _signal(signal)
    if new and signal_bit(number) & UNBLOCKABLE:
        raise LinuxError(errno.EINVAL)
    process = task.process
    previous = process.actions.get(number, SignalAction())
    if new:
        action = SignalAction.decode(task.memory.read(new, SignalAction.LAYOUT.size))
        process.actions[number] = action
        by_default = action.handler == SignalAction.DEFAULT and default_action(number) == "ignore"
        if action.handler == SignalAction.IGNORE or by_default:  # what is pending goes too (POSIX)
            process.pending.discard(signal_bit(number))
            task.pending.discard(signal_bit(number))
    if old:
        task.memory.write(old, previous.encode())
    return 0


@syscall
def sys_rt_sigprocmask(task: Task, how: int, new: int, old: int, size: int) -> int:
    previous = task.signal_mask
    if size != 8:
        raise LinuxError(errno.EINVAL)
    if new:
        task.signal_mask = changed_mask(previous, s32(how), read_sigset(task, new, size))
    if old:
        task.memory.write_u64(old, previous)
    return 0


@syscall
def sys_rt_sigpending(task: Task, address: int, size: int) -> int:
    if size > 8:
        raise LinuxError(errno.EINVAL)
    pending = (task.pending.mask | task.process.pending.mask) & task.signal_mask
    task.memory.write(address, pending.to_bytes(8, "little")[:size])
    return 0


@syscall
def sys_rt_sigsuspend(task: Task, address: int, size: int) -> int:
    wanted = read_sigset(task, address, size)
    task.restored_mask, task.signal_mask = task.signal_mask, wanted & ~UNBLOCKABLE
    task.kernel.wait(task, "a signal", lambda: False, None)  # only ever ends in EINTR
    return 0


@syscall
def sys_rt_sigtimedwait(task: Task, address: int, info: int, timeout: int, size: int) -> int:
    wanted = read_sigset(task, address, size) & ~UNBLOCKABLE
    duration = read_timespec(task, timeout) if timeout else None

    def ready() -> bool:
        return bool((task.pending.mask | task.process.pending.mask) & wanted)

    task.kernel.wait(task, "a signal", ready, duration)
    taken = task.pending.take(~wanted) or task.process.pending.take(~wanted)
    if taken is None:
        raise LinuxError(errno.EAGAIN)
    if info:
        task.memory.write(info, taken.encode())
    return taken.signal


@syscall
def sys_rt_sigreturn(task: Task) -> int:
    return return_from_signal(task)


@syscall
def sys_sigaltstack(task: Task, new: int, old: int) -> int:
    pointer = task.pe.get("sp")
    current = task.alternate_stack
    replacement = None
    if new:
        base, flags, _, size = AlternateStack.LAYOUT.unpack(task.memory.read(new, AlternateStack.LAYOUT.size))
        mode = flags & 0xFFFF_FFFF
        if current.contains(pointer):
            raise LinuxError(errno.EPERM)
        if mode & ~AlternateStack.AUTODISARM not in (0, AlternateStack.ONSTACK, AlternateStack.DISABLE):
            raise LinuxError(errno.EINVAL)
        if mode & AlternateStack.DISABLE:
            replacement = AlternateStack()
        elif size < task.kernel.abi.least_alternate_stack:
            raise LinuxError(errno.ENOMEM)
        else:
            replacement = AlternateStack(base, mode & AlternateStack.AUTODISARM, size)
    if old:
        task.memory.write(old, current.encode(pointer))
    if replacement is not None:
        task.alternate_stack = replacement
    return 0


@syscall
def sys_kill(task: Task, pid: int, signal: int) -> int:
    target = s32(pid)
    if target == PARENT_PID:
        raise LinuxError(errno.EPERM)
    if target not in (task.pid, 0, -task.process.process_group):
        raise LinuxError(errno.ESRCH)
    return _send(task, task, signal, SignalCode.SI_USER, to_process=True)


@syscall
def sys_tkill(task: Task, tid: int, signal: int) -> int:
    return _send(task, _thread(task, tid), signal, SignalCode.SI_TKILL, to_process=False)


@syscall
def sys_tgkill(task: Task, pid: int, tid: int, signal: int) -> int:
    if s32(pid) <= 0 or s32(tid) <= 0:
        raise LinuxError(errno.EINVAL)
    if s32(pid) != task.pid:
        raise LinuxError(errno.ESRCH)
    return _send(task, _thread(task, tid), signal, SignalCode.SI_TKILL, to_process=False)


@syscall
def sys_rt_sigqueueinfo(task: Task, pid: int, signal: int, info: int) -> int:
    if s32(pid) != task.pid:
        raise LinuxError(errno.ESRCH)
    return _queue(task, task, signal, info, to_process=True)


@syscall
def sys_rt_tgsigqueueinfo(task: Task, pid: int, tid: int, signal: int, info: int) -> int:
    if s32(pid) != task.pid:
        raise LinuxError(errno.ESRCH)
    return _queue(task, _thread(task, tid), signal, info, to_process=False)


def _send(task: Task, target: Task, signal: int, code: SignalCode, *, to_process: bool) -> int:
    if s32(signal):
        info = SignalInfo(_signal(signal), code, pid=task.pid, uid=USER_ID)
        send_signal(target, info, to_process=to_process)
    return 0


def _queue(task: Task, target: Task, signal: int, address: int, *, to_process: bool) -> int:
    raw = task.memory.read(address, SignalInfo.SIZE)
    number = _signal(signal)
    (code,) = struct.unpack_from("<i", raw, 8)
    raw = struct.pack("<i", number) + raw[4:]
    send_signal(target, SignalInfo(number, code, raw=raw), to_process=to_process)
    return 0


def _signal(value: int) -> int:
    number = s32(value)
    if not 0 < number <= SIGNAL_COUNT:
        raise LinuxError(errno.EINVAL)
    return number


def _thread(task: Task, tid: int) -> Task:
    for other in task.process.tasks:
        if other.tid == s32(tid):
            return other
    raise LinuxError(errno.ESRCH)
