# SPDX-License-Identifier: GPL-2.0-or-later
"""The load of one object with 64 KiB segments, address by address, as OSv's loader would do it."""

from __future__ import annotations

import struct

import pytest
from mmu.recording import PAGE, MemoryFile, World

from fetchsan.kernel.linker.elf_file import PF_R, PF_W, PF_X
from fetchsan.kernel.linker.file import File
from fetchsan.kernel.linker.program import Program, without_calls

R, W, X = 1, 2, 4
PT_LOAD, PT_DYNAMIC, PT_RELRO = 1, 2, 0x6474_E552
BASE = 0x1000_0003_0000
PREVIOUS_END = 0x1000_0002_0300


def program_header(kind: int, flags: int, offset: int, address: int, in_file: int, in_memory: int, align: int) -> bytes:
    return struct.pack("<IIQQQQQQ", kind, flags, offset, address, address, in_file, in_memory, align)


def image() -> bytes:
    """Text at 0, data at 0x1fdc0 of which the first 0x240 bytes are RELRO; an empty dynamic table at its start."""
    headers = [
        program_header(PT_LOAD, PF_R | PF_X, 0, 0, 0x2800, 0x2800, 0x10000),
        program_header(PT_LOAD, PF_R | PF_W, 0xFDC0, 0x1FDC0, 0x2C0, 0x300, 0x10000),
        program_header(PT_DYNAMIC, PF_R | PF_W, 0xFDC0, 0x1FDC0, 0x10, 0x10, 8),
        program_header(PT_RELRO, PF_R, 0xFDC0, 0x1FDC0, 0x240, 0x240, 1),
    ]
    identity = b"\x7fELF\x02\x01\x01".ljust(16, b"\0")
    header = identity + struct.pack("<HHIQQQIHHHHHH", 3, 183, 1, 0, 64, 0, 0, 64, 56, len(headers), 64, 0, 0)
    content = bytearray((header + b"".join(headers)).ljust(0x12000, b"\xff"))
    content[0xFDC0:0xFDD0] = bytes(16)  # DT_NULL
    return bytes(content)


@pytest.fixture
def world() -> World:
    return World(user=False, sync="osv")


def load(world: World, at: int = PREVIOUS_END) -> File:
    file = MemoryFile(image())
    program = Program(world.space, world.memory, lambda path: file if path == "/it.so" else None, at=at)
    return without_calls(program.load("/it.so")).root


def test_it_goes_to_the_next_unit_of_its_alignment(world: World) -> None:
    loaded = load(world)
    assert (loaded.base, loaded.end) == (BASE, 0x1000_0005_00C0)
    assert load(world, loaded.end).base == 0x1000_0006_0000


def test_its_vmas(world: World) -> None:
    load(world)
    assert [(v.start - BASE, v.end - BASE, v.perm, v.offset) for v in world.space.vmas.mapped()] == [
        (0, 0x3000, R | X, 0),
        (0x1F000, 0x20000, R, 0xF000),
        (0x20000, 0x21000, R | W, 0x10000),
    ]


def test_what_lies_behind_the_file_in_its_last_page_is_zeros(world: World) -> None:
    load(world)
    assert world.memory.read(BASE + 0x2007F, 1) == b"\xff"
    assert world.memory.read(BASE + 0x20080, 0xF80) == bytes(0xF80)


def test_text_comes_page_by_page_each_synchronised(world: World) -> None:
    load(world)
    assert world.walk(BASE) is None
    for page in range(3):
        world.hardware.calls.clear()
        world.touch(BASE + page * PAGE, "execute")
        assert [call[2:4] for call in world.hardware.named("synchronise")] == [(BASE + page * PAGE, PAGE)]


def test_text_that_is_read_first_is_synchronised_by_that(world: World) -> None:
    load(world)
    world.hardware.calls.clear()
    world.touch(BASE, "read")
    assert len(world.hardware.named("synchronise")) == 1
    translation = world.walk(BASE)
    assert translation is not None and translation.executable, "the fetch will not fault"
