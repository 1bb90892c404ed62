# SPDX-License-Identifier: GPL-2.0-or-later
"""CTR_EL0, the Cache Type Register: what software may read of line sizes and of which maintenance it owes.

Fields are those of the Arm ARM (DDI 0487), D24.2.34.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from fetchsan.arch.register import Field

__all__ = ["Ctr", "ICachePolicy"]

WORD = 4  # the line-size fields are log2 of a number of 4-byte words


class ICachePolicy(IntEnum):
    """CTR_EL0.L1Ip: how a level-1 instruction cache finds and tags its lines."""

    VPIPT = 0  # physical, tagged with the VMID as well
    RESERVED = 1  # was AIVIVT, before Armv8
    VIPT = 2
    PIPT = 3


@dataclass(frozen=True, slots=True)
class Ctr:
    """One value of CTR_EL0. The capitalised attributes are its fields, by their names in the architecture."""

    value: int

    IMINLINE = Field(0, 4)
    L1IP = Field(14, 2)
    DMINLINE = Field(16, 4)
    ERG = Field(20, 4)
    CWG = Field(24, 4)
    IDC = Field(28, 1)  # 1: cleaning data to the PoU is not required
    DIC = Field(29, 1)  # 1: invalidating instructions to the PoU is not required
    RES1 = Field(31, 1)  # so that software can cache the register and take 0 for "not read yet"
    TMINLINE = Field(32, 6)  # the smallest line of allocation tags (MTE)

    def replace(self, field: Field, value: int) -> Ctr:
        """The same register with one field changed. Raises ValueError if `value` does not fit."""
        return Ctr(self.value & ~field.put((1 << field.width) - 1) | field.put(value))

    @property
    def iline(self) -> int:
        """The smallest instruction cache line, in bytes: the stride of an IC IVAU loop."""
        return WORD << self.IMINLINE.of(self.value)

    @property
    def dline(self) -> int:
        """The smallest data or unified cache line, in bytes: the stride of a DC loop."""
        return WORD << self.DMINLINE.of(self.value)

    @property
    def idc(self) -> bool:
        """No DC is owed."""
        return bool(self.IDC.of(self.value))

    @property
    def dic(self) -> bool:
        """No IC is owed."""
        return bool(self.DIC.of(self.value))

    @property
    def policy(self) -> ICachePolicy:
        """L1Ip by its name."""
        return ICachePolicy(self.L1IP.of(self.value))
