# SPDX-License-Identifier: GPL-2.0-or-later
"""Structures by value, of at most 16 bytes: in which registers their pieces are, by each port's rules."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any, NamedTuple

from fetchsan.libraries.convention import CallingConvention
from fetchsan.libraries.types import check_copyable, scalar

__all__ = ["Piece", "check_record", "join", "pieces", "split"]

_LARGEST = 16


class Piece(NamedTuple):
    """What one register holds of a structure, or one member of it."""

    floating: bool
    offset: int
    size: int


@cache
def check_record(kind: Any) -> None:
    """Whether a structure can be passed by value. Raises TypeError."""
    check_copyable(kind)
    name = kind.__name__
    if issubclass(kind, ctypes.Union) or hasattr(kind, "_pack_") or not 0 < ctypes.sizeof(kind) <= _LARGEST:
        raise TypeError(
            f"{name} cannot be passed by value (that is for structures of at most {_LARGEST} bytes), only as POINTER({name})"
        )
    for field in getattr(kind, "_fields_", ()):
        if len(field) > 2:
            raise TypeError(f"{name} has bit fields and cannot be passed by value")
        if issubclass(field[1], ctypes.Structure | ctypes.Union):
            check_record(field[1])


@cache
def pieces(kind: Any, convention: CallingConvention) -> tuple[Piece, ...]:
    """In order. AAPCS64: up to four floats of one type have a register each; otherwise eight bytes have one."""
    leaves = list(_leaves(kind, 0))
    alike = all(leaf.floating and leaf.size == leaves[0].size for leaf in leaves)
    if convention.float_members and alike and len(leaves) <= 4:
        return tuple(Piece(True, leaf.offset, leaf.size) for leaf in leaves)
    size = ctypes.sizeof(kind)
    return tuple(
        Piece(
            not convention.float_members and all(leaf.floating for leaf in leaves if start <= leaf.offset < start + 8),
            start,
            min(8, size - start),
        )
        for start in range(0, size, 8)
    )


def split(value: Any, parts: Sequence[Piece]) -> list[int]:
    """The registers' contents."""
    data = bytes(value)
    return [int.from_bytes(data[part.offset : part.offset + part.size], "little") for part in parts]


def join(kind: Any, parts: Sequence[Piece], registers: Sequence[int]) -> Any:
    """The structure that registers hold."""
    data = bytearray(ctypes.sizeof(kind))
    for part, register in zip(parts, registers, strict=True):
        data[part.offset : part.offset + part.size] = (register & (1 << 64) - 1).to_bytes(8, "little")[: part.size]
    return kind.from_buffer_copy(data)


def _leaves(kind: Any, start: int) -> Iterator[Piece]:
    if issubclass(kind, ctypes.Structure):
        for name, member in kind._fields_:
            yield from _leaves(member, start + getattr(kind, name).offset)
    elif issubclass(kind, ctypes.Array):
        for index in range(kind._length_):
            yield from _leaves(kind._type_, start + index * ctypes.sizeof(kind._type_))
    else:
        number = scalar(kind)
        yield Piece(number is not None and number.floating is not None, start, ctypes.sizeof(kind))
