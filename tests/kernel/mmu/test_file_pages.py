# SPDX-License-Identifier: GPL-2.0-or-later
"""Where file pages come from, case by case as in OSv's page cache, and the PTE that each case leaves, on both ports."""

from __future__ import annotations

from dataclasses import dataclass
from errno import EIO

import pytest

from fetchsan.kernel.errors import LinuxError
from fetchsan.kernel.mmu.file_pages import ReadFilePages
from fetchsan.kernel.mmu.mman import Map
from fetchsan.kernel.mmu.ports import AARCH64, X64, Port

from .recording import PAGE, MemoryFile, World

R, W, X = 1, 2, 4
TEXT = b"text" * (PAGE // 4)


@dataclass
class Case:
    """An OSv address space with a file of three pages, the second of them a hole."""

    world: World
    file: MemoryFile

    def map(self, kind: int, perm: int = R | W) -> int:
        address: int = self.world.space.mmap(0, 3 * PAGE, perm, kind, self.file)
        return address

    def touch(self, virtual: int, access: str = "read") -> int:
        self.world.space.fault(0, virtual, access)
        return self.frame(virtual)

    def frame(self, virtual: int) -> int:
        tables = self.world.space.tables
        physical: int = tables.lookup(virtual) & tables.format.address_mask
        return physical

    def bits(self, virtual: int) -> tuple[bool, bool, bool]:
        """(writable, copy-on-write, dirty) of the leaf."""
        tables = self.world.space.tables
        entry = tables.lookup(virtual)
        return tables.format.is_writable(entry), bool(entry & tables.format.cow_mask), bool(entry & tables.format.dirty_mask)


@pytest.fixture(params=[AARCH64, X64], ids=lambda port: port.name)
def osv(request: pytest.FixtureRequest) -> Case:
    port: Port = request.param
    return Case(World(user=False, sync="osv", port=port), MemoryFile(TEXT + bytes(PAGE) + TEXT))


@pytest.fixture(params=[AARCH64, X64], ids=lambda port: port.name)
def linux(request: pytest.FixtureRequest) -> Case:
    return Case(World(port=request.param), MemoryFile(TEXT + bytes(PAGE) + TEXT))


def test_write_to_a_shared_page_not_in_the_write_cache_gets_a_frame_there_and_all_others_fault_again(osv: Case) -> None:
    reader = osv.map(Map.PRIVATE, R | X)
    writer = osv.map(Map.SHARED)
    read = osv.touch(reader)
    assert osv.touch(writer, "read") == read
    written = osv.touch(writer, "write")
    assert written != read
    assert osv.frame(reader) == 0
    assert osv.bits(writer) == (True, False, True)
    assert osv.touch(reader) == written
    assert osv.world.memory.read(writer, 4) == b"text"


def test_write_to_a_private_page_not_in_the_write_cache_is_a_copy_and_the_cached_page_stays(osv: Case) -> None:
    one, two = osv.map(Map.PRIVATE), osv.map(Map.PRIVATE)
    cached = osv.touch(one)
    osv.touch(two)
    copy = osv.touch(one, "write")
    assert copy != cached and osv.frame(two) == cached
    assert osv.bits(one) == (True, False, True)
    assert osv.world.hardware.named("store")[-1] == ("store", copy, PAGE, "copy-on-write")


def test_write_to_a_private_page_in_the_write_cache_copies_what_was_stored(osv: Case) -> None:
    shared, private = osv.map(Map.SHARED), osv.map(Map.PRIVATE)
    osv.world.memory.write(shared, b"NEWS")
    assert osv.touch(private, "write") != osv.frame(shared)
    assert osv.world.memory.read(private, 4) == b"NEWS"


def test_write_to_a_shared_page_in_the_write_cache_maps_it(osv: Case) -> None:
    one, two = osv.map(Map.SHARED), osv.map(Map.SHARED)
    assert osv.touch(one, "write") == osv.touch(two, "write")
    assert osv.bits(one) == osv.bits(two) == (True, False, True)


def test_read_of_a_page_in_the_write_cache_is_copy_on_write_only_if_private(osv: Case) -> None:
    writer, shared, private = osv.map(Map.SHARED), osv.map(Map.SHARED), osv.map(Map.PRIVATE)
    written = osv.touch(writer, "write")
    assert osv.touch(shared) == osv.touch(private) == written
    # Clean, hence not writable: OSv's page would be writable, and a later store to it missed by msync.
    assert osv.bits(shared) == (False, False, False)
    assert osv.bits(private) == (False, True, True)


def test_read_of_a_page_in_the_read_cache_is_copy_on_write_even_if_shared(osv: Case) -> None:
    shared, private = osv.map(Map.SHARED), osv.map(Map.PRIVATE)
    assert osv.touch(shared) == osv.touch(private)
    assert osv.bits(shared) == (False, True, False)
    assert osv.bits(private) == (False, True, True)


def test_read_of_a_hole_is_the_page_of_zeros(osv: Case) -> None:
    shared, private = osv.map(Map.SHARED), osv.map(Map.PRIVATE)
    assert osv.touch(shared + PAGE) == osv.touch(private + PAGE)
    assert osv.world.frames.is_zero(osv.frame(shared + PAGE))
    assert osv.bits(shared + PAGE)[:2] == (False, True)


def test_write_to_a_shared_hole_allocates_and_everybody_sees_it(osv: Case) -> None:
    shared, private = osv.map(Map.SHARED), osv.map(Map.PRIVATE)
    osv.touch(private + PAGE)
    osv.world.memory.write(shared + PAGE, b"filled")
    assert osv.world.memory.read(private + PAGE, 6) == b"filled"
    assert not osv.world.frames.is_zero(osv.frame(private + PAGE))


def test_write_to_a_private_hole_is_a_frame_of_its_own(osv: Case) -> None:
    one, two = osv.map(Map.PRIVATE), osv.map(Map.PRIVATE)
    osv.touch(one + PAGE)
    osv.world.memory.write(one + PAGE, b"mine")
    osv.world.memory.write(two + PAGE, b"yours")
    assert osv.world.memory.read(one + PAGE, 5) == b"mine\0"
    assert osv.world.memory.read(two + PAGE, 5) == b"yours"


def test_linux_keeps_the_frame_of_a_page_that_is_stored_to(linux: Case) -> None:
    code = linux.map(Map.SHARED, R | X)
    data = linux.map(Map.SHARED)
    frame = linux.touch(code, "execute")
    linux.world.memory.write(data, b"code")
    assert linux.frame(code) == linux.frame(data) == frame
    assert linux.world.memory.read(code, 4) == b"code"


def test_linux_fills_a_hole_at_the_first_touch(linux: Case) -> None:
    code = linux.map(Map.SHARED, R | X)
    data = linux.map(Map.SHARED)
    frame = linux.touch(code + PAGE, "execute")
    assert linux.touch(data + PAGE, "write") == frame


def test_population_of_a_run_is_as_page_by_page(linux: Case) -> None:
    eager = linux.map(Map.PRIVATE | Map.POPULATE, R)
    lazy = linux.map(Map.PRIVATE, R)
    for at in range(0, 3 * PAGE, PAGE):
        assert linux.frame(eager + at) == linux.touch(lazy + at)
        assert linux.bits(eager + at) == linux.bits(lazy + at)


def test_eager_private_copies_are_written_without_a_fault(linux: Case) -> None:
    base = linux.map(Map.PRIVATE | Map.POPULATE)
    assert linux.bits(base) == (True, False, True)
    linux.world.memory.write(base, b"mine")
    assert bytes(linux.file.content[:4]) == b"text"


def test_a_run_that_cannot_be_read_leaves_nothing_held(linux: Case) -> None:
    base = linux.map(Map.PRIVATE, R)
    linux.file.broken = True
    with pytest.raises(LinuxError, match="EIO"):
        linux.world.space.populate(linux.world.space.vmas.find(base), base, 3 * PAGE, write=False)
    assert linux.frame(base) == 0
    linux.world.space.destroy()
    assert linux.world.hardware.memory.frames_in_use == 0


# The provider for file systems without a page cache -----------------------------------------------------------------


@pytest.fixture
def uncached(osv: Case) -> Case:
    osv.file.has_page_cache = False
    return osv


def test_files_of_less_than_a_page_have_no_cached_pages_in_osv() -> None:
    world = World(user=False, sync="osv")
    base = world.space.mmap(0, PAGE, R, Map.PRIVATE, MemoryFile(b"small"))
    assert isinstance(world.space.vmas.find(base).page_ops, ReadFilePages)


def test_each_mapping_reads_the_file_into_a_frame_of_its_own(uncached: Case) -> None:
    one, two = uncached.map(Map.SHARED), uncached.map(Map.SHARED)
    assert uncached.touch(one) != uncached.touch(two)
    assert uncached.bits(one) == (False, False, False)
    assert uncached.world.hardware.named("store")[-1][3] == "file read"


def test_a_private_frame_is_written_in_place(uncached: Case) -> None:
    base = uncached.map(Map.PRIVATE)
    frame = uncached.touch(base)
    uncached.world.memory.write(base, b"mine")
    assert uncached.frame(base) == frame and uncached.bits(base) == (True, False, True)
    uncached.world.space.munmap(base, 3 * PAGE)
    assert bytes(uncached.file.content[:4]) == b"text"


def test_stores_are_found_by_their_dirty_leaves_at_munmap(uncached: Case) -> None:
    base = uncached.map(Map.SHARED)
    uncached.touch(base + 2 * PAGE)
    uncached.world.memory.write(base + PAGE, b"stored")
    uncached.file.content[2 * PAGE :] = b"host" * (PAGE // 4)
    uncached.world.space.munmap(base, 3 * PAGE)
    assert bytes(uncached.file.content[PAGE : PAGE + 6]) == b"stored"
    assert bytes(uncached.file.content[2 * PAGE : 2 * PAGE + 4]) == b"host"


def test_a_scan_makes_leaves_clean_until_the_next_store(uncached: Case) -> None:
    base = uncached.map(Map.SHARED)
    vma = uncached.world.space.vmas.find(base)
    uncached.world.memory.write(base, b"one")
    assert vma.page_ops.sync(uncached.world.space, vma, base, base + PAGE) == []
    assert uncached.bits(base) == (False, False, False)
    uncached.world.memory.write(base, b"two")
    assert bytes(uncached.file.content[:3]) == b"one"
    vma.page_ops.sync(uncached.world.space, vma, base, base + PAGE)
    assert bytes(uncached.file.content[:3]) == b"two"


def test_a_scan_that_fails_leaves_the_page_dirty(uncached: Case) -> None:
    base = uncached.map(Map.SHARED)
    vma = uncached.world.space.vmas.find(base)
    uncached.world.memory.write(base, b"kept")
    uncached.file.broken = True
    assert [(f.offset, f.errno) for f in vma.page_ops.sync(uncached.world.space, vma, base, base + PAGE)] == [(0, EIO)]
    uncached.file.broken = False
    uncached.world.space.munmap(base, 3 * PAGE)
    assert bytes(uncached.file.content[:4]) == b"kept" and not uncached.world.cache.failures
