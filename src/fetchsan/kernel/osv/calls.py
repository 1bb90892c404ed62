# SPDX-License-Identifier: GPL-2.0-or-later
"""Owns the way from SVC (or SYSCALL) to the function of OSv's API that is meant, and back.

OSv answers Linux's numbers with its libc's functions: a call is declared by name where it is implemented, and each port
says which number has which name and which registers hold what (`ports`).
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fetchsan.kernel.abi.calling import Calling
from fetchsan.kernel.errors import GuestFault, LinuxError
from fetchsan.machine.hardware import Origin
from fetchsan.machine.memory import OutOfMemoryError

if TYPE_CHECKING:
    from fetchsan.kernel.osv.thread import Thread

__all__ = ["Call", "call", "declare", "make_call"]

_RESULT = (1 << 64) - 1


@dataclass(frozen=True, slots=True)
class Call:
    """One function, `(thread, *arguments) -> result`, and how many arguments it takes."""

    name: str
    arity: int
    function: Callable[..., int]


CALLS: dict[str, Call] = {}


def call(function: Callable[..., int]) -> Callable[..., int]:
    """Declare `sys_NAME(thread, *arguments: int)` as the call NAME.

    Arguments arrive as unsigned 64-bit integers; the function raises LinuxError for an errno, and GuestFault for a bad
    pointer (which becomes EFAULT).
    """
    declare(function.__name__.removeprefix("sys_"), function)
    return function


def declare(name: str, function: Callable[..., int]) -> None:
    """Make `function` the call `name`."""
    assert name not in CALLS, f"{name} declared twice"
    CALLS[name] = Call(name, function.__code__.co_argcount - 1, function)


def make_call(thread: Thread, abi: Calling) -> None:
    """Make the call that the registers ask for; the result goes into its register unless the application has ended."""
    pe = thread.pe
    number, pc, *arguments = pe.get_many((abi.number, "pc", *abi.arguments))
    name = abi.name_of(number & 0xFFFF_FFFF)
    row = CALLS.get(name)
    if row is None:
        thread.kernel.unimplemented(name, number & 0xFFFF_FFFF)
        result = -errno.ENOSYS
    else:
        thread.memory.origin = Origin(pc - abi.size, f"{name}(2)")
        result = _perform(thread, row, arguments)
    if not thread.kernel.ended:
        pe.set(abi.result, result & _RESULT)


def _perform(thread: Thread, row: Call, arguments: list[int]) -> int:
    try:
        return row.function(thread, *arguments[: row.arity])
    except LinuxError as error:
        return -error.errno
    except GuestFault:
        # OSv would stop with "page fault outside application"; an application is better served with what POSIX says.
        return -errno.EFAULT
    except (OutOfMemoryError, MemoryError):
        return -errno.ENOMEM
