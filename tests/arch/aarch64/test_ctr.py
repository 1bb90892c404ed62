# SPDX-License-Identifier: GPL-2.0-or-later
"""CTR_EL0 field by field, against values read on silicon and by hand."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fetchsan.arch.aarch64.ctr import Ctr, ICachePolicy


def test_cortex_a72_decodes() -> None:
    ctr = Ctr(0x8444_C004)
    assert (ctr.iline, ctr.dline, ctr.policy, ctr.idc, ctr.dic) == (64, 64, ICachePolicy.PIPT, False, False)


def test_graviton2_announces_both_coherences() -> None:
    ctr = Ctr(0xB444_C004)
    assert (ctr.idc, ctr.dic) == (True, True)


def test_a64fx_has_256_byte_lines_and_a_vipt_cache() -> None:
    ctr = Ctr(0x8666_8006)
    assert (ctr.iline, ctr.dline, ctr.policy) == (256, 256, ICachePolicy.VIPT)


def test_neoverse_n1_workaround_pretends_page_sized_lines() -> None:
    assert Ctr(0x9444_C00A).iline == 4096


def test_tag_line_lies_above_bit_31() -> None:
    assert Ctr.TMINLINE.of(0x4_9444_C004) == 4


def test_replace_changes_one_field_only() -> None:
    assert Ctr(0x8444_C004).replace(Ctr.IDC, 1).replace(Ctr.DIC, 1) == Ctr(0xB444_C004)


def test_a_value_too_large_for_its_field_is_refused() -> None:
    with pytest.raises(ValueError, match="does not fit in 4 bits"):
        Ctr(0).replace(Ctr.IMINLINE, 16)


@given(st.integers(0, 15), st.integers(0, 15), st.sampled_from(ICachePolicy), st.booleans(), st.booleans())
def test_what_is_encoded_is_decoded(imin: int, dmin: int, policy: ICachePolicy, idc: bool, dic: bool) -> None:
    ctr = Ctr(1 << 31)
    for field, value in (
        (Ctr.IMINLINE, imin), (Ctr.DMINLINE, dmin), (Ctr.L1IP, policy), (Ctr.IDC, idc), (Ctr.DIC, dic),
    ):
        ctr = ctr.replace(field, int(value))
    assert (ctr.iline, ctr.dline, ctr.policy, ctr.idc, ctr.dic) == (4 << imin, 4 << dmin, policy, idc, dic)
