# SPDX-License-Identifier: GPL-2.0-or-later
"""The C structures that several system calls share: timespec, timeval, sigset_t."""

from __future__ import annotations

import errno
import struct
from typing import TYPE_CHECKING

from fetchsan.kernel.errors import LinuxError

if TYPE_CHECKING:
    from fetchsan.kernel.task import Task

__all__ = ["NANOSECONDS", "read_sigset", "read_timespec", "read_timeval", "timespec", "timeval"]

NANOSECONDS = 1_000_000_000
_PAIR = struct.Struct("<qq")
_SIGSET_SIZE = 8


def timespec(nanoseconds: int) -> bytes:
    """struct timespec."""
    return _PAIR.pack(*divmod(nanoseconds, NANOSECONDS))


def timeval(nanoseconds: int) -> bytes:
    """struct timeval."""
    return _PAIR.pack(*divmod(nanoseconds // 1000, 1_000_000))


def read_timespec(task: Task, address: int) -> int:
    """A timespec in nanoseconds; EINVAL where the kernel's timespec64_valid says no."""
    seconds, nanoseconds = _PAIR.unpack(task.memory.read(address, _PAIR.size))
    if seconds < 0 or not 0 <= nanoseconds < NANOSECONDS:
        raise LinuxError(errno.EINVAL)
    return int(seconds) * NANOSECONDS + int(nanoseconds)


def read_timeval(task: Task, address: int) -> int:
    """A timeval in nanoseconds."""
    seconds, microseconds = _PAIR.unpack(task.memory.read(address, _PAIR.size))
    if seconds < 0 or not 0 <= microseconds < 1_000_000:
        raise LinuxError(errno.EINVAL)
    return int(seconds) * NANOSECONDS + int(microseconds) * 1000


def read_sigset(task: Task, address: int, size: int) -> int:
    """A sigset_t, whose size every call passes along."""
    if size != _SIGSET_SIZE:
        raise LinuxError(errno.EINVAL)
    return int.from_bytes(task.memory.read(address, _SIGSET_SIZE), "little")
