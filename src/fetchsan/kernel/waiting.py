# SPDX-License-Identifier: GPL-2.0-or-later
"""How a wait can end other than well: interrupted by a signal, or never."""

from __future__ import annotations

import errno

from fetchsan.errors import FetchSanError
from fetchsan.kernel.errors import LinuxError

__all__ = ["DeadlockError", "Interrupted"]


class Interrupted(LinuxError):
    """A signal arrived during the wait: EINTR, or the call is made again (SA_RESTART)."""

    def __init__(self) -> None:
        super().__init__(errno.EINTR)


class DeadlockError(FetchSanError):
    """Thread `tid` waits for something that nobody is left to bring about."""

    def __init__(self, tid: int, waiting_for: str) -> None:
        super().__init__(f"deadlock: thread {tid} waits for {waiting_for}, which nothing can bring about")
        self.tid = tid
        self.waiting_for = waiting_for
