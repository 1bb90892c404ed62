# SPDX-License-Identifier: GPL-2.0-or-later
"""Addresses get the names of the ELF files mapped there, of the JIT's perf map, or of the mapping."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fetchsan.findings.symbols import MappedRange, Symboliser

from .elf import SHT_NOBITS, STT_FILE, STT_NOTYPE, STT_OBJECT, Section, Segment, Symbol, elf

BASE = 0x5500_0000
TEXT = Section(".text", 0x1000, 0x400)
BSS = Section(".bss", 0x3000, 0x2000, SHT_NOBITS)
SEGMENTS = [Segment(0x1000, 0x200, 0x600)]
SYMBOLS = [
    Symbol("main", 0x1000, 0x40),
    Symbol("emit", 0x1040, 0x100),
    Symbol("$x", 0x1050, kind=STT_NOTYPE, binding=0),
    Symbol("loop", 0x1200, kind=STT_NOTYPE, binding=0),
    Symbol("demo.c", 0x1204, kind=STT_FILE, section=0xFFF1),
    Symbol("page", 0x3000, 0x1000, STT_OBJECT, section=2),
]
FILE = elf([TEXT, BSS], SYMBOLS, SEGMENTS)
ROWS = (
    # One page of the file from offset 0, so that file offset 0x200 (ELF address 0x1000) is at BASE + 0x200.
    MappedRange(BASE, BASE + 0x1000, "/usr/bin/demo", 0, "r-xp"),
    MappedRange(0x7F00_0000, 0x7F00_2000, "", 0, "rwxp"),
    MappedRange(0x7FF0_0000, 0x7FF1_0000, "[stack]", 0, "rw-p"),
)


def symboliser(content: bytes | None = FILE, rows: Sequence[MappedRange] = ROWS, perf: str | None = None) -> Symboliser:
    return Symboliser(lambda: rows, {"/usr/bin/demo": content}.get, lambda: perf)


def at(elf_address: int) -> int:
    return BASE + 0x200 + elf_address - 0x1000


@pytest.mark.parametrize(
    ("address", "symbol", "offset"),
    [(0x1000, "main", 0), (0x103C, "main", 0x3C), (0x1040, "emit", 0), (0x1058, "emit", 0x18), (0x13FC, "loop", 0x1FC)],
)
def test_an_address_in_a_file_has_its_function(address: int, symbol: str, offset: int) -> None:
    found = symboliser().locate(at(address))
    assert (found.symbol, found.offset, found.object, found.object_offset) == (symbol, offset, "/usr/bin/demo", address)


def test_a_gap_between_functions_has_no_symbol() -> None:
    found = symboliser().locate(at(0x1180))
    assert (found.symbol, found.offset, found.object_offset) == (None, 0x1180, 0x1180)


def test_dynsym_serves_where_symtab_was_stripped() -> None:
    stripped = elf([TEXT], SYMBOLS[:2], SEGMENTS, ".dynsym")
    assert symboliser(stripped).locate(at(0x1044)).symbol == "emit"


def test_of_two_names_the_function_with_a_size_wins() -> None:
    content = elf([TEXT], [Symbol("a_label", 0x1000, kind=STT_NOTYPE), Symbol("real", 0x1000, 0x40)], SEGMENTS)
    assert symboliser(content).locate(at(0x1004)).symbol == "real"


def test_anonymous_memory_is_called_by_its_rights_and_start() -> None:
    found = symboliser().locate(0x7F00_0040)
    assert (found.object, found.offset, found.symbol) == ("anonymous RWX mapping at 0x7f000000", 0x40, None)


def test_the_perf_map_names_generated_code() -> None:
    found = symboliser(perf="7f000000 80 trampoline\n0x7f000080 40 JS:~fib demo.js:3\n").locate(0x7F00_0090)
    assert (found.symbol, found.offset) == ("JS:~fib demo.js:3", 0x10)


def test_a_later_entry_of_the_perf_map_replaces_an_earlier_one() -> None:
    found = symboliser(perf="7f000000 80 old\n7f000000 80 new\n").locate(0x7F00_0000)
    assert found.symbol == "new"


def test_a_perf_map_that_grows_is_read_on() -> None:
    text = ["7f000000 40 first\n7f000040 4"]
    growing = Symboliser(lambda: ROWS, lambda path: None, lambda: text[0])
    assert growing.locate(0x7F00_0040).symbol is None
    text[0] += "0 second\n"
    assert growing.locate(0x7F00_0040).symbol == "second"


def test_garbage_in_the_perf_map_is_skipped() -> None:
    assert symboliser(perf="what\n\n zz 10 bad\n7f000000 40 good\n").locate(0x7F00_0000).symbol == "good"


def test_the_stack_is_called_stack() -> None:
    assert symboliser().locate(0x7FF0_0010).object == "[stack]"


def test_an_unmapped_address_has_no_object() -> None:
    assert symboliser().locate(0x10).object is None


def test_an_array_in_bss_has_its_symbol() -> None:
    rows = [
        MappedRange(BASE, BASE + 0x1000, "/usr/bin/demo", 0x200, "r-xp"),
        MappedRange(BASE + 0x1000, BASE + 0x2000, "/usr/bin/demo", 0x400, "rw-p"),
        MappedRange(BASE + 0x2000, BASE + 0x4000, "", 0, "rwxp"),
    ]
    content = elf([TEXT, BSS], SYMBOLS, [Segment(0x1000, 0x200, 0x200), Segment(0x2000, 0x400, 0x400)])
    found = symboliser(content, rows).locate(BASE + 0x2010)
    assert (found.symbol, found.offset, found.object) == ("page", 0x10, "/usr/bin/demo")


def test_bss_that_begins_in_the_files_last_page_has_its_symbol() -> None:
    array = Symbol("small", 0x1600, 0x40, STT_OBJECT, section=2)
    content = elf([TEXT, Section(".bss", 0x1600, 0x40, SHT_NOBITS)], [array], [Segment(0x1000, 0x200, 0x600, bss=0x40)])
    found = symboliser(content).locate(BASE + 0x810)
    assert (found.symbol, found.offset) == ("small", 0x10)


def test_memory_after_a_gap_is_not_taken_for_bss() -> None:
    rows = [MappedRange(BASE, BASE + 0x1000, "/usr/bin/demo", 0x200, "r-xp"), MappedRange(BASE + 0x2000, BASE + 0x4000)]
    assert symboliser(rows=rows).locate(BASE + 0x2010).symbol is None


@pytest.mark.parametrize("content", [None, b"", b"#!/bin/sh\n", FILE[:80], FILE[:-100], b"\x7fELF" + b"\xff" * 200])
def test_what_is_no_whole_elf_is_named_by_file_and_offset(content: bytes | None) -> None:
    found = symboliser(content).locate(BASE + 0x210)
    assert (found.object, found.symbol) == ("/usr/bin/demo", None)


@given(st.binary(min_size=1, max_size=16), st.integers(0, len(FILE) - 1))
def test_a_damaged_elf_never_raises(damage: bytes, where: int) -> None:
    content = FILE[:where] + damage + FILE[where + len(damage) :]
    assert symboliser(content).locate(BASE + 0x210).object == "/usr/bin/demo"
