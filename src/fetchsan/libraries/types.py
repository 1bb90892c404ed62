# SPDX-License-Identifier: GPL-2.0-or-later
"""What ctypes types are: which registers they go to, which values they have, which cannot cross to another machine."""

from __future__ import annotations

import ctypes
import struct
from _ctypes import CFuncPtr
from _ctypes import _Pointer as PointerBase
from functools import cache
from typing import Any, NamedTuple

__all__ = ["Scalar", "check_copyable", "is_function", "is_pointer", "pointed_to", "scalar", "scalar_of"]

_MASK = (1 << 64) - 1
# Both ports are LP64, as the hosts are that FetchSan runs on.
_SIZES = {"b": 1, "B": 1, "c": 1, "?": 1, "h": 2, "H": 2, "i": 4, "I": 4, "l": 8, "L": 8, "q": 8, "Q": 8, "f": 4, "d": 8}
_FLOATS = {"f": struct.Struct("<f"), "d": struct.Struct("<d")}
_HOST_POINTERS = "zZO"  # simple types that are pointers of Python's own process when looked at


class Scalar(NamedTuple):
    """A number as a register has it."""

    name: str
    size: int
    signed: bool
    floating: struct.Struct | None
    kind: str

    def encode(self, value: Any) -> int:
        """The register's 64 bits. Raises TypeError, ValueError."""
        if isinstance(value, ctypes._SimpleCData):
            value = value.value
        if self.floating is not None:
            if not isinstance(value, int | float):
                raise TypeError(f"{self.name} takes a float, not {type(value).__name__}")
            try:
                return int.from_bytes(self.floating.pack(value), "little")
            except OverflowError:
                raise ValueError(f"{value} is too large for {self.name}") from None
        if self.kind == "c" and isinstance(value, bytes | bytearray) and len(value) == 1:
            return value[0]
        if self.kind == "?":
            return int(bool(value))
        try:
            number = value.__index__()
        except AttributeError:
            raise TypeError(f"{self.name} takes an int, not {type(value).__name__}") from None
        bits = 8 * self.size
        if not -1 << bits - 1 <= number < 1 << bits:
            raise ValueError(f"{number} does not fit into {self.name}")
        return self._extended(number)

    def decode(self, register: int) -> Any:
        """The value in a register (the low 64 bits of a vector register)."""
        if self.floating is not None:
            return self.floating.unpack((register & _MASK).to_bytes(8, "little")[: self.size])[0]
        if self.kind == "c":
            return bytes((register & 0xFF,))
        if self.kind == "?":
            return bool(register & 0xFF)
        number = register & (1 << 8 * self.size) - 1
        return number - (1 << 8 * self.size) if self.signed and number >> 8 * self.size - 1 else number

    def _extended(self, number: int) -> int:
        number &= (1 << 8 * self.size) - 1
        if self.signed and number >> 8 * self.size - 1:
            number -= 1 << 8 * self.size
        return number & _MASK


@cache
def scalar(kind: Any) -> Scalar | None:
    """The scalar that a ctypes type is; None for what is none."""
    if not (isinstance(kind, type) and issubclass(kind, ctypes._SimpleCData)):
        return None
    code = getattr(kind, "_type_", "")
    return scalar_of(code, kind.__name__) if code in _SIZES else None


def scalar_of(code: str, name: str = "an argument") -> Scalar:
    """By the code that `struct` and ctypes share."""
    return Scalar(name, _SIZES[code], code in "bhilq", _FLOATS.get(code), code)


def is_pointer(kind: Any) -> bool:
    """c_void_p, c_char_p, POINTER(...)."""
    if not isinstance(kind, type):
        return False
    return issubclass(kind, PointerBase | ctypes.c_void_p | ctypes.c_char_p)


def is_function(kind: Any) -> bool:
    """CFUNCTYPE(...)."""
    return isinstance(kind, type) and issubclass(kind, CFuncPtr)


def pointed_to(kind: Any) -> Any:
    """What POINTER(T) points to; None for c_void_p and c_char_p."""
    return kind._type_ if issubclass(kind, PointerBase) else None


@cache
def check_copyable(kind: Any) -> None:
    """Whether values of a type can be copied between Python and the guest. Raises TypeError.

    ctypes would follow a pointer within them in Python's own memory.
    """
    if not (isinstance(kind, type) and issubclass(kind, ctypes._SimpleCData | ctypes.Structure | ctypes.Union | ctypes.Array)):
        if is_function(kind) or is_pointer(kind):
            raise TypeError(f"{kind.__name__} holds a pointer of Python's own process; declare it as c_void_p")
        raise TypeError(f"{kind!r} is no ctypes type that can be copied to the guest")
    if issubclass(kind, ctypes.Structure | ctypes.Union):
        for field in getattr(kind, "_fields_", ()):
            check_copyable(field[1])
    elif issubclass(kind, ctypes.Array):
        check_copyable(kind._type_)
    elif getattr(kind, "_type_", "") in _HOST_POINTERS:
        raise TypeError(f"{kind.__name__} holds a pointer of Python's own process; declare it as c_void_p")
    elif scalar(kind) is None and not issubclass(kind, ctypes.c_void_p):
        raise TypeError(f"{kind.__name__} differs between machines and cannot be copied")
