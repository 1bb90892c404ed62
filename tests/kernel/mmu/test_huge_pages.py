# SPDX-License-Identifier: GPL-2.0-or-later
"""2 MiB pages on both ports: which faults make them, what splits them, that they come back whole."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from fetchsan.kernel.mmu.advice import madvise
from fetchsan.kernel.mmu.mman import Madvise, Map
from fetchsan.kernel.mmu.operate import operate_range
from fetchsan.kernel.mmu.operations import Populate
from fetchsan.kernel.mmu.ports import AARCH64, X64, Port
from fetchsan.kernel.mmu.vma import MMAP_FIXED, MMAP_POPULATE, MMAP_SMALL
from fetchsan.machine.hardware import Origin

from .recording import PAGE, World

R, W, X = 1, 2, 4
HUGE = 2 << 20
BASE = 0x2000_0000_0000


@pytest.fixture(params=[AARCH64, X64], ids=lambda port: port.name)
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    """OSv's kernel."""
    world = World(user=False, sync="osv", size=32 << 20, port=request.param)
    before = world.hardware.memory.frames_in_use
    yield world
    for vma in list(world.space.vmas.mapped()):
        world.space.munmap(vma.start, vma.size)
    assert world.hardware.memory.frames_in_use == before, "everything comes back"


def sizes(world: World, start: int, end: int) -> list[int]:
    """The size of the leaf at each step through [start, end); 0 for a page that is not there."""
    found = []
    while start < end:
        translation = world.walk(start)
        found.append(0 if translation is None else translation.size)
        start += PAGE if translation is None else translation.size
    return found


def test_a_fault_in_a_whole_window_gives_a_huge_page(world: World) -> None:
    world.space.map_anon(BASE, 2 * HUGE, MMAP_FIXED, R | W)
    world.touch(BASE + HUGE + 5 * PAGE)
    assert sizes(world, BASE + HUGE, BASE + 2 * HUGE) == [HUGE]
    assert world.walk(BASE) is None
    assert world.space.resident_size() == HUGE


def test_a_fault_beside_the_windows_gives_a_small_page(world: World) -> None:
    world.space.map_anon(BASE + PAGE, 2 * HUGE, MMAP_FIXED, R | W)
    for virtual in (BASE + PAGE, BASE + 2 * HUGE):
        world.touch(virtual)
        assert sizes(world, virtual, virtual + PAGE) == [PAGE]
    assert world.space.resident_size() == 2 * PAGE


def test_the_flag_small_forbids_huge_pages(world: World) -> None:
    world.space.map_anon(BASE, HUGE, MMAP_FIXED | MMAP_SMALL | MMAP_POPULATE, R | W)
    assert sizes(world, BASE, BASE + HUGE) == [PAGE] * 512


def test_populating_takes_huge_pages_where_they_fit(world: World) -> None:
    world.space.map_anon(BASE + HUGE - PAGE, 2 * HUGE, MMAP_FIXED | MMAP_POPULATE, R | W)
    assert sizes(world, BASE + HUGE - PAGE, BASE + 3 * HUGE - PAGE) == [PAGE, HUGE] + [PAGE] * 511


def test_small_pages_where_no_block_is_free() -> None:
    world = World(user=False, sync="osv", size=5 << 20)
    world.space.map_anon(BASE, 2 * HUGE, MMAP_FIXED, R | W)
    world.touch(BASE)
    assert sizes(world, BASE, BASE + HUGE) == [HUGE]
    world.touch(BASE + HUGE)
    assert sizes(world, BASE + HUGE, BASE + 2 * HUGE) == [PAGE] * 512


def test_protecting_one_page_splits_and_affects_only_it(world: World) -> None:
    world.space.map_anon(BASE, HUGE, MMAP_FIXED, R | W)
    first = world.touch(BASE)
    world.memory.write(BASE + 7 * PAGE, b"kept")
    world.space.mprotect(BASE + 7 * PAGE, PAGE, R)
    assert sizes(world, BASE, BASE + HUGE) == [PAGE] * 512
    writable = [world.walk(BASE + index * PAGE).writable for index in range(512)]  # type: ignore[union-attr]
    assert writable == [index != 7 for index in range(512)]
    assert [world.walk(BASE + index * PAGE).physical for index in range(512)] == list(range(first, first + HUGE, PAGE))  # type: ignore[union-attr]
    assert world.memory.read(BASE + 7 * PAGE, 4) == b"kept"


def test_protecting_all_of_it_does_not_split(world: World) -> None:
    world.space.map_anon(BASE, HUGE, MMAP_FIXED, R | W)
    world.touch(BASE)
    world.space.mprotect(BASE, HUGE, R)
    assert sizes(world, BASE, BASE + HUGE) == [HUGE]
    world.space.mprotect(BASE, HUGE, 0)
    assert world.walk(BASE) is None
    world.space.mprotect(BASE, HUGE, R | W | X)
    translation = world.walk(BASE)
    assert translation is not None and translation.size == HUGE and translation.writable and translation.executable


def test_unmapping_a_part_keeps_the_rest(world: World) -> None:
    world.space.map_anon(BASE, HUGE, MMAP_FIXED, R | W)
    world.touch(BASE)
    world.memory.write(BASE + 9 * PAGE, b"kept")
    free = world.hardware.memory.frames_in_use
    world.space.munmap(BASE, 9 * PAGE)
    assert world.walk(BASE + 8 * PAGE) is None
    assert world.memory.read(BASE + 9 * PAGE, 4) == b"kept"
    assert world.hardware.memory.frames_in_use == free - 9 + 1  # and a table to hold the pieces


def test_no_table_is_left_under_a_huge_page_that_goes(world: World) -> None:
    before = world.hardware.memory.frames_in_use
    world.space.map_anon(BASE, HUGE, MMAP_FIXED, R | W)
    world.touch(BASE)
    assert world.hardware.memory.frames_in_use == before + 512 + 2
    world.space.munmap(BASE, HUGE)
    assert world.hardware.memory.frames_in_use == before


def test_a_used_block_is_zeros_again(world: World) -> None:
    world.space.map_anon(BASE, HUGE, MMAP_FIXED, R | W)
    first = world.touch(BASE)
    world.memory.write(BASE + 100 * PAGE, b"secret")
    world.space.munmap(BASE, HUGE)
    world.space.map_anon(BASE, HUGE, MMAP_FIXED, R | W)
    assert world.touch(BASE) == first
    assert world.memory.read(BASE + 100 * PAGE, 6) == bytes(6)


def test_pieces_come_together_again(world: World) -> None:
    memory = world.hardware.memory
    for _ in range(40):  # 80 MiB of 32
        world.space.map_anon(BASE, HUGE, MMAP_FIXED, R | W)
        world.touch(BASE)
        world.space.munmap(BASE, PAGE)
        world.space.munmap(BASE + PAGE, HUGE - PAGE)
        world.space.map_anon(BASE, HUGE, MMAP_FIXED, R | W)
        world.touch(BASE)
        assert sizes(world, BASE, BASE + HUGE) == [HUGE]
        world.space.munmap(BASE, HUGE)
    assert memory.untouched_from < memory.base + 5 * HUGE


def test_a_huge_page_is_announced_frame_by_frame_when_executable(world: World) -> None:
    world.space.map_anon(BASE, HUGE, MMAP_FIXED, R | W | X)
    world.touch(BASE, "execute")  # the recording machine compares what it is told with the tables
    assert world.hardware.named("pte_changed") == [("pte_changed", BASE, HUGE)]
    synchronised = [call[3] - call[2] + call[4] for call in world.hardware.named("synchronise")]  # type: ignore[operator]
    assert len(synchronised) == (1 if world.space.port is AARCH64 else 0)


def test_an_address_inside_is_found(world: World) -> None:
    world.space.map_anon(BASE, HUGE, MMAP_FIXED, R | W)
    first = world.touch(BASE)
    assert world.space.virt_to_phys(BASE + 0x12345) == first + 0x12345
    assert world.space.virt_to_phys(BASE + HUGE) is None


def test_populating_a_part_of_a_huge_page_leaves_it(world: World) -> None:
    world.space.map_anon(BASE, HUGE, MMAP_FIXED, R | W)
    world.touch(BASE)
    vma = world.space.vmas.find(BASE)
    assert operate_range(Populate(world.space, vma, True), BASE + PAGE, PAGE) == 0
    assert sizes(world, BASE, BASE + HUGE) == [HUGE]


def test_a_split_changes_no_bit_of_the_attributes(world: World) -> None:
    world.space.map_anon(BASE, HUGE, MMAP_FIXED, R | W)
    world.touch(BASE)
    tables = world.space.tables
    entries = tables.format
    whole = tables.lookup(BASE + 3 * PAGE)
    world.space.allow_huge_pages(BASE, BASE + HUGE, allow=False)
    assert sizes(world, BASE, BASE + HUGE) == [PAGE] * 512
    assert tables.lookup(BASE + 3 * PAGE) == whole
    assert not entries.is_large(whole)


def test_the_bits_of_a_block_and_of_a_page() -> None:
    small = AARCH64.page_table.make_leaf(0x4000_0000, R | W | X, user=False, cow=False, dirty=True)
    assert small == 0x0080_0000_4000_0713
    assert AARCH64.page_table.make_large(small) == 0x0080_0000_4000_0711
    small = X64.page_table.make_leaf(0x4000_0000, R | W | X, user=False, cow=False, dirty=True)
    assert small == 0x4000_0067
    assert X64.page_table.make_large(small) == 0x4000_00E7


@pytest.mark.parametrize("port", [AARCH64, X64], ids=lambda port: port.name)
def test_linux_makes_huge_pages_only_on_advice(port: Port) -> None:
    world = World(size=32 << 20, port=port)
    fixed = Map.PRIVATE | Map.ANONYMOUS | Map.FIXED
    world.space.mmap(BASE, 2 * HUGE, R | W, fixed)
    world.touch(BASE)
    assert sizes(world, BASE, BASE + PAGE) == [PAGE]
    madvise(world.space, BASE, 2 * HUGE, Madvise.HUGEPAGE)
    world.touch(BASE + PAGE)
    assert sizes(world, BASE, BASE + 2 * PAGE) == [PAGE, PAGE], "a page is there already"
    world.touch(BASE + HUGE)
    assert sizes(world, BASE + HUGE, BASE + 2 * HUGE) == [HUGE]
    world.memory.write(BASE + HUGE + 77, b"kept")
    madvise(world.space, BASE + HUGE, HUGE, Madvise.NOHUGEPAGE)
    assert sizes(world, BASE + HUGE, BASE + 2 * HUGE) == [PAGE] * 512
    assert world.memory.read(BASE + HUGE + 77, 4) == b"kept"
    world.space.munmap(BASE, 2 * HUGE)


def test_the_tlb_is_flushed_before_frames_are_free(world: World) -> None:
    calls = world.hardware.calls
    world.space.map_anon(BASE, 64 * PAGE, MMAP_FIXED | MMAP_SMALL | MMAP_POPULATE, R | W)
    del calls[:]
    world.space.munmap(BASE, 64 * PAGE)
    steps = [name for name, *_ in calls if name in ("flush_tlb_all", "frame_freed")]
    assert steps.count("frame_freed") == 64 + 3
    batches = "".join("F" if name == "flush_tlb_all" else "." for name in steps[: -steps[::-1].index("flush_tlb_all") or None])
    assert all(len(batch) <= 20 for batch in batches.split("F")), "tlb_gather holds twenty pages at most"
    assert batches.startswith("F")


def test_host_stores_reach_the_pieces(world: World) -> None:
    world.space.map_anon(BASE, HUGE, MMAP_FIXED, R | W)
    first = world.touch(BASE)
    world.hardware.store(0, first + 5 * PAGE, b"dma", Origin(None, "device"))
    assert world.memory.read(BASE + 5 * PAGE, 3) == b"dma"
