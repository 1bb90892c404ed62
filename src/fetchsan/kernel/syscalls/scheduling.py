# SPDX-License-Identifier: GPL-2.0-or-later
"""Scheduling as a program may ask about it, and membarrier(2), whose SYNC_CORE is what JITs order other cores with."""

from __future__ import annotations

import errno
import struct
from typing import TYPE_CHECKING

from fetchsan.kernel.errors import LinuxError
from fetchsan.kernel.syscalls.structs import timespec
from fetchsan.kernel.syscalls.table import s32, syscall

if TYPE_CHECKING:
    from fetchsan.kernel.task import Task

__all__: list[str] = []

_SCHED_OTHER, _SCHED_FIFO, _SCHED_RR = 0, 1, 2
_RESET_ON_FORK = 0x4000_0000
_PRIORITIES = {0: (0, 0), 1: (1, 99), 2: (1, 99), 3: (0, 0), 5: (0, 0), 6: (0, 0)}  # policy to (least, greatest)

# membarrier(2): command to the registration that it needs (0: none).
_QUERY = 0
_REGISTER = {4: 2, 16: 8, 64: 32}
_BARRIERS = {1: 0, 2: 0, 8: 8, 32: 32}
_SYNC_CORE = 32
_SUPPORTED = sum(_REGISTER) | sum(_BARRIERS)


@syscall
def sys_membarrier(task: Task, command: int, flags: int, cpu: int) -> int:
    number = s32(command)
    process = task.process
    if s32(flags):
        raise LinuxError(errno.EINVAL)
    if number == _QUERY:
        return _SUPPORTED
    if number in _REGISTER:
        process.membarrier_registered |= _REGISTER[number]
        return 0
    if number not in _BARRIERS:
        raise LinuxError(errno.EINVAL)
    if _BARRIERS[number] & ~process.membarrier_registered:
        raise LinuxError(errno.EPERM)
    if number == _SYNC_CORE:  # coherency model, rule 11: a CSE on every PE that runs a thread of the process
        for other in process.tasks:
            task.kernel.hardware.context_synchronise(other.pe.index)
    return 0


@syscall
def sys_sched_yield(task: Task) -> int:
    return 0


@syscall
def sys_getcpu(task: Task, cpu: int, node: int) -> int:
    for address, value in ((cpu, task.pe.index), (node, 0)):
        if address:
            task.memory.write(address, struct.pack("<I", value))
    return 0


@syscall
def sys_sched_getaffinity(task: Task, pid: int, size: int, address: int) -> int:
    _require_thread(task, pid)
    if size % 8 or size * 8 < task.kernel.cpu_count:
        raise LinuxError(errno.EINVAL)
    task.memory.write(address, ((1 << task.kernel.cpu_count) - 1).to_bytes(8, "little"))
    return 8


@syscall
def sys_sched_setaffinity(task: Task, pid: int, size: int, address: int) -> int:
    _require_thread(task, pid)
    mask = int.from_bytes(task.memory.read(address, min(size, 8)), "little")
    if not mask & ((1 << task.kernel.cpu_count) - 1):
        raise LinuxError(errno.EINVAL)
    return 0


@syscall
def sys_sched_getscheduler(task: Task, pid: int) -> int:
    _require_thread(task, pid)
    return _SCHED_OTHER


@syscall
def sys_sched_setscheduler(task: Task, pid: int, policy: int, param: int) -> int:
    _require_thread(task, pid)
    number = s32(policy) & ~_RESET_ON_FORK
    priority = s32(task.memory.read_u32(param))
    if number not in _PRIORITIES or not _PRIORITIES[number][0] <= priority <= _PRIORITIES[number][1]:
        raise LinuxError(errno.EINVAL)
    if number in (_SCHED_FIFO, _SCHED_RR):
        raise LinuxError(errno.EPERM)
    return 0


@syscall
def sys_sched_getparam(task: Task, pid: int, param: int) -> int:
    _require_thread(task, pid)
    task.memory.write(param, bytes(4))
    return 0


@syscall
def sys_sched_setparam(task: Task, pid: int, param: int) -> int:
    _require_thread(task, pid)
    if task.memory.read_u32(param):
        raise LinuxError(errno.EINVAL)
    return 0


@syscall
def sys_sched_get_priority_max(task: Task, policy: int) -> int:
    return _priorities(policy)[1]


@syscall
def sys_sched_get_priority_min(task: Task, policy: int) -> int:
    return _priorities(policy)[0]


@syscall
def sys_sched_rr_get_interval(task: Task, pid: int, address: int) -> int:
    _require_thread(task, pid)
    task.memory.write(address, timespec(4_000_000))
    return 0


def _priorities(policy: int) -> tuple[int, int]:
    try:
        return _PRIORITIES[s32(policy)]
    except KeyError:
        raise LinuxError(errno.EINVAL) from None


def _require_thread(task: Task, pid: int) -> None:
    number = s32(pid)
    if number < 0:
        raise LinuxError(errno.EINVAL)
    if number and number not in [other.tid for other in task.process.tasks]:
        raise LinuxError(errno.ESRCH)
