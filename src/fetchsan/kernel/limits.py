# SPDX-License-Identifier: GPL-2.0-or-later
"""Resource limits of a process (getrlimit(2)): what a login session of a distribution has."""

from __future__ import annotations

import errno
from dataclasses import dataclass, field
from enum import IntEnum

from fetchsan.kernel.errors import LinuxError

__all__ = ["INFINITY", "Resource", "ResourceLimits"]

INFINITY = (1 << 64) - 1


class Resource(IntEnum):
    """RLIMIT_* of the generic ABI."""

    CPU = 0
    FSIZE = 1
    DATA = 2
    STACK = 3
    CORE = 4
    RSS = 5
    NPROC = 6
    NOFILE = 7
    MEMLOCK = 8
    AS = 9
    LOCKS = 10
    SIGPENDING = 11
    MSGQUEUE = 12
    NICE = 13
    RTPRIO = 14
    RTTIME = 15


_DEFAULTS: dict[Resource, tuple[int, int]] = {
    **dict.fromkeys(Resource, (INFINITY, INFINITY)),
    Resource.STACK: (8 << 20, INFINITY),
    Resource.CORE: (0, INFINITY),
    Resource.NPROC: (4096, 4096),
    Resource.NOFILE: (1024, 1 << 20),
    Resource.MEMLOCK: (8 << 20, 8 << 20),
    Resource.SIGPENDING: (1024, 1024),
    Resource.MSGQUEUE: (819_200, 819_200),
    Resource.NICE: (0, 0),
    Resource.RTPRIO: (0, 0),
}


@dataclass(slots=True)
class ResourceLimits:
    """Soft and hard value by resource."""

    values: dict[Resource, tuple[int, int]] = field(default_factory=lambda: dict(_DEFAULTS))

    def get(self, resource: int) -> tuple[int, int]:
        """Raises LinuxError(EINVAL) for a number that is no resource."""
        try:
            return self.values[Resource(resource)]
        except ValueError:
            raise LinuxError(errno.EINVAL) from None

    def set(self, resource: int, soft: int, hard: int) -> None:
        """The rules of setrlimit(2) for an unprivileged process: the hard limit only goes down."""
        _, ceiling = self.get(resource)
        if soft > hard:
            raise LinuxError(errno.EINVAL)
        if hard > ceiling:
            raise LinuxError(errno.EPERM)
        self.values[Resource(resource)] = (soft, hard)
