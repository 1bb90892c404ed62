# SPDX-License-Identifier: GPL-2.0-or-later
"""CTR_EL0 field by field, against values read on silicon and by hand."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fetchsan.arch.aarch64.ctr import CTR, ICachePolicy


def test_cortex_a72_decodes() -> None:
    ctr = CTR(0x8444_C004)
    assert (ctr.iline, ctr.dline, ctr.policy, ctr.IDC, ctr.DIC) == (64, 64, ICachePolicy.PIPT, 0, 0)


def test_graviton2_announces_both_coherences() -> None:
    ctr = CTR(0xB444_C004)
    assert (ctr.IDC, ctr.DIC) == (1, 1)


def test_a64fx_has_256_byte_lines_and_a_vipt_cache() -> None:
    ctr = CTR(0x8666_8006)
    assert (ctr.iline, ctr.dline, ctr.policy) == (256, 256, ICachePolicy.VIPT)


def test_neoverse_n1_workaround_pretends_page_sized_lines() -> None:
    assert CTR(0x9444_C00A).iline == 4096


def test_tag_line_lies_above_bit_31() -> None:
    assert CTR(0x4_9444_C004).TminLine == 4


def test_fields_encode() -> None:
    assert int(CTR(IminLine=4, L1Ip=ICachePolicy.PIPT, DminLine=4, ERG=4, CWG=4, RES1=1)) == 0x8444_C004


def test_replace_changes_one_field_only() -> None:
    assert CTR(0x8444_C004).replace(IDC=1, DIC=1) == CTR(0xB444_C004)


def test_a_value_too_large_for_its_field_is_refused() -> None:
    with pytest.raises(ValueError, match=r"CTR\.IminLine = 16 does not fit in 4 bits"):
        CTR(IminLine=16)


def test_an_unknown_field_is_refused() -> None:
    with pytest.raises(ValueError, match="CTR has no field Imin"):
        CTR(Imin=4)


def test_a_register_cannot_be_changed_in_place() -> None:
    with pytest.raises(AttributeError, match="immutable"):
        CTR(0).IDC = 1  # type: ignore[misc]


@given(st.fixed_dictionaries({name: st.integers(0, field.maximum) for name, field in CTR.fields().items()}))
def test_every_combination_of_fields_survives_a_round_trip(fields: dict[str, int]) -> None:
    ctr = CTR(**fields)
    assert {name: getattr(CTR(int(ctr)), name) for name in fields} == fields
