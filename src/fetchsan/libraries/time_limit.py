# SPDX-License-Identifier: GPL-2.0-or-later
"""Stops a call that takes too long."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fetchsan.machine.engine_pe import EnginePE

__all__ = ["TimeLimit"]

_NUDGE = 0.05  # seconds between two attempts: the PE may be between two runs


class TimeLimit:
    """Within `with`, makes the PE fail with TimeoutError when `seconds` are over."""

    def __init__(self, pe: EnginePE, seconds: float) -> None:
        self._pe = pe
        self._seconds = seconds
        self.over = False
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="fetchsan-time-limit", daemon=True)

    def __enter__(self) -> TimeLimit:
        self._thread.start()
        return self

    def __exit__(self, *_error: Any) -> None:
        self._done.set()
        self._thread.join()

    def _watch(self) -> None:
        wait = self._seconds
        while not self._done.wait(wait):
            self.over = True
            self._pe.fail(TimeoutError())
            wait = _NUDGE
