# SPDX-License-Identifier: GPL-2.0-or-later
"""How long cached pages stay: limits, memory pressure, idle files; what write(2), truncation and holes do to mappings."""

from __future__ import annotations

from dataclasses import replace
from errno import EIO, ENOSPC

import pytest

from fetchsan.kernel.errors import GuestFault, LinuxError
from fetchsan.kernel.mmu import UserMemory
from fetchsan.kernel.mmu.advice import madvise, msync
from fetchsan.kernel.mmu.cache_policy import LINUX_CACHE, OSV_CACHE
from fetchsan.kernel.mmu.mman import Madvise, Map, Mremap, Msync
from fetchsan.kernel.mmu.remap import mremap
from fetchsan.machine.hardware import Origin
from fetchsan.machine.memory import OutOfMemoryError

from .recording import PAGE, MemoryFile, World

R, W, X = 1, 2, 4
SMALL = replace(LINUX_CACHE, read_limit=lambda frames: 10, write_limit=lambda frames: 10)
WRITE = Origin(0x1000, "write(2)")


def numbered(pages: int) -> MemoryFile:
    """Each page begins with its number, from 1."""
    return MemoryFile(b"".join(bytes([1 + index % 255]) * PAGE for index in range(pages)))


def resident(world: World, base: int, pages: int) -> list[int]:
    return [index for index in range(pages) if world.space.tables.lookup(base + index * PAGE)]


# Limits ------------------------------------------------------------------------------------------------------------


def test_the_limits_are_those_of_the_kernels() -> None:
    assert [OSV_CACHE.write_limit(frames) for frames in (1000, 1 << 20)] == [100, 10485]
    assert [LINUX_CACHE.write_limit(1 << 20), LINUX_CACHE.read_limit(1 << 20)] == [209715, 524288]


def test_past_the_limit_the_pages_faulted_longest_ago_go() -> None:
    world = World(policy=SMALL)
    base = world.space.mmap(0, 12 * PAGE, R, Map.PRIVATE, numbered(12))
    for index in range(10):
        world.touch(base + index * PAGE, "read")
    world.touch(base, "read")  # present: the kernel does not see it
    world.touch(base + 10 * PAGE, "read")
    # A fifth of the eleven went (the least of len/5 and 200).
    assert resident(world, base, 12) == [2, 3, 4, 5, 6, 7, 8, 9, 10]
    assert world.memory.read(base, 1) == b"\1"


def test_an_evicted_page_is_unmapped_from_all_its_spaces_with_one_flush_each() -> None:
    world = World(policy=SMALL)
    file = numbered(12)
    other = world.another_space()
    world.hardware.root = None  # two sets of tables
    bases = [(space, space.mmap(0, 12 * PAGE, R, Map.SHARED, file)) for space in (world.space, other)]
    for space, base in bases:
        space.fault(0, base, "read")
        space.fault(0, base + PAGE, "read")
    world.hardware.calls.clear()
    space, base = bases[0]
    for index in range(2, 11):
        space.fault(0, base + index * PAGE, "read")
    assert [space.tables.lookup(base + index * PAGE) for space, base in bases for index in (0, 1)] == [0] * 4
    assert len(world.hardware.named("flush_tlb_linux")) == 2
    assert len(world.hardware.named("frame_freed")) == 2


def test_a_dirty_page_is_written_back_when_it_is_evicted() -> None:
    world = World(policy=SMALL)
    file = numbered(12)
    base = world.space.mmap(0, 12 * PAGE, R | W, Map.SHARED, file)
    for index in range(11):
        world.memory.write(base + index * PAGE, b"new")
    assert bytes(file.content[:3]) == b"new" and file.content[5 * PAGE] == 6
    assert world.memory.read(base, 4) == b"new\1"


def test_a_private_copy_is_not_evicted() -> None:
    world = World(policy=SMALL)
    base = world.space.mmap(0, 12 * PAGE, R | W, Map.PRIVATE, numbered(12))
    world.memory.write(base, b"mine")
    for index in range(1, 12):
        world.touch(base + index * PAGE, "read")
    assert world.memory.read(base, 4) == b"mine"
    assert 0 in resident(world, base, 12) and 1 not in resident(world, base, 12)


def test_shared_memory_is_never_evicted() -> None:
    world = World(policy=SMALL)
    base = world.space.mmap(0, 30 * PAGE, R | W, Map.SHARED | Map.ANONYMOUS)
    for index in range(30):
        world.memory.write(base + index * PAGE, bytes([index + 1]))
    assert resident(world, base, 30) == list(range(30))


def test_locked_pages_stay() -> None:
    world = World(policy=SMALL)
    base = world.space.mmap(0, PAGE, R, Map.PRIVATE | Map.LOCKED, numbered(1))
    other = world.space.mmap(0, 30 * PAGE, R, Map.PRIVATE, numbered(30))
    for index in range(30):
        world.touch(other + index * PAGE, "read")
    assert resident(world, base, 1) == [0]


def test_a_page_that_cannot_be_written_is_not_evicted() -> None:
    world = World(policy=SMALL)
    file = numbered(12)
    base = world.space.mmap(0, 12 * PAGE, R | W, Map.SHARED, file)
    world.memory.write(base, b"kept")
    broken, file.broken_writes = file.broken_writes, ENOSPC
    for index in range(1, 12):
        world.memory.write(base + index * PAGE, b"too")
    file.broken_writes = broken
    assert world.memory.read(base, 4) == b"kept"
    world.space.munmap(base, 12 * PAGE)
    assert bytes(file.content[:4]) == b"kept" and world.cache.failures == []


# Memory pressure ---------------------------------------------------------------------------------------------------


def test_a_file_larger_than_memory_can_be_read_through_a_mapping() -> None:
    world = World(size=1 << 20)
    file = numbered(600)
    base = world.space.mmap(0, 600 * PAGE, R, Map.PRIVATE, file)
    seen = bytes(world.memory.read(base + index * PAGE, 1)[0] for index in range(600))
    assert seen == bytes(file.content[::PAGE])


@pytest.mark.parametrize("kind", [Map.SHARED, Map.PRIVATE])
def test_anonymous_memory_takes_what_the_page_cache_has(kind: Map) -> None:
    world = World(size=1 << 20)
    file = numbered(100)
    cached = world.space.mmap(0, 100 * PAGE, R, kind | Map.POPULATE, file)
    taken = world.space.mmap(0, 200 * PAGE, R | W, Map.PRIVATE | Map.ANONYMOUS)
    for index in range(200):
        world.memory.write(taken + index * PAGE, b"anonymous")
    assert len(resident(world, cached, 100)) < 100
    assert world.memory.read(cached + 50 * PAGE, 1) == bytes([51])


def test_an_eager_mapping_takes_it_at_once() -> None:
    world = World(size=1 << 20)
    world.space.mmap(0, 100 * PAGE, R, Map.PRIVATE | Map.POPULATE, numbered(100))
    taken = world.space.mmap(0, 200 * PAGE, R | W, Map.PRIVATE | Map.ANONYMOUS | Map.POPULATE)
    assert len(resident(world, taken, 200)) == 200


def test_the_source_of_a_copy_survives_the_eviction_that_makes_room_for_it() -> None:
    world = World(size=1 << 20)
    file = numbered(400)
    base = world.space.mmap(0, 400 * PAGE, R | W, Map.PRIVATE, file)
    for index in range(200):
        world.touch(base + index * PAGE, "read")
        world.memory.write(base + index * PAGE + 1, b"!")
        assert world.memory.read(base + index * PAGE, 2) == bytes([1 + index % 255]) + b"!"


def test_memory_that_cannot_be_freed_is_used_up() -> None:
    world = World(size=1 << 20)
    base = world.space.mmap(0, 300 * PAGE, R | W, Map.SHARED | Map.ANONYMOUS)
    with pytest.raises(OutOfMemoryError):
        for index in range(300):
            world.memory.write(base + index * PAGE, b"x")


def test_pages_that_are_being_populated_are_not_evicted() -> None:
    world = World(policy=replace(LINUX_CACHE, read_limit=lambda frames: 100))
    file = numbered(150)
    base = world.space.mmap(1 << 30, 150 * PAGE, R, Map.SHARED | Map.POPULATE | Map.FIXED, file)  # one table: one run
    cached = world.cache.file(file).pages
    assert [world.walk(base + index * PAGE).physical for index in range(150)] == [cached[i].physical for i in range(150)]


def filled(world: World, kept: int) -> None:
    """Anonymous memory takes all frames but `kept`."""
    filler = world.space.mmap(0, world.hardware.memory.size, R | W, Map.PRIVATE | Map.ANONYMOUS)
    while world.hardware.memory.size - world.hardware.memory.frames_in_use * PAGE > kept * PAGE:
        world.touch(filler)
        filler += PAGE


def test_a_move_makes_room_for_its_tables_before_it_takes_the_pages() -> None:
    world = World(size=1 << 20)
    base = world.space.mmap(0, 40 * PAGE, R | W, Map.SHARED, numbered(40))
    for index in range(40):
        world.memory.write(base + index * PAGE, b"stored")
    filled(world, 0)
    moved = mremap(world.space, base, 40 * PAGE, 40 * PAGE, Mremap.MAYMOVE | Mremap.FIXED, 1 << 40)
    assert {world.memory.read(moved + index * PAGE, 6) for index in range(40)} == {b"stored"}


def test_a_move_without_memory_for_tables_changes_nothing() -> None:
    world = World(size=1 << 20)
    base = world.space.mmap(0, 4 * PAGE, R | W, Map.SHARED, numbered(4))
    world.memory.write(base, b"stays")
    filled(world, 1)
    before = world.maps()
    with pytest.raises(OutOfMemoryError):
        mremap(world.space, base, 4 * PAGE, 4 * PAGE, Mremap.MAYMOVE | Mremap.FIXED, 1 << 40)
    assert world.maps() == before
    assert world.memory.read(base, 5) == b"stays"
    world.space.destroy()
    assert world.hardware.memory.frames_in_use == 0


# Pages of files that nobody maps -----------------------------------------------------------------------------------


def mapped_once(version: object | None, world: World) -> tuple[MemoryFile, int]:
    """A file that was mapped and unmapped again, and the frame it had."""
    file = numbered(1)
    file.version = version
    base = world.space.mmap(0, PAGE, R, Map.PRIVATE, file)
    frame = world.touch(base, "read")
    world.space.munmap(base, PAGE)
    return file, frame


def test_pages_outlive_their_last_mapping_if_the_file_was_seen_not_to_change() -> None:
    world = World()
    file, frame = mapped_once("first", world)
    assert world.cache.is_cached(file, 0)
    assert world.touch(world.space.mmap(0, PAGE, R, Map.PRIVATE, file), "read") == frame
    assert len(world.hardware.named("store")) == 1


def test_pages_of_a_file_that_was_changed_meanwhile_are_read_again() -> None:
    world = World()
    file, _ = mapped_once("first", world)
    file.version = "second"
    file.content[:3] = b"new"
    assert world.memory.read(world.space.mmap(0, PAGE, R, Map.PRIVATE, file), 3) == b"new"


@pytest.mark.parametrize("policy, version", [(LINUX_CACHE, None), (OSV_CACHE, "first")])
def test_pages_go_with_the_last_mapping_otherwise(policy: object, version: object | None) -> None:
    world = World(policy=policy)  # type: ignore[arg-type]
    file, frame = mapped_once(version, world)
    assert not world.cache.is_cached(file, 0) and not world.frames.references(frame)


def test_a_file_that_the_program_changed_is_not_kept() -> None:
    world = World()
    file = numbered(1)
    file.version = "first"
    base = world.space.mmap(0, PAGE, R | W, Map.SHARED, file)
    world.memory.write(base, b"new")
    world.space.munmap(base, PAGE)
    assert not world.cache.is_cached(file, 0) and bytes(file.content[:3]) == b"new"


def test_write_to_a_file_that_nobody_maps_forgets_its_pages() -> None:
    world = World()
    file, frame = mapped_once("first", world)
    world.cache.file_written(file, 0, b"new", 0, WRITE)
    assert not world.frames.references(frame)


def test_only_so_many_files_are_kept_and_none_after_the_end() -> None:
    world = World(policy=replace(LINUX_CACHE, idle_files=2))
    files = [mapped_once("first", world)[0] for _ in range(3)]
    assert [world.cache.is_cached(file, 0) for file in files] == [False, True, True]
    world.cache.close()
    world.space.destroy()
    assert world.hardware.memory.frames_in_use == 0


# Truncation and holes ----------------------------------------------------------------------------------------------


def cut(world: World, file: MemoryFile, size: int) -> None:
    """What ftruncate(2) does."""
    world.cache.file_growing(file, 0)
    del file.content[size:]
    file.content += bytes(size - len(file.content))
    world.cache.file_truncated(file, size, 0)


def test_past_the_new_end_is_sigbus_also_for_private_copies_and_works_again_when_the_file_grows() -> None:
    world = World()
    file = numbered(3)
    private = world.space.mmap(0, 3 * PAGE, R | W, Map.PRIVATE, file)
    shared = world.space.mmap(0, 3 * PAGE, R | W, Map.SHARED, file)
    world.memory.write(private + 2 * PAGE, b"copy")
    world.memory.write(shared + 2 * PAGE, b"dirty")
    cut(world, file, PAGE)
    for base in (private, shared):
        with pytest.raises(GuestFault) as caught:
            world.touch(base + 2 * PAGE, "read")
        assert (caught.value.signal, caught.value.code) == (7, 2)
    cut(world, file, 3 * PAGE)
    assert [world.memory.read(base + 2 * PAGE, 5) for base in (private, shared)] == [bytes(5)] * 2
    world.space.munmap(shared, 3 * PAGE)
    assert file.content[2 * PAGE :] == bytes(PAGE)


def test_private_copies_before_the_new_end_stay() -> None:
    world = World()
    file = numbered(3)
    base = world.space.mmap(0, 3 * PAGE, R | W, Map.PRIVATE, file)
    world.memory.write(base + PAGE, b"copy")
    cut(world, file, PAGE + 1)
    assert world.memory.read(base + PAGE, 4) == b"copy"


def test_what_was_stored_past_the_end_does_not_become_part_of_the_file() -> None:
    world = World()
    file = MemoryFile(b"x" * (PAGE + 10))
    base = world.space.mmap(0, 2 * PAGE, R | W, Map.SHARED, file)
    world.memory.write(base + PAGE, b"0123456789past the end")
    cut(world, file, 2 * PAGE)
    assert world.memory.read(base + PAGE, 22) == b"0123456789" + bytes(12)
    msync(world.space, base, 2 * PAGE, Msync.SYNC)
    assert bytes(file.content[PAGE:]) == b"0123456789" + bytes(PAGE - 10)


def test_write_into_a_hole_reaches_who_maps_the_page_of_zeros() -> None:
    world = World(user=False, sync="osv")
    file = MemoryFile(bytes(PAGE) + b"x" * PAGE)
    base = world.space.mmap(0, 2 * PAGE, R, Map.PRIVATE, file)
    assert world.frames.is_zero(world.touch(base, "read"))
    file.content[:4] = b"data"
    world.cache.file_written(file, 0, b"data", 0, WRITE)
    assert world.memory.read(base, 4) == b"data"


def test_punching_a_hole_into_shared_memory_takes_its_pages_from_everybody() -> None:
    world = World()
    base = world.space.mmap(0, 2 * PAGE, R | W, Map.SHARED | Map.ANONYMOUS)
    again = mremap(world.space, base, 0, 2 * PAGE, Mremap.MAYMOVE, 0)
    for at in (base, base + PAGE):
        world.memory.write(at, b"data")
    world.touch(again, "read")
    madvise(world.space, base, PAGE, Madvise.REMOVE)
    assert [world.memory.read(at, 4) for at in (base, again, again + PAGE)] == [bytes(4), bytes(4), b"data"]


def test_two_spaces_share_the_pages_of_a_file() -> None:
    world = World()
    file = numbered(1)
    other = world.another_space()
    world.hardware.root = None  # two sets of tables
    one = world.space.mmap(0, PAGE, R | W, Map.SHARED, file)
    two = other.mmap(0, PAGE, R, Map.SHARED, file)  # type: ignore[attr-defined]
    world.memory.write(one, b"seen by both")
    assert UserMemory(other).read(two, 12) == b"seen by both"
    cut(world, file, 0)
    assert other.tables.lookup(two) == 0
    other.destroy()
    world.space.destroy()
    assert world.hardware.memory.frames_in_use == 0


# Errors ------------------------------------------------------------------------------------------------------------


def test_a_failed_msync_can_be_tried_again() -> None:
    world = World()
    file = numbered(1)
    base = world.space.mmap(0, PAGE, R | W, Map.SHARED, file)
    world.memory.write(base, b"once more")
    file.broken_writes = EIO
    with pytest.raises(LinuxError, match="EIO"):
        msync(world.space, base, PAGE, Msync.SYNC)
    file.broken_writes = 0
    msync(world.space, base, PAGE, Msync.SYNC)
    assert bytes(file.content[:9]) == b"once more" and world.cache.failures == []
