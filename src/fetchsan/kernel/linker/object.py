# SPDX-License-Identifier: GPL-2.0-or-later
"""Owns what every module of a program is (OSv's `elf::object`), and the one that needs no loading (`memory_image`)."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

from fetchsan.kernel.linker.symbols import SHN_ABS, STT_GNU_IFUNC, Symbol
from fetchsan.kernel.linker.tls import TlsBlock
from fetchsan.kernel.linker.versions import Version

__all__ = ["Definition", "GuestCall", "InGuest", "MemoryImage", "Object"]


@dataclass(frozen=True, slots=True)
class GuestCall:
    """A call of the program's code that the linker needs made: an initialiser, the resolver of an STT_GNU_IFUNC symbol."""

    address: int
    arguments: tuple[int, ...] = ()
    below: int | None = None  # its stack begins under this address


_T = TypeVar("_T")
InGuest = Generator[GuestCall, int, _T]
"""Something that the linker does and that takes calls of the program's code: it yields each and is sent its result."""


class Definition(NamedTuple):
    """What a reference is bound to (OSv's `symbol_module`)."""

    object: Object
    symbol: Symbol

    @property
    def address(self) -> int:
        """Of what it names, or of the resolver that says so."""
        value = self.symbol.value
        return value if self.symbol.section == SHN_ABS else self.object.base + value

    @property
    def needs_call(self) -> bool:
        """Whether its address is what a call of `address` returns."""
        return self.symbol.kind == STT_GNU_IFUNC


class Object:
    """A module of the program: a name, a base, symbols.

    `visible_to`: the thread that is initialising it; until it is done no other thread's lookups find it. None: all see it.
    `everywhere`: whether its symbols serve every object (RTLD_GLOBAL), not just those loaded together with it.
    """

    base = 0
    soname: str | None = None
    tls: TlsBlock | None = None
    number = 0
    """Its index among the program's modules, which __tls_get_addr and dl_iterate_phdr go by."""
    visible_to: int | None = None
    everywhere = True

    def __init__(self, path: str) -> None:
        self.path = path

    def lookup_symbol(self, name: bytes, version: Version | None = None) -> Definition | None:
        """Its definition of `name`, if it has one that a reference to `version` may be bound to."""
        raise NotImplementedError

    def contains(self, address: int) -> bool:
        """Whether `address` lies in it."""
        raise NotImplementedError

    def symbol_at(self, address: int) -> Symbol | None:
        """The symbol that covers `address`."""
        raise NotImplementedError

    def symbol_name(self, symbol: Symbol) -> bytes:
        """The name of one of its symbols."""
        raise NotImplementedError


class MemoryImage(Object):
    """Functions of the kernel by name: in memory since it was switched on, where nothing is mapped for the program."""

    def __init__(self, path: str, names: Mapping[str, int]) -> None:
        super().__init__(path)
        self._symbols = {name.encode(): Symbol(0, 0x12, 0, SHN_ABS, address, 0) for name, address in names.items()}
        self._names = {symbol.value: name for name, symbol in self._symbols.items()}

    def lookup_symbol(self, name: bytes, version: Version | None = None) -> Definition | None:
        """The kernel has no versions: it serves all of them."""
        symbol = self._symbols.get(name)
        return Definition(self, symbol) if symbol is not None else None

    def contains(self, address: int) -> bool:
        """Only the very entries."""
        return address in self._names

    def symbol_at(self, address: int) -> Symbol | None:
        """The function that begins there."""
        return self._symbols.get(self._names.get(address, b""))

    def symbol_name(self, symbol: Symbol) -> bytes:
        """Its name."""
        return self._names[symbol.value]
