# SPDX-License-Identifier: GPL-2.0-or-later
"""Owns the table of dynamic relocations of each port: what an entry stores, at OSv's newest level.

The names of the terms are the psABIs': S the symbol's address, A the addend, B the object's base (ELF for the Arm 64-bit
Architecture, "Dynamic relocations"; System V ABI, AMD64 supplement, "Relocation types"). OSv has them in each port's
`arch-elf.cc`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto
from typing import Protocol

from fetchsan.kernel.linker.elf_file import EM_AARCH64, EM_X86_64
from fetchsan.kernel.mmu.ports import AARCH64, X64

__all__ = ["RELOCATIONS", "Act", "Relocation", "Relocations", "Terms"]


class Terms(Protocol):
    """What a value is made of, looked up only where it is a term: a symbol may not exist."""

    addend: int

    def symbol(self) -> int:
        """S."""

    def tls_offset(self) -> int:
        """Of the variable, from the thread pointer."""

    def tls_module(self) -> int:
        """What __tls_get_addr finds the variable's module by."""

    def tls_module_offset(self) -> int:
        """What __tls_get_addr finds the variable in its module by."""


class Act(Enum):
    """What is done with an entry."""

    NOTHING = auto()
    STORE = auto()  # the value of `compute`, 64 bits
    RELATIVE = auto()  # store B + A: most of all entries, so they are not looked at one by one
    SLOT = auto()  # of the PLT: as STORE, now or at the first call
    COPY = auto()  # bytes of another object's symbol, when that has been relocated
    CALL = auto()  # store what the resolver at B + A returns
    DESCRIPTOR = auto()  # of a thread-local variable: a function and its argument


@dataclass(frozen=True, slots=True)
class Relocation:
    """One type."""

    name: str
    act: Act
    compute: Callable[[Terms], int] | None = None


@dataclass(frozen=True, slots=True)
class Relocations:
    """A port's: the ELF header's machine, types by number, and whether OSv loads an object that lacks a symbol."""

    machine: int
    types: dict[int, Relocation]
    missing_symbols: bool


def _s(terms: Terms) -> int:
    return terms.symbol()


def _s_a(terms: Terms) -> int:
    return terms.symbol() + terms.addend


def _tp_offset(terms: Terms) -> int:
    return terms.tls_offset() + terms.addend


def _module(terms: Terms) -> int:
    return terms.tls_module()


def _module_offset(terms: Terms) -> int:
    return terms.tls_module_offset() + terms.addend


_NONE = Relocation("NONE", Act.NOTHING)

RELOCATIONS = {
    AARCH64.name: Relocations(
        EM_AARCH64,
        {
            0: _NONE,
            256: _NONE,
            257: Relocation("ABS64", Act.STORE, _s_a),
            1024: Relocation("COPY", Act.COPY),
            1025: Relocation("GLOB_DAT", Act.STORE, _s_a),
            1026: Relocation("JUMP_SLOT", Act.SLOT, _s_a),
            1027: Relocation("RELATIVE", Act.RELATIVE),
            # By the psABI 1028 is DTPMOD64 or DTPREL64 as the platform likes; Linux (and so every linker) has it this way.
            1028: Relocation("TLS_DTPMOD", Act.STORE, _module),
            1029: Relocation("TLS_DTPREL", Act.STORE, _module_offset),
            1030: Relocation("TLS_TPREL", Act.STORE, _tp_offset),
            1031: Relocation("TLSDESC", Act.DESCRIPTOR, _tp_offset),
            1032: Relocation("IRELATIVE", Act.CALL),
        },
        missing_symbols=False,
    ),
    X64.name: Relocations(
        EM_X86_64,
        {
            0: _NONE,
            1: Relocation("64", Act.STORE, _s_a),
            5: Relocation("COPY", Act.COPY),
            6: Relocation("GLOB_DAT", Act.STORE, _s),
            7: Relocation("JUMP_SLOT", Act.SLOT, _s),
            8: Relocation("RELATIVE", Act.RELATIVE),
            16: Relocation("DTPMOD64", Act.STORE, _module),
            17: Relocation("DTPOFF64", Act.STORE, _module_offset),
            18: Relocation("TPOFF64", Act.STORE, _tp_offset),
            36: Relocation("TLSDESC", Act.DESCRIPTOR, _tp_offset),
            37: Relocation("IRELATIVE", Act.CALL),
        },
        missing_symbols=True,
    ),
}
"""By the port's name."""
