# SPDX-License-Identifier: GPL-2.0-or-later
"""Random lives of an address space, on the host's kernel and on ours: every answer, fault, byte and mapping the same.

Left out, because Linux may answer either way: MADV_FREE and MADV_PAGEOUT (pages go when the host likes), what is resident
of a file, loads of execute-only pages, mremap over several mappings (6.17 began to allow it), a file whose size is no
multiple of the page (when its tail is zeroed is the file system's choice), buffers that lie in the file they are read
from, a heap with holes (since 6.1 brk does not shrink where nothing is mapped).
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import ClassVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule, run_state_machine_as_test

from fetchsan.kernel.mmu.mman import Madvise, Map, Mremap, Msync, Prot

from .sides import ARENA, PAGE, RET_AT, Away, Both, Emulated, Machine, Native, make_files

R, W, X = Prot.READ, Prot.WRITE, Prot.EXEC
PAGES = 32
RW, RO = 100, 101

page = st.integers(0, PAGES - 1)
count = st.integers(1, 12)
perms = st.sampled_from([0, R, W, R | W, R | X, R | W | X])
hows = st.sampled_from([Map.FIXED, Map.FIXED, Map.FIXED_NOREPLACE, 0])
extras = st.sampled_from([0, 0, 0, Map.POPULATE, Map.LOCKED, Map.NORESERVE])
advice = st.sampled_from(
    [
        Madvise.DONTNEED, Madvise.DONTNEED, Madvise.DONTNEED_LOCKED, Madvise.POPULATE_READ, Madvise.POPULATE_WRITE,
        Madvise.NORMAL, Madvise.WILLNEED, Madvise.COLD, Madvise.REMOVE, Madvise.DONTFORK, Madvise.WIPEONFORK,
    ]
)  # fmt: skip
byte = st.integers(1, 255)


def at(number: int) -> int:
    return ARENA + number * PAGE


class Lives(RuleBasedStateMachine):
    driver: ClassVar[Path]
    guest_driver: ClassVar[Path | None] = None  # None: our kernel alone, without a machine

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        place = Path(self.folder.name)
        for name in ("native", "ours"):
            make_files(place / name)
        ours = place / "ours"
        side = Emulated(ours) if self.guest_driver is None else Machine(self.guest_driver, ours)
        self.both = Both(Native([str(self.driver)], place / "native"), side)

    @initialize()
    def open_files(self) -> None:
        self.both.open(RW, "data", os.O_RDWR)
        self.both.open(RO, "data", os.O_RDONLY)

    def settle(self, result: int | Away, size: int) -> None:
        """Mappings stay in the arena."""
        if isinstance(result, Away):
            self.both.call("munmap", result, size)

    def areas(self, first: int, pages: int) -> list[str]:
        return [area.rights[3] + area.name for area in self.both.maps(at(first), pages * PAGE)]

    @rule(first=page, pages=count, prot=perms, shared=st.booleans(), how=hows, extra=extras)
    def map_anonymous(self, first: int, pages: int, prot: int, shared: bool, how: int, extra: int) -> None:
        size = min(pages, PAGES - first) * PAGE
        flags = (Map.SHARED if shared else Map.PRIVATE) | Map.ANONYMOUS | how | extra
        self.settle(self.both.call("mmap", at(first), size, prot, flags, -1, 0), size)

    @rule(
        first=page, pages=count, prot=perms, shared=st.booleans(), how=hows, extra=extras, fd=st.sampled_from([RW, RO]),
        offset=st.integers(0, 7),
    )  # fmt: skip
    def map_file(
        self, first: int, pages: int, prot: int, shared: bool, how: int, extra: int, fd: int, offset: int
    ) -> None:
        size = min(pages, PAGES - first) * PAGE
        flags = (Map.SHARED if shared else Map.PRIVATE) | how | extra
        self.settle(self.both.call("mmap", at(first), size, prot, flags, fd, offset * PAGE), size)

    @rule(first=page, pages=count)
    def unmap(self, first: int, pages: int) -> None:
        self.both.call("munmap", at(first), min(pages, PAGES - first) * PAGE)

    @rule(first=page, pages=count, prot=perms)
    def protect(self, first: int, pages: int, prot: int) -> None:
        self.both.call("mprotect", at(first), min(pages, PAGES - first) * PAGE, prot)

    @rule(first=page, pages=count, what=advice)
    def advise(self, first: int, pages: int, what: Madvise) -> None:
        pages = min(pages, PAGES - first)
        if what == Madvise.REMOVE and any(kind.endswith("data") for kind in self.areas(first, pages)):
            return  # holes in files are the file system's business
        self.both.call("madvise", at(first), pages * PAGE, what)

    @rule(first=page, pages=count, on_fault=st.booleans())
    def lock(self, first: int, pages: int, on_fault: bool) -> None:
        self.both.call("mlock2", at(first), min(pages, PAGES - first) * PAGE, int(on_fault))

    @rule(first=page, pages=count)
    def unlock(self, first: int, pages: int) -> None:
        self.both.call("munlock", at(first), min(pages, PAGES - first) * PAGE)

    @rule(first=page, pages=count, flags=st.sampled_from([0, Msync.ASYNC, Msync.SYNC]))
    def sync(self, first: int, pages: int, flags: int) -> None:
        self.both.call("msync", at(first), min(pages, PAGES - first) * PAGE, flags)

    @rule(first=page, pages=count, new=count, to=page, flags=st.sampled_from([0, 1, 3, 3, 5, 7]))
    def move(self, first: int, pages: int, new: int, to: int, flags: int) -> None:
        pages, new = min(pages, PAGES - first), min(new, PAGES - to)
        if flags & Mremap.DONTUNMAP:
            new = pages = min(pages, new)
        if not flags & Mremap.MAYMOVE:
            new = min(new, PAGES - first)
        if not self.both.one_area(at(first), at(first + pages)):
            return
        result = self.both.call("mremap", at(first), pages * PAGE, new * PAGE, flags, at(to))
        if isinstance(result, Away):
            self.both.call("mremap", result, new * PAGE, new * PAGE, 3, at(to))

    @rule(number=page, at_page=st.sampled_from([0, 1, PAGE - 1]))
    def load(self, number: int, at_page: int) -> None:
        self.both.load(at(number) + at_page)

    @rule(number=page, value=byte)
    def store(self, number: int, value: int) -> None:
        self.both.store(at(number), value)

    @rule(number=page)
    def emit(self, number: int) -> None:
        self.both.emit(at(number) + RET_AT)

    @rule(number=page)
    def execute(self, number: int) -> None:
        # Past the end of a file, arm64 looks at rights first and x86-64 at the file.
        if self.both.load(at(number)) != "signal 7 code 2 at +0x0":
            self.both.execute(at(number) + RET_AT)

    @rule(pages=st.integers(0, 8))
    def truncate(self, pages: int) -> None:
        self.both.call("ftruncate", RW, pages * PAGE)

    @rule(number=st.integers(0, 7), length=st.sampled_from([1, PAGE, PAGE + 7]), value=byte)
    def write_file(self, number: int, length: int, value: int) -> None:
        self.both.put(RW, number * PAGE, length, value)
        self.both.call("ftruncate", RW, 8 * PAGE)

    @rule(number=st.integers(0, 7), length=st.sampled_from([1, PAGE, 3 * PAGE]))
    def read_file(self, number: int, length: int) -> None:
        self.both.get(RW, number * PAGE, length)

    @rule(
        name=st.sampled_from(["pread64", "pwrite64"]), first=page, start=st.sampled_from([0, 5, PAGE - 8]), pages=count,
        offset=st.integers(0, 7),
    )  # fmt: skip
    def transfer(self, name: str, first: int, start: int, pages: int, offset: int) -> None:
        pages = min(pages, PAGES - first)
        if any(kind.endswith("data") for kind in self.areas(first, pages)):
            return
        self.both.call(name, RW, at(first) + start, pages * PAGE - start, offset * PAGE)
        self.both.call("ftruncate", RW, 8 * PAGE)

    @rule(pages=st.integers(0, 8))
    def move_break(self, pages: int) -> None:
        self.both.brk(pages * PAGE)

    @rule(pages=st.integers(0, 8), value=byte)
    def use_heap(self, pages: int, value: int) -> None:
        self.both.load(self.both.heap + pages * PAGE)
        self.both.store(self.both.heap + pages * PAGE, value)

    @rule(pages=st.integers(0, 7), size=st.integers(1, 3), prot=perms)
    def protect_heap(self, pages: int, size: int, prot: int) -> None:
        self.both.call("mprotect", self.both.heap + pages * PAGE, size * PAGE, prot)

    @precondition(lambda self: self.both.history)
    @invariant()
    def the_same_is_mapped(self) -> None:
        self.both.maps(self.both.heap, 16 * PAGE)
        for area in self.both.maps():
            if area.name == "" and area.rights[3] == "p":
                self.both.residency(ARENA + area.start, area.end - area.start)

    def teardown(self) -> None:
        try:
            for number in range(PAGES):
                self.both.load(at(number))
            self.both.call("munmap", ARENA, PAGES * PAGE)
            self.both.get(RW, 0, 8 * PAGE)
        finally:
            self.both.close()
            self.folder.cleanup()


def lives(driver: Path, examples: int, steps: int, guest_driver: Path | None = None) -> None:
    class OnThisHost(Lives):
        pass

    OnThisHost.driver, OnThisHost.guest_driver = driver, guest_driver
    run_state_machine_as_test(
        OnThisHost,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            derandomize=True,
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )


def test_random_lives_agree(driver: Path) -> None:
    lives(driver, 25, 40)


@pytest.mark.slow
def test_random_lives_agree_on_the_machine(driver: Path, guest_driver: Path) -> None:
    lives(driver, 15, 80, guest_driver)


@pytest.mark.slow
def test_many_random_lives_agree(driver: Path) -> None:
    lives(driver, 600, 80)
