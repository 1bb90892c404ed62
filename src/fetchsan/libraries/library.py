# SPDX-License-Identifier: GPL-2.0-or-later
"""A library in a machine: its functions as attributes, as ctypes.CDLL has them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fetchsan.libraries.function import Function
from fetchsan.libraries.memory import Pointer
from fetchsan.libraries.types import check_copyable

if TYPE_CHECKING:
    from fetchsan.findings.finding import Finding
    from fetchsan.libraries.session import Session

__all__ = ["Library"]


class Library:
    """`library.name_of_function` is a `Function`, the same one each time."""

    def __init__(self, session: Session, name: str) -> None:
        self._session = session
        self._name = name
        self._handle = session.linker.open(name)

    def __repr__(self) -> str:
        return f"<library {self._name} in a machine, loaded by the {self.linker} linker>"

    @property
    def linker(self) -> str:
        """Who loaded it: "guest", the guest's own ld.so."""
        return self._session.linker.name

    @property
    def findings(self) -> tuple[Finding, ...]:
        """Those of its machine up to now."""
        return self._session.findings()

    def __getattr__(self, name: str) -> Function:
        if name.startswith("__") and name.endswith("__"):
            raise AttributeError(name)
        function = self[name]
        setattr(self, name, function)
        return function

    def __getitem__(self, name: str) -> Function:
        """A function of its own, with types apart from the attribute's."""
        return Function(self._session, self._address(name), name)

    def variable(self, name: str, kind: Any) -> Pointer:
        """Where a variable of the library's is."""
        check_copyable(kind)
        return Pointer.make(self._session, self._address(name), kind)

    def close(self) -> None:
        """dlclose(3). Its functions must not be called any more."""
        handle, self._handle = self._handle, 0
        if handle:
            self._session.linker.close(handle)

    def _address(self, name: str) -> int:
        address = self._session.linker.symbol(self._handle, name) if self._handle else None
        if address is None:
            raise AttributeError(f"{self._name} has no symbol {name}")
        return address
