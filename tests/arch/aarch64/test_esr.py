# SPDX-License-Identifier: GPL-2.0-or-later
"""Syndromes against the values that Linux and OSv print on hardware."""

from __future__ import annotations

import pytest

from fetchsan.arch.aarch64 import esr
from fetchsan.arch.aarch64.esr import Esr, FaultClass

# Values seen in OSv's and Linux's reports (osv reference, sections 9 and 17.1).
KNOWN = [
    (esr.unknown_reason(), 0x0200_0000),
    (esr.supervisor_call(0), 0x5600_0000),
    (esr.breakpoint_exception(0x1000), 0xF200_1000),
    (esr.abort("read", FaultClass.TRANSLATION, 3, same_el=True), 0x9600_0007),
    (esr.abort("write", FaultClass.TRANSLATION, 3, same_el=True), 0x9600_0047),
    (esr.abort("read", FaultClass.PERMISSION, 3, same_el=True), 0x9600_000F),
    (esr.abort("write", FaultClass.PERMISSION, 3, same_el=True), 0x9600_004F),
    (esr.abort("write", FaultClass.ACCESS_FLAG, 3, same_el=True), 0x9600_004B),
    (esr.abort("execute", FaultClass.TRANSLATION, 3, same_el=True), 0x8600_0007),
    (esr.abort("execute", FaultClass.PERMISSION, 3, same_el=True), 0x8600_000F),
    (esr.abort("read", FaultClass.TRANSLATION, 0, same_el=False), 0x9200_0004),
    (esr.abort("write", FaultClass.PERMISSION, 3, same_el=False), 0x9200_004F),
    (esr.abort("execute", FaultClass.TRANSLATION, 0, same_el=False), 0x8200_0004),
    (esr.abort("read", FaultClass.ALIGNMENT, same_el=False), 0x9200_0021),
    (esr.pc_alignment(), 0x8A00_0000),
    (esr.sp_alignment(), 0x9A00_0000),
    (esr.illegal_state(), 0x3A00_0000),
    (esr.hypervisor_call(0), 0x5A00_0000),
    (esr.hypervisor_call(1, secure_monitor=True), 0x5E00_0001),
]


@pytest.mark.parametrize(("built", "expected"), KNOWN, ids=[f"{value:#x}" for _, value in KNOWN])
def test_syndrome_has_the_value_that_hardware_shows(built: int, expected: int) -> None:
    assert built == expected


def test_cache_maintenance_abort_is_a_write_with_cm() -> None:
    value = esr.abort("read", FaultClass.TRANSLATION, 3, same_el=False, cache_maintenance=True)
    assert (Esr.WNR.of(value), Esr.CM.of(value)) == (1, 1)


def test_trapped_mrs_carries_the_register_and_the_direction() -> None:
    value = esr.system_register(0xD538_0403)  # mrs x3, id_aa64pfr0_el1 (S3_0_C0_C4_0)
    fields = [f.of(value) for f in (Esr.OP0, Esr.OP1, Esr.CRN, Esr.CRM, Esr.OP2, Esr.RT, Esr.DIRECTION)]
    assert fields == [3, 0, 0, 4, 0, 3, 1]


def test_a_value_that_does_not_fit_its_field_is_refused() -> None:
    with pytest.raises(ValueError, match="does not fit in 16 bits"):
        esr.supervisor_call(0x1_0000)


def test_every_class_has_its_name() -> None:
    assert [
        esr.exception_class_name(ec) for ec in esr.ExceptionClass if esr.exception_class_name(ec) == "Reserved"
    ] == []
