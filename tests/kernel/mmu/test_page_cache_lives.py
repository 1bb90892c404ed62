# SPDX-License-Identifier: GPL-2.0-or-later
"""Random lives of files under mappings, read(2), write(2), truncation, msync and eviction, against a model of bytes.

The model knows no pages of memory: a file is bytes, and a private page is its own copy from its first store on. On both
ports, under both kernels' caches with limits so small that pages are evicted all the time.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from fetchsan.kernel.errors import GuestFault
from fetchsan.kernel.mmu.advice import madvise, msync
from fetchsan.kernel.mmu.cache_policy import LINUX_CACHE, OSV_CACHE
from fetchsan.kernel.mmu.mman import Madvise, Map, Mremap, Msync
from fetchsan.kernel.mmu.ports import AARCH64, X64, Port
from fetchsan.kernel.mmu.remap import mremap
from fetchsan.machine.hardware import Origin

from .recording import PAGE, MemoryFile, World

R, W = 1, 2
PAGES = 3
BASE = 0x7000_001F_E000  # so that windows cross a 2 MiB boundary
WINDOWS = 2
_SHIFT = 64 << 20

# Few places, so that operations meet.
offsets = st.builds(lambda page, at: page * PAGE + at, st.integers(0, PAGES - 1), st.sampled_from([0, 10, PAGE - 5]))
sizes = st.sampled_from([5, PAGE - 3, PAGE, 2 * PAGE + 12, 3 * PAGE])
windows = st.integers(0, WINDOWS - 1)


class Window:
    """A mapping of the whole file; `copies` are the pages it has for its own."""

    def __init__(self, base: int, shared: bool) -> None:
        self.base = base
        self.shared = shared
        self.copies: dict[int, bytearray] = {}


class Lives(RuleBasedStateMachine):
    port: Port = AARCH64
    policy = replace(LINUX_CACHE, read_limit=lambda frames: 2, write_limit=lambda frames: 2)
    user = True

    def __init__(self) -> None:
        super().__init__()
        self.world = World(
            user=self.user, sync="linux" if self.user else "osv", size=16 << 20, port=self.port, policy=self.policy
        )
        content = b"".join(bytes([65 + index]) * PAGE for index in range(PAGES - 2)) + bytes(PAGE) + b"the tail"
        self.file = MemoryFile(content)
        self.file.version = "the same for ever"
        self.model = bytearray(content)
        self.windows: dict[int, Window] = {}
        for number in range(WINDOWS):
            self.map(number, shared=not number, eager=False)

    @rule(number=windows, shared=st.booleans(), eager=st.booleans())
    def map(self, number: int, shared: bool, eager: bool) -> None:
        base = BASE + number * _SHIFT
        if number in self.windows:
            self.unmap(number)
        if not self.user and len(self.model) < PAGE:
            return  # OSv does not cache a file that is so small when it is mapped
        kind = (Map.SHARED if shared else Map.PRIVATE) | Map.FIXED | (Map.POPULATE if eager else 0)
        self.world.space.mmap(base, PAGES * PAGE, R | W, kind, self.file)
        self.windows[number] = Window(base, shared)
        if eager and not shared and self.user:  # Linux populates what may be written as if it were
            self._own(self.windows[number], range(-(-len(self.model) // PAGE)))

    @rule(number=windows)
    def unmap(self, number: int) -> None:
        window = self.windows.pop(number, None)
        if window is not None:
            self.world.space.munmap(window.base, PAGES * PAGE)
            if window.shared:
                assert self.file.content == self.model

    @precondition(lambda self: self.user)
    @rule(number=windows)
    def move(self, number: int) -> None:
        window = self.windows.get(number)
        if window is not None:
            target = window.base ^ (1 << 40)
            mremap(self.world.space, window.base, PAGES * PAGE, PAGES * PAGE, Mremap.MAYMOVE | Mremap.FIXED, target)
            window.base = target

    @rule(number=windows, offset=offsets, data=st.binary(min_size=1, max_size=16))
    def store(self, number: int, offset: int, data: bytes) -> None:
        window = self.windows.get(number)
        if window is None:
            return
        page = offset // PAGE
        data = data[: (page + 1) * PAGE - offset]
        if page * PAGE >= len(self.model):
            self._past_the_end(window, offset, "write")
            return
        if not window.shared:
            self._own(window, [page])
        self.world.memory.write(window.base + offset, data)
        if window.shared:
            data = data[: max(len(self.model) - offset, 0)]
            self.model[offset : offset + len(data)] = data
        else:
            window.copies[page][offset % PAGE : offset % PAGE + len(data)] = data

    @rule(number=windows, offset=offsets)
    def load(self, number: int, offset: int) -> None:
        window = self.windows.get(number)
        if window is None:
            return
        page = offset // PAGE
        if page * PAGE >= len(self.model):
            self._past_the_end(window, offset, "read")
            return
        size = min(16, (page + 1) * PAGE - offset)
        seen = self.world.memory.read(window.base + offset, size)
        if page in window.copies:
            assert seen == bytes(window.copies[page][offset % PAGE : offset % PAGE + size])
        else:
            expected = bytes(self.model[offset : offset + size])
            assert seen[: len(expected)] == expected  # what follows the end of the file is nobody's

    @rule(offset=offsets, size=st.integers(0, 3 * PAGE))
    def read_file(self, offset: int, size: int) -> None:
        assert self.world.cache.read(self.file, offset, size) == bytes(self.model[offset : offset + size])

    @rule(offset=offsets, data=st.binary(min_size=1, max_size=16), many=st.sampled_from([1, 300]))
    def write_file(self, offset: int, data: bytes, many: int) -> None:
        data = (data * many)[: PAGES * PAGE - offset]
        self.world.cache.file_growing(self.file, 0)
        for content in (self.file.content, self.model):
            content += bytes(max(offset + len(data) - len(content), 0))
            content[offset : offset + len(data)] = data
        self.world.cache.file_written(self.file, offset, data, 0, Origin(0x1000, "write(2)"))

    @rule(size=sizes)
    def truncate(self, size: int) -> None:
        self.world.cache.file_growing(self.file, 0)
        for content in (self.file.content, self.model):
            del content[size:]
            content += bytes(size - len(content))
        self.world.cache.file_truncated(self.file, size, 0)
        for window in self.windows.values():
            for page in [page for page in window.copies if page * PAGE >= size]:
                del window.copies[page]

    @rule(number=windows, offset=offsets)
    def sync(self, number: int, offset: int) -> None:
        """Between two stores to one page: the second must be seen too."""
        window = self.windows.get(number)
        if window is not None:
            self.store(number, offset, b"before")
            msync(self.world.space, window.base, PAGES * PAGE, Msync.SYNC)
            if window.shared:
                assert self.file.content == self.model
            self.store(number, offset, b"behind")

    @rule(number=windows)
    def forget(self, number: int) -> None:
        window = self.windows.get(number)
        if window is not None:
            madvise(self.world.space, window.base, PAGES * PAGE, Madvise.DONTNEED)
            window.copies.clear()

    @rule()
    def reclaim(self) -> None:
        cache = self.world.cache
        if self.windows:
            cache.evict(list(cache.file(self.file).pages.values()))
            assert not cache.file(self.file).pages

    @invariant()
    def the_reverse_map_is_the_page_tables(self) -> None:
        space = self.world.space
        there = Counter(
            (number, page)
            for number, window in self.windows.items()
            for page in range(PAGES)
            if space.tables.lookup(window.base + page * PAGE)
        )
        known = Counter()
        if self.windows:
            numbers = {window.base: number for number, window in self.windows.items()}
            for index, leaf in self.world.cache.file(self.file).leaves:
                known[numbers[leaf.virtual - index * PAGE], index] += 1
        assert known == there

    @invariant()
    def nothing_is_written_past_the_end_or_unasked(self) -> None:
        assert len(self.file.content) == len(self.model)
        dirty = self.world.cache.file(self.file).dirty if self.windows else set()
        for page in range(-(-len(self.model) // PAGE)):
            if page not in dirty:
                at = slice(page * PAGE, (page + 1) * PAGE)
                assert self.file.content[at] == self.model[at]

    def teardown(self) -> None:
        self.world.space.destroy()
        self.world.cache.close()
        assert self.file.content == self.model
        assert self.world.hardware.memory.frames_in_use == 0
        assert self.world.cache.failures == []

    def _own(self, window: Window, pages: range | list[int]) -> None:
        """These pages of a private window do not follow the file any more."""
        for page in pages:
            if page not in window.copies:
                # With what follows the end of the file as the mapping shows it: those bytes are nobody's.
                shown = self.world.memory.read(window.base + page * PAGE, PAGE)
                expected = self.model[page * PAGE : (page + 1) * PAGE]
                assert shown[: len(expected)] == expected
                window.copies[page] = bytearray(shown)

    def _past_the_end(self, window: Window, offset: int, access: str) -> None:
        try:
            self.world.space.fault(0, window.base + offset, access)
        except GuestFault as fault:
            assert (fault.signal, fault.code) == (7, 2)
        else:
            raise AssertionError("past the end of the file is SIGBUS")


class LinuxX64Lives(Lives):
    port = X64


class OsvLives(Lives):
    user = False
    policy = replace(OSV_CACHE, write_limit=lambda frames: 2)


class OsvX64Lives(OsvLives):
    port = X64


_SETTINGS = settings(max_examples=80, stateful_step_count=50, deadline=None, derandomize=True)

TestLinux = Lives.TestCase
TestLinux.settings = _SETTINGS
TestLinuxX64 = LinuxX64Lives.TestCase
TestLinuxX64.settings = _SETTINGS
TestOsv = OsvLives.TestCase
TestOsv.settings = _SETTINGS
TestOsvX64 = OsvX64Lives.TestCase
TestOsvX64.settings = _SETTINGS
