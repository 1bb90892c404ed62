# SPDX-License-Identifier: GPL-2.0-or-later
"""Owns the table of dynamic relocations of each port: what an entry stores, as 64 bits.

The names of the terms are the psABIs': S the symbol's value, A the addend, B the object's base (ELF for the Arm 64-bit
Architecture, "Dynamic relocations"; System V ABI, AMD64 supplement, "Relocation types"). OSv has them in each port's
`arch-elf.cc`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from fetchsan.kernel.linker.elf_file import EM_AARCH64, EM_X86_64
from fetchsan.kernel.mmu.ports import AARCH64, X64

__all__ = ["RELOCATIONS", "Relocations"]

Value = Callable[[Callable[[], int], int, int], int]
"""What to store, of S (called only where it is a term: it may not exist), A and B."""


def _symbol(symbol: Callable[[], int], _addend: int, _base: int) -> int:
    return symbol()


def _symbol_and_addend(symbol: Callable[[], int], addend: int, _base: int) -> int:
    return symbol() + addend


def _base_and_addend(_symbol: Callable[[], int], addend: int, base: int) -> int:
    return base + addend


@dataclass(frozen=True, slots=True)
class Relocations:
    """A port's: the machine of the ELF header, and its types by number."""

    machine: int
    types: dict[int, Value]


RELOCATIONS = {
    AARCH64.name: Relocations(
        EM_AARCH64,
        {
            257: _symbol_and_addend,  # ABS64
            1025: _symbol_and_addend,  # GLOB_DAT
            1026: _symbol_and_addend,  # JUMP_SLOT
            1027: _base_and_addend,  # RELATIVE
        },
    ),
    X64.name: Relocations(
        EM_X86_64,
        {
            1: _symbol_and_addend,  # 64
            6: _symbol,  # GLOB_DAT
            7: _symbol,  # JUMP_SLOT
            8: _base_and_addend,  # RELATIVE
        },
    ),
}
"""By the port's name."""
