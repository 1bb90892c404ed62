# SPDX-License-Identifier: GPL-2.0-or-later
"""The instructions that move views, and the exempt opcodes: encodings as tables (Arm ARM C4.1.66, C5, B2.2.5)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from typing import Literal

from fetchsan.coherency.rules import Barrier, Domain

__all__ = [
    "BARRIER_OPTIONS",
    "BRK",
    "DC_CVAU_XZR",
    "ISB",
    "MAINTENANCE",
    "MSR_TPIDR_XZR",
    "NOP",
    "WFI",
    "Maintenance",
    "MaintenanceOp",
    "SystemWord",
    "classify",
    "is_exempt",
    "system_words",
]

NOP = 0xD503_201F
ISB = 0xD503_3FDF
BRK = 0xD420_0000
"""BRK #0; the immediate goes to bits 20:5."""
DC_CVAU_XZR = 0xD50B_7B3F
MSR_TPIDR_XZR = 0xD51B_D05F
WFI = 0xD503_207F


class MaintenanceOp(Enum):
    """What a DC or IC does to the views."""

    CLEAN = "clean"  # DC to the PoU or beyond, by address
    CLEAN_ALL = "clean-all"  # DC CSW, CISW: by set and way
    INVALIDATE = "invalidate"  # IC IVAU
    INVALIDATE_ALL = "invalidate-all"  # IC IALLUIS
    INVALIDATE_LOCAL = "invalidate-local"  # IC IALLU
    NOTHING = "nothing"  # DC IVAC, ISW: move no view forward
    ZERO = "zero"  # DC ZVA: a store


@dataclass(frozen=True, slots=True)
class Maintenance:
    """One DC or IC: its assembler name, what it does, and whether EL0 may issue it (with SCTLR_EL1.UCI)."""

    name: str
    op: MaintenanceOp
    user: bool


# (op1, CRn, CRm, op2) of the SYS encoding -> what it is.
MAINTENANCE: dict[tuple[int, int, int, int], Maintenance] = {
    (0, 7, 1, 0): Maintenance("ic ialluis", MaintenanceOp.INVALIDATE_ALL, False),
    (0, 7, 5, 0): Maintenance("ic iallu", MaintenanceOp.INVALIDATE_LOCAL, False),
    (3, 7, 5, 1): Maintenance("ic ivau", MaintenanceOp.INVALIDATE, True),
    (0, 7, 6, 1): Maintenance("dc ivac", MaintenanceOp.NOTHING, False),
    (0, 7, 6, 2): Maintenance("dc isw", MaintenanceOp.NOTHING, False),
    (0, 7, 10, 2): Maintenance("dc csw", MaintenanceOp.CLEAN_ALL, False),
    (0, 7, 14, 2): Maintenance("dc cisw", MaintenanceOp.CLEAN_ALL, False),
    (3, 7, 4, 1): Maintenance("dc zva", MaintenanceOp.ZERO, True),
    (3, 7, 10, 1): Maintenance("dc cvac", MaintenanceOp.CLEAN, True),
    (3, 7, 11, 1): Maintenance("dc cvau", MaintenanceOp.CLEAN, True),
    (3, 7, 12, 1): Maintenance("dc cvap", MaintenanceOp.CLEAN, True),
    (3, 7, 13, 1): Maintenance("dc cvadp", MaintenanceOp.CLEAN, True),
    (3, 7, 14, 1): Maintenance("dc civac", MaintenanceOp.CLEAN, True),
}

# CRm of DSB and DMB -> what it waits for. Reserved values behave as SY (C6.2.91); for DSB, 0 and 4 are SSBB and PSSBB,
# which complete nothing.
BARRIER_OPTIONS: dict[int, tuple[Barrier, Domain]] = {
    0b0001: (Barrier.LOADS, Domain.SHAREABLE),
    0b0010: (Barrier.STORES, Domain.SHAREABLE),
    0b0011: (Barrier.FULL, Domain.SHAREABLE),
    0b0101: (Barrier.LOADS, Domain.NON_SHAREABLE),
    0b0110: (Barrier.STORES, Domain.NON_SHAREABLE),
    0b0111: (Barrier.FULL, Domain.NON_SHAREABLE),
    0b1001: (Barrier.LOADS, Domain.SHAREABLE),
    0b1010: (Barrier.STORES, Domain.SHAREABLE),
    0b1011: (Barrier.FULL, Domain.SHAREABLE),
    0b1101: (Barrier.LOADS, Domain.SHAREABLE),
    0b1110: (Barrier.STORES, Domain.SHAREABLE),
}
_SY = (Barrier.FULL, Domain.SHAREABLE)
_SSBB = (0b0000, 0b0100)


@dataclass(frozen=True, slots=True)
class SystemWord:
    """A decoded word that may move a view: a barrier, or a DC/IC with the number of its Xt (31: XZR)."""

    kind: Literal["dsb", "dmb", "isb", "maintenance"]
    barrier: Barrier = Barrier.FULL
    domain: Domain = Domain.SHAREABLE
    maintenance: Maintenance | None = None
    register: int = 31


@lru_cache(maxsize=4096)
def classify(word: int) -> SystemWord | None:
    """Decode a word of the system-instruction space that the coherency model knows; None for every other word."""
    barrier_space = word & 0xFFFF_F0FF
    option = word >> 8 & 15
    if barrier_space == 0xD503_309F:
        if option in _SSBB:
            return None
        barrier, domain = BARRIER_OPTIONS.get(option, _SY)
        return SystemWord("dsb", barrier, domain)
    if barrier_space == 0xD503_30BF:
        barrier, domain = BARRIER_OPTIONS.get(option, _SY)
        return SystemWord("dmb", barrier, domain)
    if barrier_space == 0xD503_30DF:
        return SystemWord("isb")
    if word & 0xFFF8_0000 == 0xD508_0000:
        key = (word >> 16 & 7, word >> 12 & 15, word >> 8 & 15, word >> 5 & 7)
        maintenance = MAINTENANCE.get(key)
        if maintenance is not None:
            return SystemWord("maintenance", maintenance=maintenance, register=word & 31)
    return None


_TOP_BYTE = re.compile(b"\xd5")


def system_words(code: bytes) -> list[tuple[int, int]]:
    """(offset, word) of every aligned word of the system space (top byte 0xd5) in `code`."""
    found = []
    for match in _TOP_BYTE.finditer(code):
        end = match.start()
        if end & 3 == 3:
            found.append((end - 3, int.from_bytes(code[end - 3 : end + 1], "little")))
    return found


# Arm ARM B2.2.5 as herd7 lists it (13 opcodes): mask, value.
_EXEMPT: tuple[tuple[int, int], ...] = (
    (0xFC00_0000, 0x1400_0000),  # B
    (0xFC00_0000, 0x9400_0000),  # BL
    (0xFF00_0010, 0x5400_0000),  # B.cond (BC.cond, with bit 4 set, is not)
    (0x7F00_0000, 0x3400_0000),  # CBZ
    (0x7F00_0000, 0x3500_0000),  # CBNZ
    (0x7F00_0000, 0x3600_0000),  # TBZ
    (0x7F00_0000, 0x3700_0000),  # TBNZ
    (0xFFFF_FFFF, NOP),
    (0xFFE0_001F, BRK),
    (0xFFE0_001F, 0xD400_0001),  # SVC
    (0xFFE0_001F, 0xD400_0002),  # HVC
    (0xFFE0_001F, 0xD400_0003),  # SMC
    (0xFFFF_F0FF, 0xD503_30DF),  # ISB
)


def is_exempt(word: int) -> bool:
    """Whether the opcode may be modified and executed concurrently (coherency model, clause 6)."""
    return any(word & mask == value for mask, value in _EXEMPT)
