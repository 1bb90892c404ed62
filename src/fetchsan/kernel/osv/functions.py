# SPDX-License-Identifier: GPL-2.0-or-later
"""Owns the functions of the kernel that applications call: declared by name, reached by a fetch from the kernel's text.

A function of C is `NAME(thread, *arguments)`: arguments in registers, its result goes back in one. It returns an int, or
an `InGuest[int]` if it calls the application's code. The linker's own entries are called their own way; they are declared
raw and see to everything themselves.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from fetchsan.kernel.errors import LinuxError
from fetchsan.kernel.linker.object import InGuest, MemoryImage
from fetchsan.kernel.osv.guest_calls import begin, leave

if TYPE_CHECKING:
    from fetchsan.kernel.osv.thread import Thread

__all__ = ["address_of", "enter_function", "function", "function_names", "kernel_images", "raw_entry"]

_SPACING = 16
_FAILED = 0  # what functions return that cannot: a name does not end, no memory is left
_F = TypeVar("_F", bound=Callable[..., "InGuest[int] | int"])


@dataclass(frozen=True, slots=True)
class _Function:
    name: str
    enter: Callable[..., Any]
    raw: bool
    visible: bool
    last: bool  # only where no library of the kernel's has the name

    @property
    def arity(self) -> int:
        return self.enter.__code__.co_argcount - 1


_FUNCTIONS: dict[int, _Function] = {}
_OFFSETS: dict[str, int] = {}


def _declare(row: _Function) -> None:
    assert row.name not in _OFFSETS, f"{row.name} declared twice"
    at = _SPACING * len(_FUNCTIONS)
    _FUNCTIONS[at], _OFFSETS[row.name] = row, at


def function(name: str, *, last: bool = False) -> Callable[[_F], _F]:
    """Declare a function of C. `last`: a library of the kernel's may have a quicker one."""

    def decorate(enter: _F) -> _F:
        _declare(_Function(name, enter, raw=False, visible=True, last=last))
        return enter

    return decorate


def raw_entry(enter: Callable[[Thread], None]) -> Callable[[Thread], None]:
    """Declare an entry that no symbol names."""
    _declare(_Function(enter.__name__, enter, raw=True, visible=False, last=False))
    return enter


def address_of(name: str, base: int) -> int:
    """Where it is entered; `base` is the port's `functions`."""
    return base + _OFFSETS[name]


def function_names(base: int) -> dict[int, str]:
    """By address, as a backtrace shows them."""
    return {base + at: f"{row.name}+0x0 (kernel)" for at, row in _FUNCTIONS.items()}


def kernel_images(base: int) -> tuple[MemoryImage, MemoryImage]:
    """The kernel as a module: what comes before its libraries in the order of search, and what comes after them."""
    first, second = (
        MemoryImage("kernel", {row.name: base + at for at, row in _FUNCTIONS.items() if row.visible and row.last is last})
        for last in (False, True)
    )
    return first, second


def enter_function(thread: Thread, address: int) -> bool:
    """Do what is declared for `address`. False: nothing is."""
    row = _FUNCTIONS.get(address - thread.port.functions)
    if row is None:
        return False
    if row.raw:
        row.enter(thread)
        return True
    arguments = thread.pe.get_many(thread.port.arguments[: row.arity])
    try:
        result = row.enter(thread, *arguments)
    except LinuxError:
        result = _FAILED
    if isinstance(result, int):
        leave(thread, result)
    else:
        begin(thread, _guarded(result), partial(leave, thread))
    return True


def _guarded(steps: InGuest[int]) -> InGuest[int]:
    try:
        return (yield from steps)
    except LinuxError:
        return _FAILED
