# SPDX-License-Identifier: GPL-2.0-or-later
"""Functions of Python's that the guest can call."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from fetchsan.libraries.arguments import Loan, parameter
from fetchsan.libraries.types import is_function

if TYPE_CHECKING:
    from fetchsan.libraries.session import Session

__all__ = ["Callback", "CallbackEntry"]


class CallbackEntry:
    """What the session knows of a callback: not the object itself, which may be given up at any time."""

    def __init__(self, session: Session, prototype: Any, function: Callable[..., Any]) -> None:
        self._session = session
        self._function = function
        self._parameters = [parameter(kind) for kind in prototype._argtypes_]
        self._result = parameter(prototype._restype_) if prototype._restype_ is not None else None
        for each in (*self._parameters, *((self._result,) if self._result is not None else ())):
            if each.record is not None:
                raise TypeError(f"a callback cannot have {each.record.__name__} by value, only POINTER({each.record.__name__})")
        self.takes_floats = any(each.floating for each in self._parameters)
        self.returns_float = self._result is not None and self._result.floating

    def enter(self, integers: Sequence[int], floats: Sequence[int], stack: int) -> int:
        """Call the function with the arguments that the registers, and the stack behind them, hold."""
        session = self._session
        general, vector = iter(integers), iter(floats)
        values = []
        for each in self._parameters:
            register = next(vector if each.floating else general, None)
            if register is None:
                register = int.from_bytes(session.read(stack, 8), "little")
                stack += 8
            values.append(each.decode(session, register))
        value = self._function(*values)
        if self._result is None:
            return 0
        if isinstance(value, bytes | bytearray):
            raise TypeError("bytes would be gone when the guest looks at them; return a machine.buffer() and keep it")
        loan = Loan(session)
        try:
            return self._result.encode(loan, value)
        finally:
            loan.end()


class Callback:
    """A Python function with an address in the guest, as long as this object lives.

    What it raises is raised again by the call of Python's in which it happened, when that returns; the guest gets 0.
    """

    def __init__(self, session: Session, prototype: Any, function: Callable[..., Any]) -> None:
        if not is_function(prototype) or getattr(prototype, "_argtypes_", None) is None:
            raise TypeError("a callback needs a prototype: ctypes.CFUNCTYPE(restype, *argtypes)")
        if not callable(function):
            raise TypeError(f"a callback needs a callable, not {type(function).__name__}")
        number = session.add_callback(CallbackEntry(session, prototype, function))
        self.address = session.callback_address(number)
        weakref.finalize(self, session.remove_callback, number).atexit = False
        self.function = function

    def __repr__(self) -> str:
        return f"<callback at {self.address:#x} to {self.function!r}>"
