# SPDX-License-Identifier: GPL-2.0-or-later
"""futex(2) for one thread: wakes find nobody, and a wait that nobody can end is a deadlock, not a hang."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from fetchsan.kernel.errors import LinuxError
from fetchsan.kernel.syscalls.structs import read_timespec
from fetchsan.kernel.syscalls.table import s32, syscall

if TYPE_CHECKING:
    from fetchsan.kernel.task import Task

__all__: list[str] = []

_COMMAND = 0x7F  # without FUTEX_PRIVATE_FLAG and FUTEX_CLOCK_REALTIME
_CLOCK_REALTIME = 256
_WAIT, _WAKE, _REQUEUE, _CMP_REQUEUE, _WAKE_OP, _WAIT_BITSET, _WAKE_BITSET = 0, 1, 3, 4, 5, 9, 10


@syscall
def sys_futex(task: Task, address: int, operation: int, value: int, timeout: int, address2: int, value3: int) -> int:
    command = operation & _COMMAND
    if address % 4:
        raise LinuxError(errno.EINVAL)
    if command in (_WAIT, _WAIT_BITSET):
        if command == _WAIT_BITSET and not value3 & 0xFFFF_FFFF:
            raise LinuxError(errno.EINVAL)
        return _wait(task, address, operation, value & 0xFFFF_FFFF, timeout)
    if command == _CMP_REQUEUE and task.memory.read_u32(address) != value3 & 0xFFFF_FFFF:
        raise LinuxError(errno.EAGAIN)
    if command in (_WAKE, _REQUEUE, _CMP_REQUEUE, _WAKE_BITSET):
        if command in (_REQUEUE, _CMP_REQUEUE) and s32(value) < 0:
            raise LinuxError(errno.EINVAL)
        return 0
    if command == _WAKE_OP:
        _operate(task, address2, value3)
        return 0
    raise LinuxError(errno.ENOSYS)


def _wait(task: Task, address: int, operation: int, expected: int, timeout: int) -> int:
    duration = None
    if timeout:
        duration = read_timespec(task, timeout)
        if operation & _COMMAND == _WAIT_BITSET:  # its timeout is absolute
            clock = task.kernel.clock
            now = clock.realtime_ns() if operation & _CLOCK_REALTIME else clock.monotonic_ns()
            duration = max(0, duration - now)
    if task.memory.read_u32(address) != expected:
        raise LinuxError(errno.EAGAIN)
    task.kernel.wait(task, f"futex {address:#x}", lambda: False, duration)
    raise LinuxError(errno.ETIMEDOUT)


def _operate(task: Task, address: int, encoded: int) -> None:
    """FUTEX_WAKE_OP's read-modify-write of the second futex (futex(2), "val3")."""
    argument = (encoded >> 12 & 0xFFF ^ 0x800) - 0x800
    if encoded >> 28 & 8:  # FUTEX_OP_ARG_SHIFT
        argument = 1 << (argument & 31)
    old = task.memory.read_u32(address)
    results = (argument, old + argument, old | argument, old & ~argument, old ^ argument)
    selected = encoded >> 28 & 7
    if selected >= len(results):
        raise LinuxError(errno.ENOSYS)
    task.memory.write_u32(address, results[selected] & 0xFFFF_FFFF)
