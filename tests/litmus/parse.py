# SPDX-License-Identifier: GPL-2.0-or-later
"""herd's AArch64 instruction-fetch tests, the subset that `own/` uses: one thread, registers, labels, one condition."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from assembler import assemble, encode
from fetchsan.coherency import CacheRules

__all__ = ["OWN", "Litmus", "own_tests", "parse"]

OWN = Path(__file__).parent / "own"


@dataclass(frozen=True)
class Litmus:
    """One test. `registers` are numbers, or the name of a label of P0; the stale outcome is `exists` (register, value)."""

    name: str
    idc: bool
    dic: bool
    registers: dict[str, int | str]
    body: str
    exists: tuple[str, int]

    @property
    def rules(self) -> CacheRules:
        """The caches that the test asks for."""
        return CacheRules(idc=self.idc, dic=self.dic)

    def guest(self, origin: int) -> tuple[bytes, dict[str, int], dict[str, int]]:
        """Code at `origin` (it ends in SVC #0), the registers at its start, and the address of each label."""
        code, labels = assemble(self.body + "\nSVC #0", origin)
        values = {name: labels[value] if isinstance(value, str) else value for name, value in self.registers.items()}
        return code, values, labels


def parse(text: str) -> Litmus:
    """One file."""
    name = re.match(r"AArch64 (\S+)", text)
    initial = re.search(r"\{(.*?)\}", text, re.DOTALL)
    body = re.search(r"^P0\s*;\n(.*)^exists", text, re.DOTALL | re.MULTILINE)
    exists = re.search(r"^exists 0:(\w+)=(\d+)", text, re.MULTILINE)
    assert name and initial and body and exists, "not a test of the subset"
    kind = re.search(r"CacheType=(\S+)", text)
    dic = kind is not None and "DIC" in kind[1]
    return Litmus(
        name=name[1],
        idc=dic or (kind is not None and "IDC" in kind[1]),
        dic=dic,
        registers=dict(_initial(line) for line in initial[1].split(";") if line.strip()),
        body=body[1],
        exists=(exists[1], int(exists[2])),
    )


def _initial(text: str) -> tuple[str, int | str]:
    match = re.fullmatch(r"\s*0:(\w+)=(.*?)\s*", text)
    assert match is not None
    name, value = match.groups()
    if value.startswith("P0:"):
        return name, value[3:]
    if opcode := re.fullmatch(r'instr:"(.*)"', value):
        return name, encode(opcode[1])
    return name, int(value) if value.isdigit() else encode(value)


def own_tests() -> list[tuple[str, Litmus, bool]]:
    """(id, test, whether the stale outcome is allowed) of all files, verdicts from `verdicts.tsv`."""
    header, *rows = [line.split("\t") for line in (OWN / "verdicts.tsv").read_text().splitlines()]
    return [
        (f"{setting}.{row[0]}", parse((OWN / setting / f"{row[0]}.litmus").read_text()), verdict == "Allow")
        for row in rows
        for setting, verdict in zip(header[1:], row[1:], strict=True)
    ]
