# SPDX-License-Identifier: GPL-2.0-or-later
"""The table of CPU profiles: what users may name, and that its columns agree with each other."""

from __future__ import annotations

import dataclasses

import pytest

from fetchsan.arch.aarch64.cpus import CPUS, DEFAULT_CPU, CacheGeometry, CpuProfile, Hwcap, UnknownCpuError, get_cpu
from fetchsan.arch.aarch64.ctr import Ctr

ENGINES = {"cortex-a53", "cortex-a57", "cortex-a72", "max"}


@pytest.fixture(params=CPUS.values(), ids=CPUS)
def profile(request: pytest.FixtureRequest) -> CpuProfile:
    assert isinstance(request.param, CpuProfile)
    return request.param


@pytest.mark.parametrize(
    ("name", "idc", "dic", "dline", "iline", "vipt"),
    [
        ("cortex-a53", False, False, 64, 64, True),
        ("cortex-a55", False, False, 64, 64, True),
        ("cortex-a55-idc", True, False, 64, 64, True),
        ("cortex-a57", False, False, 64, 64, False),
        ("cortex-a72", False, False, 64, 64, False),
        ("cortex-a76", False, False, 64, 64, False),
        ("cortex-a78ae", True, False, 64, 64, False),
        ("cortex-a710", True, False, 64, 64, False),
        ("neoverse-n1", False, False, 64, 64, False),
        ("neoverse-n1-coherent", True, True, 64, 64, False),
        ("neoverse-n1-linux", True, False, 64, 4096, False),
        ("neoverse-v1", True, True, 64, 64, False),
        ("neoverse-n2", True, True, 64, 64, False),
        ("a64fx", False, False, 256, 256, True),
        ("max", False, False, 32, 32, True),
    ],
)
def test_what_the_caches_do(name: str, idc: bool, dic: bool, dline: int, iline: int, vipt: bool) -> None:
    cpu = get_cpu(name)
    assert (cpu.idc, cpu.dic, cpu.dline, cpu.iline, cpu.vipt) == (idc, dic, dline, iline, vipt)


def test_the_default_is_the_machine_of_osv_1100() -> None:
    assert get_cpu(DEFAULT_CPU).midr == 0x410F_D083


def test_names_ignore_case() -> None:
    assert get_cpu("Cortex-A72") is CPUS["cortex-a72"]


def test_an_unknown_name_lists_what_looks_like_it() -> None:
    with pytest.raises(UnknownCpuError, match=r"'cortex-a27' \(did you mean .*cortex-a72.*`fetchsan cpus`") as error:
        get_cpu("cortex-a27")
    assert error.value.exit_status == 2
    assert "cortex-a72" in error.value.close


def test_a_name_like_no_other_suggests_nothing() -> None:
    with pytest.raises(UnknownCpuError, match=r"^unknown CPU 'zzzz'; `fetchsan cpus` lists all$"):
        get_cpu("zzzz")


def test_caches_may_do_other_than_ctr_says() -> None:
    a72 = get_cpu("cortex-a72")
    odd = dataclasses.replace(a72, caches=Ctr(a72.ctr).replace(Ctr.IMINLINE, 3).value)
    assert (odd.advertised.iline, odd.iline) == (64, 32)


def test_every_row_names_its_source_and_an_engine_that_exists(profile: CpuProfile) -> None:
    assert profile.source
    assert profile.engine in ENGINES


def test_ctr_has_its_res1_bit(profile: CpuProfile) -> None:
    assert Ctr.RES1.of(profile.ctr) == 1


def test_geometry_divides_into_sets(profile: CpuProfile) -> None:
    def whole(cache: CacheGeometry) -> bool:
        return cache.kib * 1024 % (cache.ways * cache.line) == 0

    assert whole(profile.l1i) and whole(profile.l1d) and whole(profile.l2)


def test_id_registers_announce_what_at_hwcap_does() -> None:
    registers = get_cpu("cortex-a76").id_registers
    assert registers["ID_AA64ISAR0_EL1"] == 0x0000_1000_1021_1120  # the core's own value (TRM 100798)
    assert registers["ID_AA64ISAR1_EL1"] == 0x10_0001
    assert registers["ID_AA64PFR0_EL1"] == 0x11_0011


def test_armv8_0_cores_claim_no_lse() -> None:
    cpu = get_cpu("cortex-a72")
    assert Hwcap.ATOMICS not in cpu.hwcap
    assert cpu.id_registers["ID_AA64ISAR0_EL1"] == 0x1_1120


def test_id_registers_carry_midr_and_ctr(profile: CpuProfile) -> None:
    assert (profile.id_registers["MIDR_EL1"], profile.id_registers["CTR_EL0"]) == (profile.midr, profile.ctr)
