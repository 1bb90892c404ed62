# SPDX-License-Identifier: GPL-2.0-or-later
"""Random lives of an address space against a dictionary of bytes and rights, with the invariants of OSv's manager.

After every step: VMAs are disjoint and ordered; every leaf lies in a VMA and grants no more than it; the machine was
told of every change; each frame has exactly the owners that hold it; no page that can be written is shared by accident.
"""

from __future__ import annotations

import itertools
from collections import Counter

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from fetchsan.kernel.errors import GuestFault, LinuxError
from fetchsan.kernel.mmu.advice import madvise
from fetchsan.kernel.mmu.mman import Madvise, Map
from fetchsan.kernel.mmu.remap import mremap
from fetchsan.kernel.mmu.vma import FileVma
from fetchsan.machine.walk import walk

from .recording import ADDRESS, PAGE, MemoryFile, World, leaves, tables

R, W, X = 1, 2, 4
BASE = 0x7000_001F_8000  # so that the window crosses a 2 MiB boundary: two level-0 tables
PAGES = 16
ANON = Map.PRIVATE | Map.ANONYMOUS
FILE = bytes(i // PAGE + 65 for i in range(6 * PAGE))

page = st.integers(0, PAGES - 1)
count = st.integers(1, PAGES)
perms = st.sampled_from([0, R, W, R | W, R | X, R | W | X])


class Page:
    """What the model knows of a page: rights, which page of the file it shows, and its own first byte if it has one."""

    def __init__(self, perm: int, index: int | None = None, shared: bool = False) -> None:
        self.perm = perm
        self.index = index
        self.shared = shared
        self.own: int | None = None

    def first_byte(self, file: dict[int, int]) -> int:
        if self.own is not None:
            return self.own
        return file[self.index] if self.index is not None else 0


class Lives(RuleBasedStateMachine):
    user = True
    sync = "linux"

    def __init__(self) -> None:
        super().__init__()
        self.world = World(user=self.user, sync=self.sync, size=16 << 20)
        self.file = MemoryFile(FILE)
        self.model: dict[int, Page] = {}
        self.first_bytes = {index: 65 + index for index in range(6)}

    def at(self, number: int) -> int:
        return BASE + number * PAGE

    @rule(first=page, pages=count, perm=perms)
    def map_anonymous(self, first: int, pages: int, perm: int) -> None:
        pages = min(pages, PAGES - first)
        self.world.space.mmap(self.at(first), pages * PAGE, perm, ANON | Map.FIXED)
        for number in range(first, first + pages):
            self.model[number] = Page(perm)

    @rule(first=page, pages=st.integers(1, 6), perm=perms, offset=st.integers(0, 5), shared=st.booleans())
    def map_file(self, first: int, pages: int, perm: int, offset: int, shared: bool) -> None:
        pages = min(pages, PAGES - first, 6 - offset)
        kind = Map.SHARED if shared else Map.PRIVATE
        self.world.space.mmap(self.at(first), pages * PAGE, perm, kind | Map.FIXED, self.file, offset * PAGE)
        for step in range(pages):
            self.model[first + step] = Page(perm, offset + step, shared)

    @rule(first=page, pages=count)
    def unmap(self, first: int, pages: int) -> None:
        numbers = range(first, min(first + pages, PAGES))
        whole = all(number in self.model for number in numbers)
        try:
            self.world.space.munmap(self.at(first), len(numbers) * PAGE)
        except LinuxError:
            assert not self.user and not whole
            return
        for number in numbers:
            self.model.pop(number, None)

    @rule(first=page, pages=count, perm=perms)
    def protect(self, first: int, pages: int, perm: int) -> None:
        numbers = list(range(first, min(first + pages, PAGES)))
        mapped = next((index for index, number in enumerate(numbers) if number not in self.model), len(numbers))
        try:
            self.world.space.mprotect(self.at(first), len(numbers) * PAGE, perm)
        except LinuxError:
            assert mapped < len(numbers)
            if not self.user:
                return
        for number in numbers[:mapped]:
            self.model[number].perm = perm

    @rule(number=page, byte=st.integers(1, 255))
    def store(self, number: int, byte: int) -> None:
        known = self.model.get(number)
        try:
            self.world.memory.write(self.at(number), bytes([byte]))
        except GuestFault as fault:
            assert known is None or not known.perm & W
            assert fault.code == (1 if known is None else 2)
            return
        assert known is not None and known.perm & W
        if known.shared and known.index is not None:
            self.first_bytes[known.index] = byte
        else:
            known.own = byte

    @rule(number=page)
    def load(self, number: int) -> None:
        known = self.model.get(number)
        try:
            seen = self.world.memory.read(self.at(number), 1)[0]
        except GuestFault:
            assert known is None or not known.perm & (R | W | X if self.user else R)
            return
        assert known is not None
        assert seen == known.first_byte(self.first_bytes)

    @rule(number=page)
    def execute(self, number: int) -> None:
        known = self.model.get(number)
        try:
            self.world.space.fault(0, self.at(number), "execute")
        except GuestFault:
            assert known is None or not known.perm & X
            return
        assert known is not None and known.perm & X

    @rule(first=page, pages=count)
    def forget(self, first: int, pages: int) -> None:
        numbers = range(first, min(first + pages, PAGES))
        try:
            madvise(self.world.space, self.at(first), len(numbers) * PAGE, Madvise.DONTNEED)
        except LinuxError:
            assert any(number not in self.model for number in numbers)
        for number in numbers:
            known = self.model.get(number)
            if known is not None:
                known.own = None

    @rule(source=page, to=page)
    def move(self, source: int, to: int) -> None:
        if source == to:
            return
        try:
            mremap(self.world.space, self.at(source), PAGE, PAGE, 3, self.at(to))
        except LinuxError:
            assert source not in self.model
            return
        self.model[to] = self.model.pop(source)

    @invariant()
    def vmas_are_disjoint_and_ordered(self) -> None:
        vmas = list(self.world.space.vmas)
        assert all(left.end <= right.start for left, right in itertools.pairwise(vmas))
        covered = {n for v in vmas for n in range((v.start - BASE) // PAGE, (v.end - BASE) // PAGE) if v.size}
        assert covered == set(self.model)

    @invariant()
    def leaves_lie_in_vmas_and_grant_no_more(self) -> None:
        space = self.world.space
        told = {}
        for virtual, _ in leaves(self.world.hardware.memory, space.root):
            vma = space.vmas.find(virtual)
            assert vma is not None
            translation, _ = walk(self.world.hardware.memory, space.root, virtual)
            if translation is None:
                assert vma.perm == 0
                continue
            told[virtual] = translation
            assert vma.perm and not (translation.writable and not vma.perm & W)
            assert translation.executable == bool(vma.perm & X)
        assert told == self.world.hardware.translations

    @invariant()
    def frames_have_their_owners(self) -> None:
        world = self.world
        owners = Counter(entry & ADDRESS for _, entry in leaves(world.hardware.memory, world.space.root))
        cached = set()
        for vma in world.space.vmas:
            if isinstance(vma, FileVma):
                for index in range(6):
                    if world.cache.is_cached(vma.inode, index):
                        cached.add(world.cache.file(vma.inode).pages[index].physical)
        owners.update(cached)
        owners.update(tables(world.hardware.memory, world.space.root))
        assert world.frames.held() == set(owners)
        assert all(world.frames.references(frame) == number for frame, number in owners.items())
        assert world.hardware.memory.frames_in_use == len(owners)
        for translation in world.hardware.translations.values():
            if translation.writable and translation.physical not in cached:
                assert owners[translation.physical] == 1

    def teardown(self) -> None:
        self.world.space.destroy()
        assert self.world.hardware.memory.frames_in_use == 0
        assert [bytes(self.file.content)[i * PAGE] for i in range(6)] == [self.first_bytes[i] for i in range(6)]


class OsvLives(Lives):
    user = False
    sync = "osv"


TestLinux = Lives.TestCase
TestLinux.settings = settings(max_examples=40, stateful_step_count=30, deadline=None, derandomize=True)
TestOsv = OsvLives.TestCase
TestOsv.settings = settings(max_examples=25, stateful_step_count=30, deadline=None, derandomize=True)
