# SPDX-License-Identifier: GPL-2.0-or-later
"""Clocks, sleeps and timers, all on virtual time (clock_gettime(2), nanosleep(2), setitimer(2), timer_create(2))."""

from __future__ import annotations

import errno
import struct
from collections.abc import Callable
from typing import TYPE_CHECKING

from fetchsan.kernel.clock import Clock
from fetchsan.kernel.errors import LinuxError
from fetchsan.kernel.signals import SIGNAL_COUNT, Signal, SignalCode, SignalInfo
from fetchsan.kernel.syscalls.structs import NANOSECONDS, read_timespec, read_timeval, timespec, timeval
from fetchsan.kernel.syscalls.table import s32, syscall
from fetchsan.kernel.timers import IntervalTimer, posix_name

if TYPE_CHECKING:
    from fetchsan.kernel.task import Task

__all__ = ["set_itimer"]

_TAI_OFFSET_NS = 37 * NANOSECONDS
_TICKS_PER_SECOND = 100  # AT_CLKTCK
_TIMER_ABSTIME = 1
_THREAD_CPUTIME = 3
_RUSAGE_SIZE = 144
_SIGEV_SIGNAL, _SIGEV_NONE, _SIGEV_THREAD_ID = 0, 1, 4

# clockid_t to how it is read (clock_getres(2) lists them); the coarse ones are as fine as the others.
_CLOCKS: dict[int, Callable[[Clock], int]] = {
    0: Clock.realtime_ns,
    1: Clock.monotonic_ns,
    2: Clock.cpu_ns,
    3: Clock.cpu_ns,
    4: Clock.monotonic_ns,
    5: Clock.realtime_ns,
    6: Clock.monotonic_ns,
    7: Clock.monotonic_ns,
    8: Clock.realtime_ns,
    9: Clock.monotonic_ns,
    11: lambda clock: clock.realtime_ns() + _TAI_OFFSET_NS,
}

_ITIMER_SIGNALS = (Signal.SIGALRM, Signal.SIGVTALRM, Signal.SIGPROF)


def _clock(task: Task, clock_id: int) -> Callable[[Clock], int]:
    number = s32(clock_id)
    if number < 0:
        # A CPU clock of a process or thread: ~pid in bits 31:3 (clock_getcpuclockid(3)).
        if ~(number >> 3) not in (0, task.pid, task.tid):
            raise LinuxError(errno.EINVAL)
        return Clock.cpu_ns
    if number not in _CLOCKS:
        raise LinuxError(errno.EINVAL)
    return _CLOCKS[number]


@syscall
def sys_clock_gettime(task: Task, clock_id: int, address: int) -> int:
    task.memory.write(address, timespec(_clock(task, clock_id)(task.kernel.clock)))
    return 0


@syscall
def sys_clock_getres(task: Task, clock_id: int, address: int) -> int:
    _clock(task, clock_id)
    if address:
        task.memory.write(address, timespec(1))
    return 0


@syscall
def sys_gettimeofday(task: Task, tv: int, tz: int) -> int:
    if tv:
        task.memory.write(tv, timeval(task.kernel.clock.realtime_ns()))
    if tz:
        task.memory.write(tz, bytes(8))
    return 0


@syscall
def sys_times(task: Task, address: int) -> int:
    ticks = task.kernel.clock.cpu_ns() * _TICKS_PER_SECOND // NANOSECONDS
    if address:
        task.memory.write(address, struct.pack("<qqqq", ticks, 0, 0, 0))
    return task.kernel.clock.monotonic_ns() * _TICKS_PER_SECOND // NANOSECONDS


@syscall
def sys_getrusage(task: Task, who: int, address: int) -> int:
    usage = {0: True, 1: True, -1: False}.get(s32(who))  # SELF, THREAD; CHILDREN used nothing
    if usage is None:
        raise LinuxError(errno.EINVAL)
    used = timeval(task.kernel.clock.cpu_ns() if usage else 0)
    task.memory.write(address, used.ljust(_RUSAGE_SIZE, b"\0"))
    return 0


@syscall
def sys_nanosleep(task: Task, request: int, remaining: int) -> int:
    return _sleep(task, read_timespec(task, request), remaining)


@syscall
def sys_clock_nanosleep(task: Task, clock_id: int, flags: int, request: int, remaining: int) -> int:
    read_clock = _clock(task, clock_id)
    if s32(clock_id) == _THREAD_CPUTIME:
        raise LinuxError(errno.EINVAL)
    duration = read_timespec(task, request)
    if not flags & _TIMER_ABSTIME:
        return _sleep(task, duration, remaining)
    return _sleep(task, max(0, duration - read_clock(task.kernel.clock)), 0)


def _sleep(task: Task, duration: int, remaining: int) -> int:
    clock = task.kernel.clock
    start = clock.elapsed_ns
    try:
        task.kernel.wait(task, "the end of a sleep", lambda: False, duration)
    except LinuxError:
        if remaining:
            task.memory.write(remaining, timespec(max(0, duration - (clock.elapsed_ns - start))))
        raise
    return 0


@syscall
def sys_getitimer(task: Task, which: int, address: int) -> int:
    interval, left = task.process.timers.setting(_itimer(which))
    task.memory.write(address, timeval(interval) + timeval(left))
    return 0


@syscall
def sys_setitimer(task: Task, which: int, new: int, old: int) -> int:
    name = _itimer(which)
    wanted_interval = read_timeval(task, new) if new else 0
    wanted_delay = read_timeval(task, new + 16) if new else 0
    if old:
        interval, left = task.process.timers.setting(name)
        task.memory.write(old, timeval(interval) + timeval(left))
    set_itimer(task, which, wanted_delay, wanted_interval)
    return 0


def set_itimer(task: Task, which: int, delay: int, interval: int) -> tuple[int, int]:
    """Arm an interval timer, in nanoseconds; returns what it had, (interval, time left)."""
    name = _itimer(which)
    timers = task.process.timers
    before = timers.setting(name)
    timers.timers.setdefault(name, IntervalTimer(SignalInfo(_ITIMER_SIGNALS[s32(which)], SignalCode.SI_KERNEL)))
    timers.arm(name, delay, interval)
    return before


def _itimer(which: int) -> str:
    number = s32(which)
    if not 0 <= number < len(_ITIMER_SIGNALS):
        raise LinuxError(errno.EINVAL)
    return f"itimer{number}"


@syscall
def sys_timer_create(task: Task, clock_id: int, event: int, result: int) -> int:
    _clock(task, clock_id)
    timers = task.process.timers
    value, signal, notify = timers.next_posix, int(Signal.SIGALRM), _SIGEV_SIGNAL  # what a null sigevent means
    if event:
        value, signal, notify = struct.unpack("<Qii", task.memory.read(event, 16))
    if notify not in (_SIGEV_SIGNAL, _SIGEV_NONE, _SIGEV_SIGNAL | _SIGEV_THREAD_ID):
        raise LinuxError(errno.EINVAL)
    info = None
    if notify != _SIGEV_NONE:
        if not 0 < signal <= SIGNAL_COUNT:
            raise LinuxError(errno.EINVAL)
        info = SignalInfo(signal, SignalCode.SI_TIMER, pid=timers.next_posix, value=value)
    number = timers.create_posix(IntervalTimer(info, s32(clock_id)))
    task.memory.write(result, struct.pack("<i", number))
    return 0


@syscall
def sys_timer_gettime(task: Task, timer: int, address: int) -> int:
    name = posix_name(timer)
    task.process.timers.get(name)
    interval, left = task.process.timers.setting(name)
    task.memory.write(address, timespec(interval) + timespec(left))
    return 0


@syscall
def sys_timer_getoverrun(task: Task, timer: int) -> int:
    task.process.timers.get(posix_name(timer))
    return 0  # time moves only between calls, so no expiry is ever missed


@syscall
def sys_timer_settime(task: Task, timer: int, flags: int, new: int, old: int) -> int:
    name = posix_name(timer)
    timers = task.process.timers
    clock_id = timers.get(name).clock_id
    interval, left = timers.setting(name)
    wanted_interval, wanted_delay = read_timespec(task, new), read_timespec(task, new + 16)
    if old:
        task.memory.write(old, timespec(interval) + timespec(left))
    if flags & _TIMER_ABSTIME and wanted_delay:
        wanted_delay = max(1, wanted_delay - _clock(task, clock_id & 0xFFFF_FFFF)(task.kernel.clock))
    timers.arm(name, wanted_delay, wanted_interval)
    return 0


@syscall
def sys_timer_delete(task: Task, timer: int) -> int:
    task.process.timers.delete(posix_name(timer))
    return 0
