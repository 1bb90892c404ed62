# SPDX-License-Identifier: GPL-2.0-or-later
"""Write-back: one flush, few writes, never past the end of the file, failures told once for each file and reason."""

from __future__ import annotations

from errno import EIO, ENOSPC

import pytest

from fetchsan.kernel.mmu.mman import Map
from fetchsan.kernel.mmu.write_back import WriteBackFailure, lost_messages, write_pages

from .recording import PAGE, MemoryFile, World

R, W = 1, 2


class Counting(MemoryFile):
    """A file that notes its writes, and takes at most `most` bytes at once."""

    most = 1 << 30

    def __init__(self, content: bytes) -> None:
        super().__init__(content)
        self.writes: list[tuple[int, int]] = []

    def write_at(self, offset: int, data: bytes) -> int:
        self.writes.append((offset, len(data)))
        return super().write_at(offset, data[: self.most])


def test_consecutive_pages_are_written_in_one_call_after_one_flush() -> None:
    world = World()
    file = Counting(bytes(8 * PAGE))
    base = world.space.mmap(0, 8 * PAGE, R | W, Map.SHARED, file)
    for index in (0, 1, 2, 5):
        world.memory.write(base + index * PAGE, b"x")
    world.hardware.calls.clear()
    assert world.cache.write_back(file) == []
    assert file.writes == [(0, 3 * PAGE), (5 * PAGE, PAGE)]
    assert len(world.hardware.named("flush_tlb_linux")) == 1
    assert world.cache.write_back(file) == [] and len(file.writes) == 2


def test_leaves_of_private_mappings_are_left_alone() -> None:
    world = World()
    file = MemoryFile(bytes(PAGE))
    shared = world.space.mmap(0, PAGE, R | W, Map.SHARED, file)
    private = world.space.mmap(0, PAGE, R | W, Map.PRIVATE, file)
    world.memory.write(shared, b"x")
    world.touch(private, "read")
    before = world.space.tables.lookup(private)
    world.cache.write_back(file)
    assert world.space.tables.lookup(private) == before
    assert not world.walk(shared).writable  # type: ignore[union-attr]


@pytest.mark.parametrize("size, written", [(PAGE + 1, [(0, PAGE + 1)]), (PAGE, [(0, PAGE)]), (0, [])])
def test_nothing_is_written_past_the_end(size: int, written: list[tuple[int, int]]) -> None:
    file = Counting(bytes(size))
    assert write_pages(file, 0, [b"x" * PAGE, b"y" * PAGE]) is None
    assert file.writes == written and len(file.content) == size


def test_a_partial_write_goes_on_and_one_of_nothing_is_an_error() -> None:
    file = Counting(bytes(PAGE))
    file.most = 3000
    assert write_pages(file, 0, [b"x" * PAGE]) is None
    assert file.content == b"x" * PAGE and file.writes == [(0, PAGE), (3000, PAGE - 3000)]
    file.most = 0
    assert write_pages(file, 0, [b"y" * PAGE]) == WriteBackFailure(file.path, 0, PAGE, EIO)


def test_a_loss_is_one_line_for_each_file_and_reason() -> None:
    lost = [("/a", 0, ENOSPC), ("/b", 0, EIO), ("/a", 9 * PAGE, ENOSPC)]
    assert list(lost_messages(WriteBackFailure(path, offset, PAGE, number) for path, offset, number in lost)) == [
        "/a: 8192 bytes stored through a mapping were not written back: no space left on device",
        "/b: 4096 bytes stored through a mapping were not written back: input/output error",
    ]
