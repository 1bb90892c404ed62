# SPDX-License-Identifier: GPL-2.0-or-later
"""Timers of a process that send signals: setitimer(2) and timer_create(2), over the virtual clock.

Virtual time only moves at system calls, so that is when a timer can expire.
"""

from __future__ import annotations

import errno
from dataclasses import dataclass, field

from fetchsan.kernel.clock import Clock
from fetchsan.kernel.errors import LinuxError
from fetchsan.kernel.signals import SignalInfo

__all__ = ["IntervalTimer", "TimerTable"]

_MAX_TIMERS = 256


@dataclass(slots=True)
class IntervalTimer:
    """One timer; `info` is what it sends (None: SIGEV_NONE)."""

    info: SignalInfo | None
    clock_id: int = 0
    interval_ns: int = 0


@dataclass(slots=True)
class TimerTable:
    """Timers by name: `itimer0` to `itimer2`, and `posix N`."""

    clock: Clock
    timers: dict[str, IntervalTimer] = field(default_factory=dict)
    next_posix: int = 0

    def create_posix(self, timer: IntervalTimer) -> int:
        """A number for timer_create."""
        if len(self.timers) >= _MAX_TIMERS:
            raise LinuxError(errno.EAGAIN)
        number = self.next_posix
        self.next_posix += 1
        self.timers[posix_name(number)] = timer
        return number

    def get(self, name: str) -> IntervalTimer:
        """Raises LinuxError(EINVAL) if there is none."""
        try:
            return self.timers[name]
        except KeyError:
            raise LinuxError(errno.EINVAL) from None

    def setting(self, name: str) -> tuple[int, int]:
        """(interval, time left) in nanoseconds; zeros for a timer that is not armed."""
        timer = self.timers.get(name)
        return (timer.interval_ns if timer else 0, self.clock.remaining(name))

    def arm(self, name: str, delay_ns: int, interval_ns: int) -> None:
        """Start, or stop with a delay of 0."""
        timer = self.get(name)
        timer.interval_ns = interval_ns
        if delay_ns:
            self.clock.arm(name, delay_ns)
        else:
            self.clock.disarm(name)

    def delete(self, name: str) -> None:
        """timer_delete."""
        self.get(name)
        self.clock.disarm(name)
        del self.timers[name]

    def expired(self) -> list[SignalInfo]:
        """What the timers that are due send; periodic ones start again."""
        sent = []
        for name in self.clock.expired():
            timer = self.timers[name]
            if timer.interval_ns:
                self.clock.arm(name, timer.interval_ns)
            if timer.info is not None:
                sent.append(timer.info)
        return sent


def posix_name(number: int) -> str:
    """The table's key for a POSIX timer."""
    return f"posix {number}"
