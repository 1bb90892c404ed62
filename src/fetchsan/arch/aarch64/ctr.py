# SPDX-License-Identifier: GPL-2.0-or-later
"""CTR_EL0, the Cache Type Register: what software may read of line sizes and of which maintenance it owes.

Fields are those of the Arm ARM (DDI 0487), D24.2.34.
"""

from __future__ import annotations

from enum import IntEnum

from fetchsan.arch.aarch64.register import Field, Register

__all__ = ["CTR", "ICachePolicy"]

WORD = 4  # the line-size fields are log2 of a number of 4-byte words


class ICachePolicy(IntEnum):
    """CTR_EL0.L1Ip: how a level-1 instruction cache finds and tags its lines."""

    VPIPT = 0  # physical, tagged with the VMID as well
    RESERVED = 1  # was AIVIVT, before Armv8
    VIPT = 2
    PIPT = 3


class CTR(Register):
    """CTR_EL0, decoded and encoded field by field."""

    __slots__ = ()

    IminLine = Field(0, 4)
    L1Ip = Field(14, 2)
    DminLine = Field(16, 4)
    ERG = Field(20, 4)
    CWG = Field(24, 4)
    IDC = Field(28)  # 1: cleaning data to the PoU is not required
    DIC = Field(29)  # 1: invalidating instructions to the PoU is not required
    RES1 = Field(31)  # so that software can cache the register and take 0 for "not read yet"
    TminLine = Field(32, 6)  # the smallest line of allocation tags (MTE)

    @property
    def iline(self) -> int:
        """The smallest instruction cache line, in bytes: the stride of an IC IVAU loop."""
        return WORD << self.IminLine

    @property
    def dline(self) -> int:
        """The smallest data or unified cache line, in bytes: the stride of a DC loop."""
        return WORD << self.DminLine

    @property
    def policy(self) -> ICachePolicy:
        """L1Ip by its name."""
        return ICachePolicy(self.L1Ip)
