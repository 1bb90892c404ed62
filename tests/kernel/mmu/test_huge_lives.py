# SPDX-License-Identifier: GPL-2.0-or-later
"""Random lives of address spaces around 2 MiB boundaries, on both ports, against a model that knows single pages.

After every step: VMAs are disjoint, ordered and cover what the model says; no leaf lies outside a VMA or grants more than
it; a TLB that remembers every translation until it is flushed allows nothing that is no longer allowed; every frame has
the owners that its references say; resident pages hold what was stored; the port was asked to care for its instruction
caches once for every populated piece of an executable VMA, and on x64 did nothing.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import ClassVar

import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from fetchsan.kernel.errors import Access, GuestFault
from fetchsan.kernel.mmu.operate import operate_range
from fetchsan.kernel.mmu.operations import Unpopulate
from fetchsan.kernel.mmu.ports import AARCH64, X64, Port
from fetchsan.kernel.mmu.vma import MMAP_FIXED, MMAP_POPULATE, MMAP_SHARED, MMAP_SMALL
from fetchsan.machine.hardware import Hardware, Translation

from .recording import ADDRESS, PAGE, MemoryFile, RecordingHardware, World

R, W, X = 1, 2, 4
HUGE = 2 << 20
WINDOW = HUGE // PAGE
BASE = 0x2000_0000_0000 + HUGE - 3 * PAGE  # three pages, two windows, five pages
PAGES = 3 + 2 * WINDOW + 5
FILE_PAGES = 6
EDGES = (
    0, 1, 2, 3, 4, 100, WINDOW + 2, WINDOW + 3, WINDOW + 4, 2 * WINDOW + 2, 2 * WINDOW + 3, 2 * WINDOW + 4, PAGES - 1, PAGES,
)  # fmt: skip

spans = st.lists(st.sampled_from(EDGES), min_size=2, max_size=2, unique=True).map(sorted)
page = st.sampled_from([*EDGES[:-1], 5, WINDOW + 7, 2 * WINDOW])
perms = st.sampled_from([0, R, W, R | W, R | W, R | X, R | W | X])
mappings = st.sampled_from([0, 0, MMAP_POPULATE, MMAP_SMALL, MMAP_SMALL | MMAP_POPULATE])


class CachingHardware(RecordingHardware):
    """Its TLB keeps every translation there ever was until it is told to flush."""

    def __init__(self, size: int) -> None:
        super().__init__(size)
        self.cached: dict[int, set[Translation]] = {}

    def pte_changed(
        self, pe: int, virtual: int, size: int, executable: Sequence[tuple[int, int]], *, replaced: bool
    ) -> None:
        for number in range(virtual, virtual + size, PAGE):
            if number in self.translations:
                self.cached.setdefault(number, set()).add(self.translations[number])
        super().pte_changed(pe, virtual, size, executable, replaced=replaced)

    def flush_tlb_all(self, pe: int) -> None:
        super().flush_tlb_all(pe)
        self.cached.clear()

    def flush_tlb_linux(self, pe: int) -> None:
        super().flush_tlb_linux(pe)
        self.cached.clear()

    def frames_freed(self, frames: Sequence[int]) -> None:
        super().frames_freed(frames)
        reachable = {t.physical for translations in self.cached.values() for t in translations if t.writable}
        assert reachable.isdisjoint(frames), "no PE can store to a frame that is free"


@dataclasses.dataclass
class Page:
    """What the model knows of one page."""

    perm: int
    index: int | None = None  # which page of the file it shows
    shared: bool = False
    own: int | None = None  # its first byte, if it has a frame of its own


class Lives(RuleBasedStateMachine):
    user: ClassVar[bool]
    sync: ClassVar[str]
    port: ClassVar[Port]

    def __init__(self) -> None:
        super().__init__()
        self.maintained: list[int] = []  # bytes of each call of vma_invalidate_cache
        self.owed = 0  # how many there should have been
        own = self.port.vma_invalidate_cache

        def counted(hardware: Hardware, pe: int, executable: bool, runs: Iterable[tuple[int, int, int]]) -> None:
            runs = list(runs)
            assert executable
            self.maintained.append(sum(size for _, _, size in runs))
            own(hardware, pe, executable, runs)

        port = dataclasses.replace(self.port, vma_invalidate_cache=counted)
        self.world = World(user=self.user, sync=self.sync, port=port, hardware=CachingHardware(12 << 20))
        self.space = self.world.space
        self.file = MemoryFile(b"".join(bytes([65 + index]) * PAGE for index in range(FILE_PAGES)))
        self.first_bytes = [65 + index for index in range(FILE_PAGES)]
        self.model: dict[int, Page] = {}

    def at(self, number: int) -> int:
        return BASE + number * PAGE

    def populated(self, perm: int) -> None:
        """A populate_vma of a VMA with `perm` took place."""
        self.owed += bool(perm & X) and self.sync == "osv"

    @initialize(perm=st.sampled_from([R | W, R | W | X]), shared=st.booleans())
    def start_with_resident_pages(self, perm: int, shared: bool) -> None:
        self.map_anonymous([0, PAGES], perm, MMAP_POPULATE)
        self.map_file(PAGES - 4, 4, 1, perm, MMAP_POPULATE | MMAP_SHARED * shared)
        for number in (5, WINDOW + 7, PAGES - 3):
            self.store(number, number % 256)

    @rule(span=spans, perm=perms, flags=mappings)
    def map_anonymous(self, span: list[int], perm: int, flags: int) -> None:
        first, last = span
        self.space.map_anon(self.at(first), (last - first) * PAGE, flags | MMAP_FIXED, perm)
        self.model |= {number: Page(perm) for number in range(first, last)}
        if flags & MMAP_POPULATE and perm:
            self.populated(perm)

    @rule(
        first=page, pages=st.integers(1, FILE_PAGES), offset=st.integers(0, FILE_PAGES - 1), perm=perms,
        flags=st.sampled_from([0, MMAP_SHARED, MMAP_POPULATE, MMAP_SHARED | MMAP_POPULATE]),
    )  # fmt: skip
    def map_file(self, first: int, pages: int, offset: int, perm: int, flags: int) -> None:
        pages = min(pages, PAGES - first, FILE_PAGES - offset)
        self.space.map_file(self.at(first), pages * PAGE, flags | MMAP_FIXED, perm, self.file, offset * PAGE)
        for step in range(pages):
            self.model[first + step] = Page(perm, offset + step, bool(flags & MMAP_SHARED))
        if flags & MMAP_POPULATE and perm:
            self.populated(perm)

    @rule(span=spans)
    def unmap(self, span: list[int]) -> None:
        removed = self.space.evacuate(self.at(span[0]), self.at(span[1]))
        mapped = [number for number in range(*span) if self.model.pop(number, None) is not None]
        assert removed == len(mapped) * PAGE

    @rule(span=spans, perm=perms)
    def protect(self, span: list[int], perm: int) -> None:
        self.space.protect(self.at(span[0]), self.at(span[1]), perm)
        for number in range(*span):
            if number in self.model:
                self.model[number].perm = perm

    @rule(span=spans)
    def drop(self, span: list[int]) -> None:
        start, end = self.at(span[0]), self.at(span[1])
        for vma in self.space.vmas.find_intersecting_vmas(start, end):
            low = max(start, vma.start)
            operate_range(Unpopulate(self.space, vma), low, min(end, vma.end) - low)
        for number in range(*span):
            if number in self.model:
                self.model[number].own = None

    @rule(span=spans, allow=st.booleans())
    def allow_huge_pages(self, span: list[int], allow: bool) -> None:
        self.space.allow_huge_pages(self.at(span[0]), self.at(span[1]), allow=allow)

    @rule(number=page, access=st.sampled_from(["read", "write", "execute"]))
    def fault(self, number: int, access: Access) -> None:
        known = self.model.get(number)
        allowed = known is not None and known.perm & self.space.allows[access]
        try:
            self.space.fault(0, self.at(number) + 8, access)
        except GuestFault as fault:
            assert not allowed
            assert (fault.signal, fault.code, fault.address) == (11, 1 if known is None else 2, self.at(number) + 8)
            return
        assert allowed and known is not None
        self.populated(known.perm)
        translation = self.world.walk(self.at(number))
        assert translation is not None
        assert {"read": True, "write": translation.writable, "execute": translation.executable}[access]

    @rule(number=page, byte=st.integers(1, 255))
    def store(self, number: int, byte: int) -> None:
        known = self.model.get(number)
        before = self.world.walk(self.at(number))
        try:
            self.world.memory.write(self.at(number), bytes([byte]))
        except GuestFault:
            assert known is None or not known.perm & W
            return
        assert known is not None and known.perm & W
        if before is None or not before.writable:
            self.populated(known.perm)
        if known.shared and known.index is not None:
            self.first_bytes[known.index] = byte
        else:
            known.own = byte

    @invariant()
    def vmas_are_disjoint_ordered_and_cover_the_model(self) -> None:
        vmas = list(self.space.vmas)
        assert all(left.end <= right.start for left, right in itertools.pairwise(vmas))
        perms = {n: v.perm for v in vmas for n in range((v.start - BASE) // PAGE, (v.end - BASE) // PAGE) if v.size}
        assert perms == {number: known.perm for number, known in self.model.items()}
        assert self.space.all_vmas_size() == len(self.model) * PAGE

    @invariant()
    def leaves_grant_what_their_vma_does_and_no_more(self) -> None:
        hardware = self.world.hardware
        told = {}
        resident = 0
        for virtual, size, _ in leaves(self.world):
            resident += size
            for address in range(virtual, virtual + size, PAGE):
                known = self.model[(address - BASE) // PAGE]  # no leaf outside a VMA
                translation = self.world.walk(address)
                assert (translation is None) == (known.perm == 0)
                if translation is None:
                    continue
                told[address] = translation._replace(size=PAGE)
                assert translation.size == size
                assert not translation.writable or known.perm & W
                assert translation.executable == bool(known.perm & X)
                byte = hardware.memory.read(translation.physical, 1)[0]
                expected = known.own
                if expected is None:
                    expected = self.first_bytes[known.index] if known.index is not None else 0
                assert byte == expected
        # A split is not announced: the sizes of leaves may have changed.
        assert told == {at: known._replace(size=PAGE) for at, known in hardware.translations.items()}
        assert resident == self.space.resident_size()

    @invariant()
    def no_stale_translation_allows_more(self) -> None:
        for address, translations in self.world.hardware.cached.items():  # type: ignore[attr-defined]
            known = self.model.get((address - BASE) // PAGE)
            for translation in translations:
                assert known is not None and known.perm
                assert not translation.writable or known.perm & W
                assert not translation.executable or known.perm & X

    @invariant()
    def frames_have_their_owners(self) -> None:
        world = self.world
        owners: Counter[int] = Counter()
        for _, size, entry in leaves(world):
            owners.update(range(entry & ADDRESS & -size, (entry & ADDRESS & -size) + size, PAGE))
        cached = {
            world.cache.file(self.file).pages[index].physical
            for index in range(FILE_PAGES)
            if world.cache.is_cached(self.file, index)
        }
        owners.update(cached)
        owners.update(tables(world))
        assert world.frames.held() == set(owners)
        assert all(world.frames.references(frame) == number for frame, number in owners.items())
        assert world.hardware.memory.frames_in_use == len(owners)
        for translation in world.hardware.translations.values():
            assert not translation.writable or translation.physical in cached or owners[translation.physical] == 1

    @invariant()
    def caches_were_cared_for_once_a_populate(self) -> None:
        assert len(self.maintained) == self.owed
        told = sum(size for _, _, _, size, _ in self.world.hardware.named("synchronise"))  # type: ignore[misc]
        assert told == (sum(self.maintained) if self.port is AARCH64 else 0)

    def teardown(self) -> None:
        self.space.destroy()
        assert self.world.hardware.memory.frames_in_use == 0
        assert [self.file.content[index * PAGE] for index in range(FILE_PAGES)] == self.first_bytes


def leaves(world: World) -> Iterator[tuple[int, int, int]]:
    """(virtual, size, entry) of every leaf, read from the tables with no help from the memory manager."""
    return ((virtual, size, entry) for virtual, size, entry in _entries(world, world.space.root, 39, 0) if size <= HUGE)


def tables(world: World) -> list[int]:
    """Every frame that holds a table."""
    below = _entries(world, world.space.root, 39, 0)
    return [world.space.root, *(entry & ADDRESS for _, size, entry in below if size > HUGE)]


def _entries(world: World, table: int, shift: int, base: int) -> Iterator[tuple[int, int, int]]:
    """Leaves as (virtual, size, entry); entries that name a table too, with a size that no leaf has."""
    words = world.hardware.memory.words
    start = (table - world.hardware.memory.base) >> 3
    for index, entry in enumerate(words[start : start + 512].tolist()):
        virtual = base + (index << shift)
        if not entry:
            continue
        if shift == 12:
            yield virtual, PAGE, entry
        elif _is_table(world.hardware.port, entry):
            yield virtual, 1 << 48, entry
            yield from _entries(world, entry & ADDRESS, shift - 9, virtual)
        else:
            yield virtual, 1 << shift, entry


def _is_table(port: Port, entry: int) -> bool:
    return entry & 3 == 3 if port.name == "aarch64" else not entry & 0x80


KERNELS = {"osv": False, "linux": True}


def lives(kernel: str, port: Port, examples: int) -> None:
    class Here(Lives):
        pass

    Here.user, Here.sync, Here.port = KERNELS[kernel], kernel, port
    chosen = settings(
        max_examples=examples,
        stateful_step_count=30,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.generate],  # shrinking takes minutes: ask for it when there is something to shrink
    )
    run_state_machine_as_test(Here, settings=chosen)


both_ports = pytest.mark.parametrize("port", [AARCH64, X64], ids=lambda port: port.name)


@both_ports
@pytest.mark.parametrize("kernel", KERNELS)
def test_lives(kernel: str, port: Port) -> None:
    lives(kernel, port, 15)


@pytest.mark.slow
@both_ports
@pytest.mark.parametrize("kernel", KERNELS)
def test_many_lives(kernel: str, port: Port) -> None:
    lives(kernel, port, 200)


@both_ports
@pytest.mark.parametrize("user", [False, True], ids=["osv", "linux"])
@pytest.mark.parametrize(("cycles", "size"), [(1000, 1 << 20), (100, 30 << 20)], ids=["small", "large"])
def test_cycles_of_mapping_leak_nothing(port: Port, user: bool, cycles: int, size: int) -> None:
    world = World(user=user, sync="none", size=64 << 20, port=port)
    world.hardware.root = None  # it need not check each announcement here
    before = world.hardware.memory.frames_in_use
    for _ in range(cycles):
        start = world.space.map_anon(0, size, MMAP_POPULATE, R | W)
        world.space.munmap(start, size)
    assert world.hardware.memory.frames_in_use == before
    assert world.space.resident_size() == 0

