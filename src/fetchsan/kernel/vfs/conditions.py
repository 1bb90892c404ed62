# SPDX-License-Identifier: GPL-2.0-or-later
"""What a file operation raises instead of blocking: the condition it waits for, for the scheduler to judge."""

from __future__ import annotations

import errno
from collections.abc import Callable

from fetchsan.kernel.errors import LinuxError

__all__ = ["BrokenPipe", "WouldBlock"]


class WouldBlock(LinuxError):
    """The call can only go on when `ready()` holds (or `deadline`, in virtual nanoseconds, has passed): make it again.

    A scheduler runs others meanwhile. Where nobody else could make it ready, the call fails with EDEADLK, which is
    what this is to a dispatcher that knows no waiting. Raised only before the call changed anything.
    """

    def __init__(self, waiting_for: str, ready: Callable[[], bool], deadline: int | None = None) -> None:
        super().__init__(errno.EDEADLK)
        self.waiting_for = waiting_for
        self.ready = ready
        self.deadline = deadline

    def __str__(self) -> str:
        return f"deadlock: waits for {self.waiting_for}, which nothing can bring about"


class BrokenPipe(LinuxError):
    """EPIPE from a pipe without readers: the writer also gets SIGPIPE (write(2))."""

    def __init__(self) -> None:
        super().__init__(errno.EPIPE)
