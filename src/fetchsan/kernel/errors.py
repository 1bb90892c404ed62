# SPDX-License-Identifier: GPL-2.0-or-later
"""What the kernel raises inside itself: an errno for the guest, or a fault that becomes a signal."""

from __future__ import annotations

import errno as _errno
from typing import Literal

__all__ = ["Access", "GuestFault", "LinuxError"]

Access = Literal["read", "write", "execute"]


class LinuxError(Exception):
    """A system call fails with this errno; the guest sees `-errno` in x0."""

    def __init__(self, errno: int) -> None:
        super().__init__(_errno.errorcode.get(errno, str(errno)))
        self.errno = errno


class GuestFault(Exception):
    """An access of the guest that no mapping allows. `signal` is SIGSEGV (11) or SIGBUS (7), `code` its si_code.

    `level` is the level of the page-table walk that failed (0 to 3), `permission` whether a PTE was there: both go into
    the synthesised ESR_EL1.
    """

    def __init__(
        self, address: int, access: Access, signal: int, code: int, *, level: int = 3, permission: bool = False
    ) -> None:
        super().__init__(f"signal {signal} ({access} at {address:#x})")
        self.address = address
        self.access = access
        self.signal = signal
        self.code = code
        self.level = level
        self.permission = permission
