# SPDX-License-Identifier: GPL-2.0-or-later
"""Ctrl-C while the guest runs: Python's own handler waits for bytecode, and a guest that loops never comes back to any."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any

__all__ = ["SignalStopper", "stopping_on_signals"]


class SignalStopper:
    """Within `with`, calls `stop` (from another thread) when a signal with a Python handler arrives, so that the handler gets
    to run. May be entered many times, cheaply, until it is closed.

    Does nothing outside the main thread, where Python handles no signals.
    """

    def __init__(self, stop: Callable[[], None] = lambda: None) -> None:
        self.stop = stop
        self._writing: int | None = None
        self._reading: int | None = None
        self._watcher: threading.Thread | None = None
        self._before: list[int] = []
        self._finished = False

    def __enter__(self) -> None:
        if threading.current_thread() is not threading.main_thread():
            self._before.append(-2)
            return
        if self._writing is None:
            self._begin()
        assert self._writing is not None
        self._before.append(signal.set_wakeup_fd(self._writing, warn_on_full_buffer=False))

    def __exit__(self, *_error: Any) -> None:
        before = self._before.pop()
        if before >= -1:
            signal.set_wakeup_fd(before)

    def close(self) -> None:
        """End the watching thread."""
        if self._writing is None or self._reading is None or self._watcher is None:
            return
        self._finished = True
        os.write(self._writing, b"\0")
        self._watcher.join()
        os.close(self._reading)
        os.close(self._writing)
        self._writing = None

    def _begin(self) -> None:
        self._reading, self._writing = os.pipe()
        os.set_blocking(self._writing, False)
        self._watcher = threading.Thread(target=self._watch, args=(self._reading,), name="fetchsan-signals", daemon=True)
        self._watcher.start()

    def _watch(self, reading: int) -> None:
        while os.read(reading, 1) and not self._finished:
            self.stop()


@contextlib.contextmanager
def stopping_on_signals(stop: Callable[[], None]) -> Iterator[None]:
    """For one run: `SignalStopper`, closed at its end."""
    stopper = SignalStopper(stop)
    try:
        with stopper:
            yield
    finally:
        stopper.close()
