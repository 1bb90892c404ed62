# SPDX-License-Identifier: GPL-2.0-or-later
"""The older forms of calls that x86-64 still has and arm64 never had: open(2), stat(2), poll(2), select(2), time(2) and kin.

Each is its successor with some arguments fixed, so whatever is to be said of them is said there.
"""

from __future__ import annotations

import errno
import struct
from typing import TYPE_CHECKING

from fetchsan.kernel.errors import LinuxError
from fetchsan.kernel.syscalls.descriptors import sys_dup3, sys_eventfd2, sys_pipe2
from fetchsan.kernel.syscalls.directories import (
    list_directory,
    sys_linkat,
    sys_mkdirat,
    sys_mknodat,
    sys_renameat,
    sys_symlinkat,
    sys_unlinkat,
)
from fetchsan.kernel.syscalls.files import open_file
from fetchsan.kernel.syscalls.identity import sys_getpgid
from fetchsan.kernel.syscalls.layouts import pack_old_dirent
from fetchsan.kernel.syscalls.metadata import (
    sys_faccessat,
    sys_fchmodat,
    sys_fchownat,
    sys_newfstatat,
    sys_readlinkat,
)
from fetchsan.kernel.syscalls.paths import locate, path_argument
from fetchsan.kernel.syscalls.polling import (
    poll_descriptors,
    select_descriptors,
    sys_epoll_create1,
    sys_epoll_pwait,
)
from fetchsan.kernel.syscalls.structs import NANOSECONDS, read_timeval, timeval
from fetchsan.kernel.syscalls.table import refuse, s32, syscall
from fetchsan.kernel.syscalls.time import set_itimer
from fetchsan.kernel.vfs.flags import (
    AT_FDCWD,
    AT_REMOVEDIR,
    AT_SYMLINK_NOFOLLOW,
    O_CREAT,
    O_TRUNC,
    O_WRONLY,
)

if TYPE_CHECKING:
    from fetchsan.kernel.task import Task

__all__: list[str] = []

_UTIMBUF = struct.Struct("<qq")
_ITIMER_REAL = 0
_ARCH_SET_GS, _ARCH_SET_FS, _ARCH_GET_FS, _ARCH_GET_GS, _ARCH_GET_CPUID = 0x1001, 0x1002, 0x1003, 0x1004, 0x1011


@syscall
def sys_open(task: Task, path: int, flags: int, mode: int) -> int:
    return open_file(task, AT_FDCWD, path, task.kernel.abi.open_flags.to_vfs(flags), mode)


@syscall
def sys_creat(task: Task, path: int, mode: int) -> int:
    return open_file(task, AT_FDCWD, path, O_CREAT | O_WRONLY | O_TRUNC, mode)


@syscall
def sys_stat(task: Task, path: int, address: int) -> int:
    return sys_newfstatat(task, AT_FDCWD, path, address, 0)


@syscall
def sys_lstat(task: Task, path: int, address: int) -> int:
    return sys_newfstatat(task, AT_FDCWD, path, address, AT_SYMLINK_NOFOLLOW)


@syscall
def sys_access(task: Task, path: int, mode: int) -> int:
    return sys_faccessat(task, AT_FDCWD, path, mode)


@syscall
def sys_readlink(task: Task, path: int, address: int, size: int) -> int:
    return sys_readlinkat(task, AT_FDCWD, path, address, size)


@syscall
def sys_chmod(task: Task, path: int, mode: int) -> int:
    return sys_fchmodat(task, AT_FDCWD, path, mode)


@syscall
def sys_chown(task: Task, path: int, uid: int, gid: int) -> int:
    return sys_fchownat(task, AT_FDCWD, path, uid, gid, 0)


@syscall
def sys_lchown(task: Task, path: int, uid: int, gid: int) -> int:
    return sys_fchownat(task, AT_FDCWD, path, uid, gid, AT_SYMLINK_NOFOLLOW)


@syscall
def sys_mkdir(task: Task, path: int, mode: int) -> int:
    return sys_mkdirat(task, AT_FDCWD, path, mode)


@syscall
def sys_rmdir(task: Task, path: int) -> int:
    return sys_unlinkat(task, AT_FDCWD, path, AT_REMOVEDIR)


@syscall
def sys_unlink(task: Task, path: int) -> int:
    return sys_unlinkat(task, AT_FDCWD, path, 0)


@syscall
def sys_mknod(task: Task, path: int, mode: int, device: int) -> int:
    return sys_mknodat(task, AT_FDCWD, path, mode, device)


@syscall
def sys_link(task: Task, old: int, new: int) -> int:
    return sys_linkat(task, AT_FDCWD, old, AT_FDCWD, new, 0)


@syscall
def sys_symlink(task: Task, target: int, path: int) -> int:
    return sys_symlinkat(task, target, AT_FDCWD, path)


@syscall
def sys_rename(task: Task, old: int, new: int) -> int:
    return sys_renameat(task, AT_FDCWD, old, AT_FDCWD, new)


@syscall
def sys_getdents(task: Task, fd: int, address: int, size: int) -> int:
    return list_directory(task, fd, address, size, pack_old_dirent)


@syscall
def sys_utime(task: Task, path: int, times: int) -> int:
    stamps = None
    if times:
        accessed, modified = _UTIMBUF.unpack(task.memory.read(times, _UTIMBUF.size))
        stamps = accessed * NANOSECONDS, modified * NANOSECONDS
    return _set_times(task, AT_FDCWD, path, stamps)


@syscall
def sys_utimes(task: Task, path: int, times: int) -> int:
    return sys_futimesat(task, AT_FDCWD, path, times)


@syscall
def sys_futimesat(task: Task, dirfd: int, path: int, times: int) -> int:
    stamps = (read_timeval(task, times), read_timeval(task, times + 16)) if times else None
    return _set_times(task, dirfd, path, stamps)


def _set_times(task: Task, dirfd: int, path: int, stamps: tuple[int, int] | None) -> int:
    now = task.kernel.clock.realtime_ns()
    task.fs.vfs.change_times(locate(task, dirfd, path_argument(task, path)), *(stamps or (now, now)))
    return 0


# Descriptors ----------------------------------------------------------------------------------------------------------


@syscall
def sys_dup2(task: Task, fd: int, new: int) -> int:
    if s32(fd) == s32(new):  # the one thing that dup3(2) refuses
        task.files.get(s32(fd))
        return s32(new)
    return sys_dup3(task, fd, new, 0)


@syscall
def sys_pipe(task: Task, address: int) -> int:
    return sys_pipe2(task, address, 0)


@syscall
def sys_eventfd(task: Task, count: int) -> int:
    return sys_eventfd2(task, count, 0)


@syscall
def sys_epoll_create(task: Task, size: int) -> int:
    if s32(size) <= 0:
        raise LinuxError(errno.EINVAL)
    return sys_epoll_create1(task, 0)


@syscall
def sys_epoll_wait(task: Task, epfd: int, events: int, most: int, timeout_ms: int) -> int:
    return sys_epoll_pwait(task, epfd, events, most, timeout_ms, 0, 0)


@syscall
def sys_poll(task: Task, address: int, count: int, timeout_ms: int) -> int:
    duration = None if s32(timeout_ms) < 0 else s32(timeout_ms) * 1_000_000
    return poll_descriptors(task, address, count, duration)


@syscall
def sys_select(task: Task, count: int, read: int, write: int, exceptional: int, timeout: int) -> int:
    """Unlike pselect6 it says how much of the time was left."""
    if not timeout:
        return select_descriptors(task, count, (read, write, exceptional), None)
    duration = read_timeval(task, timeout)
    clock = task.kernel.clock
    deadline = clock.elapsed_ns + duration
    found = select_descriptors(task, count, (read, write, exceptional), duration)
    task.memory.write(timeout, timeval(max(0, deadline - clock.elapsed_ns)))
    return found


# Time, identity -------------------------------------------------------------------------------------------------------


@syscall
def sys_time(task: Task, address: int) -> int:
    now = task.kernel.clock.realtime_ns() // NANOSECONDS
    if address:
        task.memory.write_u64(address, now)
    return now


@syscall
def sys_alarm(task: Task, seconds: int) -> int:
    _, left = set_itimer(task, _ITIMER_REAL, (seconds & 0xFFFF_FFFF) * NANOSECONDS, 0)
    # Less than half a second is rounded down, but a timer that is set has at least one left (alarm(2), BSD's rule).
    return max(1, (left + NANOSECONDS // 2) // NANOSECONDS) if left else 0


@syscall
def sys_pause(task: Task) -> int:
    task.kernel.wait(task, "a signal", lambda: False, None)  # only ever ends in EINTR
    return 0


@syscall
def sys_getpgrp(task: Task) -> int:
    return sys_getpgid(task, 0)


@syscall
def sys_arch_prctl(task: Task, code: int, address: int) -> int:
    """arch_prctl(2): the segment bases, which is where thread-local storage is."""
    code &= 0xFFFF_FFFF
    if code in (_ARCH_SET_FS, _ARCH_SET_GS):
        if address >= task.space.layout.limit:
            raise LinuxError(errno.EPERM)
        task.pe.set("fs_base" if code == _ARCH_SET_FS else "gs_base", address)
        return 0
    if code in (_ARCH_GET_FS, _ARCH_GET_GS):
        task.memory.write_u64(address, task.pe.get("fs_base" if code == _ARCH_GET_FS else "gs_base"))
        return 0
    if code == _ARCH_GET_CPUID:
        return 1  # CPUID is not made to fault
    raise LinuxError(errno.EINVAL)  # shadow stacks, XSAVE components: this processor has none


refuse(errno.ENOSYS, ("_sysctl", "uselib", "ustat", "sysfs", "modify_ldt", "set_thread_area", "get_thread_area"))
