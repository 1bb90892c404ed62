# SPDX-License-Identifier: GPL-2.0-or-later
"""/proc/self/maps, in both formats."""

from __future__ import annotations

from fetchsan.kernel.mmu import linux_maps, procfs_maps
from fetchsan.kernel.mmu.mman import Map
from fetchsan.kernel.mmu.vma import MMAP_FIXED

from .recording import PAGE, MemoryFile, World

R, W, X = 1, 2, 4
BASE = 0x7000_0000_0000


def test_linux_format() -> None:
    world = World()
    file = MemoryFile(bytes(4 * PAGE))
    world.space.mmap(0x40_0000, PAGE, R | X, Map.PRIVATE | Map.FIXED, file, PAGE)
    world.space.start_brk(0x60_0000)
    world.space.brk(0x60_1000)
    world.space.mmap(BASE, PAGE, 0, Map.PRIVATE | Map.ANONYMOUS | Map.FIXED)
    world.space.mmap(BASE + PAGE, PAGE, R | W, Map.SHARED | Map.FIXED, file)
    assert linux_maps(world.space) == (
        "00400000-00401000 r-xp 00001000 fe:01 42                                 /usr/bin/program\n"
        "00600000-00601000 rw-p 00000000 00:00 0                                  [heap]\n"
        "700000000000-700000001000 ---p 00000000 00:00 0 \n"
        "700000001000-700000002000 rw-s 00000000 fe:01 42                         /usr/bin/program\n"
    )


def test_osv_format_shows_markers_and_no_labels() -> None:
    world = World(user=False, sync="osv")
    world.space.map_file(0x1000_0000_0000, PAGE, MMAP_FIXED, R | X, MemoryFile(bytes(PAGE)), 0)
    world.space.map_anon(0, PAGE, 0, R | W, name="[heap]")
    assert procfs_maps(world.space) == (
        "0-0 ---p 00000000 00:00 0\n"
        "100000000000-100000001000 r-xp 00000000 fe:01 42 /usr/bin/program\n"
        "200000000000-200000001000 rw-p 00000000 00:00 0\n"
        "800000000000-800000000000 ---p 00000000 00:00 0\n"
    )


def test_all_vmas_size() -> None:
    world = World(user=False, sync="osv")
    world.space.map_anon(0, 3 * PAGE, 0, R)
    assert world.space.all_vmas_size() == 3 * PAGE


def test_an_osv_object_split_by_relro_shows_as_two_lines() -> None:
    """The worked load of an object with 64 KiB segments: text, data, the read-only part of data."""
    world = World(user=False, sync="osv")
    file = MemoryFile(bytes(0x12000))
    base = 0x1000_0003_0000
    world.space.map_file(base, 0x3000, MMAP_FIXED, R | X, file, 0)
    world.space.map_file(base + 0x1F000, 0x2000, MMAP_FIXED, R | W, file, 0xF000)
    world.memory.write(base + 0x20080, bytes(0xF80))
    world.space.mprotect(base + 0x1F000, PAGE, R)
    assert [line.split()[:3] for line in procfs_maps(world.space).splitlines()[1:-1]] == [
        ["100000030000-100000033000", "r-xp", "00000000"],
        ["10000004f000-100000050000", "r--p", "0000f000"],
        ["100000050000-100000051000", "rw-p", "00010000"],
    ]
