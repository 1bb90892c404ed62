# SPDX-License-Identifier: GPL-2.0-or-later
"""Ctrl-C while the guest runs: Python's own handler waits for bytecode, and a guest that loops never comes back to any."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator

__all__ = ["stopping_on_signals"]


@contextlib.contextmanager
def stopping_on_signals(stop: Callable[[], None]) -> Iterator[None]:
    """Call `stop` (from another thread) when a signal with a Python handler arrives, so that the handler gets to run.

    Does nothing outside the main thread, where Python handles no signals.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    finished = False

    def watch() -> None:
        while os.read(reading, 1) and not finished:
            stop()

    watcher = threading.Thread(target=watch, name="fetchsan-signals", daemon=True)
    before = signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    watcher.start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(before)
        finished = True
        os.write(writing, b"\0")
        watcher.join()
        os.close(reading)
        os.close(writing)
