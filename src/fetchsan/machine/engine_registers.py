# SPDX-License-Identifier: GPL-2.0-or-later
"""Owns the engine's numbers for registers: one table for each architecture, by the names that kernels use."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["AARCH64", "X64", "RegisterTable"]


@dataclass(frozen=True, slots=True)
class RegisterTable:
    """`ids` are registers of at most 64 bits; `wide` the others, with their size in bytes."""

    ids: Mapping[str, int]
    wide: Mapping[str, tuple[int, int]]


AARCH64 = RegisterTable(
    ids={f"x{n}": 199 + n for n in range(29)}
    | {"x29": 1, "x30": 2, "sp": 4, "pc": 260, "tpidr_el0": 262, "pstate": 265, "fpcr": 291, "fpsr": 292},
    wide={f"v{n}": (228 + n, 16) for n in range(32)},
)

X64 = RegisterTable(
    ids={"rax": 35, "rbp": 36, "rbx": 37, "rcx": 38, "rdi": 39, "rdx": 40, "rip": 41, "rsi": 43, "rsp": 44}
    | {f"r{n}": 98 + n for n in range(8, 16)}
    | {"pc": 41, "sp": 44, "rflags": 253, "fs_base": 250, "gs_base": 251}
    | {"cs": 11, "ss": 49, "cr0": 50, "cr4": 54}
    | {"fpsw": 31, "fpcw": 246, "fptag": 247, "mxcsr": 249},
    wide={f"xmm{n}": (122 + n, 16) for n in range(16)} | {f"st{n}": (114 + n, 10) for n in range(8)},
)
