# SPDX-License-Identifier: GPL-2.0-or-later
"""mremap."""

from __future__ import annotations

import pytest

from fetchsan.kernel.errors import LinuxError
from fetchsan.kernel.mmu.mman import Map
from fetchsan.kernel.mmu.remap import mremap

from .recording import PAGE, MemoryFile, World

R, W, X = 1, 2, 4
FIXED = Map.PRIVATE | Map.ANONYMOUS | Map.FIXED
BASE = 0x7000_0000_0000
MAYMOVE, MREMAP_FIXED, DONTUNMAP = 1, 2, 4


def world_with(pages: int) -> World:
    world = World()
    world.space.mmap(BASE, pages * PAGE, R | W, FIXED)
    world.memory.write(BASE, b"data")
    return world


def test_grows_in_place_where_there_is_room() -> None:
    world = world_with(1)
    assert mremap(world.space, BASE, PAGE, 3 * PAGE, 0, 0) == BASE
    assert world.maps() == [(BASE, BASE + 3 * PAGE, R | W)]


def test_moves_pages_with_their_contents_and_frames() -> None:
    world = world_with(1)
    world.space.mmap(BASE + PAGE, PAGE, R, FIXED)
    frame = world.touch(BASE)
    moved = mremap(world.space, BASE, PAGE, 2 * PAGE, MAYMOVE, 0)
    assert moved != BASE and world.touch(moved) == frame
    assert world.memory.read(moved, 4) == b"data" and world.walk(BASE) is None


def test_without_maymove_it_stays_or_fails() -> None:
    world = world_with(1)
    world.space.mmap(BASE + PAGE, PAGE, R, FIXED)
    with pytest.raises(LinuxError) as caught:
        mremap(world.space, BASE, PAGE, 2 * PAGE, 0, 0)
    assert caught.value.errno == 12


def test_shrinks() -> None:
    world = world_with(3)
    assert mremap(world.space, BASE, 3 * PAGE, PAGE, 0, 0) == BASE
    assert world.maps() == [(BASE, BASE + PAGE, R | W)]


def test_fixed_replaces_its_target() -> None:
    world = world_with(1)
    target = BASE + 16 * PAGE
    world.space.mmap(target, PAGE, R, FIXED)
    assert mremap(world.space, BASE, PAGE, PAGE, MAYMOVE | MREMAP_FIXED, target) == target
    assert world.memory.read(target, 4) == b"data"
    assert world.maps() == [(target, target + PAGE, R | W)]


def test_dontunmap_leaves_an_empty_mapping() -> None:
    world = world_with(1)
    moved = mremap(world.space, BASE, PAGE, PAGE, MAYMOVE | DONTUNMAP, 0)
    assert world.memory.read(moved, 4) == b"data" and world.memory.read(BASE, 4) == bytes(4)


def test_a_shared_mapping_can_be_had_twice() -> None:
    world = World()
    base = world.space.mmap(0, PAGE, R | W, Map.SHARED | Map.ANONYMOUS)
    second = mremap(world.space, base, 0, PAGE, MAYMOVE, 0)
    world.memory.write(base, b"both")
    assert world.memory.read(second, 4) == b"both"


def test_a_moved_file_mapping_keeps_its_offset() -> None:
    world = World()
    file = MemoryFile(b"a" * PAGE + b"b" * PAGE)
    base = world.space.mmap(0, 2 * PAGE, R, Map.PRIVATE, file)
    moved = mremap(world.space, base + PAGE, PAGE, PAGE, MAYMOVE | MREMAP_FIXED, BASE)
    assert world.memory.read(moved, 1) == b"b" and world.memory.read(base, 1) == b"a"


@pytest.mark.parametrize(
    ("address", "old", "new", "flags", "target", "errno"),
    [
        (BASE + 1, PAGE, PAGE, 0, 0, 22),
        (BASE, PAGE, 0, 0, 0, 22),
        (BASE, PAGE, PAGE, 8, 0, 22),
        (BASE, PAGE, PAGE, MREMAP_FIXED, BASE * 2, 22),
        (BASE, PAGE, PAGE, MAYMOVE | MREMAP_FIXED, BASE, 22),
        (BASE, PAGE, PAGE, MAYMOVE | MREMAP_FIXED, BASE + 0x1_0001, 22),
        (BASE, PAGE, PAGE, MAYMOVE | MREMAP_FIXED, (1 << 64) - PAGE, 22),
        (BASE, PAGE, 2 * PAGE, MAYMOVE | DONTUNMAP, 0, 22),
        (BASE, 0, PAGE, MAYMOVE, 0, 22),
        (BASE, 2 * PAGE, 3 * PAGE, MAYMOVE, 0, 14),
        (BASE + 8 * PAGE, PAGE, PAGE, 0, 0, 14),
        (BASE, PAGE, (1 << 64) - 1, MAYMOVE, 0, 22),
        (BASE, PAGE, (1 << 48) - PAGE, MAYMOVE, 0, 12),
        ((1 << 64) - PAGE, PAGE, PAGE, MAYMOVE, 0, 22),
    ],
)
def test_refuses(address: int, old: int, new: int, flags: int, target: int, errno: int) -> None:
    world = world_with(1)
    with pytest.raises(LinuxError) as caught:
        mremap(world.space, address, old, new, flags, target)
    assert caught.value.errno == errno
