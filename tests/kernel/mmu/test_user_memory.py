# SPDX-License-Identifier: GPL-2.0-or-later
"""The kernel's reads and writes of the program's memory, with the pointers a hostile program passes."""

from __future__ import annotations

import pytest

from fetchsan.kernel.errors import GuestFault, LinuxError
from fetchsan.kernel.mmu.mman import Map
from fetchsan.machine.hardware import Origin

from .recording import PAGE, MemoryFile, World

R, W, X = 1, 2, 4
FIXED = Map.PRIVATE | Map.ANONYMOUS | Map.FIXED
BASE = 0x7000_0000_0000


def world_with(pages: int = 2, prot: int = R | W) -> World:
    world = World()
    world.space.mmap(BASE, pages * PAGE, prot, FIXED)
    return world


def test_bytes_cross_pages() -> None:
    world = world_with()
    world.memory.write(BASE + PAGE - 3, b"abcdef")
    assert world.memory.read(BASE + PAGE - 3, 6) == b"abcdef"


def test_words_are_little_endian_and_truncated() -> None:
    world = world_with()
    world.memory.write_u64(BASE + PAGE - 4, -2)
    assert world.memory.read_u64(BASE + PAGE - 4) == (1 << 64) - 2
    world.memory.write_u32(BASE, 0x1_1234_5678)
    assert world.memory.read(BASE, 4) == bytes.fromhex("78563412")


def test_every_write_is_a_store_with_its_origin() -> None:
    world = world_with()
    world.memory.origin = Origin(0x4000, "syscall")
    world.memory.write(BASE + PAGE - 1, b"ab", "read(2)")
    assert [call[2:] for call in world.hardware.named("store")] == [(1, "read(2)"), (1, "read(2)")]


@pytest.mark.parametrize("size", [1, 8, PAGE, 3 * PAGE, 1 << 20, 1 << 63, 1 << 64])
@pytest.mark.parametrize("address", [0, BASE - 1, 1 << 48, (1 << 64) - 1, (1 << 63) + 5])
def test_bad_pointers_fault(address: int, size: int) -> None:
    with pytest.raises((GuestFault, LinuxError)):
        world_with().memory.read(address, size)


def test_a_range_that_ends_outside_faults_at_the_first_bad_byte_and_populates_nothing() -> None:
    world = world_with()
    with pytest.raises(GuestFault) as caught:
        world.memory.read(BASE + 8, 16 << 20)
    assert caught.value.address == BASE + 2 * PAGE
    assert world.hardware.translations == {}


def test_nothing_is_written_when_the_range_is_bad() -> None:
    world = world_with()
    with pytest.raises(GuestFault):
        world.memory.write(BASE + PAGE, b"x" * 2 * PAGE)
    assert not world.hardware.named("store")


def test_nothing_of_nothing_never_faults() -> None:
    world = world_with()
    assert world.memory.read(0, 0) == b""
    world.memory.write(1 << 63, b"")


def test_a_huge_mapped_range_is_refused_rather_than_read() -> None:
    world = World()
    base = world.space.mmap(0, 1 << 40, R, Map.PRIVATE | Map.ANONYMOUS)
    with pytest.raises(LinuxError):
        world.memory.read(base, 1 << 40)


def test_writing_needs_the_right_to_write() -> None:
    world = world_with(prot=R)
    world.memory.read(BASE, 1)
    with pytest.raises(GuestFault) as caught:
        world.memory.write(BASE, b"x")
    assert caught.value.code == 2


def test_remembered_pages_are_forgotten_when_rights_change() -> None:
    world = world_with()
    world.memory.write(BASE, b"x")
    world.space.mprotect(BASE, PAGE, R)
    with pytest.raises(GuestFault):
        world.memory.write(BASE, b"y")
    world.space.mprotect(BASE, PAGE, 0)
    with pytest.raises(GuestFault):
        world.memory.read(BASE, 1)


def test_remembered_pages_are_forgotten_when_a_page_is_copied() -> None:
    world = World()
    base = world.space.mmap(0, PAGE, R | W, Map.PRIVATE, MemoryFile(b"file"))
    assert world.memory.read(base, 4) == b"file"
    world.memory.write(base, b"mine")
    assert world.memory.read(base, 4) == b"mine"


def test_cstrings() -> None:
    world = world_with()
    world.memory.write(BASE + PAGE - 2, b"path\0rest")
    assert world.memory.read_cstring(BASE + PAGE - 2) == b"path"


def test_a_cstring_may_end_at_the_last_mapped_byte() -> None:
    world = world_with()
    world.memory.write(BASE + 2 * PAGE - 3, b"ab\0")
    assert world.memory.read_cstring(BASE + 2 * PAGE - 3) == b"ab"


def test_a_cstring_without_end_is_too_long_or_faults() -> None:
    world = world_with(3)
    world.memory.write(BASE, b"x" * 3 * PAGE)
    with pytest.raises(LinuxError):
        world.memory.read_cstring(BASE)
    with pytest.raises(GuestFault):
        world.memory.read_cstring(BASE + 2 * PAGE + 1)


def test_probes_count_bytes_and_populate_nothing() -> None:
    world = world_with()
    world.space.mprotect(BASE + PAGE, PAGE, R)
    assert world.memory.readable(BASE + 1, 1 << 50) == 2 * PAGE - 1
    assert world.memory.writable(BASE + 1, 1 << 50) == PAGE - 1
    assert world.memory.writable(1 << 60, 5) == 0
    assert world.hardware.translations == {}
