# SPDX-License-Identifier: GPL-2.0-or-later
"""mmap, munmap, mprotect, brk: Linux's semantics, and OSv's where they differ."""

from __future__ import annotations

import time

import pytest

from fetchsan.kernel.errors import LinuxError
from fetchsan.kernel.mmu.mman import Map
from fetchsan.kernel.mmu.vma import MMAP_SHARED, MMAP_STACK

from .recording import PAGE, MemoryFile, World, leaves, tables

R, W, X = 1, 2, 4
ANON = Map.PRIVATE | Map.ANONYMOUS
FIXED = ANON | Map.FIXED
EPERM, EIO, EEXIST, EINVAL, ENOMEM, EACCES, EOVERFLOW = 1, 5, 17, 22, 12, 13, 75
BASE = 0x7000_0000_0000


def fails(errno: int, call: object, *args: object, **kwargs: object) -> None:
    with pytest.raises(LinuxError) as caught:
        call(*args, **kwargs)  # type: ignore[operator]
    assert caught.value.errno == errno


@pytest.mark.parametrize(
    ("address", "length", "flags", "offset", "errno"),
    [
        (0, 0, ANON, 0, EINVAL),
        (0, PAGE, Map.ANONYMOUS, 0, EINVAL),
        (0, PAGE, ANON, 1, EINVAL),
        (1, PAGE, FIXED, 0, EINVAL),
        (0, (1 << 64) - 1, ANON, 0, ENOMEM),
        (0, 1 << 48, ANON, 0, ENOMEM),
        (0, PAGE, FIXED, 0, EPERM),
        ((1 << 48) - PAGE, 2 * PAGE, FIXED, 0, ENOMEM),
        ((1 << 64) - PAGE, PAGE, FIXED, 0, ENOMEM),
        ((1 << 63), PAGE, FIXED, 0, ENOMEM),
        (0, 2 * PAGE, ANON, (1 << 63) - PAGE, EOVERFLOW),
        (0, PAGE, ANON | Map.HUGETLB, 0, ENOMEM),
        (0, 1 << 40, ANON | Map.POPULATE, 0, ENOMEM),
    ],
)
def test_mmap_refuses(address: int, length: int, flags: int, offset: int, errno: int) -> None:
    fails(errno, World().space.mmap, address, length, R | W, flags, offset=offset)


def test_a_wild_hint_is_only_a_hint() -> None:
    space = World().space
    for hint in (1, 1 << 48, (1 << 64) - 1, 1 << 63, 0xFFF, BASE + 5):
        address = space.mmap(hint, PAGE, R, ANON)
        assert address % PAGE == 0 and address + PAGE <= 1 << 48


def test_a_free_hint_is_taken() -> None:
    assert World().space.mmap(BASE, PAGE, R, ANON) == BASE


def test_mappings_go_down_from_the_base() -> None:
    space = World().space
    first = space.mmap(0, PAGE, R, ANON)
    second = space.mmap(0, 3 * PAGE, R | W, ANON)
    assert first + PAGE == space.layout.mmap_base and second + 3 * PAGE == first


def test_a_freed_hole_is_used_again() -> None:
    space = World().space
    first = space.mmap(0, PAGE, R, ANON)
    space.mmap(0, PAGE, W, ANON)
    space.mmap(0, 5 * PAGE, X, ANON)
    space.munmap(first, PAGE)
    assert space.mmap(0, PAGE, R, ANON) == first


def test_layout_depends_on_the_seed_alone() -> None:
    from fetchsan.kernel.mmu.layout import linux_layout

    assert linux_layout(7) == linux_layout(7) != linux_layout(8)


def test_fixed_replaces_what_is_there() -> None:
    world = World()
    world.space.mmap(BASE, 3 * PAGE, R | W, FIXED)
    world.memory.write(BASE, b"x" * 3 * PAGE)
    world.space.mmap(BASE + PAGE, PAGE, R, FIXED)
    assert world.maps() == [
        (BASE, BASE + PAGE, R | W),
        (BASE + PAGE, BASE + 2 * PAGE, R),
        (BASE + 2 * PAGE, BASE + 3 * PAGE, R | W),
    ]
    assert world.memory.read(BASE + PAGE, 1) == b"\0" and world.memory.read(BASE, 1) == b"x"


def test_fixed_noreplace_does_not() -> None:
    space = World().space
    space.mmap(BASE, PAGE, R, FIXED)
    fails(EEXIST, space.mmap, BASE, PAGE, R, ANON | Map.FIXED_NOREPLACE)
    assert space.mmap(BASE + PAGE, PAGE, R, ANON | Map.FIXED_NOREPLACE) == BASE + PAGE


def test_linux_joins_equal_neighbours() -> None:
    world = World()
    for index in (0, 2, 1):
        world.space.mmap(BASE + index * PAGE, PAGE, R | W, FIXED)
    assert world.maps() == [(BASE, BASE + 3 * PAGE, R | W)]


def test_osv_does_not() -> None:
    world = World(user=False, sync="osv")
    for index in (0, 1):
        world.space.mmap(BASE + index * PAGE, PAGE, R | W, FIXED)
    assert len(world.maps()) == 2


def test_a_split_file_mapping_joins_again_at_the_right_offset() -> None:
    world = World()
    file = MemoryFile(bytes(range(3)) * PAGE)
    world.space.mmap(BASE, 3 * PAGE, R, Map.PRIVATE | Map.FIXED, file)
    before = world.memory.read(BASE, 3 * PAGE)
    world.space.mprotect(BASE + PAGE, PAGE, R | W)
    world.space.mprotect(BASE + PAGE, PAGE, R)
    assert len(world.maps()) == 1
    assert world.memory.read(BASE, 3 * PAGE) == before


def test_munmap_of_a_hole_is_fine_on_linux_and_einval_on_osv() -> None:
    for user in (True, False):
        world = World(user=user)
        world.space.mmap(BASE, PAGE, R, FIXED)
        world.space.mmap(BASE + 2 * PAGE, PAGE, R, FIXED)
        if user:
            world.space.munmap(BASE, 3 * PAGE)
            assert world.maps() == []
        else:
            fails(EINVAL, world.space.munmap, BASE, 3 * PAGE)


@pytest.mark.parametrize(
    ("address", "length"),
    [(BASE, 0), (BASE + 1, PAGE), (1 << 48, PAGE), (BASE, 1 << 48), (BASE, (1 << 64) - 1), ((1 << 64) - PAGE, PAGE)],
)
def test_munmap_refuses(address: int, length: int) -> None:
    fails(EINVAL, World().space.munmap, address, length)


def test_munmap_gives_frames_and_tables_back() -> None:
    world = World()
    before = world.hardware.memory.frames_in_use
    world.space.mmap(BASE, 40 * PAGE, R | W, FIXED)
    world.memory.write(BASE, b"x" * 40 * PAGE)
    world.space.munmap(BASE, 40 * PAGE)
    assert world.hardware.memory.frames_in_use == before
    assert list(leaves(world.hardware.memory, world.space.root)) == []
    assert len(tables(world.hardware.memory, world.space.root)) == 1


def test_munmap_flushes_only_if_a_page_was_there() -> None:
    world = World()
    world.space.mmap(BASE, 2 * PAGE, R | W, FIXED)
    world.space.munmap(BASE, PAGE)
    assert not world.hardware.named("flush_tlb_linux")
    world.touch(BASE + PAGE)
    world.space.munmap(BASE + PAGE, PAGE)
    assert len(world.hardware.named("flush_tlb_linux")) == 1


def test_a_frame_is_freed_after_the_flush() -> None:
    world = World()
    world.space.mmap(BASE, PAGE, R | W, FIXED)
    frame = world.touch(BASE)
    world.space.munmap(BASE, PAGE)
    names = [call[0] for call in world.hardware.calls if call[0] == "flush_tlb_linux" or call == ("frame_freed", frame)]
    assert names == ["flush_tlb_linux", "frame_freed"]


def test_mprotect_reduction_flushes_and_growth_does_not() -> None:
    for user, flush in ((True, "flush_tlb_linux"), (False, "flush_tlb_all")):
        world = World(user=user)
        world.space.mmap(BASE, PAGE, R | W, FIXED)
        world.touch(BASE)
        world.space.mprotect(BASE, PAGE, R)
        assert len(world.hardware.named(flush)) == 1
        world.space.mprotect(BASE, PAGE, R | W)
        assert len(world.hardware.named(flush)) == 1


def test_prot_none_keeps_the_data_and_traps_reads() -> None:
    for user in (True, False):
        world = World(user=user)
        world.space.mmap(BASE, PAGE, R | W, FIXED)
        world.memory.write(BASE, b"kept")
        world.space.mprotect(BASE, PAGE, 0)
        assert world.walk(BASE) is None
        world.space.mprotect(BASE, PAGE, R)
        assert world.memory.read(BASE, 4) == b"kept"


def test_mprotect_of_one_page_splits() -> None:
    world = World()
    world.space.mmap(BASE, 3 * PAGE, R | W, FIXED)
    world.space.mprotect(BASE + PAGE, PAGE, R | X)
    assert [perm for _, _, perm in world.maps()] == [R | W, R | X, R | W]


def test_mprotect_changes_what_comes_before_a_hole() -> None:
    world = World()
    world.space.mmap(BASE, PAGE, R | W, FIXED)
    world.space.mmap(BASE + 2 * PAGE, PAGE, R | W, FIXED)
    fails(ENOMEM, world.space.mprotect, BASE, 3 * PAGE, R)
    assert [perm for _, _, perm in world.maps()] == [R, R | W]


def test_osv_mprotect_changes_nothing_over_a_hole() -> None:
    world = World(user=False)
    world.space.mmap(BASE, PAGE, R | W, FIXED)
    fails(ENOMEM, world.space.mprotect, BASE, 2 * PAGE, R)
    assert [perm for _, _, perm in world.maps()] == [R | W]


@pytest.mark.parametrize(
    ("address", "length", "prot", "errno"),
    [
        (BASE + 1, PAGE, R, EINVAL),
        (BASE, PAGE, 0x40, EINVAL),
        (BASE, (1 << 64) - PAGE, R, ENOMEM),
        (BASE, PAGE, R | 0x0300_0000, EINVAL),
        (BASE, PAGE, R | 0x0100_0000, EINVAL),
        (1 << 60, PAGE, R, ENOMEM),
    ],
)
def test_mprotect_refuses(address: int, length: int, prot: int, errno: int) -> None:
    space = World().space
    space.mmap(BASE, PAGE, R, FIXED)
    fails(errno, space.mprotect, address, length, prot)


def test_growsdown_reaches_the_start_of_the_stack() -> None:
    world = World()
    world.space.map_anon(BASE, 4 * PAGE, MMAP_STACK, R | W, name="[stack]")
    world.space.mprotect(BASE + 3 * PAGE, PAGE, R | W | X | 0x0100_0000)
    assert world.maps() == [(BASE, BASE + 4 * PAGE, R | W | X)]


def test_a_shared_file_open_for_reading_never_becomes_writable() -> None:
    space = World().space
    file = MemoryFile(bytes(PAGE))
    fails(EACCES, space.mmap, 0, PAGE, R | W, Map.SHARED, file, may_write=False)
    address = space.mmap(0, PAGE, R, Map.SHARED, file, may_write=False)
    fails(EACCES, space.mprotect, address, PAGE, R | W)
    private = space.mmap(0, PAGE, R, Map.PRIVATE, file, may_write=False)
    space.mprotect(private, PAGE, R | W)


def test_a_reservation_of_a_tebibyte_is_instant_and_costs_nothing() -> None:
    world = World()
    before = world.hardware.memory.frames_in_use
    start = time.perf_counter()
    base = world.space.mmap(0, 1 << 40, 0, ANON | Map.NORESERVE)
    world.space.mprotect(base + (1 << 39), PAGE, R | W)
    world.touch(base + (1 << 39))
    world.space.mprotect(base, 1 << 40, R)
    world.space.munmap(base, 1 << 40)
    assert time.perf_counter() - start < 0.5
    assert world.hardware.memory.frames_in_use == before


def test_shared_anonymous_memory_survives_dontneed() -> None:
    from fetchsan.kernel.mmu.advice import madvise

    world = World()
    base = world.space.mmap(0, PAGE, R | W, Map.SHARED | Map.ANONYMOUS)
    world.memory.write(base, b"shared")
    madvise(world.space, base, PAGE, 4)
    assert world.memory.read(base, 6) == b"shared"


def test_stores_to_a_shared_file_are_in_the_file_after_munmap() -> None:
    world = World()
    file = MemoryFile(bytes(PAGE + 5))
    base = world.space.mmap(0, 2 * PAGE, R | W, Map.SHARED, file)
    world.memory.write(base + PAGE, b"0123456789")
    world.space.munmap(base, 2 * PAGE)
    assert bytes(file.content[PAGE:]) == b"01234"


def test_a_write_back_that_fails_at_munmap_is_told() -> None:
    world = World()
    file = MemoryFile(bytes(2 * PAGE))
    base = world.space.mmap(0, 2 * PAGE, R | W, Map.SHARED, file)
    world.memory.write(base + PAGE, b"lost")
    file.broken = True
    world.space.munmap(base, 2 * PAGE)
    assert [(f.offset, f.errno) for f in world.cache.failures] == [(PAGE, EIO)]


def test_brk_grows_shrinks_and_reports() -> None:
    world = World()
    space = world.space
    space.start_brk(BASE)
    assert space.brk(0) == BASE
    assert space.brk(BASE + 100) == BASE + 100
    world.memory.write(BASE, b"heap")
    assert space.brk(BASE + 3 * PAGE) == BASE + 3 * PAGE
    assert world.maps() == [(BASE, BASE + 3 * PAGE, R | W)]
    assert space.brk(BASE) == BASE and world.maps() == []


def test_brk_stops_before_another_mapping_and_past_the_end() -> None:
    space = World().space
    space.start_brk(BASE)
    space.mmap(BASE + 4 * PAGE, PAGE, R, FIXED)
    for wanted in (BASE + 4 * PAGE, (1 << 64) - 1, 1 << 48):
        assert space.brk(wanted) == BASE
    assert space.brk(BASE + 3 * PAGE) == BASE + 3 * PAGE


def test_the_number_of_mappings_has_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fetchsan.kernel.mmu.vma_list.MAX_MAP_COUNT", 3)
    monkeypatch.setattr("fetchsan.kernel.mmu.address_space.MAX_MAP_COUNT", 3)
    space = World().space
    space.mmap(BASE, 9 * PAGE, R, FIXED)
    space.mprotect(BASE + PAGE, PAGE, W)
    fails(ENOMEM, space.mprotect, BASE + 4 * PAGE, PAGE, W)


def test_destroy_returns_every_frame() -> None:
    world = World()
    file = MemoryFile(bytes(9 * PAGE))
    world.space.mmap(BASE, 9 * PAGE, R | W, FIXED)
    world.memory.read(BASE, PAGE)
    private = world.space.mmap(0, 9 * PAGE, R | W, Map.PRIVATE, file)
    shared = world.space.map_file(0, 9 * PAGE, MMAP_SHARED, R | W, file, 0)
    for base in (private, shared):
        world.memory.write(base + PAGE, b"x" * 2 * PAGE)
    world.space.destroy()
    assert world.hardware.memory.frames_in_use == 0
    assert world.hardware.translations == {}
