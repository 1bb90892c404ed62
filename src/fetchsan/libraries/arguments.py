# SPDX-License-Identifier: GPL-2.0-or-later
"""Python's values as C arguments, and results as Python's values: `Parameter`, one declared type, and `Loan`, one call."""

from __future__ import annotations

import ctypes
from _ctypes import _Pointer as PointerBase
from typing import TYPE_CHECKING, Any

from fetchsan.libraries.memory import Buffer, Pointer
from fetchsan.libraries.records import check_record
from fetchsan.libraries.types import Scalar, check_copyable, is_function, is_pointer, pointed_to, scalar, scalar_of

if TYPE_CHECKING:
    from fetchsan.libraries.session import Session

__all__ = ["Loan", "Parameter", "parameter", "undeclared"]

_BYREF = type(ctypes.byref(ctypes.c_int()))
_BYTES = (ctypes.c_char, ctypes.c_ubyte, ctypes.c_byte)
_DOUBLE = scalar_of("d")
_LONG = scalar_of("q")


class Loan:
    """What one call borrows: copies of Python's objects in the guest, taken back when it returns."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self._mark = session.lending.mark
        self._addresses: list[int] = []
        self._shared: dict[int, tuple[int, Any]] = {}
        self.kept: list[Any] = []

    def copy(self, data: bytes) -> int:
        """Bytes that the guest may read, and scribble over."""
        self.session.check_room(len(data))
        address = self.session.lending.borrow(len(data))
        self._addresses.append(address)
        self.session.write(address, data)
        return address

    def share(self, value: Any) -> int:
        """An object whose bytes the guest may change; the same object is in one place."""
        known = self._shared.get(id(value))
        if known is None:
            known = self._shared[id(value)] = self.copy(bytes(value)), value
        return known[0]

    def take_back(self) -> None:
        """What the guest changed."""
        for address, value in self._shared.values():
            if isinstance(value, bytearray):
                value[:] = self.session.read(address, len(value))
            else:
                ctypes.memmove(ctypes.addressof(value), self.session.read(address, ctypes.sizeof(value)), ctypes.sizeof(value))

    def end(self) -> None:
        """Give the memory back."""
        if self._addresses:
            self.session.lending.give_back(self._mark, self._addresses)


class Parameter:
    """A declared type: `floating` says to which registers its values go."""

    floating = False
    record: Any = None
    """The structure that is passed by value, in several registers perhaps: not for `encode` and `decode`."""

    def encode(self, loan: Loan, value: Any) -> int:
        """The register's contents for `value`. Raises TypeError, ValueError."""
        raise NotImplementedError

    def decode(self, session: Session, register: int) -> Any:
        """What a register's contents are to Python."""
        raise NotImplementedError


class _Number(Parameter):
    def __init__(self, kind: Scalar) -> None:
        self._kind = kind
        self.floating = kind.floating is not None

    def encode(self, loan: Loan, value: Any) -> int:
        return self._kind.encode(value)

    def decode(self, session: Session, register: int) -> Any:
        return self._kind.decode(register)


class _Address(Parameter):
    """A pointer. `target` None: to anything."""

    def __init__(self, name: str, target: Any, *, text: bool = False) -> None:
        self._name = name
        self._target = target
        self._text = text

    def encode(self, loan: Loan, value: Any) -> int:
        if value is None:
            return 0
        if isinstance(value, int):
            if not 0 <= value < 1 << 64:
                raise ValueError(f"{value} is no address")
            return value
        if isinstance(value, Buffer):
            return value.address
        if isinstance(value, bytes):
            if self._target not in (None, *_BYTES):
                raise self._refuse(value)
            return loan.copy(value + b"\0")
        if isinstance(value, bytearray):
            if self._target not in (None, *_BYTES):
                raise self._refuse(value)
            return loan.share(value)
        own = getattr(value, "address", None)
        if isinstance(own, int):  # callbacks, functions
            loan.kept.append(value)
            return own
        if isinstance(value, ctypes.c_void_p) and self._target is not ctypes.c_void_p:
            return value.value or 0
        return self._reference(loan, value)

    def _reference(self, loan: Loan, value: Any) -> int:
        """byref(x), pointer(x), or an array or structure itself."""
        kind: Any = type(value)
        if kind is _BYREF:
            value = value._obj
        elif isinstance(value, PointerBase):
            if not value:
                return 0
            value = value.contents
        elif not isinstance(value, ctypes.Array | ctypes.Structure | ctypes.Union):
            raise self._refuse(value)
        kind = type(value)
        element = getattr(kind, "_type_", None)
        right = self._target is None or isinstance(value, self._target) or element is self._target
        if not right and not (element in _BYTES and self._target in _BYTES):
            raise self._refuse(value)
        check_copyable(kind)
        return loan.share(value)

    def _refuse(self, value: Any) -> TypeError:
        hint = "; .encode() it" if isinstance(value, str) else ""
        return TypeError(f"{self._name} takes guest memory, bytes, byref() or None, not {type(value).__name__}{hint}")

    def decode(self, session: Session, register: int) -> Any:
        if self._text:
            return Pointer.make(session, register).string() if register else None
        return Pointer.make(session, register, self._target)


class _Record(Parameter):
    def __init__(self, kind: Any) -> None:
        check_record(kind)
        self.record = kind


class _FunctionPointer(Parameter):
    def __init__(self, prototype: Any) -> None:
        self._prototype = prototype

    def encode(self, loan: Loan, value: Any) -> int:
        from fetchsan.libraries.callback import Callback

        own = getattr(value, "address", None)
        if value is None or isinstance(value, int):
            return int(value or 0)
        if isinstance(own, int):
            loan.kept.append(value)
            return own
        if not callable(value) or isinstance(value, self._prototype):
            raise TypeError(f"a function pointer takes a callable or machine.callback(), not {type(value).__name__}")
        callback = Callback(loan.session, self._prototype, value)
        loan.kept.append(callback)
        return callback.address

    def decode(self, session: Session, register: int) -> Any:
        from fetchsan.libraries.function import Function

        return Function.of_prototype(session, register, self._prototype) if register else None


_ANYTHING = _Address("a pointer", None)
_INTEGER = _Number(_LONG)


def parameter(kind: Any) -> Parameter:
    """The parameter of a ctypes type. Raises TypeError for what cannot be passed."""
    number = scalar(kind)
    if number is not None:
        return _Number(number)
    if is_function(kind):
        return _FunctionPointer(kind)
    if is_pointer(kind):
        target = pointed_to(kind)
        if is_pointer(target) or is_function(target):
            target = ctypes.c_void_p  # of the guest
        elif target is not None:
            check_copyable(target)
        return _Address(kind.__name__, target, text=issubclass(kind, ctypes.c_char_p))
    if isinstance(kind, type) and issubclass(kind, ctypes.Structure | ctypes.Union):
        return _Record(kind)
    if isinstance(kind, type) and issubclass(kind, ctypes.Array):
        raise TypeError(f"C passes arrays by reference: POINTER({kind._type_.__name__})")
    raise TypeError(f"{kind!r} is no ctypes type that can be passed")


def undeclared(value: Any, *, variadic: bool) -> Parameter:
    """For an argument without a declared type: what C's default promotions make of it."""
    if isinstance(value, float) and variadic:
        return _Number(_DOUBLE)
    given: Any = type(value)
    kind = scalar(given)
    if kind is not None:
        return _Number(kind if kind.floating is None else _DOUBLE)
    if isinstance(value, int) and not isinstance(value, Pointer):
        return _INTEGER
    if isinstance(value, float):
        raise TypeError("a float needs argtypes to say whether it is c_float or c_double")
    return _ANYTHING
