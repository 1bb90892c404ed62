# SPDX-License-Identifier: GPL-2.0-or-later
"""Faults: which page appears, who stored what into it, and what a refused access is told."""

from __future__ import annotations

import pytest

from fetchsan.kernel.errors import GuestFault
from fetchsan.kernel.mmu.vma import MMAP_SHARED

from .recording import PAGE, MemoryFile, World

R, W, X = 1, 2, 4


def test_first_write_gets_a_writable_zeroed_frame() -> None:
    world = World()
    base = world.space.map_anon(0, PAGE, 0, R | W)
    physical = world.touch(base)
    translation = world.walk(base)
    assert translation is not None and translation.writable and not translation.executable
    assert world.hardware.memory.read(physical, PAGE) == bytes(PAGE)


def test_a_recycled_frame_is_zeroed_by_a_store() -> None:
    world = World()
    base = world.space.map_anon(0, 2 * PAGE, 0, R | W)
    world.touch(base + PAGE)  # keeps the tables, which would take the freed frame
    recycled = world.touch(base)
    world.memory.write(base, b"secret")
    world.space.munmap(base, PAGE)
    assert world.touch(world.space.map_anon(base, PAGE, 0, R | W)) == recycled
    assert ("store", recycled, PAGE, "page zeroing") in world.hardware.calls
    assert world.memory.read(base, 6) == bytes(6)


def test_reads_share_a_frame_of_zeros_that_nobody_can_write() -> None:
    world = World()
    base = world.space.map_anon(0, 2 * PAGE, 0, R | W | X)
    assert world.touch(base, "read") == world.touch(base + PAGE, "read")
    translation = world.walk(base)
    assert translation is not None and not translation.writable


def test_a_write_after_a_read_leaves_the_zero_page_alone() -> None:
    world = World()
    base = world.space.map_anon(0, 2 * PAGE, 0, R | W)
    zero = world.touch(base, "read")
    world.touch(base + PAGE, "read")
    world.memory.write(base, b"mine")
    assert world.touch(base) != zero
    assert world.memory.read(base + PAGE, 4) == bytes(4)


def test_osv_gives_a_frame_of_its_own_to_a_read() -> None:
    world = World(user=False, sync="osv")
    base = world.space.map_anon(0, 2 * PAGE, 0, R | W)
    assert world.touch(base, "read") != world.touch(base + PAGE, "read")
    translation = world.walk(base)
    assert translation is not None and translation.writable


@pytest.mark.parametrize(
    ("perm", "access", "code"),
    [(R, "write", 2), (R | W, "execute", 2), (0, "read", 2), (R | X, "write", 2)],
)
def test_refused_by_rights_is_accerr(perm: int, access: str, code: int) -> None:
    world = World()
    base = world.space.map_anon(0, PAGE, 0, perm)
    with pytest.raises(GuestFault) as caught:
        world.touch(base + 8, access)
    assert (caught.value.signal, caught.value.code, caught.value.address) == (11, code, base + 8)


@pytest.mark.parametrize("address", [0, 8, 1 << 48, 0xFFFF_8000_0000_0000, (1 << 64) - 1, 0x1234_5000])
def test_an_address_of_no_mapping_is_maperr(address: int) -> None:
    with pytest.raises(GuestFault) as caught:
        World().touch(address)
    assert (caught.value.signal, caught.value.code) == (11, 1)


def test_a_fault_knows_the_level_that_failed() -> None:
    world = World()
    base = world.space.map_anon(0, PAGE, 0, R)
    with pytest.raises(GuestFault) as before:
        world.touch(base, "write")
    world.touch(base, "read")
    with pytest.raises(GuestFault) as after:
        world.touch(base, "write")
    assert (before.value.level, before.value.permission) == (0, False)
    assert (after.value.level, after.value.permission) == (3, True)


def test_linux_pages_with_any_right_are_readable() -> None:
    world = World()
    base = world.space.map_anon(0, PAGE, 0, W)
    assert world.touch(base, "read")


def test_osv_pages_need_the_right_to_be_read() -> None:
    world = World(user=False, sync="osv")
    base = world.space.map_anon(0, PAGE, 0, W)
    with pytest.raises(GuestFault):
        world.touch(base, "read")


def test_a_private_file_page_is_the_cached_one_until_it_is_written() -> None:
    world = World()
    file = MemoryFile(b"text" * 1024)
    base = world.space.map_file(0, PAGE, 0, R | W, file, 0)
    cached = world.touch(base, "read")
    private = world.touch(base, "write")
    world.memory.write(base, b"DATA")
    assert cached != private
    assert ("store", private, PAGE, "copy-on-write") in world.hardware.calls
    assert bytes(file.content[:4]) == b"text"


def test_a_file_page_is_filled_through_the_data_side_and_padded_with_zeros() -> None:
    world = World()
    base = world.space.map_file(0, PAGE, 0, R, MemoryFile(b"abc"), 0)
    physical = world.touch(base, "read")
    assert ("store", physical, PAGE, "page-cache fill") in world.hardware.calls
    assert world.memory.read(base, 5) == b"abc\0\0"


def test_past_the_end_of_the_file_is_sigbus() -> None:
    world = World()
    base = world.space.map_file(0, 3 * PAGE, 0, R, MemoryFile(b"x" * (PAGE + 1)), 0)
    world.touch(base + PAGE, "read")
    with pytest.raises(GuestFault) as caught:
        world.touch(base + 2 * PAGE, "read")
    assert (caught.value.signal, caught.value.code) == (7, 2)


def test_a_file_that_cannot_be_read_is_sigbus() -> None:
    world = World()
    file = MemoryFile(bytes(PAGE))
    base = world.space.map_file(0, PAGE, 0, R, file, 0)
    file.broken = True
    with pytest.raises(GuestFault) as caught:
        world.touch(base, "read")
    assert caught.value.signal == 7


def test_shared_mappings_of_a_file_are_one_frame() -> None:
    world = World()
    file = MemoryFile(bytes(PAGE))
    one = world.space.map_file(0, PAGE, MMAP_SHARED, R | W, file, 0)
    two = world.space.map_file(0, PAGE, MMAP_SHARED, R | X, file, 0)
    world.memory.write(one, b"code")
    assert world.memory.read(two, 4) == b"code"
    assert world.touch(one) == world.touch(two, "execute")


def test_rights_differ_by_level_of_the_page() -> None:
    linux, osv = World(), World(user=False, sync="osv")
    for world, low_bits in ((linux, 0x753), (osv, 0x713)):
        base = world.space.map_anon(0, PAGE, 0, R | W | X)
        world.touch(base)
        entry = world.space.tables.lookup(base)
        assert entry & 0xFFF == low_bits
        assert bool(entry >> 53 & 1) is (world is linux)  # PXN
        assert not entry >> 54 & 1  # UXN
