# SPDX-License-Identifier: GPL-2.0-or-later
"""Owns how the kernel calls functions of the application and goes on when they return: constructors, resolvers, callbacks.

What the kernel does meanwhile is an `InGuest` operation of the linker's. The thread's registers are kept from its first
call on and come back when it is over; a function that is called may itself enter the kernel and begin another operation.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from fetchsan.kernel.linker.object import GuestCall, InGuest

if TYPE_CHECKING:
    from fetchsan.kernel.osv.thread import Thread

__all__ = ["Operation", "begin", "leave", "resume", "return_address"]

_RED_ZONE: Final = 128  # x86-64's; what lies below SP may be in use there
_MASK = (1 << 64) - 1


@dataclass(slots=True)
class Operation:
    """One under way; `finish(result)` does what is to be done when it is over."""

    steps: InGuest[Any]
    finish: Callable[[Any], None]
    saved: dict[str, int] | None = None


def begin(thread: Thread, steps: InGuest[Any], finish: Callable[[Any], None]) -> None:
    """Do as much of an operation as takes no call, and enter its first one."""
    thread.operations.append(Operation(steps, finish))
    _advance(thread, None)


def resume(thread: Thread) -> bool:
    """A function that the kernel called has returned. False: it has called none."""
    if not thread.operations:
        return False
    _advance(thread, thread.pe.get(thread.port.result))
    return True


def return_address(thread: Thread) -> int:
    """Where the function that has just been entered returns to."""
    link = thread.port.link
    return thread.pe.get(link) if link is not None else thread.memory.read_u64(thread.pe.get("sp"))


def leave(thread: Thread, result: int) -> None:
    """Return from the function that was entered."""
    pe = thread.pe
    back = return_address(thread)
    if thread.port.link is None:
        pe.set("sp", pe.get("sp") + 8)
    pe.set(thread.port.result, result & _MASK)
    pe.set("pc", back)


def _advance(thread: Thread, value: int | None) -> None:
    operation = thread.operations[-1]
    try:
        call = operation.steps.send(value)  # type: ignore[arg-type]  # None starts it
    except StopIteration as done:
        thread.operations.pop()
        _restore(thread, operation)
        operation.finish(done.value)
    except BaseException:
        thread.operations.pop()
        _restore(thread, operation)
        raise
    else:
        _call(thread, operation, call)


def _call(thread: Thread, operation: Operation, call: GuestCall) -> None:
    pe, port = thread.pe, thread.port
    if operation.saved is None:
        names = (*port.general, "sp", "pc")
        operation.saved = dict(zip(names, pe.get_many(names), strict=True))
        operation.saved |= {name: pe.get(name) for name in port.vectors}
    top = (operation.saved["sp"] - _RED_ZONE) & -16
    if call.below is not None:
        top = min(top, call.below & -16)
    registers = dict(zip(port.arguments, call.arguments, strict=False))
    if port.link is not None:
        registers[port.link] = port.call_return
    else:
        top -= 8
        thread.memory.write_u64(top, port.call_return)
    for register, value in (registers | {"sp": top, "pc": call.address}).items():
        pe.set(register, value)


def _restore(thread: Thread, operation: Operation) -> None:
    for register, value in (operation.saved or {}).items():
        thread.pe.set(register, value)
