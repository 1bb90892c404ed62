# SPDX-License-Identifier: GPL-2.0-or-later
"""Resource limits and priorities (prlimit(2), getpriority(2))."""

from __future__ import annotations

import errno
import struct
from typing import TYPE_CHECKING

from fetchsan.kernel.errors import LinuxError
from fetchsan.kernel.syscalls.table import s32, syscall

if TYPE_CHECKING:
    from fetchsan.kernel.task import Task

__all__: list[str] = []

_RLIMIT = struct.Struct("<QQ")


@syscall
def sys_prlimit64(task: Task, pid: int, resource: int, new: int, old: int) -> int:
    if s32(pid) not in (0, task.pid):
        raise LinuxError(errno.ESRCH)
    limits = task.process.limits
    current = limits.get(resource)
    wanted = _RLIMIT.unpack(task.memory.read(new, _RLIMIT.size)) if new else None
    if wanted is not None:
        limits.set(resource, *wanted)
    if old:
        task.memory.write(old, _RLIMIT.pack(*current))
    return 0


@syscall
def sys_getrlimit(task: Task, resource: int, address: int) -> int:
    task.memory.write(address, _RLIMIT.pack(*task.process.limits.get(resource)))
    return 0


@syscall
def sys_setrlimit(task: Task, resource: int, address: int) -> int:
    task.process.limits.set(resource, *_RLIMIT.unpack(task.memory.read(address, _RLIMIT.size)))
    return 0


@syscall
def sys_getpriority(task: Task, which: int, who: int) -> int:
    if not 0 <= s32(which) <= 2:
        raise LinuxError(errno.EINVAL)
    return 20  # nice 0, as the system call reports it


@syscall
def sys_setpriority(task: Task, which: int, who: int, nice: int) -> int:
    if not 0 <= s32(which) <= 2:
        raise LinuxError(errno.EINVAL)
    if s32(nice) < 0:
        raise LinuxError(errno.EACCES)
    return 0
