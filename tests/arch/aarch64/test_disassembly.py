# SPDX-License-Identifier: GPL-2.0-or-later
"""Words as reports print them."""

from __future__ import annotations

import pytest

from fetchsan.arch.aarch64.disassembly import disassemble


@pytest.mark.parametrize(
    ("word", "text"),
    [
        (0x5280_0040, "mov w0, #2"),
        (0xD65F_03C0, "ret"),
        (0xD503_3FDF, "isb"),
        (0xD50B_7520, "ic ivau, x0"),
        (0x0000_0000, ".inst 0x00000000 (undefined)"),
        (0x0000_0123, ".inst 0x00000123 (undefined)"),
        (0xFFFF_FFFF, ".inst 0xffffffff (undefined)"),
    ],
)
def test_words(word: int, text: str) -> None:
    assert disassemble(word, 0) == text


def test_a_branch_shows_its_target_from_the_executed_address() -> None:
    assert disassemble(0x9400_0010, 0x1000) == "bl #0x1040"


def test_adr_shows_its_target_from_the_executed_address() -> None:
    assert disassemble(0x1000_0080, 0x1000) == "adr x0, #0x1010"
