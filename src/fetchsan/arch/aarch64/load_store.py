# SPDX-License-Identifier: GPL-2.0-or-later
"""The address that a load or store instruction accesses, from its word and the registers (Arm ARM C4.1.94).

The engine tells only the page of an access that faulted; FAR_EL1 and si_addr need the address itself.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

__all__ = ["access_address"]

_MASK64 = (1 << 64) - 1

Get = Callable[[str], int]
"""Reads a register by name: x0 to x30, sp."""


def _signed(value: int, bits: int) -> int:
    return value - (1 << bits) if value >> (bits - 1) & 1 else value


def _none(_word: int, _get: Get) -> int:
    return 0


def _imm9(word: int, _get: Get) -> int:
    # Bits 11:10 = 01 is post-index: the access is at the base.
    return 0 if word >> 10 & 3 == 1 else _signed(word >> 12 & 0x1FF, 9)


def _imm9_always(word: int, _get: Get) -> int:
    return _signed(word >> 12 & 0x1FF, 9)


def _scale(word: int) -> int:
    vector_quad = word >> 26 & 1 and word >> 23 & 1
    return 4 if vector_quad else word >> 30


def _imm12(word: int, _get: Get) -> int:
    return (word >> 10 & 0xFFF) << _scale(word)


def _imm7(word: int, _get: Get) -> int:
    if word >> 23 & 3 == 1:  # post-index
        return 0
    scale = 2 + (word >> 30) if word >> 26 & 1 else 2 + (word >> 31)
    return _signed(word >> 15 & 0x7F, 7) << scale


def _imm10(word: int, _get: Get) -> int:
    return _signed(word >> 22 & 1, 1) * 0x1000 + (word >> 12 & 0x1FF) * 8


def _register(word: int, get: Get) -> int:
    number = word >> 16 & 31
    value = get(f"x{number}") if number != 31 else 0
    option = word >> 13 & 7
    if option & 3 == 2:  # UXTW, SXTW
        value &= 0xFFFF_FFFF
        if option & 4:
            value = _signed(value, 32)
    return value << (_scale(word) if word >> 12 & 1 else 0)


class _Form(NamedTuple):
    mask: int
    value: int
    offset: Callable[[int, Get], int]


# Base register in bits 9:5 (31: SP) plus an offset; the first row that fits counts.
_FORMS = (
    _Form(0x3F00_0000, 0x0800_0000, _none),  # exclusive, ordered, compare and swap
    _Form(0xBE00_0000, 0x0C00_0000, _none),  # Advanced SIMD structures
    _Form(0x3F20_0C00, 0x1900_0000, _imm9_always),  # LDAPUR, STLUR
    _Form(0x3A00_0000, 0x2800_0000, _imm7),  # pairs
    _Form(0x3B20_0000, 0x3800_0000, _imm9),  # unscaled, unprivileged, pre- and post-indexed
    _Form(0x3B20_0C00, 0x3820_0000, _none),  # atomic memory operations
    _Form(0x3B20_0C00, 0x3820_0800, _register),
    _Form(0xFF20_0400, 0xF820_0400, _imm10),  # LDRAA, LDRAB
    _Form(0x3B00_0000, 0x3900_0000, _imm12),
)
_DC_ZVA_MASK, _DC_ZVA = 0xFFFF_FFE0, 0xD50B_7420
_LITERAL_MASK, _LITERAL = 0x3B00_0000, 0x1800_0000


def access_address(word: int, pc: int, get: Get) -> int | None:
    """First address that `word` at `pc` accesses; None if it is no load, store or DC ZVA that we know."""
    if word & _DC_ZVA_MASK == _DC_ZVA:
        return get(f"x{word & 31}") if word & 31 != 31 else 0
    if word & _LITERAL_MASK == _LITERAL:
        return (pc + _signed(word >> 5 & 0x7FFFF, 19) * 4) & _MASK64
    for form in _FORMS:
        if word & form.mask == form.value:
            number = word >> 5 & 31
            base = get("sp" if number == 31 else f"x{number}")
            return (base + form.offset(word, get)) & _MASK64
    return None
