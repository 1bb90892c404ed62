# SPDX-License-Identifier: GPL-2.0-or-later
"""System registers as declarations: a subclass names its fields once and gets decoding, encoding and a repr."""

from __future__ import annotations

from typing import Self, overload

__all__ = ["Field", "Register"]


class Field:
    """Bits [low + width - 1 : low] of a register, read like an attribute of the value."""

    def __init__(self, low: int, width: int = 1) -> None:
        self.low = low
        self.width = width
        self.name = ""

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    @overload
    def __get__(self, instance: None, owner: type) -> Field: ...
    @overload
    def __get__(self, instance: Register, owner: type) -> int: ...
    def __get__(self, instance: Register | None, owner: type) -> Field | int:
        if instance is None:
            return self
        return instance.value >> self.low & self.maximum

    @property
    def maximum(self) -> int:
        """The largest value that fits."""
        return (1 << self.width) - 1


class Register:
    """An immutable 64-bit value with named fields: `CTR(0x8444C004).IDC`, `CTR(IminLine=4)`, `ctr.replace(DIC=1)`."""

    __slots__ = ("value",)
    value: int

    def __init__(self, value: int = 0, **fields: int) -> None:
        if not 0 <= value < 1 << 64:
            raise ValueError(f"{type(self).__name__}: {value:#x} does not fit in 64 bits")
        for name, number in fields.items():
            field = self.fields().get(name)
            if field is None:
                raise ValueError(f"{type(self).__name__} has no field {name}")
            if not 0 <= number <= field.maximum:
                raise ValueError(f"{type(self).__name__}.{name} = {number} does not fit in {field.width} bits")
            value = value & ~(field.maximum << field.low) | number << field.low
        object.__setattr__(self, "value", value)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"{type(self).__name__} is immutable; use replace({name}=...)")

    @classmethod
    def fields(cls) -> dict[str, Field]:
        """The declared fields, in the order of declaration."""
        return {name: field for name, field in vars(cls).items() if isinstance(field, Field)}

    def replace(self, **fields: int) -> Self:
        """The same register with some fields changed."""
        return type(self)(self.value, **fields)

    def __int__(self) -> int:
        return self.value

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and other.value == self.value

    def __hash__(self) -> int:
        return hash((type(self), self.value))

    def __repr__(self) -> str:
        shown = ", ".join(f"{name}={getattr(self, name):#x}" for name in self.fields())
        return f"{type(self).__name__}({self.value:#x}: {shown})"
