# SPDX-License-Identifier: GPL-2.0-or-later
"""Virtual time: the same run reads the same clocks, whatever the host does.

Time moves only when the guest asks for something: by a microsecond at each system call and each reading of a clock (so
that a loop which waits for time to pass ends), and by the whole of every sleep.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass

__all__ = ["EPOCH_NS", "Clock", "Timer"]

# 2024-01-01 00:00:00 UTC: after every certificate and package of today's distributions was made, fixed for ever.
EPOCH_NS = 1_704_067_200 * 1_000_000_000
_TICK_NS = 1_000
# Up for a while already: programs that subtract a margin from CLOCK_MONOTONIC must not meet negative times.
_UPTIME_NS = 1_000 * 1_000_000_000


@dataclass(frozen=True, slots=True, order=True)
class Timer:
    """One expiry that somebody waits for; `serial` keeps the order of equal deadlines."""

    deadline_ns: int
    serial: int
    name: str


class Clock:
    """The only clock of the guest."""

    def __init__(self) -> None:
        self._elapsed = 0
        self._timers: list[Timer] = []
        self._serial = 0

    uptime_at_start_ns = _UPTIME_NS

    @property
    def elapsed_ns(self) -> int:
        """Virtual time since the kernel started; also the CPU time that `times` and `getrusage` report."""
        return self._elapsed

    def tick(self) -> None:
        """A system call was made."""
        self._elapsed += _TICK_NS

    def advance(self, nanoseconds: int) -> None:
        """Sleep, without sleeping."""
        self._elapsed += max(0, nanoseconds)

    def monotonic_ns(self) -> int:
        """CLOCK_MONOTONIC; reading it takes a microsecond."""
        self.tick()
        return _UPTIME_NS + self._elapsed

    def realtime_ns(self) -> int:
        """CLOCK_REALTIME; reading it takes a microsecond."""
        self.tick()
        return EPOCH_NS + self._elapsed

    def cpu_ns(self) -> int:
        """CLOCK_PROCESS_CPUTIME_ID; reading it takes a microsecond."""
        self.tick()
        return self._elapsed

    def arm(self, name: str, delay_ns: int) -> None:
        """Let the timer `name` expire after `delay_ns`, instead of when it was to expire before."""
        self.disarm(name)
        self._serial += 1
        heapq.heappush(self._timers, Timer(self._elapsed + delay_ns, self._serial, name))

    def disarm(self, name: str) -> int:
        """Forget the timer; returns how long it still had to run (0: it was not armed)."""
        left = self.remaining(name)
        self._timers = [timer for timer in self._timers if timer.name != name]
        heapq.heapify(self._timers)
        return left

    def remaining(self, name: str) -> int:
        """Nanoseconds until `name` expires, at least 1 while it is armed; 0 if it is not."""
        for timer in self._timers:
            if timer.name == name:
                return max(1, timer.deadline_ns - self._elapsed)
        return 0

    def next_deadline(self) -> int | None:
        """Nanoseconds until the first timer expires, None without timers: what a wait for ever waits for."""
        return max(0, self._timers[0].deadline_ns - self._elapsed) if self._timers else None

    def expired(self) -> list[str]:
        """The timers whose time has come, in order; they are forgotten."""
        due = []
        while self._timers and self._timers[0].deadline_ns <= self._elapsed:
            due.append(heapq.heappop(self._timers).name)
        return due
