# SPDX-License-Identifier: GPL-2.0-or-later
"""Signals as data: numbers, default actions, siginfo, dispositions and what is pending (signal(7), sigaction(2)).

Delivery (frames on the guest's stack) is `kernel/signal_delivery.py`; the layout of a frame is the port's (`kernel/abi`).
"""

from __future__ import annotations

import errno
import struct
from dataclasses import dataclass, field
from enum import IntEnum, IntFlag
from typing import Literal

from fetchsan.kernel.errors import LinuxError
from fetchsan.machine.traps import CPUException

__all__ = [
    "SIGNAL_COUNT",
    "UNBLOCKABLE",
    "AlternateStack",
    "Disposition",
    "PendingSignals",
    "SaFlags",
    "Signal",
    "SignalAction",
    "SignalCode",
    "SignalInfo",
    "changed_mask",
    "default_action",
    "signal_bit",
    "signal_name",
]

SIGNAL_COUNT = 64
_FIRST_REALTIME = 32
_QUEUE_LIMIT = 1024  # a guest that queues real-time signals for ever gets EAGAIN, as under RLIMIT_SIGPENDING


class Signal(IntEnum):
    """The standard signals, with the numbers that arm64 and x86-64 share (the generic ones)."""

    SIGHUP = 1
    SIGINT = 2
    SIGQUIT = 3
    SIGILL = 4
    SIGTRAP = 5
    SIGABRT = 6
    SIGBUS = 7
    SIGFPE = 8
    SIGKILL = 9
    SIGUSR1 = 10
    SIGSEGV = 11
    SIGUSR2 = 12
    SIGPIPE = 13
    SIGALRM = 14
    SIGTERM = 15
    SIGSTKFLT = 16
    SIGCHLD = 17
    SIGCONT = 18
    SIGSTOP = 19
    SIGTSTP = 20
    SIGTTIN = 21
    SIGTTOU = 22
    SIGURG = 23
    SIGXCPU = 24
    SIGXFSZ = 25
    SIGVTALRM = 26
    SIGPROF = 27
    SIGWINCH = 28
    SIGIO = 29
    SIGPWR = 30
    SIGSYS = 31


class SignalCode(IntEnum):
    """si_code of the exceptions that we raise (sigaction(2)); the same small numbers mean different things by signal."""

    SI_USER = 0
    SI_KERNEL = 128
    SI_QUEUE = -1
    SI_TIMER = -2
    SI_TKILL = -6
    ILL_ILLOPC = 1
    ILL_ILLOPN = 2
    FPE_INTDIV = 1
    FPE_FLTDIV = 3
    FPE_FLTOVF = 4
    FPE_FLTUND = 5
    FPE_FLTRES = 6
    FPE_FLTINV = 7
    FPE_FLTUNK = 14
    SEGV_MAPERR = 1
    SEGV_ACCERR = 2
    BUS_ADRALN = 1
    BUS_ADRERR = 2
    TRAP_BRKPT = 1
    TRAP_TRACE = 2
    TRAP_HWBKPT = 4


class SaFlags(IntFlag):
    """sa_flags of sigaction(2)."""

    NOCLDSTOP = 0x1
    NOCLDWAIT = 0x2
    SIGINFO = 0x4
    EXPOSE_TAGBITS = 0x800
    RESTORER = 0x0400_0000
    ONSTACK = 0x0800_0000
    RESTART = 0x1000_0000
    NODEFER = 0x4000_0000
    RESETHAND = 0x8000_0000


Disposition = Literal["terminate", "core", "ignore", "stop", "continue"]

_CORE = (3, 4, 5, 6, 7, 8, 11, 24, 25, 31)
_DEFAULTS: dict[int, Disposition] = {
    **dict.fromkeys(_CORE, "core"),
    **dict.fromkeys((17, 23, 28), "ignore"),
    **dict.fromkeys((19, 20, 21, 22), "stop"),
    18: "continue",
}


def default_action(signal: int) -> Disposition:
    """What SIG_DFL does (signal(7))."""
    return _DEFAULTS.get(signal, "terminate")


def signal_name(signal: int) -> str:
    """`SIGSEGV` for 11, `SIGRTMIN+2` for 34."""
    if signal >= _FIRST_REALTIME:
        return f"SIGRTMIN+{signal - _FIRST_REALTIME}"
    return Signal(signal).name


def signal_bit(signal: int) -> int:
    """The bit of `signal` in a sigset."""
    return 1 << (signal - 1)


UNBLOCKABLE = signal_bit(Signal.SIGKILL) | signal_bit(Signal.SIGSTOP)
_BLOCK, _UNBLOCK, _SETMASK = 0, 1, 2  # SIG_*


def changed_mask(previous: int, how: int, given: int) -> int:
    """What sigprocmask(2) makes of a signal mask; SIGKILL and SIGSTOP stay out of it. EINVAL for an unknown `how`."""
    masks = {_BLOCK: previous | given, _UNBLOCK: previous & ~given, _SETMASK: given}
    if how not in masks:
        raise LinuxError(errno.EINVAL)
    return masks[how] & ~UNBLOCKABLE


@dataclass(frozen=True, slots=True)
class SignalAction:
    """struct sigaction of rt_sigaction: handler, flags, restorer (which x86-64 needs and arm64 ignores), mask."""

    handler: int = 0
    flags: int = 0
    restorer: int = 0
    mask: int = 0

    LAYOUT = struct.Struct("<QQQQ")
    DEFAULT = 0
    IGNORE = 1

    def encode(self) -> bytes:
        """The bytes that rt_sigaction writes."""
        return self.LAYOUT.pack(self.handler, self.flags, self.restorer, self.mask)

    @classmethod
    def decode(cls, data: bytes) -> SignalAction:
        """The bytes that rt_sigaction reads; SIGKILL and SIGSTOP cannot be masked."""
        handler, flags, restorer, mask = cls.LAYOUT.unpack(data)
        return cls(handler, flags, restorer, mask & ~UNBLOCKABLE)


@dataclass(frozen=True, slots=True)
class AlternateStack:
    """stack_t (sigaltstack(2))."""

    pointer: int = 0
    flags: int = 2  # SS_DISABLE
    size: int = 0

    LAYOUT = struct.Struct("<QiIQ")
    ONSTACK = 1
    DISABLE = 2
    AUTODISARM = 1 << 31

    def contains(self, address: int) -> bool:
        """Whether a stack pointer is on it (it may be at the end: an empty stack)."""
        return not self.flags & self.DISABLE and self.pointer < address <= self.pointer + self.size

    def encode(self, stack_pointer: int) -> bytes:
        """As sigaltstack reports it: SS_ONSTACK while it is in use."""
        flags = self.flags | (self.ONSTACK if self.contains(stack_pointer) else 0)
        return self.LAYOUT.pack(self.pointer, (flags ^ 1 << 31) - (1 << 31), 0, self.size)


@dataclass(frozen=True, slots=True)
class SignalInfo:
    """siginfo_t; `exception` is there when the CPU raised it, and goes into the frame and the report."""

    signal: int
    code: int
    address: int = 0
    pid: int = 0
    uid: int = 0
    value: int = 0
    exception: CPUException | None = None
    raw: bytes = b""  # what rt_sigqueueinfo gave, passed on unchanged

    SIZE = 128

    def encode(self) -> bytes:
        """The 128 bytes."""
        if self.raw:
            return self.raw
        head = struct.pack("<iiii", self.signal, 0, self.code, 0)
        if self.exception is not None:
            tail = struct.pack("<Q", self.address)
        else:
            tail = struct.pack("<iIQ", self.pid, self.uid, self.value)
        return (head + tail).ljust(self.SIZE, b"\0")


@dataclass(slots=True)
class PendingSignals:
    """What was sent and not delivered: a standard signal once, real-time signals in a queue."""

    queue: list[SignalInfo] = field(default_factory=list)

    @property
    def mask(self) -> int:
        """The set as rt_sigpending shows it."""
        result = 0
        for info in self.queue:
            result |= signal_bit(info.signal)
        return result

    def add(self, info: SignalInfo) -> bool:
        """Queue it; a standard signal that is pending already is dropped (signal(7)). False: the queue is full."""
        if info.signal < _FIRST_REALTIME and self.mask & signal_bit(info.signal):
            return True
        if len(self.queue) >= _QUEUE_LIMIT:
            return False
        self.queue.append(info)
        return True

    def take(self, blocked: int) -> SignalInfo | None:
        """The next to deliver: the lowest number first, each number in the order of sending."""
        ready = [info for info in self.queue if not blocked & signal_bit(info.signal)]
        if not ready:
            return None
        chosen = min(ready, key=lambda info: info.signal)
        self.queue.remove(chosen)
        return chosen

    def discard(self, signals: int) -> None:
        """Forget what has become ignored."""
        self.queue = [info for info in self.queue if not signals & signal_bit(info.signal)]
