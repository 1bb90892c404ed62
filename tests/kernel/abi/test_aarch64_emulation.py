# SPDX-License-Identifier: GPL-2.0-or-later
"""Identification registers as EL0 reads them (Documentation/arch/arm64/cpu-feature-registers.rst)."""

from __future__ import annotations

import pytest

from fetchsan.arch.aarch64.cpus import get_cpu
from fetchsan.kernel.abi.aarch64_emulation import emulate_register_read

A72 = get_cpu("cortex-a72")


def mrs(rt: int, crm: int, op2: int, *, op1: int = 0, crn: int = 0) -> int:
    return 0xD538_0000 | op1 << 16 | crn << 12 | crm << 8 | op2 << 5 | rt


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        (mrs(3, 0, 0), (3, A72.midr)),
        (mrs(0, 0, 5), (0, 1 << 31)),  # MPIDR_EL1
        (mrs(31, 0, 6), (31, 0)),  # REVIDR_EL1
        (mrs(1, 4, 0), (1, 0x11)),  # ID_AA64PFR0_EL1: FP and ASIMD, 64-bit EL0 and EL1
        (mrs(1, 7, 0), (1, 0xFF00_0000)),  # ID_AA64MMFR0_EL1
        (mrs(1, 7, 7), (1, 0)),  # not tracked: reads as zero
        (mrs(1, 3, 0), (1, 0)),
    ],
)
def test_linux_answers(word: int, expected: tuple[int, int]) -> None:
    assert emulate_register_read(word, A72.id_registers) == expected


@pytest.mark.parametrize(
    "word",
    [
        mrs(0, 0, 1),  # between MIDR and MPIDR there is nothing
        mrs(0, 1, 0),  # CRm=1 is AArch32's
        mrs(0, 8, 0),
        mrs(0, 4, 0, op1=3),
        mrs(0, 0, 0, crn=1),  # SCTLR_EL1
        0xD518_0000,  # an MSR
        0x0000_0000,
        0xD503_201F,
    ],
)
def test_everything_else_stays_undefined(word: int) -> None:
    assert emulate_register_read(word, A72.id_registers) is None
