# SPDX-License-Identifier: GPL-2.0-or-later
"""getrandom(2) from the run's seeded generator: two runs with one seed read the same bytes."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from fetchsan.kernel.errors import GuestFault, LinuxError
from fetchsan.kernel.syscalls.table import syscall

if TYPE_CHECKING:
    from fetchsan.kernel.task import Task

__all__: list[str] = []

_FLAGS = 1 | 2 | 4  # GRND_NONBLOCK, GRND_RANDOM, GRND_INSECURE
_BOTH_SOURCES = 2 | 4
_MAX = 33_554_431  # what one call gives at most (getrandom(2))
_CHUNK = 1 << 16


@syscall
def sys_getrandom(task: Task, address: int, count: int, flags: int) -> int:
    if flags & ~_FLAGS or flags & _BOTH_SOURCES == _BOTH_SOURCES:
        raise LinuxError(errno.EINVAL)
    count = min(count, _MAX)
    done = 0
    while done < count:
        size = min(_CHUNK, count - done)
        try:
            task.memory.write(address + done, task.kernel.random.randbytes(size))
        except GuestFault:
            if not done:
                raise
            break
        done += size
    return done
