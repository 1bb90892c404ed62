# SPDX-License-Identifier: GPL-2.0-or-later
"""Owns how C functions are called on each port, as one declared table: AAPCS64 and the System V ABI of x86-64."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["CONVENTIONS", "CallingConvention"]


@dataclass(frozen=True, slots=True)
class CallingConvention:
    """Arguments go to the registers of their kind in order, then to the stack, eight bytes each."""

    host: str
    """The file of the host program."""
    integers: tuple[str, ...]
    floats: tuple[str, ...]
    result: str
    float_result: str
    left: str
    """Where the host program's return entry leaves an integer result."""
    second: str
    """What a structure's second eight bytes come back in."""
    callback: tuple[str, ...]
    """Where its callback entries leave the integer arguments."""
    frame: str
    """The frame pointer."""
    link: str | None
    """The return address; None: on the stack."""
    float_count: str | None = None
    """Must tell a variadic function how many vector registers are used."""
    float_members: bool = False
    """Floats of a structure have a register each, and whoever does not fit uses the registers of its kind up."""
    red_zone: int = 0

    @property
    def pushed(self) -> int:
        """What a call itself puts on the stack."""
        return 0 if self.link else 8


_X = tuple(f"x{number}" for number in range(8))

CONVENTIONS = {
    "aarch64": CallingConvention(
        host="host-aarch64",
        integers=_X,
        floats=tuple(f"v{number}" for number in range(8)),
        result="x0",
        float_result="v0",
        left="x0",
        second="x1",
        float_members=True,
        callback=_X,
        frame="x29",
        link="x30",
    ),
    "x86-64": CallingConvention(
        host="host-x64",
        integers=("rdi", "rsi", "rdx", "rcx", "r8", "r9"),
        floats=tuple(f"xmm{number}" for number in range(8)),
        result="rax",
        float_result="xmm0",
        left="rdi",
        second="rdx",
        callback=("rdi", "rsi", "rdx", "r10", "r8", "r9"),
        frame="rbp",
        link=None,
        float_count="rax",
        red_zone=128,
    ),
}
"""By the platform's name."""
