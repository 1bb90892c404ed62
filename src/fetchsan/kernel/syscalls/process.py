# SPDX-License-Identifier: GPL-2.0-or-later
"""The life of a process: exit, waiting for children, thread registration, prctl(2), and what only root may do."""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import TYPE_CHECKING

from fetchsan.kernel.errors import LinuxError
from fetchsan.kernel.syscalls.table import refuse, s32, syscall
from fetchsan.kernel.task import Exited

if TYPE_CHECKING:
    from fetchsan.kernel.task import Task

__all__ = ["REFUSED"]

_COMM_SIZE = 16
_PERSONALITY_QUERY = 0xFFFF_FFFF


@syscall
def sys_exit(task: Task, status: int) -> int:
    # The only thread so far; with several, clear_child_tid is written and woken here.
    task.kernel.end(Exited(status & 0xFF))
    return 0


@syscall
def sys_exit_group(task: Task, status: int) -> int:
    task.kernel.end(Exited(status & 0xFF))
    return 0


@syscall
def sys_wait4(task: Task, pid: int, status: int, options: int, usage: int) -> int:
    raise LinuxError(errno.ECHILD)


@syscall
def sys_waitid(task: Task, kind: int, pid: int, info: int, options: int, usage: int) -> int:
    raise LinuxError(errno.ECHILD)


@syscall
def sys_set_tid_address(task: Task, address: int) -> int:
    task.clear_child_tid = address
    return task.tid


@syscall
def sys_set_robust_list(task: Task, head: int, size: int) -> int:
    if size != 24:
        raise LinuxError(errno.EINVAL)
    task.robust_list = (head, size)
    return 0


@syscall
def sys_get_robust_list(task: Task, tid: int, head: int, size: int) -> int:
    if s32(tid) not in (0, task.tid):
        raise LinuxError(errno.ESRCH)
    task.memory.write_u64(size, 24)
    task.memory.write_u64(head, task.robust_list[0])
    return 0


@syscall
def sys_personality(task: Task, persona: int) -> int:
    old = task.process.personality
    if persona & 0xFFFF_FFFF != _PERSONALITY_QUERY:
        task.process.personality = persona & 0xFFFF_FFFF
    return old


def _set_name(task: Task, address: int) -> int:
    try:
        task.name = task.memory.read_cstring(address, _COMM_SIZE - 1)
    except LinuxError:  # a longer name is cut, not refused
        task.name = task.memory.read(address, _COMM_SIZE - 1)
    return 0


def _get_name(task: Task, address: int) -> int:
    task.memory.write(address, task.name.ljust(_COMM_SIZE, b"\0"))
    return 0


def _set_dumpable(task: Task, value: int) -> int:
    if value > 1:
        raise LinuxError(errno.EINVAL)
    task.process.dumpable = value
    return 0


def _set_no_new_privileges(task: Task, value: int) -> int:
    if value != 1:
        raise LinuxError(errno.EINVAL)
    task.process.no_new_privileges = True
    return 0


def _write_zero(task: Task, address: int) -> int:
    task.memory.write(address, bytes(4))
    return 0


def _write_tid_address(task: Task, address: int) -> int:
    task.memory.write_u64(address, task.clear_child_tid)
    return 0


def _accept(task: Task, argument: int) -> int:
    return 0


def _refuse(task: Task, argument: int) -> int:
    raise LinuxError(errno.EPERM)


# prctl(2), by option; what is not here is EINVAL, as for a kernel built without it.
_PRCTL: dict[int, Callable[[Task, int], int]] = {
    1: _accept,  # PR_SET_PDEATHSIG: the parent never dies first
    2: _write_zero,  # PR_GET_PDEATHSIG
    3: lambda task, argument: task.process.dumpable,
    4: _set_dumpable,
    7: _accept,  # PR_GET_KEEPCAPS: 0
    8: _accept,
    15: _set_name,
    16: _get_name,
    21: _accept,  # PR_GET_SECCOMP: disabled
    23: _accept,  # PR_CAPBSET_READ: not there
    24: _refuse,  # PR_CAPBSET_DROP
    27: _accept,  # PR_GET_SECUREBITS
    29: _accept,  # PR_SET_TIMERSLACK
    30: lambda task, argument: 50_000,  # PR_GET_TIMERSLACK, in nanoseconds
    36: _accept,  # PR_SET_CHILD_SUBREAPER
    37: _write_zero,
    38: _set_no_new_privileges,
    39: lambda task, argument: int(task.process.no_new_privileges),
    40: _write_tid_address,
    41: _accept,  # PR_SET_THP_DISABLE: there are none
    42: _accept,
    0x53564D41: _accept,  # PR_SET_VMA: names for anonymous mappings, which the maps do not show
}


@syscall
def sys_prctl(task: Task, option: int, argument: int) -> int:
    handler = _PRCTL.get(option & 0xFFFF_FFFF)
    if handler is None:
        raise LinuxError(errno.EINVAL)
    return handler(task, argument)


@syscall
def sys_seccomp(task: Task, operation: int, flags: int, arguments: int) -> int:
    raise LinuxError(errno.EINVAL)  # as a kernel without CONFIG_SECCOMP_FILTER answers


# What needs privileges that the guest's user has not, by errno (each call's man page, "ERRORS").
REFUSED: dict[int, tuple[str, ...]] = {
    errno.EPERM: (
        "vhangup", "quotactl", "acct", "unshare", "kexec_load", "init_module", "delete_module", "clock_settime", "syslog",
        "ptrace", "reboot", "sethostname", "setdomainname", "settimeofday", "swapon", "swapoff", "fanotify_init",
        "open_by_handle_at", "setns", "process_vm_readv", "process_vm_writev", "kcmp", "finit_module", "bpf",
        "userfaultfd", "kexec_file_load", "iopl", "ioperm",
        "io_uring_setup",  # as under kernel.io_uring_disabled=2
    ),
    errno.EACCES: ("perf_event_open",),
}  # fmt: skip

for _error, _names in REFUSED.items():
    refuse(_error, _names)
