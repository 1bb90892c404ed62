# SPDX-License-Identifier: GPL-2.0-or-later
"""The system calls of the Linux ABI, by name: one row a call, declared where the call is implemented.

Which number a call has is the port's affair (`kernel/abi`); a call that only one port has is reached only there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fetchsan.kernel.errors import LinuxError

if TYPE_CHECKING:
    from fetchsan.kernel.task import Task

__all__ = ["SYSCALLS", "Syscall", "refuse", "s32", "s64", "syscall", "u32"]


@dataclass(frozen=True, slots=True)
class Syscall:
    """One row: name, how many of the six argument registers it takes, and `(task, *arguments) -> result`."""

    name: str
    arity: int
    function: Callable[..., int]


SYSCALLS: dict[str, Syscall] = {}


def syscall(function: Callable[..., int]) -> Callable[..., int]:
    """Declare the decorated `sys_NAME(task, *arguments: int) -> int` as system call NAME.

    Arguments arrive as unsigned 64-bit integers; the function raises LinuxError for an errno and GuestFault for a bad
    pointer (which becomes EFAULT).
    """
    _declare(function.__name__.removeprefix("sys_"), function.__code__.co_argcount - 1, function)
    return function


def refuse(error: int, names: Iterable[str]) -> None:
    """Declare calls that fail with `error` whatever they are given."""

    def refused(task: Task) -> int:
        raise LinuxError(error)

    for name in names:
        _declare(name, 0, refused)


def _declare(name: str, arity: int, function: Callable[..., int]) -> None:
    assert name not in SYSCALLS, f"system call {name} declared twice"
    SYSCALLS[name] = Syscall(name, arity, function)


def s32(value: int) -> int:
    """The C `int` in an argument register."""
    return ((value & 0xFFFF_FFFF) ^ 0x8000_0000) - 0x8000_0000


def s64(value: int) -> int:
    """The C `long` in an argument register."""
    return ((value & 0xFFFF_FFFF_FFFF_FFFF) ^ (1 << 63)) - (1 << 63)


def u32(value: int) -> int:
    """The C `unsigned int` in an argument register, whose upper half may hold anything (both ports' calling conventions)."""
    return value & 0xFFFF_FFFF
