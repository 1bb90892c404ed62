# SPDX-License-Identifier: GPL-2.0-or-later
"""The page walk over tables that anybody may have written."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fetchsan.arch.aarch64.page_table import AARCH64_PAGE_TABLE as FORMAT
from fetchsan.arch.x64.page_table import X64_PAGE_TABLE
from fetchsan.machine.memory import PhysicalMemory
from fetchsan.machine.walk import walk

VIRTUAL = 0x2000_1234_5678
SHIFTS = (39, 30, 21, 12)
LEAF = 0x703
BLOCK = 0x701


class Tables:
    """Four tables that lead to VIRTUAL; `set(level, entry)` writes the entry of that level."""

    def __init__(self) -> None:
        self.memory = PhysicalMemory(16 << 20)
        self.frames = [self.memory.allocate_frame() for _ in range(5)]
        self.root = self.frames[0]
        for level in range(3):
            self.set(level, self.frames[level + 1] | FORMAT.table)
        self.set(3, self.frames[4] | LEAF)

    def set(self, level: int, entry: int) -> None:
        index = (VIRTUAL >> SHIFTS[level]) & 511
        self.memory.write_u64(self.frames[level] + 8 * index, entry)


def test_a_page() -> None:
    tables = Tables()
    translation, level = walk(tables.memory, tables.root, VIRTUAL)
    assert level == 3 and translation is not None
    assert (translation.physical, translation.size) == (tables.frames[4], 4096)


@pytest.mark.parametrize(("level", "size"), [(1, 1 << 30), (2, 2 << 20)])
def test_a_block_gives_the_page_within_it(level: int, size: int) -> None:
    tables = Tables()
    inside = VIRTUAL & (size - 1) & -4096
    tables.set(level, (tables.memory.base & -size) | BLOCK)
    expected = (tables.memory.base & -size) + inside
    translation, at = walk(tables.memory, tables.root, VIRTUAL)
    if tables.memory.contains(expected, 4096):
        assert translation is not None and (translation.physical, translation.size) == (expected, size)
    else:
        assert translation is None
    assert at == level


@pytest.mark.parametrize("level", range(4))
def test_an_invalid_entry_fails_at_its_level(level: int) -> None:
    tables = Tables()
    tables.set(level, 0)
    assert walk(tables.memory, tables.root, VIRTUAL) == (None, level)


@pytest.mark.parametrize("level", [0, 3])
def test_a_reserved_block_fails(level: int) -> None:
    tables = Tables()
    tables.set(level, tables.memory.base | BLOCK)
    assert walk(tables.memory, tables.root, VIRTUAL) == (None, level)


def test_a_clear_access_flag_is_no_translation() -> None:
    tables = Tables()
    tables.set(3, tables.frames[4] | LEAF & ~0x400)
    assert walk(tables.memory, tables.root, VIRTUAL) == (None, 3)


@pytest.mark.parametrize("virtual", [1 << 48, (1 << 64) - 1, VIRTUAL | 1 << 56])
def test_past_48_bits_is_a_fault_of_level_0(virtual: int) -> None:
    tables = Tables()
    assert walk(tables.memory, tables.root, virtual) == (None, 0)


@pytest.mark.parametrize("outside", [0, 0x3FFF_F000, 0x4100_0000, 0xFFFF_FFFF_F000])
@pytest.mark.parametrize("level", range(4))
def test_nothing_outside_ram_is_reached(outside: int, level: int) -> None:
    tables = Tables()
    tables.set(level, outside | LEAF)
    translation, failed = walk(tables.memory, tables.root, VIRTUAL)
    assert translation is None and failed == min(level + 1, 3)


def test_a_root_outside_ram_is_refused() -> None:
    assert walk(Tables().memory, 0xFFFF_FFFF_F000, VIRTUAL) == (None, 0)


@pytest.mark.parametrize(
    ("bits", "user", "rights"),
    [
        (0, False, (True, True, True)),
        (0, True, (False, False, True)),
        (1 << 6, True, (True, True, True)),
        (1 << 6, False, (True, True, False)),  # what EL0 writes, EL1 does not execute
        (1 << 6 | 1 << 7, True, (True, False, True)),
        (1 << 6 | 1 << 7, False, (True, False, True)),
        (1 << 53, False, (True, True, False)),
        (1 << 6 | 1 << 54, True, (True, True, False)),
        (1 << 6 | 1 << 53, None, (True, True, True)),
        (1 << 53, None, (True, True, False)),
    ],
)
def test_rights(bits: int, user: bool | None, rights: tuple[bool, bool, bool]) -> None:
    tables = Tables()
    tables.set(3, tables.frames[4] | LEAF | bits)
    translation, _ = walk(tables.memory, tables.root, VIRTUAL, user=user)
    assert translation is not None
    assert (translation.readable, translation.writable, translation.executable) == rights


@pytest.mark.parametrize(
    ("limit", "rights"),
    [
        (1 << 62, (True, False, True)),
        (1 << 61, (False, False, True)),
        (1 << 60, (True, True, False)),
    ],
)
def test_tables_take_rights_away(limit: int, rights: tuple[bool, bool, bool]) -> None:
    tables = Tables()
    tables.set(1, tables.frames[2] | FORMAT.table | limit)
    tables.set(3, tables.frames[4] | LEAF | 1 << 6)
    translation, _ = walk(tables.memory, tables.root, VIRTUAL, user=True)
    assert translation is not None
    assert (translation.readable, translation.writable, translation.executable) == rights


@given(
    entries=st.lists(st.tuples(st.integers(0, 3), st.integers(0, (1 << 64) - 1)), max_size=4),
    virtual=st.one_of(st.just(VIRTUAL), st.integers(0, (1 << 64) - 1)),
)
def test_hostile_tables_never_lead_out_of_ram(entries: list[tuple[int, int]], virtual: int) -> None:
    tables = Tables()
    for level, entry in entries:
        tables.set(level, entry)
    translation, level = walk(tables.memory, tables.root, virtual)
    assert 0 <= level <= 3
    assert translation is None or tables.memory.contains(translation.physical, 4096)


@given(st.integers(0, 7), st.booleans(), st.booleans(), st.booleans())
def test_the_format_and_the_walk_agree_on_rights(perm: int, user: bool, cow: bool, dirty: bool) -> None:
    tables = Tables()
    leaf = FORMAT.make_leaf(tables.frames[4], perm, user=user, cow=cow, dirty=dirty)
    tables.set(3, leaf)
    translation, _ = walk(tables.memory, tables.root, VIRTUAL)
    expected = FORMAT.perm(leaf)
    seen = 0
    if translation is not None:
        seen = translation.readable | translation.writable << 1 | translation.executable << 2
    assert seen == expected
    assert expected == (1 | perm & 4 | (perm & 2 if dirty and not cow else 0) if perm else 0)


@pytest.mark.parametrize(
    ("perm", "bits"),
    [(7, 0x67), (5, 0x65), (1, 1 << 63 | 0x65), (0, 1 << 63 | 1 << 51 | 0x65)],
)
def test_x64_bits(perm: int, bits: int) -> None:
    assert X64_PAGE_TABLE.make_leaf(0x1000, perm, user=True, cow=False, dirty=True) == 0x1000 | bits
