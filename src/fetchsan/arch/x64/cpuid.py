# SPDX-License-Identifier: GPL-2.0-or-later
"""Owns what CPUID says: an x86-64-v2 processor without any feature that the engine does not execute faithfully.

No AVX, XSAVE, RDRAND, RDSEED, FSGSBASE, SYSENTER; one processor; the same answers on every host (Intel SDM volume 2A, CPUID).
"""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["Cpuid", "cpuid"]


class Cpuid(NamedTuple):
    """The four registers."""

    eax: int = 0
    ebx: int = 0
    ecx: int = 0
    edx: int = 0


def _bits(*numbers: int) -> int:
    return sum(1 << number for number in numbers)


def _text(text: str) -> Cpuid:
    return Cpuid(*(int.from_bytes(text.encode()[at : at + 4].ljust(4, b"\0"), "little") for at in range(0, 16, 4)))


def _cache(kind: int, level: int, ways: int, sets: int) -> Cpuid:
    """A row of leaf 4: lines of 64 bytes, one thread, one core."""
    return Cpuid(kind | level << 5 | 1 << 8, 63 | (ways - 1) << 22, sets - 1, 0)


_VENDOR = _text("GenuntelineI")  # as EBX, ECX, EDX hold "GenuineIntel"
_BRAND = "FetchSan x86-64 processor".ljust(48, "\0")
_DATA, _INSTRUCTION, _UNIFIED = 1, 2, 3

# By (leaf, subleaf); subleaf 0 also answers for every subleaf that has no row of its own, except in `_INDEXED`.
_LEAVES: dict[tuple[int, int], Cpuid] = {
    (0, 0): Cpuid(7, _VENDOR.eax, _VENDOR.ebx, _VENDOR.ecx),
    (1, 0): Cpuid(
        0x000106A5,
        8 << 8 | 1 << 16,  # CLFLUSH lines of 64 bytes, one logical processor
        _bits(0, 9, 13, 19, 20, 23),  # SSE3, SSSE3, CMPXCHG16B, SSE4.1, SSE4.2, POPCNT
        # FPU DE PSE TSC MSR PAE MCE CX8 APIC MTRR PGE MCA CMOV PAT PSE36 CLFSH MMX FXSR SSE SSE2
        _bits(0, 2, 3, 4, 5, 6, 7, 8, 9, 12, 13, 14, 15, 16, 17, 19, 23, 24, 25, 26),
    ),
    (2, 0): Cpuid(0x00FF_FF01),  # descriptor 0xff: caches are in leaf 4
    (4, 0): _cache(_DATA, 1, 8, 64),
    (4, 1): _cache(_INSTRUCTION, 1, 8, 64),
    (4, 2): _cache(_UNIFIED, 2, 8, 512),
    (4, 3): _cache(_UNIFIED, 3, 16, 8192),
    (0x8000_0000, 0): Cpuid(0x8000_0008),
    (0x8000_0001, 0): Cpuid(0, 0, _bits(0), _bits(11, 20, 27, 29)),  # LAHF; SYSCALL, NX, RDTSCP, LM
    (0x8000_0002, 0): _text(_BRAND[:16]),
    (0x8000_0003, 0): _text(_BRAND[16:32]),
    (0x8000_0004, 0): _text(_BRAND[32:]),
    (0x8000_0006, 0): Cpuid(0, 0, 256 << 16 | 6 << 12 | 64),
    (0x8000_0007, 0): Cpuid(0, 0, 0, _bits(8)),  # the time stamp counter is invariant
    (0x8000_0008, 0): Cpuid(48 << 8 | 46),
}
_INDEXED = (4,)


def cpuid(leaf: int, subleaf: int) -> Cpuid:
    """The answer to CPUID with EAX=`leaf`, ECX=`subleaf`; zeros where there is nothing to say.

    >>> cpuid(0, 0).ebx.to_bytes(4, "little")
    b'Genu'
    >>> cpuid(1, 0).ecx >> 28 & 1  # AVX
    0
    """
    found = _LEAVES.get((leaf, subleaf))
    if found is None and leaf not in _INDEXED:
        found = _LEAVES.get((leaf, 0))
    return found or Cpuid()
