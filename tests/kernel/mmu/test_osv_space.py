# SPDX-License-Identifier: GPL-2.0-or-later
"""OSv's user API over its address space, on both ports: what is accepted, what is refused and how, what is then there."""

from __future__ import annotations

import errno
from collections.abc import Iterator

import pytest

from fetchsan.kernel.errors import GuestFault, LinuxError
from fetchsan.kernel.mmu import Frames, OsvSpace, PageCache, UserMemory
from fetchsan.kernel.mmu.mman import Madvise, Map, Mremap
from fetchsan.kernel.mmu.ports import AARCH64, X64, Port

from .recording import PAGE, MemoryFile, RecordingHardware

R, W, X = 1, 2, 4
ANONYMOUS = Map.PRIVATE | Map.ANONYMOUS
MMAP_AREA = 0x2000_0000_0000
HUGE = 2 << 20


class World:
    """One OSv address space of `port`; `refused` gives the errno of a call."""

    def __init__(self, port: Port) -> None:
        self.hardware = RecordingHardware()
        self.frames = Frames(self.hardware)
        self.space = OsvSpace(self.hardware, sync="osv", page_cache=PageCache(self.frames), port=port)
        self.memory = UserMemory(self.space)

    def anonymous(self, pages: int = 1, perm: int = R | W, at: int = 0, flags: int = 0) -> int:
        return self.space.mmap(at, pages * PAGE, perm, ANONYMOUS | flags)

    def maps(self) -> list[tuple[int, int, int]]:
        return [(vma.start, vma.end, vma.perm) for vma in self.space.vmas.mapped()]


@pytest.fixture(params=[AARCH64, X64], ids=lambda port: port.name)
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    world = World(request.param)
    before = len(world.frames.held())
    yield world
    world.space.evacuate(0, world.space.layout.limit)
    assert len(world.frames.held()) == before, "every frame came back"


def refused(code: int) -> pytest.RaisesExc[LinuxError]:
    return pytest.raises(LinuxError, match=errno.errorcode[code])


# mmap ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("flags", [Map.ANONYMOUS, Map.ANONYMOUS | Map.SHARED | Map.PRIVATE])
def test_exactly_one_of_shared_and_private(world: World, flags: int) -> None:
    with refused(errno.EINVAL):
        world.space.mmap(0, PAGE, R, flags)


def test_what_mmap_refuses(world: World) -> None:
    for arguments in ((0, 0, R, ANONYMOUS), (0, PAGE, R, ANONYMOUS, None, 1), (1, PAGE, R, ANONYMOUS | Map.FIXED)):
        with refused(errno.EINVAL):
            world.space.mmap(*arguments)


@pytest.mark.parametrize("length", [0x8000_0000_0000, (1 << 64) - 1])
def test_more_than_there_are_addresses_is_enomem(world: World, length: int) -> None:
    with refused(errno.ENOMEM):
        world.space.mmap(0, length, R, ANONYMOUS)


@pytest.mark.parametrize("address", [0x8000_0000_0000, 0xFFFF_8000_0000_0000, (1 << 64) - PAGE])
@pytest.mark.parametrize("fixed", [0, Map.FIXED])
def test_the_upper_half_is_enomem(world: World, address: int, fixed: int) -> None:
    with refused(errno.ENOMEM):
        world.space.mmap(address, PAGE, R, ANONYMOUS | fixed)


def test_a_populated_mapping_larger_than_memory_is_enomem_and_leaves_nothing(world: World) -> None:
    with refused(errno.ENOMEM):
        world.space.mmap(0, 1 << 30, R, ANONYMOUS | Map.POPULATE)
    assert world.maps() == []


def test_an_offset_past_the_largest_file_is_eoverflow(world: World) -> None:
    with refused(errno.EOVERFLOW):
        world.space.mmap(0, PAGE, R, Map.PRIVATE, MemoryFile(b""), (1 << 63) - PAGE + PAGE)


def test_a_hint_is_rounded_down_and_taken_if_it_is_free(world: World) -> None:
    assert world.anonymous(at=MMAP_AREA + 0x1_0123) == MMAP_AREA + 0x1_0000


def test_a_hint_in_use_moves_up(world: World) -> None:
    world.anonymous(5)
    assert world.anonymous(at=MMAP_AREA + 0x4000) == MMAP_AREA + 0x5000


def test_fixed_replaces_part_of_a_mapping_and_nothing_merges(world: World) -> None:
    at = world.anonymous(3)
    world.memory.write(at, b"a" * 3 * PAGE)
    assert world.anonymous(at=at + PAGE, flags=Map.FIXED) == at + PAGE
    assert world.memory.read(at, 3 * PAGE) == b"a" * PAGE + bytes(PAGE) + b"a" * PAGE
    assert world.maps() == [(at + n * PAGE, at + (n + 1) * PAGE, R | W) for n in range(3)]


def test_stacks_and_populated_memory_are_there_at_once(world: World) -> None:
    for flag in (Map.STACK, Map.POPULATE):
        assert world.space.mincore(world.anonymous(2, flags=flag), 2) == b"\1\1"


def test_map_32bit_is_a_hint_on_x64_alone(world: World) -> None:
    expected = {"x64": 0x200_0000, "aarch64": MMAP_AREA}[world.space.port.name]
    assert world.anonymous(flags=0x40) == expected


# munmap -------------------------------------------------------------------------------------------------------------


def test_what_munmap_refuses(world: World) -> None:
    at = world.anonymous(2)
    for address, length in ((at + 1, PAGE), (at, 0), (at, 3 * PAGE), (at - PAGE, PAGE), (at, (1 << 64) - at), (1 << 63, PAGE)):
        with refused(errno.EINVAL):
            world.space.munmap(address, length)
    assert world.maps() == [(at, at + 2 * PAGE, R | W)]


def test_munmap_over_several_mappings_without_a_hole(world: World) -> None:
    at = world.anonymous()
    world.anonymous(perm=R)
    world.space.munmap(at, PAGE + 1)
    assert world.maps() == []


def test_munmap_writes_shared_pages_back_first(world: World) -> None:
    file = MemoryFile(bytes(PAGE))
    at = world.space.mmap(0, PAGE, R | W, Map.SHARED, file)
    world.memory.write(at, b"new")
    world.space.munmap(at, PAGE)
    assert file.content[:3] == b"new"


# mprotect -----------------------------------------------------------------------------------------------------------


def test_what_mprotect_refuses(world: World) -> None:
    at = world.anonymous()
    for code, address, length in ((errno.EINVAL, at + 1, 1), (errno.ENOMEM, at, PAGE + 1), (errno.ENOMEM, 1 << 63, PAGE)):
        with refused(code):
            world.space.mprotect(address, length, R)


def test_mprotect_changes_nothing_where_one_mapping_may_not(world: World) -> None:
    at = world.anonymous(perm=R)
    file = MemoryFile(bytes(PAGE))
    world.space.mmap(at + PAGE, PAGE, R, Map.SHARED | Map.FIXED, file, may_write=False)
    with refused(errno.EACCES):
        world.space.mprotect(at, 2 * PAGE, R | W)
    assert [perm for _, _, perm in world.maps()] == [R, R]


def test_unknown_protection_bits_are_ignored(world: World) -> None:
    at = world.anonymous()
    world.space.mprotect(at, PAGE, 0x100 | R)
    assert world.maps() == [(at, at + PAGE, R)]


def test_data_survives_prot_none(world: World) -> None:
    at = world.anonymous()
    world.memory.write(at, b"\x7b")
    world.space.mprotect(at, PAGE, 0)
    with pytest.raises(GuestFault):
        world.memory.read(at, 1)
    world.space.mprotect(at, PAGE, R)
    assert world.memory.read(at, 1) == b"\x7b"


def test_one_page_of_a_huge_one_is_protected_alone(world: World) -> None:
    at = world.space.mmap(0, HUGE, R | W, ANONYMOUS | Map.POPULATE)
    world.space.mprotect(at + 7 * PAGE, PAGE, R)
    with pytest.raises(GuestFault):
        world.memory.write(at + 7 * PAGE, b"x")
    world.memory.write(at + 7 * PAGE - 1, b"x")
    world.memory.write(at + 8 * PAGE, b"x")


# msync, mincore, madvise --------------------------------------------------------------------------------------------


def test_msync_of_shared_pages_reaches_the_file(world: World) -> None:
    file = MemoryFile(bytes(2 * PAGE))
    at = world.space.mmap(0, 2 * PAGE, R | W, Map.SHARED, file)
    world.memory.write(at + PAGE, b"new")
    world.space.msync(at + PAGE, 3)
    assert file.content[PAGE : PAGE + 3] == b"new"


def test_msync_refuses_holes_and_private_files_and_accepts_anonymous_memory(world: World) -> None:
    at = world.anonymous()
    world.space.msync(at, PAGE)
    private = world.space.mmap(0, PAGE, R, Map.PRIVATE, MemoryFile(bytes(PAGE)))
    for address, length in ((private, PAGE), (private + PAGE, PAGE), (at, 0), (at - PAGE, 2 * PAGE), (1 << 63, PAGE)):
        with refused(errno.ENOMEM):
            world.space.msync(address, length)


def test_msync_says_when_the_file_cannot_be_written(world: World) -> None:
    file = MemoryFile(bytes(PAGE))
    at = world.space.mmap(0, PAGE, R | W, Map.SHARED, file)
    world.memory.write(at, b"new")
    file.broken = True
    with refused(errno.EIO):
        world.space.msync(at, PAGE)


def test_mincore_tells_what_a_load_would_find(world: World) -> None:
    at = world.anonymous(3)
    world.memory.write(at + PAGE, b"x" * 2 * PAGE)
    world.space.mprotect(at + 2 * PAGE, PAGE, 0)
    assert world.space.mincore(at, 3) == b"\0\1\0"


def test_what_mincore_refuses(world: World) -> None:
    at = world.anonymous()
    for code, address, pages in ((errno.EINVAL, at + 1, 1), (errno.ENOMEM, at, 2)):
        with refused(code):
            world.space.mincore(address, pages)


def test_dontneed_drops_the_part_asked_for_and_no_more(world: World) -> None:
    """Over two mappings, beginning inside the first and ending inside the second."""
    at = world.anonymous(3)
    world.anonymous(3)
    world.memory.write(at, b"x" * 6 * PAGE)
    world.space.madvise(at + PAGE, 4 * PAGE, Madvise.DONTNEED)
    assert world.space.mincore(at, 6) == b"\1\0\0\0\0\1"
    assert world.memory.read(at + PAGE, 4 * PAGE) == bytes(4 * PAGE)


def test_dontneed_of_a_private_file_page_brings_the_file_back(world: World) -> None:
    at = world.space.mmap(0, PAGE, R | W, Map.PRIVATE, MemoryFile(b"file".ljust(PAGE)))
    world.memory.write(at, b"mine")
    world.space.madvise(at, PAGE, Madvise.DONTNEED)
    assert world.memory.read(at, 4) == b"file"


def test_nohugepage_splits_and_keeps_the_contents(world: World) -> None:
    at = world.space.mmap(0, HUGE, R | W, ANONYMOUS | Map.POPULATE)
    world.memory.write(at + HUGE - 1, b"x")
    world.space.madvise(at, HUGE, Madvise.NOHUGEPAGE)
    assert world.space.port.find_leaf(world.hardware.memory, world.space.root, at)[1] == 3
    assert world.memory.read(at + HUGE - 1, 1) == b"x"


def test_hugepage_allows_them_again(world: World) -> None:
    at = world.anonymous(512)
    world.space.madvise(at, HUGE, Madvise.NOHUGEPAGE)
    world.space.madvise(at, HUGE, Madvise.HUGEPAGE)
    world.memory.write(at, b"x")
    assert world.space.port.find_leaf(world.hardware.memory, world.space.root, at)[1] == 2


def test_what_madvise_refuses(world: World) -> None:
    at = world.anonymous()
    cases = ((errno.EINVAL, at, PAGE, 9), (errno.EINVAL, at + 1, PAGE, 4), (errno.ENOMEM, at, 2 * PAGE, 4))
    for code, address, length, advice in cases:
        with refused(code):
            world.space.madvise(address, length, advice)


# mremap -------------------------------------------------------------------------------------------------------------


def test_mremap_grows_in_place_and_shrinks(world: World) -> None:
    at = world.anonymous()
    assert world.space.mremap(at, PAGE, 3 * PAGE, 0) == at
    world.memory.write(at + 2 * PAGE, b"x")
    assert world.space.mremap(at, 3 * PAGE, 2 * PAGE, 0) == at
    assert world.maps() == [(at, at + 2 * PAGE, R | W)]


def test_mremap_moves_with_the_contents_if_it_may(world: World) -> None:
    at = world.anonymous()
    world.anonymous()
    world.memory.write(at, b"mine")
    with refused(errno.ENOMEM):
        world.space.mremap(at, PAGE, 2 * PAGE, 0)
    moved = world.space.mremap(at, PAGE, 2 * PAGE, Mremap.MAYMOVE)
    assert world.memory.read(moved, 5) == b"mine\0"
    assert world.space.vmas.find(at) is None


def test_what_mremap_refuses(world: World) -> None:
    at = world.anonymous(2)
    cases = (
        (errno.EINVAL, at, 2 * PAGE, PAGE, Mremap.MAYMOVE | Mremap.FIXED),
        (errno.EINVAL, at + 1, 2 * PAGE, PAGE, 0),
        (errno.EINVAL, at, 2 * PAGE, 0, 0),
        (errno.EINVAL, at, 0, PAGE, 0),
        (errno.EFAULT, at, PAGE, PAGE, 0),
        (errno.EFAULT, at + PAGE, PAGE, PAGE, 0),
        (errno.EFAULT, at, 3 * PAGE, PAGE, 0),
        (errno.EFAULT, at - PAGE, PAGE, PAGE, 0),
    )
    for code, *arguments in cases:
        with refused(code):
            world.space.mremap(*arguments)


# brk ----------------------------------------------------------------------------------------------------------------


def test_brk_moves_the_end_of_the_heap(world: World) -> None:
    start = world.space.brk(0)
    assert world.space.brk(start + 5000) == start + 5000
    world.memory.write(start + 4999, b"x")
    assert world.space.brk(start + 1) == start + 1
    assert world.maps() == [(start, start + PAGE, R | W)]


def test_the_heap_does_not_grow_into_another_mapping_or_below_its_start(world: World) -> None:
    start = world.space.brk(0)
    world.anonymous(at=start + PAGE, flags=Map.FIXED)
    for address in (start + 2 * PAGE, start - 1, 1 << 63):
        assert world.space.brk(address) == start


# The worked examples of 2 MiB holes and of unmapping a thousand times -----------------------------------------------


def test_a_thousand_mappings_leave_nothing(world: World) -> None:
    before = len(world.frames.held())
    for _ in range(1000):
        at = world.anonymous(16)
        world.memory.write(at, b"x" * 16 * PAGE)
        world.space.munmap(at, 16 * PAGE)
    assert len(world.frames.held()) == before
