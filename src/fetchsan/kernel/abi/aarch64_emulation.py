# SPDX-License-Identifier: GPL-2.0-or-later
"""Reads of identification registers from EL0: undefined by the architecture, answered by Linux (HWCAP_CPUID).

Linux, `arch/arm64/kernel/cpufeature.c`, emulate_sys_reg(): MIDR, MPIDR and REVIDR, and every register of the space
Op0=3, Op1=0, CRn=0, CRm=2..7, where one without features is zero. Values come from the CPU profile.
"""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["emulate_register_read"]

_MRS_MASK, _MRS = 0xFFF0_0000, 0xD530_0000
_MPIDR_SAFE_VALUE = 1 << 31  # only the RES1 bit: which core this is, is none of a program's business

# (CRm, Op2) of Op0=3, Op1=0, CRn=0.
_CRM_0 = {0: "MIDR_EL1", 5: "MPIDR_EL1", 6: "REVIDR_EL1"}
_FEATURES = {
    (4, 0): "ID_AA64PFR0_EL1",
    (4, 1): "ID_AA64PFR1_EL1",
    (4, 4): "ID_AA64ZFR0_EL1",
    (5, 0): "ID_AA64DFR0_EL1",
    (5, 1): "ID_AA64DFR1_EL1",
    (6, 0): "ID_AA64ISAR0_EL1",
    (6, 1): "ID_AA64ISAR1_EL1",
    (6, 2): "ID_AA64ISAR2_EL1",
    (7, 0): "ID_AA64MMFR0_EL1",
    (7, 1): "ID_AA64MMFR1_EL1",
    (7, 2): "ID_AA64MMFR2_EL1",
}


def emulate_register_read(word: int, id_registers: Mapping[str, int]) -> tuple[int, int] | None:
    """(Rt, value) if the instruction is an MRS that Linux emulates, else None: it stays undefined."""
    if word & _MRS_MASK != _MRS or word >> 12 & 0xFF != 0x80:  # Op0=3 (bit 19), Op1=0, CRn=0
        return None
    rt, op2, crm = word & 31, word >> 5 & 7, word >> 8 & 15
    if crm == 0:
        name = _CRM_0.get(op2)
        if name is None:
            return None
        return rt, id_registers.get(name, _MPIDR_SAFE_VALUE if name == "MPIDR_EL1" else 0)
    if 2 <= crm <= 7:
        return rt, id_registers.get(_FEATURES.get((crm, op2), ""), 0)
    return None
