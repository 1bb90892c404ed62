# SPDX-License-Identifier: GPL-2.0-or-later
"""Functions of the guest's that Python can call, as ctypes has them: `argtypes`, `restype`."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from fetchsan.libraries.arguments import Loan, Parameter, parameter, undeclared
from fetchsan.libraries.records import join, pieces, split

if TYPE_CHECKING:
    from fetchsan.libraries.session import Session

__all__ = ["Function"]


class Function:
    """`argtypes` (None: any ints, pointers and bytes) and `restype` (c_int until set; None: void) are ctypes types.

    `variadic`: more arguments may follow the declared ones.
    """

    def __init__(self, session: Session, address: int, name: str) -> None:
        self._session = session
        self.address = address
        self.name = name
        self.variadic = False
        self._argtypes: tuple[Any, ...] | None = None
        self._parameters: list[Parameter] = []
        self.restype = ctypes.c_int

    @classmethod
    def of_prototype(cls, session: Session, address: int, prototype: Any) -> Function:
        """A function pointer that the guest gave."""
        function = cls(session, address, f"function at {address:#x}")
        function.argtypes = prototype._argtypes_
        function.restype = prototype._restype_
        return function

    def __repr__(self) -> str:
        return f"<guest function {self.name} at {self.address:#x}>"

    @property
    def argtypes(self) -> tuple[Any, ...] | None:
        """The types of the arguments."""
        return self._argtypes

    @argtypes.setter
    def argtypes(self, kinds: Sequence[Any] | None) -> None:
        self._parameters = [parameter(kind) for kind in kinds or ()]
        self._argtypes = tuple(kinds) if kinds is not None else None

    @property
    def restype(self) -> Any:
        """The type of the result."""
        return self._restype

    @restype.setter
    def restype(self, kind: Any) -> None:
        self._result = parameter(kind) if kind is not None else None
        self._restype = kind

    def __call__(self, *values: Any) -> Any:
        """Call it. Raises TypeError and ValueError for arguments that do not fit, GuestEndedError if the guest dies of it."""
        parameters = self._parameters
        if len(values) != len(parameters):
            parameters = self._with_undeclared(values)
        session = self._session
        convention = session.convention
        loan = Loan(session)
        try:
            integers: list[int] = []
            floats: list[int] = []
            stack: list[int] = []
            for number, (each, value) in enumerate(zip(parameters, values, strict=True), 1):
                try:
                    if each.record is not None:
                        self._pass_record(each.record, value, integers, floats, stack)
                        continue
                    register = each.encode(loan, value)
                except (TypeError, ValueError) as error:
                    raise type(error)(f"{self.name}, argument {number}: {error}") from None
                taken, most = (floats, len(convention.floats)) if each.floating else (integers, len(convention.integers))
                (taken if len(taken) < most else stack).append(register)
            result = self._result
            on_stack = b"".join(value.to_bytes(8, "little") for value in stack) if stack else b""
            if result is not None and result.record is not None:
                record = self._call_for_record(result.record, integers, floats, on_stack)
                loan.take_back()
                return record
            floating = result is not None and result.floating
            register = session.call(self.address, integers, floats, on_stack, floating=floating)
            loan.take_back()
            return result.decode(session, register) if result is not None else None
        finally:
            loan.end()

    def _with_undeclared(self, values: Sequence[Any]) -> list[Parameter]:
        declared = self._parameters
        if self._argtypes is not None and (len(values) < len(declared) or not self.variadic):
            least = "at least " if self.variadic else ""
            raise TypeError(f"{self.name} takes {least}{len(declared)} arguments, not {len(values)}")
        return declared + [undeclared(value, variadic=self.variadic) for value in values[len(declared) :]]

    def _pass_record(self, kind: Any, value: Any, integers: list[int], floats: list[int], stack: list[int]) -> None:
        """All of a structure in registers, or all of it on the stack."""
        if not isinstance(value, kind):
            raise TypeError(f"takes a {kind.__name__}, not {type(value).__name__}")
        convention = self._session.convention
        parts = pieces(kind, convention)
        registers = split(value, parts)
        wanted = sum(part.floating for part in parts)
        fits = len(floats) + wanted <= len(convention.floats)
        fits = fits and len(integers) + len(parts) - wanted <= len(convention.integers)
        if fits:
            for part, register in zip(parts, registers, strict=True):
                (floats if part.floating else integers).append(register)
            return
        data = bytes(value)
        stack += [int.from_bytes(data[start : start + 8], "little") for start in range(0, len(data), 8)]
        if convention.float_members:
            used, most = (floats, len(convention.floats)) if wanted else (integers, len(convention.integers))
            used += [0] * (most - len(used))

    def _call_for_record(self, kind: Any, integers: list[int], floats: list[int], stack: bytes) -> Any:
        convention = self._session.convention
        parts = pieces(kind, convention)
        general, vector = iter((convention.left, convention.second)), iter(convention.floats)
        names = [next(vector if part.floating else general) for part in parts]
        return join(kind, parts, self._session.call_for_registers(self.address, integers, floats, stack, names))
