# SPDX-License-Identifier: GPL-2.0-or-later
"""Owns the end of an application, its number, and the time."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from fetchsan.kernel.clock import Clock
from fetchsan.kernel.errors import LinuxError
from fetchsan.kernel.osv.calls import call
from fetchsan.kernel.osv.image import OSV_PID
from fetchsan.kernel.syscalls.structs import timespec
from fetchsan.kernel.syscalls.table import s32
from fetchsan.kernel.task import Exited

if TYPE_CHECKING:
    from fetchsan.kernel.osv.thread import Thread

__all__: list[str] = []

_CLOCKS = {0: Clock.realtime_ns, 1: Clock.monotonic_ns, 2: Clock.cpu_ns, 4: Clock.monotonic_ns, 7: Clock.monotonic_ns}


@call
def sys_exit_group(thread: Thread, status: int) -> int:
    thread.kernel.end(Exited(status & 0xFF))
    return 0


@call
def sys_exit(thread: Thread, status: int) -> int:
    return sys_exit_group(thread, status)


@call
def sys_getpid(thread: Thread) -> int:
    return OSV_PID


@call
def sys_gettid(thread: Thread) -> int:
    return OSV_PID + thread.pe.index


@call
def sys_clock_gettime(thread: Thread, clock: int, address: int) -> int:
    read = _CLOCKS.get(s32(clock))
    if read is None:
        raise LinuxError(errno.EINVAL)
    thread.memory.write(address, timespec(read(thread.kernel.clock)))
    return 0
