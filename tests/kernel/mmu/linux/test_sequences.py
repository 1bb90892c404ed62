# SPDX-License-Identifier: GPL-2.0-or-later
"""What several calls do to each other, against the host's kernel: contents, faults, heaps, stacks, locks, files."""

from __future__ import annotations

import os

import pytest

from fetchsan.kernel.mmu.mman import Madvise, Map, Mremap, Msync, Prot

from .sides import ARENA, ARENA_SIZE, PAGE, RET_AT, Away, Both

R, W, X = Prot.READ, Prot.WRITE, Prot.EXEC
PRIVATE, SHARED, ANON, FIXED = Map.PRIVATE, Map.SHARED, Map.ANONYMOUS, Map.FIXED
MOVE = Mremap.MAYMOVE | Mremap.FIXED
FD = 100
SEGV_MAPERR = "signal 11 code 1 at +0x0"
SEGV_ACCERR = "signal 11 code 2 at +0x0"
BUS_ADRERR = "signal 7 code 2 at +0x0"


def at(page: int) -> int:
    return ARENA + page * PAGE


def anonymous(both: Both, page: int, pages: int, prot: int = R | W, flags: int = 0) -> int:
    result = both.call("mmap", at(page), pages * PAGE, prot, PRIVATE | ANON | FIXED | flags, -1, 0)
    assert result == at(page)
    return at(page)


def data(both: Both, page: int, pages: int, prot: int, kind: int, *, name: str = "data", offset: int = 0) -> int:
    assert both.open(FD, name, os.O_RDWR) == 0
    assert both.call("mmap", at(page), pages * PAGE, prot, kind | FIXED, FD, offset) == at(page)
    return at(page)


# Faults ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("prot", [0, R, W, R | W, R | X, W | X, R | W | X])
def test_each_access_under_each_right(both: Both, prot: int) -> None:
    start = anonymous(both, 0, 2, R | W)
    both.store(start, 9)
    both.emit(start + RET_AT)
    both.call("mprotect", start, 2 * PAGE, prot)
    for page in (start, start + PAGE):
        both.load(page + 1)
        both.execute(page + RET_AT)
        assert both.store(page + 1, 3) == (0 if prot & W else SEGV_ACCERR)
    both.call("mprotect", start, 2 * PAGE, R)
    assert both.load(start) == 9


def test_faults_say_where_and_why(both: Both) -> None:
    start = data(both, 0, 3, R, PRIVATE, name="odd")
    assert both.load(start + 3 * PAGE + 5) == SEGV_MAPERR
    assert both.store(start + 5, 1) == SEGV_ACCERR
    assert both.load(start + 2 * PAGE + 7) == BUS_ADRERR
    assert both.store(start + 2 * PAGE + 7, 1) == SEGV_ACCERR  # rights come before the file's end
    assert both.load(start + PAGE + 200) == 0  # in the last page, past the end


def test_code_of_a_file_runs(both: Both) -> None:
    start = data(both, 0, 2, R | W, SHARED)
    both.emit(start + RET_AT)
    both.emit(start + PAGE + RET_AT)
    assert both.execute(start + RET_AT) == SEGV_ACCERR
    both.call("mprotect", start, PAGE, R | X)
    assert both.execute(start + RET_AT) == 0
    assert both.execute(start + PAGE + RET_AT) == SEGV_ACCERR


# Contents -------------------------------------------------------------------------------------------------------------


def test_private_stores_stay_private(both: Both) -> None:
    private, shared = data(both, 0, 2, R | W, PRIVATE), data(both, 4, 2, R | W, SHARED)
    both.store(private, 1)
    both.store(shared + PAGE, 2)
    assert [both.load(a) for a in (private, shared, private + PAGE)] == [1, 65, 2]
    assert both.get(FD, PAGE, 2) == "x0200"


def test_a_private_copy_no_longer_follows_the_file(both: Both) -> None:
    start = data(both, 0, 2, R | W, PRIVATE)
    both.store(start + 1, 1)
    both.put(FD, 0, 2 * PAGE, 90)
    assert [both.load(start), both.load(start + 1), both.load(start + PAGE)] == [65, 1, 90]
    both.call("madvise", start, PAGE, Madvise.DONTNEED)
    assert [both.load(start), both.load(start + 1)] == [90, 90]


def test_truncation_takes_private_copies_too(both: Both) -> None:
    start = data(both, 0, 4, R | W, PRIVATE)
    for page in range(4):
        both.store(start + page * PAGE + 8, 1)
    both.call("ftruncate", FD, PAGE + 9)
    assert both.load(start + PAGE + 8) == 1
    assert both.load(start + 2 * PAGE) == BUS_ADRERR
    both.call("ftruncate", FD, 4 * PAGE)
    assert both.load(start + 2 * PAGE + 8) == 0
    both.store(start + 3 * PAGE, 5)
    assert both.get(FD, 3 * PAGE, 1) == "x00"


def test_the_tail_of_a_truncated_page_is_zeros_in_shared_mappings(both: Both) -> None:
    start = data(both, 0, 2, R | W, SHARED)
    both.store(start + 100, 1)
    both.store(start + 3000, 2)
    both.call("ftruncate", FD, 200)
    assert [both.load(start + 100), both.load(start + 3000)] == [1, 0]
    both.store(start + 3000, 3)  # past the end: nobody's but the page's
    both.call("ftruncate", FD, 4000)
    assert both.load(start + 100) == 1
    assert both.get(FD, 100, 1) == "x01"


def test_read_and_write_with_mapped_buffers(both: Both) -> None:
    start = data(both, 0, 4, R | W, SHARED)
    assert both.call("pread64", FD, start + 2 * PAGE, PAGE, 0) == PAGE
    assert both.load(start + 2 * PAGE) == 65
    assert both.call("pwrite64", FD, start, 2 * PAGE, 4 * PAGE) == 2 * PAGE
    assert both.get(FD, 5 * PAGE, 1) == "x42"
    anonymous(both, 8, 1)
    # A count that ends outside: what fits is transferred.
    assert both.call("pread64", FD, at(9) - 10, 100, 0) == 10
    assert both.call("pwrite64", FD, at(9) - 10, 100, 0) == 10


def test_a_store_through_one_mapping_is_seen_through_all(both: Both) -> None:
    first, second = data(both, 0, 2, R | W, SHARED), data(both, 4, 2, R, SHARED, offset=PAGE)
    both.store(first + PAGE + 3, 7)
    assert both.load(second + 3) == 7
    both.call("munmap", first, 2 * PAGE)
    assert both.load(second + 3) == 7
    assert both.get(FD, PAGE + 3, 1) == "x07"


def test_an_unlinked_mapping_outlives_its_descriptor(both: Both) -> None:
    start = data(both, 0, 2, R | W, SHARED)
    both.call("close", FD)
    both.store(start, 3)
    assert both.open(FD, "data", os.O_RDONLY) == 0
    assert both.get(FD, 0, 1) == "x03"


def test_shared_anonymous_memory_keeps_its_bytes_through_dontneed(both: Both) -> None:
    start = both.call("mmap", at(0), 2 * PAGE, R | W, SHARED | ANON | FIXED, -1, 0)
    assert start == at(0)
    both.store(start, 4)
    both.call("madvise", start, 2 * PAGE, Madvise.DONTNEED)
    assert both.load(start) == 4
    assert both.residency(start, 2 * PAGE) == "10"
    both.call("madvise", start, 2 * PAGE, Madvise.REMOVE)
    assert both.load(start) == 0


# Layout ---------------------------------------------------------------------------------------------------------------


def test_neighbours_join_and_split_as_linux_does(both: Both) -> None:
    for page in (0, 2, 1):
        anonymous(both, page, 1)
    assert len(both.maps(joined=False)) == 1
    both.call("mprotect", at(1), PAGE, R)
    assert len(both.maps(joined=False)) == 3
    both.call("mprotect", at(0), PAGE, R)
    assert len(both.maps(joined=False)) == 2
    both.call("mprotect", at(0), 3 * PAGE, R | W)
    assert len(both.maps(joined=False)) == 1
    both.call("munmap", at(1), PAGE)
    assert len(both.maps(joined=False)) == 2


def test_file_mappings_join_when_the_file_goes_on(both: Both) -> None:
    data(both, 0, 2, R, PRIVATE)
    data(both, 2, 2, R, PRIVATE, offset=2 * PAGE)
    data(both, 4, 1, R, PRIVATE, offset=5 * PAGE)
    data(both, 5, 1, R, SHARED, offset=5 * PAGE)
    assert len(both.maps()) == 3


def test_a_hole_in_the_middle_of_a_file_mapping_keeps_offsets(both: Both) -> None:
    data(both, 0, 6, R | W, SHARED)
    both.call("munmap", at(2), PAGE)
    both.call("mprotect", at(4), PAGE, R)
    both.maps(joined=False)
    assert [both.load(at(page)) for page in (0, 3, 4, 5)] == [65, 68, 69, 70]


def test_hints(both: Both) -> None:
    anonymous(both, 4, 1)
    assert both.call("mmap", at(1), 3 * PAGE, R, PRIVATE | ANON, -1, 0) == at(1)
    assert isinstance(both.call("mmap", at(5) - PAGE, PAGE, R, PRIVATE | ANON, -1, 0), Away)
    assert both.call("mmap", at(6) + 123, PAGE, R, PRIVATE | ANON, -1, 0) == at(6)
    assert isinstance(both.call("mmap", at(5), 2 * PAGE, R, PRIVATE | ANON, -1, 0), Away)


def test_mappings_without_a_hint_go_below_one_another(both: Both) -> None:
    first = both.call("mmap", 0, 4 * PAGE, R | W, PRIVATE | ANON, -1, 0)
    second = both.call("mmap", 0, 4 * PAGE, R, SHARED | ANON, -1, 0)
    assert isinstance(first, Away) and isinstance(second, Away)
    assert [one - two for one, two in zip(first.addresses, second.addresses, strict=True)] == [4 * PAGE] * 2
    both.call("munmap", first, 2 * PAGE)
    both.call("munmap", second, 4 * PAGE)
    again = both.call("mmap", 0, 6 * PAGE, R, PRIVATE | ANON, -1, 0)
    assert isinstance(again, Away)
    assert [one - two for one, two in zip(first.addresses, again.addresses, strict=True)] == [4 * PAGE] * 2


# mremap ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["anonymous", "shared anonymous", "private file", "shared file"])
@pytest.mark.parametrize("pages", [1, 2, 4])
def test_mremap_moves_contents(both: Both, kind: str, pages: int) -> None:
    if kind == "anonymous":
        start = anonymous(both, 0, 3)
    elif kind == "shared anonymous":
        start = at(0)
        both.call("mmap", start, 3 * PAGE, R | W, SHARED | ANON | FIXED, -1, 0)
    else:
        start = data(both, 0, 3, R | W, PRIVATE if kind == "private file" else SHARED)
    both.store(start + PAGE, 5)
    both.load(start)
    assert both.call("mremap", start, 2 * PAGE, pages * PAGE, MOVE, at(15)) == at(15)  # over a table's edge
    for page in range(32):
        both.load(at(page))
    both.maps()
    assert both.call("mremap", at(15), pages * PAGE, pages * PAGE, MOVE, at(1)) == at(1)
    both.maps()
    for page in range(32):
        both.load(at(page))


def test_mremap_grows_in_place_or_moves(both: Both) -> None:
    start = anonymous(both, 0, 2)
    both.store(start + PAGE, 6)
    assert both.call("mremap", start, 2 * PAGE, 4 * PAGE, 0, 0) == start
    anonymous(both, 4, 1, R)
    assert both.call("mremap", start, 4 * PAGE, 5 * PAGE, 0, 0) == -12
    moved = both.call("mremap", start, 4 * PAGE, 5 * PAGE, Mremap.MAYMOVE, 0)
    assert isinstance(moved, Away)
    assert both.load(moved + PAGE) == 6 and both.load(moved + 4 * PAGE) == 0
    assert both.load(start) == SEGV_MAPERR


def test_mremap_dontunmap_leaves_an_empty_mapping(both: Both) -> None:
    start = anonymous(both, 0, 2)
    both.store(start, 6)
    assert both.call("mremap", start, 2 * PAGE, 2 * PAGE, MOVE | Mremap.DONTUNMAP, at(8)) == at(8)
    assert [both.load(start), both.load(at(8))] == [0, 6]
    both.maps()


def test_mremap_of_a_shared_mapping_from_size_zero_shows_it_twice(both: Both) -> None:
    start = at(0)
    both.call("mmap", start, 2 * PAGE, R | W, SHARED | ANON | FIXED, -1, 0)
    both.store(start + PAGE, 6)
    assert both.call("mremap", start + PAGE, 0, PAGE, MOVE, at(8)) == at(8)
    assert both.load(at(8)) == 6
    both.store(at(8), 7)
    assert both.load(start + PAGE) == 7


def test_shared_anonymous_memory_grown_by_mremap_has_no_more_pages(both: Both) -> None:
    start = at(0)
    both.call("mmap", start, 2 * PAGE, R | W, SHARED | ANON | FIXED, -1, 0)
    both.call("mremap", start, 2 * PAGE, 3 * PAGE, Mremap.MAYMOVE, 0)
    assert both.load(start + 2 * PAGE) == BUS_ADRERR


# brk ------------------------------------------------------------------------------------------------------------------


def test_the_heap_grows_shrinks_and_forgets(both: Both) -> None:
    assert both.brk(3 * PAGE) == 3 * PAGE
    both.store(both.heap + 2 * PAGE, 5)
    assert both.brk(PAGE + 1) == PAGE + 1
    assert both.load(both.heap + 2 * PAGE) == SEGV_MAPERR
    assert both.load(both.heap + (2 * PAGE - 1)) == 0
    assert both.brk(3 * PAGE) == 3 * PAGE
    assert both.load(both.heap + 2 * PAGE) == 0
    both.maps(both.heap, 8 * PAGE)


def test_the_heap_does_not_grow_into_a_mapping(both: Both) -> None:
    both.brk(PAGE)
    assert isinstance(both.call("mmap", both.heap + 4 * PAGE, PAGE, R, PRIVATE | ANON | FIXED, -1, 0), Away)
    for pages in (5, 4, 3, 2):
        both.brk(pages * PAGE)
    both.maps(both.heap, 8 * PAGE)


def test_munmap_and_mprotect_inside_the_heap(both: Both) -> None:
    both.brk(5 * PAGE)
    both.call("munmap", both.heap + PAGE, PAGE)
    both.call("mprotect", both.heap + 3 * PAGE, PAGE, R)
    both.maps(both.heap, 8 * PAGE)
    both.brk(6 * PAGE)
    both.store(both.heap + 5 * PAGE, 1)
    assert both.store(both.heap + 3 * PAGE, 1) == SEGV_ACCERR
    both.brk(0)
    both.brk(2 * PAGE)
    both.maps(both.heap, 8 * PAGE)
    assert both.load(both.heap + PAGE) == 0


def test_brk_below_the_heap_changes_nothing(both: Both) -> None:
    both.brk(2 * PAGE)
    assert both.brk(-100 * PAGE) == 2 * PAGE


# Locks ----------------------------------------------------------------------------------------------------------------


def test_locked_pages_are_resident_and_stay(both: Both) -> None:
    start = anonymous(both, 0, 4)
    assert both.call("mlock", start + PAGE, 2 * PAGE) == 0
    assert both.residency(start, 4 * PAGE) == "0110"
    assert both.call("madvise", start, 4 * PAGE, Madvise.DONTNEED) == -22
    assert both.residency(start, 4 * PAGE) == "0110"
    for advice in (Madvise.FREE, Madvise.COLD, Madvise.PAGEOUT):
        assert both.call("madvise", start + PAGE, PAGE, advice) == -22
    assert both.call("madvise", start, 4 * PAGE, Madvise.DONTNEED_LOCKED) == 0
    assert both.residency(start, 4 * PAGE) == "0000"
    assert both.call("munlock", start, 4 * PAGE) == 0
    assert both.call("madvise", start, 4 * PAGE, Madvise.DONTNEED) == 0


def test_lock_on_fault_waits_for_the_fault(both: Both) -> None:
    start = anonymous(both, 0, 3)
    both.call("mlock2", start, 3 * PAGE, 1)
    assert both.residency(start, 3 * PAGE) == "000"
    both.store(start + PAGE, 1)
    assert both.call("madvise", start, 3 * PAGE, Madvise.DONTNEED) == -22


def test_locked_memory_that_becomes_writable_gets_its_pages(both: Both) -> None:
    start = anonymous(both, 0, 3, 0)
    assert both.call("mlock", start, 2 * PAGE) == -12
    both.call("mprotect", start, 3 * PAGE, R | W)
    assert both.residency(start, 3 * PAGE) == "110"
    both.call("mprotect", start, 3 * PAGE, 0)
    both.call("mlock2", start + 2 * PAGE, PAGE, 1)
    both.call("mprotect", start, 3 * PAGE, R | W)
    assert both.residency(start, 3 * PAGE) == "110"


def test_what_a_move_leaves_behind_is_not_locked(both: Both) -> None:
    start = anonymous(both, 0, 2, flags=Map.LOCKED)
    both.call("mremap", start, 2 * PAGE, 2 * PAGE, MOVE | Mremap.DONTUNMAP, at(8))
    assert both.call("madvise", start, PAGE, Madvise.DONTNEED) == 0
    assert both.call("madvise", at(8), PAGE, Madvise.DONTNEED) == -22


def test_lock_stops_at_a_hole(both: Both) -> None:
    anonymous(both, 0, 2)
    anonymous(both, 3, 1)
    assert both.call("mlock", at(0), 4 * PAGE) == -12
    assert both.residency(at(0), 2 * PAGE) == "00"
    assert both.call("madvise", at(0), PAGE, Madvise.DONTNEED) == -22
    assert both.call("madvise", at(3), PAGE, Madvise.DONTNEED) == 0


def test_lock_of_pages_past_the_file(both: Both) -> None:
    start = data(both, 0, 4, R | W, PRIVATE, name="odd")
    assert both.call("mlock", start, 2 * PAGE) == 0
    assert both.call("mlock", start, 3 * PAGE) == -12


def test_future_mappings_are_locked(both: Both) -> None:
    anonymous(both, 0, 1)
    assert both.call("mlockall", 2) == 0
    start = anonymous(both, 4, 2)
    assert both.residency(start, 2 * PAGE) == "11"
    assert both.call("madvise", start, PAGE, Madvise.DONTNEED) == -22
    assert both.call("madvise", at(0), PAGE, Madvise.DONTNEED) == 0
    assert both.call("munlockall") == 0
    assert both.call("madvise", start, PAGE, Madvise.DONTNEED) == 0
    assert both.residency(anonymous(both, 8, 2), 2 * PAGE) == "00"


def test_a_locked_mapping_grows_with_its_pages(both: Both) -> None:
    start = anonymous(both, 0, 2, flags=Map.LOCKED)
    assert both.residency(start, 2 * PAGE) == "11"
    assert both.call("mremap", start, 2 * PAGE, 4 * PAGE, 0, 0) == start
    assert both.residency(start, 4 * PAGE) == "1111"
    assert both.call("mremap", start, 4 * PAGE, 5 * PAGE, MOVE, at(8)) == at(8)
    assert both.residency(at(8), 5 * PAGE) == "11111"


# Population -----------------------------------------------------------------------------------------------------------


def test_populate_stops_at_a_hole(both: Both) -> None:
    anonymous(both, 0, 2)
    anonymous(both, 3, 1)
    assert both.call("madvise", at(0), 4 * PAGE, Madvise.POPULATE_WRITE) == -12
    assert both.residency(at(0), 2 * PAGE) == "11"
    assert both.residency(at(3), PAGE) == "0"


def test_other_advice_goes_on_after_a_hole(both: Both) -> None:
    for page in (0, 3):
        both.store(anonymous(both, page, 1), 1)
    assert both.call("madvise", at(0), 4 * PAGE, Madvise.DONTNEED) == -12
    assert both.load(at(3)) == 0


def test_populate_past_the_end_of_a_file(both: Both) -> None:
    start = data(both, 0, 4, R | W, SHARED, name="odd")
    assert both.call("madvise", start, 2 * PAGE, Madvise.POPULATE_WRITE) == 0
    assert both.call("madvise", start, 3 * PAGE, Madvise.POPULATE_READ) == -14


def test_a_read_makes_a_page_resident(both: Both) -> None:
    start = anonymous(both, 0, 3)
    both.load(start + PAGE)
    assert both.residency(start, 3 * PAGE) == "010"
    both.call("mprotect", start, 3 * PAGE, 0)
    assert both.residency(start, 3 * PAGE) == "010"


# Stacks ---------------------------------------------------------------------------------------------------------------

GUARD = 256 * PAGE  # stack_guard_gap


def stack(both: Both, start: Away, pages: int) -> None:
    flags = PRIVATE | ANON | FIXED | Map.GROWSDOWN
    assert isinstance(both.call("mmap", start, pages * PAGE, R | W, flags, -1, 0), Away)


def roomy(both: Both, pages: int) -> Away:
    """Room of its own, with nothing near."""
    start = both.call("mmap", 0, pages * PAGE, 0, PRIVATE | ANON, -1, 0)
    assert isinstance(start, Away)
    both.call("munmap", start, pages * PAGE)
    return start


def test_a_stack_grows_when_touched_below(both: Both) -> None:
    room = roomy(both, 1024)
    top = room + 800 * PAGE
    stack(both, top, 2)
    assert both.store(top + -5 * PAGE, 1) == 0
    assert both.load(top + -3 * PAGE) == 0
    assert both.maps(room, 1024 * PAGE)[0].start == 795 * PAGE


def test_a_stack_keeps_its_distance(both: Both) -> None:
    room = roomy(both, 1024)
    both.call("mmap", room + 300 * PAGE, PAGE, R | W, PRIVATE | ANON | FIXED, -1, 0)
    top = room + 800 * PAGE
    stack(both, top, 2)
    assert both.store(room + 557 * PAGE, 1) == 0
    assert both.store(room + 556 * PAGE, 1) == SEGV_MAPERR
    both.maps(room, 1024 * PAGE)


def test_mprotect_growsdown_takes_all_below(both: Both) -> None:
    room = roomy(both, 1024)
    top = room + 800 * PAGE
    stack(both, top, 4)
    both.call("mprotect", top + 2 * PAGE, PAGE, R | Prot.GROWSDOWN)
    both.maps(room, 1024 * PAGE)


def test_a_stack_that_may_not_be_touched_does_not_grow(both: Both) -> None:
    room = roomy(both, 1024)
    top = room + 800 * PAGE
    stack(both, top, 2)
    both.call("mprotect", top, 2 * PAGE, R)
    assert both.store(top + -PAGE, 1) == SEGV_ACCERR
    both.load(top + -PAGE)
    both.maps(room, 1024 * PAGE)


def test_pages_without_rights_below_a_stack_are_its_guard(both: Both) -> None:
    room = roomy(both, 1024)
    both.call("mmap", room + 790 * PAGE, PAGE, 0, PRIVATE | ANON | FIXED, -1, 0)
    stack(both, room + 800 * PAGE, 2)
    assert both.store(room + 791 * PAGE, 1) == 0
    both.maps(room, 1024 * PAGE)


# msync ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("flags", [0, Msync.ASYNC, Msync.SYNC, Msync.INVALIDATE])
def test_msync_of_a_range_with_a_hole_does_the_rest(both: Both, flags: int) -> None:
    data(both, 0, 2, R | W, SHARED)
    data(both, 3, 2, R | W, SHARED, offset=3 * PAGE)
    both.store(at(0), 1)
    both.store(at(3), 2)
    assert both.call("msync", at(0), 5 * PAGE, flags) == -12
    assert both.get(FD, 0, 1) == "x01"
    assert both.get(FD, 3 * PAGE, 1) == "x02"


def test_the_arena_is_big_enough() -> None:
    assert at(31) + PAGE == ARENA + ARENA_SIZE
