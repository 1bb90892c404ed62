# SPDX-License-Identifier: GPL-2.0-or-later
"""Who and where a process is: pids, sessions, users, uname(2), sysinfo(2). An ordinary user on a small machine."""

from __future__ import annotations

import errno
import struct
from typing import TYPE_CHECKING

from fetchsan.kernel.errors import LinuxError
from fetchsan.kernel.syscalls.table import s32, syscall
from fetchsan.kernel.task import PARENT_PID, USER_ID

if TYPE_CHECKING:
    from fetchsan.kernel.task import Task

__all__: list[str] = []

# What uname(2) tells besides the machine. The release is new enough for every glibc of today; the suffix says what it is.
_SYSTEM, _NODE, _RELEASE, _VERSION, _DOMAIN = "Linux", "fetchsan", "6.1.0-fetchsan", "#1 SMP PREEMPT FetchSan", "(none)"
_UNAME_FIELD = 65
_UNCHANGED = -1  # what setresuid(2) and setreuid(2) take for "leave it"
_CAPABILITY_VERSIONS = {0x1998_0330: 1, 0x2007_1026: 2, 0x2008_0522: 2}  # version to number of data structures


@syscall
def sys_getpid(task: Task) -> int:
    return task.pid


@syscall
def sys_gettid(task: Task) -> int:
    return task.tid


@syscall
def sys_getppid(task: Task) -> int:
    return PARENT_PID


@syscall
def sys_getpgid(task: Task, pid: int) -> int:
    _require_self(task, pid)
    return task.process.process_group


@syscall
def sys_setpgid(task: Task, pid: int, group: int) -> int:
    _require_self(task, pid)
    if s32(group) < 0:
        raise LinuxError(errno.EINVAL)
    if s32(group) not in (0, task.pid) or task.process.session == task.pid:
        raise LinuxError(errno.EPERM)
    task.process.process_group = task.pid
    return 0


@syscall
def sys_getsid(task: Task, pid: int) -> int:
    _require_self(task, pid)
    return task.process.session


@syscall
def sys_setsid(task: Task) -> int:
    if task.process.process_group == task.pid:  # a group leader cannot (setsid(2))
        raise LinuxError(errno.EPERM)
    task.process.session = task.process.process_group = task.pid
    return task.pid


def _require_self(task: Task, pid: int) -> None:
    if s32(pid) not in (0, task.pid):
        raise LinuxError(errno.ESRCH)


@syscall
def sys_getuid(task: Task) -> int:
    return USER_ID


@syscall
def sys_geteuid(task: Task) -> int:
    return USER_ID


@syscall
def sys_getgid(task: Task) -> int:
    return USER_ID


@syscall
def sys_getegid(task: Task) -> int:
    return USER_ID


def _set_ids(*ids: int) -> int:
    """An unprivileged process can become nobody but itself (setuid(2) and its relatives)."""
    if any(s32(value) not in (_UNCHANGED, USER_ID) for value in ids):
        raise LinuxError(errno.EPERM)
    return 0


@syscall
def sys_setuid(task: Task, user: int) -> int:
    return _set_ids(user)


@syscall
def sys_setgid(task: Task, group: int) -> int:
    return _set_ids(group)


@syscall
def sys_setreuid(task: Task, real: int, effective: int) -> int:
    return _set_ids(real, effective)


@syscall
def sys_setregid(task: Task, real: int, effective: int) -> int:
    return _set_ids(real, effective)


@syscall
def sys_setresuid(task: Task, real: int, effective: int, saved: int) -> int:
    return _set_ids(real, effective, saved)


@syscall
def sys_setresgid(task: Task, real: int, effective: int, saved: int) -> int:
    return _set_ids(real, effective, saved)


@syscall
def sys_getresuid(task: Task, real: int, effective: int, saved: int) -> int:
    for address in (real, effective, saved):
        task.memory.write(address, struct.pack("<I", USER_ID))
    return 0


@syscall
def sys_getresgid(task: Task, real: int, effective: int, saved: int) -> int:
    return sys_getresuid(task, real, effective, saved)


@syscall
def sys_setfsuid(task: Task, user: int) -> int:
    return USER_ID


@syscall
def sys_setfsgid(task: Task, group: int) -> int:
    return USER_ID


@syscall
def sys_getgroups(task: Task, size: int, address: int) -> int:
    if s32(size) < 0:
        raise LinuxError(errno.EINVAL)
    if s32(size):
        task.memory.write(address, struct.pack("<I", USER_ID))
    return 1


@syscall
def sys_setgroups(task: Task, size: int, address: int) -> int:
    raise LinuxError(errno.EPERM)


@syscall
def sys_capget(task: Task, header: int, data: int) -> int:
    version, pid = struct.unpack("<Ii", task.memory.read(header, 8))
    if version not in _CAPABILITY_VERSIONS:
        task.memory.write(header, struct.pack("<I", max(_CAPABILITY_VERSIONS)))
        if data:
            raise LinuxError(errno.EINVAL)
        return 0
    _require_self(task, pid)
    if data:
        task.memory.write(data, bytes(12 * _CAPABILITY_VERSIONS[version]))
    return 0


@syscall
def sys_capset(task: Task, header: int, data: int) -> int:
    version, pid = struct.unpack("<Ii", task.memory.read(header, 8))
    if version not in _CAPABILITY_VERSIONS:
        raise LinuxError(errno.EINVAL)
    _require_self(task, pid)
    if any(task.memory.read(data, 12 * _CAPABILITY_VERSIONS[version])):
        raise LinuxError(errno.EPERM)
    return 0


@syscall
def sys_uname(task: Task, address: int) -> int:
    fields = (_SYSTEM, _NODE, _RELEASE, _VERSION, task.kernel.abi.platform, _DOMAIN)
    task.memory.write(address, b"".join(value.encode().ljust(_UNAME_FIELD, b"\0") for value in fields))
    return 0


@syscall
def sys_sysinfo(task: Task, address: int) -> int:
    kernel = task.kernel
    ram = kernel.hardware.memory
    free = ram.size - ram.frames_in_use * 4096
    uptime = kernel.clock.monotonic_ns() // 1_000_000_000
    # uptime, three load averages, memory (total, free, shared, buffers), swap (2), processes, high memory (2), unit
    info = struct.pack("<q3Q6QHxxxxxx2QI", uptime, 0, 0, 0, ram.size, free, 0, 0, 0, 0, 1, 0, 0, 1)
    task.memory.write(address, info.ljust(112, b"\0"))
    return 0
