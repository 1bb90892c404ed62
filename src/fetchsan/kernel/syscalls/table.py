# SPDX-License-Identifier: GPL-2.0-or-later
"""The system-call table of the Linux arm64 ABI: one row a call, declared where the call is implemented."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

__all__ = ["SYSCALLS", "Syscall", "s32", "s64", "syscall", "u32"]


@dataclass(frozen=True, slots=True)
class Syscall:
    """One row: number, name, how many of x0..x5 it takes, and the function `(task, *arguments) -> result`."""

    number: int
    name: str
    arity: int
    function: Callable[..., int]


SYSCALLS: dict[int, Syscall] = {}


def syscall(number: int, name: str | None = None) -> Callable[[Callable[..., int]], Callable[..., int]]:
    """Declare the decorated `(task, *arguments: int) -> int` as system call `number`.

    Arguments arrive as unsigned 64-bit integers; the function raises LinuxError for an errno and GuestFault for a bad
    pointer (which becomes EFAULT).
    """

    def declare(function: Callable[..., int]) -> Callable[..., int]:
        arity = function.__code__.co_argcount - 1
        row = Syscall(number, name or function.__name__.removeprefix("sys_"), arity, function)
        assert number not in SYSCALLS, f"system call {number} declared twice"
        SYSCALLS[number] = row
        return function

    return declare


def s32(value: int) -> int:
    """The C `int` in an argument register."""
    return ((value & 0xFFFF_FFFF) ^ 0x8000_0000) - 0x8000_0000


def s64(value: int) -> int:
    """The C `long` in an argument register."""
    return ((value & 0xFFFF_FFFF_FFFF_FFFF) ^ (1 << 63)) - (1 << 63)


def u32(value: int) -> int:
    """The C `unsigned int` in an argument register, whose upper half may hold anything (AAPCS64)."""
    return value & 0xFFFF_FFFF
