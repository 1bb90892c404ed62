# SPDX-License-Identifier: GPL-2.0-or-later
"""A64 text to words for the tests' guests: one table of the forms they use, written from the architecture's encodings.

`assemble` takes lines of herd's and of the GNU assembler's spelling (labels, `//` comments); operands of a form are named
after the field they fill: Wt/Xt/Qt/Wd/Xd at bit 0, Xn at 5, u (the second register of a pair) at 10, m at 16.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

__all__ = ["BARRIER_OPTIONS", "FORMS", "AssemblyError", "Form", "assemble", "encode"]

# Arm ARM C6.2, DMB: CRm of each option.
BARRIER_OPTIONS = {
    "OSHLD": 1, "OSHST": 2, "OSH": 3, "NSHLD": 5, "NSHST": 6, "NSH": 7, "ISHLD": 9, "ISHST": 10, "ISH": 11,
    "LD": 13, "ST": 14, "SY": 15,
}  # fmt: skip

_REGISTER_BITS = {"t": 0, "d": 0, "n": 5, "u": 10, "m": 16}


class AssemblyError(ValueError):
    """No form fits the line."""


@dataclass(frozen=True)
class Form:
    """One instruction form: its text with named operands, its word, and where an immediate or an offset goes."""

    text: str
    word: int
    shift: int = 0
    width: int = 0
    scale: int = 1
    relative: bool = False

    @cached_property
    def pattern(self) -> re.Pattern[str]:
        """The text as a pattern: spaces do not matter, `[WXQ]f` is a register of that kind in field f."""
        parts = []
        for token in re.findall(r"[WXQ][tdnum]\b|#i|label|option|[A-Za-z0-9.]+|\S", self.text):
            if re.fullmatch(r"[WXQ][tdnum]", token):
                zero = {"W": "WZR", "X": "XZR|SP", "Q": "Q0"}[token[0]]
                parts.append(rf"(?P<{token[1]}>{token[0]}\d+|{zero})")
            elif token == "#i":
                parts.append(r"\#(?P<i>-?(?:0x[0-9a-f]+|\d+))")
            elif token == "label":
                parts.append(r"(?P<label>[.\w+-]+)")
            elif token == "option":
                parts.append(r"(?P<option>\w+)")
            else:
                parts.append(re.escape(token))
        return re.compile(r"\s*".join(parts), re.IGNORECASE)


FORMS: tuple[Form, ...] = (
    Form("NOP", 0xD503201F),
    Form("ISB", 0xD5033FDF),
    Form("DSB option", 0xD503309F),
    Form("DMB option", 0xD50330BF),
    Form("DC CVAU, Xt", 0xD50B7B20),
    Form("DC CVAC, Xt", 0xD50B7A20),
    Form("DC CIVAC, Xt", 0xD50B7E20),
    Form("DC CVAP, Xt", 0xD50B7C20),
    Form("DC ZVA, Xt", 0xD50B7420),
    Form("DC IVAC, Xt", 0xD5087620),
    Form("DC CSW, Xt", 0xD5087A40),
    Form("DC CISW, Xt", 0xD5087E40),
    Form("IC IVAU, Xt", 0xD50B7520),
    Form("IC IALLU", 0xD508751F),
    Form("IC IALLUIS", 0xD508711F),
    Form("MOV Wd, #i", 0x52800000, 5, 16),
    Form("MOV Xd, #i", 0xD2800000, 5, 16),
    Form("MOVK Xd, #i, LSL 16", 0xF2A00000, 5, 16),
    Form("MOV Xd, Xm", 0xAA0003E0),
    Form("ADD Xd, Xn, #i", 0x91000000, 10, 12),
    Form("SUB Xd, Xn, #i", 0xD1000000, 10, 12),
    Form("SUBS Xd, Xn, #i", 0xF1000000, 10, 12),
    Form("EOR Xd, Xn, Xm", 0xCA000000),
    Form("ADD Xd, Xn, Xm", 0x8B000000),
    Form("STRB Wt, [Xn]", 0x39000000),
    Form("STRH Wt, [Xn]", 0x79000000),
    Form("STR Wt, [Xn]", 0xB9000000),
    Form("STR Xt, [Xn]", 0xF9000000),
    Form("STR Xt, [Xn], #i", 0xF8000400, 12, 9),
    Form("STR Qt, [Xn]", 0x3D800000),
    Form("STP Wt, Wu, [Xn]", 0x29000000),
    Form("STP Xt, Xu, [Xn]", 0xA9000000),
    Form("STP Qt, Qu, [Xn]", 0xAD000000),
    Form("LDR Qt, [Xn]", 0x3DC00000),
    Form("LDR Wt, [Xn]", 0xB9400000),
    Form("LDR Xt, [Xn]", 0xF9400000),
    Form("B label", 0x14000000, 0, 26, 4, True),
    Form("BL label", 0x94000000, 0, 26, 4, True),
    Form("B.NE label", 0x54000001, 5, 19, 4, True),
    Form("CBZ Xt, label", 0xB4000000, 5, 19, 4, True),
    Form("CBNZ Xt, label", 0xB5000000, 5, 19, 4, True),
    Form("BR Xn", 0xD61F0000),
    Form("BLR Xn", 0xD63F0000),
    Form("RET", 0xD65F03C0),
    Form("SVC #i", 0xD4000001, 5, 16),
    Form("BRK #i", 0xD4200000, 5, 16),
    Form("UDF #i", 0x00000000, 0, 16),
)


def encode(line: str, address: int = 0, labels: Mapping[str, int] | None = None) -> int:
    """One instruction at `address` as a word. A label may also be `.+8`."""
    for form in FORMS:
        match = form.pattern.fullmatch(line.strip())
        if match is not None:
            return _fill(form, match.groupdict(), address, labels or {})
    raise AssemblyError(line)


def _fill(form: Form, operands: Mapping[str, str], address: int, labels: Mapping[str, int]) -> int:
    word = form.word
    for field, text in operands.items():
        if field == "option":
            word |= BARRIER_OPTIONS[text.upper()] << 8
        elif field in ("i", "label"):
            value = int(text, 0) if field == "i" else _target(text, address, labels) - address
            if value % form.scale or not -(1 << form.width) < value // form.scale < 1 << form.width:
                raise AssemblyError(f"{form.text}: {text} does not fit")
            word |= (value // form.scale & (1 << form.width) - 1) << form.shift
        else:
            number = 31 if text.upper() in ("WZR", "XZR", "SP") else int(text[1:])
            word |= number << _REGISTER_BITS[field]
    return word


def _target(text: str, address: int, labels: Mapping[str, int]) -> int:
    return address + int(text[1:], 0) if text.startswith(".") else labels[text]


def assemble(source: str, origin: int = 0) -> tuple[bytes, dict[str, int]]:
    """A program at `origin`: its bytes, and the address of each label."""
    labels: dict[str, int] = {}
    lines: list[str] = []
    for raw in source.splitlines():
        text = raw.split("//")[0].strip().rstrip(";").strip()
        while (label := re.match(r"(\w+):\s*", text)) is not None:
            labels[label[1]] = origin + 4 * len(lines)
            text = text[label.end() :]
        if text:
            lines.append(text)
    words = (encode(text, origin + 4 * index, labels) for index, text in enumerate(lines))
    return b"".join(word.to_bytes(4, "little") for word in words), labels
