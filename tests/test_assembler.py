# SPDX-License-Identifier: GPL-2.0-or-later
"""The tests' assembler agrees with a disassembler that it does not know of."""

from __future__ import annotations

import re

import capstone
import pytest

from assembler import BARRIER_OPTIONS, FORMS, AssemblyError, assemble, encode


def _example(text: str) -> str:
    for operand, value in (("#i", "#16"), ("label", ".+16"), ("option", "ISH")):
        text = text.replace(operand, value)
    for field, number in (("t", 3), ("d", 3), ("n", 5), ("u", 7), ("m", 9)):
        text = re.sub(rf"\b([WXQ]){field}\b", rf"\g<1>{number}", text)
    return text


def _normal(text: str) -> str:
    text = text.lower().replace("0x10000", "65536").replace("0x1010", ".+16").replace("0x10", "16").replace("movz", "mov")
    return re.sub(r"[\s#]+", "", text)


@pytest.mark.parametrize("text", [_example(form.text) for form in FORMS])
def test_each_form_disassembles_to_itself(text: str) -> None:
    disassembler = capstone.Cs(capstone.CS_ARCH_ARM64, capstone.CS_MODE_ARM)
    instruction = next(disassembler.disasm(encode(text, 0x1000).to_bytes(4, "little"), 0x1000))
    assert _normal(f"{instruction.mnemonic} {instruction.op_str}") == _normal(text)


@pytest.mark.parametrize("option", BARRIER_OPTIONS)
def test_barrier_options(option: str) -> None:
    disassembler = capstone.Cs(capstone.CS_ARCH_ARM64, capstone.CS_MODE_ARM)
    instruction = next(disassembler.disasm(encode(f"DSB {option}").to_bytes(4, "little"), 0))
    assert instruction.op_str.upper() == option


def test_labels_forward_and_back() -> None:
    code, labels = assemble("a: NOP\n B b // over\n b: CBNZ X2, a", 0x400)
    assert labels == {"a": 0x400, "b": 0x408}
    assert code[4:8] == encode("B .+4").to_bytes(4, "little")
    assert code[8:] == encode("CBNZ X2, .-8").to_bytes(4, "little")


def test_an_unknown_instruction_is_refused() -> None:
    with pytest.raises(AssemblyError):
        encode("FROB X0")
