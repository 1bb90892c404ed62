# SPDX-License-Identifier: GPL-2.0-or-later
"""The page-fault error code, both ways."""

from __future__ import annotations

from itertools import product

import pytest

from fetchsan.arch.x64.cpuid import cpuid
from fetchsan.arch.x64.mmu_faults import ErrorCode, access_of, page_fault_error


@pytest.mark.parametrize(
    ("access", "present", "user", "reserved"), list(product(("read", "write", "execute"), *[(False, True)] * 3))
)
def test_what_goes_in_comes_out(access: str, present: bool, user: bool, reserved: bool) -> None:
    error = page_fault_error(access, present=present, user=user, reserved=reserved)  # type: ignore[arg-type]
    assert access_of(error) == access
    assert bool(ErrorCode.USER.of(error)) is user
    assert bool(ErrorCode.RSVD.of(error)) is reserved
    assert bool(ErrorCode.PROT.of(error)) is (present or reserved)


def test_osvs_exclusive_write_is_2() -> None:
    assert page_fault_error("write", present=False, user=False) == 2


def test_every_cache_is_described_once() -> None:
    kinds = [cpuid(4, subleaf).eax & 31 for subleaf in range(5)]
    assert kinds == [1, 2, 3, 3, 0]


def test_the_brand_is_text() -> None:
    words = b"".join(value.to_bytes(4, "little") for leaf in (2, 3, 4) for value in cpuid(0x8000_0000 + leaf, 0))
    assert words.rstrip(b"\0") == b"FetchSan x86-64 processor"
