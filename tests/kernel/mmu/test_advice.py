# SPDX-License-Identifier: GPL-2.0-or-later
"""madvise, msync, mincore."""

from __future__ import annotations

import pytest

from fetchsan.kernel.errors import LinuxError
from fetchsan.kernel.mmu.advice import madvise, mincore, msync
from fetchsan.kernel.mmu.mman import Madvise, Map
from fetchsan.machine.hardware import Origin

from .recording import PAGE, MemoryFile, World

R, W, X = 1, 2, 4
FIXED = Map.PRIVATE | Map.ANONYMOUS | Map.FIXED
BASE = 0x7000_0000_0000
SYNC = 4


def test_dontneed_gives_zeros_again() -> None:
    world = World()
    world.space.mmap(BASE, PAGE, R | W, FIXED)
    world.memory.write(BASE, b"gone")
    madvise(world.space, BASE, PAGE, Madvise.DONTNEED)
    assert world.memory.read(BASE, 4) == bytes(4)


def test_dontneed_of_a_private_file_gives_the_file_again() -> None:
    world = World()
    base = world.space.mmap(0, PAGE, R | W, Map.PRIVATE, MemoryFile(b"file"))
    world.memory.write(base, b"mine")
    madvise(world.space, base, PAGE, Madvise.DONTNEED)
    assert world.memory.read(base, 4) == b"file"


def test_holes_are_told_after_the_rest_is_done() -> None:
    world = World()
    world.space.mmap(BASE, PAGE, R | W, FIXED)
    world.memory.write(BASE, b"gone")
    with pytest.raises(LinuxError) as caught:
        madvise(world.space, BASE, 2 * PAGE, Madvise.DONTNEED)
    assert caught.value.errno == 12 and world.memory.read(BASE, 4) == bytes(4)


@pytest.mark.parametrize(
    ("address", "length", "advice"), [(BASE, PAGE, 77), (BASE + 1, PAGE, 4), (BASE, (1 << 64) - 1, 4)]
)
def test_madvise_refuses(address: int, length: int, advice: int) -> None:
    world = World()
    world.space.mmap(BASE, PAGE, R | W, FIXED)
    with pytest.raises(LinuxError) as caught:
        madvise(world.space, address, length, advice)
    assert caught.value.errno == 22


@pytest.mark.parametrize("advice", [0, 1, 2, 3, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21])
def test_other_advice_is_accepted(advice: int) -> None:
    world = World()
    world.space.mmap(BASE, PAGE, R | W, FIXED)
    madvise(world.space, BASE, PAGE, advice)


def test_populate_write_makes_pages_writable() -> None:
    world = World()
    world.space.mmap(BASE, 3 * PAGE, R | W, FIXED)
    madvise(world.space, BASE, 3 * PAGE, Madvise.POPULATE_WRITE)
    assert all(t.writable for t in world.hardware.translations.values()) and len(world.hardware.translations) == 3


@pytest.mark.parametrize(("prot", "length", "errno"), [(0, PAGE, 22), (R, PAGE, 22), (R | W, 1 << 40, 12)])
def test_populate_write_refuses(prot: int, length: int, errno: int) -> None:
    world = World()
    world.space.mmap(BASE, length, prot, FIXED)
    with pytest.raises(LinuxError) as caught:
        madvise(world.space, BASE, length, Madvise.POPULATE_WRITE)
    assert caught.value.errno == errno


def test_remove_punches_a_hole_into_shared_memory() -> None:
    world = World()
    base = world.space.mmap(0, 2 * PAGE, R | W, Map.SHARED | Map.ANONYMOUS)
    world.memory.write(base, b"x" * 2 * PAGE)
    madvise(world.space, base, PAGE, Madvise.REMOVE)
    assert world.memory.read(base, 1) + world.memory.read(base + PAGE, 1) == b"\0x"


def test_msync_writes_each_store_exactly_once() -> None:
    world = World()
    file = MemoryFile(bytes(PAGE))
    base = world.space.mmap(0, PAGE, R | W, Map.SHARED, file)
    world.memory.write(base, b"one")
    msync(world.space, base, PAGE, SYNC)
    assert bytes(file.content[:3]) == b"one"
    file.content[:3] = b"xxx"
    msync(world.space, base, PAGE, SYNC)
    assert bytes(file.content[:3]) == b"xxx"
    world.memory.write(base, b"two")
    msync(world.space, base, PAGE, SYNC)
    assert bytes(file.content[:3]) == b"two"


def test_msync_tells_of_a_failed_write() -> None:
    world = World()
    file = MemoryFile(bytes(PAGE))
    base = world.space.mmap(0, PAGE, R | W, Map.SHARED, file)
    world.memory.write(base, b"one")
    file.broken = True
    with pytest.raises(LinuxError) as caught:
        msync(world.space, base, PAGE, SYNC)
    assert caught.value.errno == 5


@pytest.mark.parametrize(
    ("address", "length", "flags", "errno"),
    [(BASE, PAGE, 5, 22), (BASE, PAGE, 8, 22), (BASE + 1, PAGE, 4, 22), (BASE, 2 * PAGE, 4, 12), (BASE, (1 << 64) - 1, 4, 12)],
)
def test_msync_refuses(address: int, length: int, flags: int, errno: int) -> None:
    world = World()
    world.space.mmap(BASE, PAGE, R | W, FIXED)
    with pytest.raises(LinuxError) as caught:
        msync(world.space, address, length, flags)
    assert caught.value.errno == errno


def test_mincore_tells_what_is_resident() -> None:
    world = World()
    world.space.mmap(BASE, 4 * PAGE, R | W, FIXED)
    world.touch(BASE + PAGE)
    world.touch(BASE + 3 * PAGE, "read")
    assert mincore(world.space, BASE, 4) == b"\0\1\0\1"


def test_mincore_counts_the_page_cache() -> None:
    world = World()
    file = MemoryFile(bytes(2 * PAGE))
    one = world.space.mmap(0, 2 * PAGE, R, Map.PRIVATE, file)
    two = world.space.mmap(0, 2 * PAGE, R, Map.SHARED, file)
    world.touch(one, "read")
    assert mincore(world.space, two, 2) == b"\1\0"


def test_truncation_unmaps_and_zeroes_the_tail() -> None:
    world = World()
    file = MemoryFile(b"x" * 2 * PAGE)
    base = world.space.mmap(0, 2 * PAGE, R | W, Map.SHARED, file)
    world.memory.read(base, 2 * PAGE)
    del file.content[10:]
    world.cache.file_truncated(file, 10, 0)
    assert world.memory.read(base, 12) == b"x" * 10 + b"\0\0"
    assert world.memory.readable(base, 2 * PAGE) == PAGE


def test_write_to_a_file_reaches_its_mappings() -> None:
    world = World()
    file = MemoryFile(bytes(2 * PAGE))
    base = world.space.mmap(0, 2 * PAGE, R, Map.PRIVATE, file)
    world.memory.read(base, 2 * PAGE)
    world.cache.file_written(file, PAGE - 2, b"abcd", 0, Origin(None, "write(2)"))
    assert world.memory.read(base + PAGE - 2, 4) == b"abcd"


def test_read_of_a_file_sees_stores_not_yet_written_back() -> None:
    world = World()
    file = MemoryFile(bytes(2 * PAGE))
    base = world.space.mmap(0, 2 * PAGE, R | W, Map.SHARED, file)
    world.memory.write(base + PAGE - 2, b"abcd")
    assert world.cache.read(file, PAGE - 3, 6) == b"\0abcd\0"
