# SPDX-License-Identifier: GPL-2.0-or-later
"""When the kernel synchronises by itself: OSv issue #1100 and its fix, and Linux's clean flag."""

from __future__ import annotations

from fetchsan.kernel.mmu.ports import AARCH64, X64
from fetchsan.kernel.mmu.vma import MMAP_POPULATE, MMAP_SHARED
from fetchsan.machine.hardware import Origin

from .recording import PAGE, MemoryFile, RecordingHardware, World

R, W, X = 1, 2, 4
SYNCS = ("synchronise", "kernel_synchronise")


def order(world: World) -> list[object]:
    return [call[0] for call in world.hardware.named("pte_changed", *SYNCS)]


def test_osv_synchronises_after_the_pte_is_visible() -> None:
    world = World(user=False, sync="osv")
    base = world.space.map_file(0, PAGE, 0, R | X, MemoryFile(bytes(PAGE)), 0)
    physical = world.touch(base, "execute")
    assert order(world) == ["pte_changed", "synchronise"]
    assert world.hardware.named("synchronise") == [("synchronise", physical, base, PAGE, True)]


def test_linux_synchronises_before_the_pte_is_written() -> None:
    world = World(sync="linux")
    base = world.space.map_file(0, PAGE, 0, R | X, MemoryFile(bytes(PAGE)), 0)
    world.touch(base, "execute")
    assert order(world) == ["kernel_synchronise", "pte_changed"]


def test_before_the_patch_nothing_is_synchronised() -> None:
    world = World(user=False, sync="none")
    base = world.space.map_file(0, PAGE, 0, R | X, MemoryFile(bytes(PAGE)), 0)
    world.touch(base, "execute")
    assert order(world) == ["pte_changed"]


def test_pages_that_are_not_executable_are_left_alone() -> None:
    for sync in ("osv", "linux"):
        world = World(sync=sync)
        world.touch(world.space.map_anon(0, PAGE, 0, R | W))
        assert not world.hardware.named(*SYNCS)


def test_osv_synchronises_executable_memory_reached_by_a_data_access() -> None:
    world = World(user=False, sync="osv")
    world.touch(world.space.map_anon(0, PAGE, 0, R | W | X), "write")
    assert len(world.hardware.named("synchronise")) == 1


def test_osv_does_not_synchronise_in_mprotect() -> None:
    world = World(user=False, sync="osv")
    base = world.space.map_anon(0, PAGE, 0, R | W)
    world.touch(base)
    world.space.mprotect(base, PAGE, R | X)
    assert not world.hardware.named(*SYNCS)


def test_linux_synchronises_in_mprotect() -> None:
    world = World(sync="linux")
    base = world.space.map_anon(0, PAGE, 0, R | W)
    physical = world.touch(base)
    world.space.mprotect(base, PAGE, R | X)
    assert world.hardware.named(*SYNCS) == [("kernel_synchronise", physical)]


def test_linux_synchronises_a_frame_once() -> None:
    world = World(sync="linux")
    base = world.space.map_anon(0, PAGE, 0, R | W)
    world.touch(base)
    for prot in (R | X, R | W, R | X):
        world.space.mprotect(base, PAGE, prot)
    assert len(world.hardware.named("kernel_synchronise")) == 1


def test_a_frame_that_is_used_again_is_synchronised_again() -> None:
    world = World(sync="linux")
    for _ in range(2):
        base = world.space.map_anon(0, PAGE, 0, R | W | X)
        world.touch(base)
        world.space.munmap(base, PAGE)
    assert len(world.hardware.named("kernel_synchronise")) == 2


def test_write_to_a_cached_file_page_clears_its_clean_flag() -> None:
    world = World(sync="linux")
    file = MemoryFile(bytes(PAGE))
    base = world.space.map_file(0, PAGE, MMAP_SHARED, R | X, file, 0)
    physical = world.touch(base, "execute")
    world.cache.file_written(file, 8, b"new", 0, Origin(0x1000, "write(2)"))
    assert physical not in world.frames.clean
    assert ("store", physical + 8, 3, "write(2)") in world.hardware.calls


def test_read_into_executable_memory_is_not_synchronised_again() -> None:
    world = World(sync="linux")
    base = world.space.map_anon(0, PAGE, 0, R | W | X)
    world.memory.write(base, b"first", "read(2)")
    world.memory.write(base, b"later", "read(2)")
    assert len(world.hardware.named("kernel_synchronise")) == 1


def test_copy_on_write_gives_a_frame_that_is_not_clean() -> None:
    world = World(sync="linux")
    base = world.space.map_file(0, PAGE, 0, R | W | X, MemoryFile(bytes(PAGE)), 0)
    first = world.touch(base, "execute")
    second = world.touch(base, "write")
    assert [call[1] for call in world.hardware.named("kernel_synchronise")] == [first, second]


def test_an_eager_map_is_synchronised_in_contiguous_runs() -> None:
    world = World(user=False, sync="osv")
    base = world.space.map_anon(0x2000_0000_0000, PAGE, 0, R)  # makes the tables
    world.touch(base, "read")
    start = world.space.map_anon(base + PAGE, 8 * PAGE, MMAP_POPULATE, R | W | X)
    runs = world.hardware.named("synchronise")
    assert sum(run[3] for run in runs) == 8 * PAGE  # type: ignore[misc]
    assert len(runs) == 1 and runs[0][2] == start


def test_x64_does_nothing_where_aarch64_synchronises() -> None:
    counts = []
    for port in (AARCH64, X64):
        hardware = RecordingHardware()
        port.vma_invalidate_cache(hardware, 0, True, [(hardware.memory.base, 0x1000, PAGE)])
        counts.append(len(hardware.calls))
    assert counts == [1, 0]
