# SPDX-License-Identifier: GPL-2.0-or-later
"""CPU profiles: what each core says of itself (MIDR, CTR, HWCAP), what its caches do, and their geometry.

One table, `CPUS`; every row names its source. `QEMU` is target/arm/tcg/cpu64.c (and cpu64.c before 8.1), which copies
the registers from Arm's technical reference manuals (TRM); a value that QEMU has differently says so.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from enum import IntFlag
from functools import cached_property

from fetchsan.arch.aarch64.ctr import Ctr, ICachePolicy
from fetchsan.errors import UsageError

__all__ = ["CPUS", "DEFAULT_CPU", "CacheGeometry", "CpuProfile", "Hwcap", "UnknownCpuError", "get_cpu"]

DEFAULT_CPU = "cortex-a72"


class Hwcap(IntFlag):
    """AT_HWCAP bits (Linux, arch/arm64/include/uapi/asm/hwcap.h): those that a profile may claim.

    CPUID is in no profile: the kernel that emulates the identification registers adds it.
    """

    FP = 1 << 0
    ASIMD = 1 << 1
    AES = 1 << 3
    PMULL = 1 << 4
    SHA1 = 1 << 5
    SHA2 = 1 << 6
    CRC32 = 1 << 7
    ATOMICS = 1 << 8
    FPHP = 1 << 9
    ASIMDHP = 1 << 10
    CPUID = 1 << 11
    ASIMDRDM = 1 << 12
    JSCVT = 1 << 13
    FCMA = 1 << 14
    LRCPC = 1 << 15
    DCPOP = 1 << 16
    SHA3 = 1 << 17
    SM3 = 1 << 18
    SM4 = 1 << 19
    ASIMDDP = 1 << 20
    SHA512 = 1 << 21
    ASIMDFHM = 1 << 23
    ILRCPC = 1 << 26
    FLAGM = 1 << 27
    SB = 1 << 29


# Which field of which register announces a feature, and its least value (Linux, arm64_elf_hwcaps in cpufeature.c).
# AT_HWCAP and the identification registers are made from the same bits, so that a program finds the same by both ways.
_ID_FIELDS: tuple[tuple[Hwcap, str, int, int], ...] = (
    (Hwcap.FPHP, "ID_AA64PFR0_EL1", 16, 1),
    (Hwcap.ASIMDHP, "ID_AA64PFR0_EL1", 20, 1),
    (Hwcap.AES, "ID_AA64ISAR0_EL1", 4, 1),
    (Hwcap.PMULL, "ID_AA64ISAR0_EL1", 4, 2),
    (Hwcap.SHA1, "ID_AA64ISAR0_EL1", 8, 1),
    (Hwcap.SHA2, "ID_AA64ISAR0_EL1", 12, 1),
    (Hwcap.SHA512, "ID_AA64ISAR0_EL1", 12, 2),
    (Hwcap.CRC32, "ID_AA64ISAR0_EL1", 16, 1),
    (Hwcap.ATOMICS, "ID_AA64ISAR0_EL1", 20, 2),
    (Hwcap.ASIMDRDM, "ID_AA64ISAR0_EL1", 28, 1),
    (Hwcap.SHA3, "ID_AA64ISAR0_EL1", 32, 1),
    (Hwcap.SM3, "ID_AA64ISAR0_EL1", 36, 1),
    (Hwcap.SM4, "ID_AA64ISAR0_EL1", 40, 1),
    (Hwcap.ASIMDDP, "ID_AA64ISAR0_EL1", 44, 1),
    (Hwcap.ASIMDFHM, "ID_AA64ISAR0_EL1", 48, 1),
    (Hwcap.FLAGM, "ID_AA64ISAR0_EL1", 52, 1),
    (Hwcap.DCPOP, "ID_AA64ISAR1_EL1", 0, 1),
    (Hwcap.JSCVT, "ID_AA64ISAR1_EL1", 12, 1),
    (Hwcap.FCMA, "ID_AA64ISAR1_EL1", 16, 1),
    (Hwcap.LRCPC, "ID_AA64ISAR1_EL1", 20, 1),
    (Hwcap.ILRCPC, "ID_AA64ISAR1_EL1", 20, 2),
    (Hwcap.SB, "ID_AA64ISAR1_EL1", 36, 1),
)

# What Linux answers at EL0 where a field is hidden from it: the safe value of cpufeature.c
# (Documentation/arch/arm64/cpu-feature-registers.rst). AArch64 only, no translation granules, debug v8.
_ID_SAFE_VALUES = {
    "ID_AA64PFR0_EL1": 0x11,
    "ID_AA64PFR1_EL1": 0,
    "ID_AA64ISAR0_EL1": 0,
    "ID_AA64ISAR1_EL1": 0,
    "ID_AA64MMFR0_EL1": 0xFF00_0000,
    "ID_AA64MMFR1_EL1": 0,
    "ID_AA64MMFR2_EL1": 0,
    "ID_AA64DFR0_EL1": 0x6,
    "ID_AA64DFR1_EL1": 0,
    "ID_AA64ZFR0_EL1": 0,
}


class UnknownCpuError(UsageError):
    """No profile of that name; `close` are the names that look like it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.close = difflib.get_close_matches(name.lower(), CPUS, n=3, cutoff=0.4)
        meant = f" (did you mean {', '.join(self.close)}?)" if self.close else ""
        super().__init__(f"unknown CPU '{name}'{meant}; `fetchsan cpus` lists all")


@dataclass(frozen=True, slots=True)
class CacheGeometry:
    """One cache: size in KiB, ways, line in bytes."""

    kib: int
    ways: int
    line: int = 64


@dataclass(frozen=True)
class CpuProfile:
    """One kind of core. `ctr` is what CTR_EL0 says; `idc`, `dic`, `iline`, `dline`, `vipt` are what the caches do.

    The two differ where `caches` is given (coherency model, rule 4).
    """

    name: str
    description: str
    midr: int
    ctr: int
    l1i: CacheGeometry
    l1d: CacheGeometry
    l2: CacheGeometry
    hwcap: Hwcap
    engine: str
    source: str
    caches: int | None = None

    @property
    def advertised(self) -> Ctr:
        """CTR_EL0, decoded: what software may rely on."""
        return Ctr(self.ctr)

    @property
    def behaviour(self) -> Ctr:
        """What the caches do, in CTR_EL0's terms."""
        return Ctr(self.ctr if self.caches is None else self.caches)

    @property
    def idc(self) -> bool:
        """Stores are visible to instruction refills without a DC."""
        return self.behaviour.idc

    @property
    def dic(self) -> bool:
        """Instruction caches follow the point of unification without an IC."""
        return self.behaviour.dic

    @property
    def dline(self) -> int:
        """Bytes that one DC affects."""
        return self.behaviour.dline

    @property
    def iline(self) -> int:
        """Bytes that one IC IVAU affects."""
        return self.behaviour.iline

    @property
    def vipt(self) -> bool:
        """IC IVAU reaches the alias it names only (rule 1)."""
        return self.behaviour.policy is ICachePolicy.VIPT

    @cached_property
    def id_registers(self) -> dict[str, int]:
        """The identification registers as an EL0 program reads them under Linux, by name; CTR_EL0 is among them."""
        registers = {"MIDR_EL1": self.midr, "REVIDR_EL1": 0, "CTR_EL0": self.ctr, **_ID_SAFE_VALUES}
        for bit, register, shift, value in _ID_FIELDS:
            if bit in self.hwcap:
                # Rows of one field are ordered by value, and the greater includes the lesser.
                registers[register] = registers[register] & ~(0xF << shift) | value << shift
        return registers


# What the engine runs (Unicorn 2.1.4, its own ID registers) and the core has. Not claimed though the core has it, because
# the engine has not: SVE (V1, N2, A64FX), pointer authentication and BTI (run as NOPs), DIT, USCAT, I8MM, BF16, MTE.
_V8_0 = Hwcap.FP | Hwcap.ASIMD | Hwcap.AES | Hwcap.PMULL | Hwcap.SHA1 | Hwcap.SHA2 | Hwcap.CRC32
_V8_1 = _V8_0 | Hwcap.ATOMICS | Hwcap.ASIMDRDM
_V8_2 = _V8_1 | Hwcap.FPHP | Hwcap.ASIMDHP | Hwcap.LRCPC | Hwcap.DCPOP | Hwcap.ASIMDDP
_V8_4 = _V8_2 | Hwcap.ILRCPC | Hwcap.FLAGM | Hwcap.JSCVT | Hwcap.FCMA | Hwcap.ASIMDFHM
_CRYPTO = Hwcap.SHA3 | Hwcap.SHA512 | Hwcap.SM3 | Hwcap.SM4

_NEOVERSE_N1_SOURCE = "Neoverse N1 TRM (100616) B2.23; QEMU aarch64_neoverse_n1_initfn"


def _rows() -> tuple[CpuProfile, ...]:
    k = CacheGeometry
    return (
        CpuProfile(
            "cortex-a53", "Raspberry Pi 3, many phones; VIPT", 0x410F_D034, 0x8444_8004,
            k(32, 2), k(32, 4), k(512, 16), _V8_0, "cortex-a53",
            "Cortex-A53 TRM (DDI 0500); QEMU aarch64_a53_initfn",
        ),
        CpuProfile(
            "cortex-a55", "little core of DynamIQ clusters; VIPT", 0x412F_D050, 0x8444_8004,
            k(32, 4), k(32, 4), k(512, 16), _V8_2, "max",
            "Cortex-A55 TRM (100442); QEMU aarch64_a55_initfn",
        ),
        CpuProfile(
            "cortex-a55-idc", "Cortex-A55 as most silicon has it: IDC=1", 0x412F_D050, 0x9444_8004,
            k(32, 4), k(32, 4), k(512, 16), _V8_2, "max",
            "arm64 boot logs and reads at EL0: CTR_EL0 0x94448004",
        ),
        CpuProfile(
            "cortex-a57", "first big Armv8 core", 0x411F_D070, 0x8444_C004,
            k(48, 3), k(32, 2), k(2048, 16), _V8_0, "cortex-a57",
            "Cortex-A57 TRM (DDI 0488); QEMU aarch64_a57_initfn",
        ),
        CpuProfile(
            "cortex-a72", "Raspberry Pi 4, Graviton1; where OSv #1100 was seen", 0x410F_D083, 0x8444_C004,
            k(48, 3), k(32, 2), k(1024, 16), _V8_0, "cortex-a72",
            "Cortex-A72 TRM (100095); QEMU aarch64_a72_initfn; CTR read on silicon",
        ),
        CpuProfile(
            "cortex-a76", "Raspberry Pi 5, phones of 2019", 0x414F_D0B1, 0x8444_C004,
            k(64, 4), k(64, 4), k(512, 8), _V8_2, "max",
            "Cortex-A76 TRM (100798); QEMU aarch64_a76_initfn",
        ),
        CpuProfile(
            "cortex-a78ae", "Jetson Orin, cars; IDC=1", 0x410F_D423, 0x9444_C004,
            k(64, 4), k(64, 4), k(512, 8), _V8_2 | Hwcap.ILRCPC | Hwcap.FLAGM, "max",
            "Cortex-A78AE TRM (101779); QEMU aarch64_a78ae_initfn",
        ),
        CpuProfile(
            "cortex-a710", "Armv9 phones; IDC=1", 0x412F_D471, 0x4_9444_C004,
            k(64, 4), k(64, 4), k(512, 8), _V8_4 | _CRYPTO | Hwcap.SB, "max",
            "Cortex-A710 TRM (101800); QEMU aarch64_a710_initfn",
        ),
        CpuProfile(
            "neoverse-n1", "servers, without the coherent I-cache option", 0x414F_D0C1, 0x8444_C004,
            k(64, 4), k(64, 4), k(1024, 8), _V8_2, "max", _NEOVERSE_N1_SOURCE,
        ),
        CpuProfile(
            "neoverse-n1-coherent", "Graviton2, Ampere Altra: COHERENT_ICACHE, IDC=DIC=1", 0x414F_D0C1, 0xB444_C004,
            k(64, 4), k(64, 4), k(1024, 8), _V8_2, "max",
            f"{_NEOVERSE_N1_SOURCE}, with COHERENT_ICACHE; CTR read on Graviton2",
        ),
        # Linux hides DIC, pretends lines of a page, and IC IVAU traps to firmware, which serves the whole page
        # (arm64 erratum 1542419; ctr_read_handler in arch/arm64/kernel/traps.c). So a page is what one IVAU does.
        CpuProfile(
            "neoverse-n1-linux", "Neoverse N1 as Linux shows it to programs: erratum 1542419", 0x414F_D0C1, 0x9444_C00A,
            k(64, 4), k(64, 4), k(1024, 8), _V8_2, "max",
            "Linux commit 05460849c3b5 (Hide CTR_EL0.DIC on systems affected by Neoverse-N1 #1542419), 4 KiB pages",
        ),
        CpuProfile(
            "neoverse-v1", "Graviton3: IDC=DIC=1", 0x411F_D402, 0xB444_C004,
            k(64, 4), k(64, 4), k(1024, 8), _V8_4 | _CRYPTO, "max",
            "Neoverse V1 TRM (101427); QEMU aarch64_neoverse_v1_initfn",
        ),
        CpuProfile(
            "neoverse-n2", "Azure Cobalt 100: IDC=DIC=1", 0x410F_D493, 0x4_B444_C004,
            k(64, 4), k(64, 4), k(1024, 8), _V8_4 | _CRYPTO | Hwcap.SB, "max",
            "Neoverse N2 TRM (102099); QEMU aarch64_neoverse_n2_initfn",
        ),
        CpuProfile(
            "a64fx", "Fugaku: 256-byte lines, VIPT", 0x461F_0010, 0x8666_8006,
            k(64, 4, 256), k(64, 4, 256), k(8192, 16, 256),
            _V8_1 | Hwcap.FPHP | Hwcap.ASIMDHP | Hwcap.FCMA | Hwcap.DCPOP, "max",
            "A64FX Microarchitecture Manual 1.8; QEMU aarch64_a64fx_initfn",
        ),
        CpuProfile(
            "max", "QEMU's `max`: every feature the engine runs, 32-byte lines, VIPT", 0x000F_0510, 0x8003_8003,
            k(32, 2, 32), k(32, 4, 32), k(1024, 16, 32), _V8_4 | _CRYPTO | Hwcap.SB, "max",
            "QEMU aarch64_max_tcg_initfn (MIDR 'Q', CTR_EL0 0x80038003); the geometry is ours",
        ),
    )


CPUS: dict[str, CpuProfile] = {profile.name: profile for profile in _rows()}


def get_cpu(name: str) -> CpuProfile:
    """The profile of that name (case does not matter). Raises UnknownCpuError."""
    profile = CPUS.get(name.lower())
    if profile is None:
        raise UnknownCpuError(name)
    return profile
