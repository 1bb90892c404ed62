# SPDX-License-Identifier: GPL-2.0-or-later
"""Frames and blocks of guest RAM."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fetchsan.machine.memory import BLOCK_SIZE, FRAME_SIZE, OutOfMemoryError, PhysicalMemory

STEPS = ("frame", "frames", "block", "free", "free block")


def test_the_frame_freed_last_comes_first() -> None:
    memory = PhysicalMemory(1 << 20)
    frames = [memory.allocate_frame() for _ in range(4)]
    memory.free_frames(frames[:3])
    assert [memory.allocate_frame() for _ in range(4)] == [frames[2], frames[1], frames[0], frames[3] + FRAME_SIZE]


def test_many_frames_come_as_single_ones_would() -> None:
    one, many = PhysicalMemory(1 << 20), PhysicalMemory(1 << 20)
    for memory in (one, many):
        taken = memory.allocate_frames(10)
        memory.free_frames(taken[2:7])
    assert many.allocate_frames(9) == [one.allocate_frame() for _ in range(9)]


def test_too_many_frames_take_none() -> None:
    memory = PhysicalMemory(1 << 20)
    memory.allocate_frames(200)
    with pytest.raises(OutOfMemoryError):
        memory.allocate_frames(57)
    assert memory.frames_in_use == 200
    assert len(memory.allocate_frames(56)) == 56


def test_a_block_is_aligned_and_what_was_skipped_is_used() -> None:
    memory = PhysicalMemory(8 << 20, base=0x4010_0000)
    block = memory.allocate_block()
    assert block == 0x4020_0000
    assert memory.frames_in_use == 512
    assert 0x4010_0000 <= memory.allocate_frame() < 0x4020_0000


def test_no_block_when_none_is_whole() -> None:
    memory = PhysicalMemory(BLOCK_SIZE)
    memory.allocate_frame()
    assert memory.allocate_block() is None


def test_a_block_breaks_into_frames_and_heals() -> None:
    memory = PhysicalMemory(BLOCK_SIZE)
    block = memory.allocate_block()
    assert block is not None
    memory.free_block(block)
    frames = [memory.allocate_frame() for _ in range(512)]
    assert sorted(frames) == list(range(block, block + BLOCK_SIZE, FRAME_SIZE))
    assert memory.allocate_block() is None
    memory.free_frames(frames)
    assert memory.allocate_block() == block


@pytest.mark.parametrize("wrong", [0, 0x4000_0001, 0x4000_0000 + (1 << 30), 0x4000_0000])
def test_what_was_never_allocated_cannot_be_freed(wrong: int) -> None:
    memory = PhysicalMemory(1 << 20)
    with pytest.raises(ValueError, match="not allocated"):
        memory.free_frame(wrong)


def test_a_double_free_is_refused() -> None:
    memory = PhysicalMemory(8 << 20)
    frame, block = memory.allocate_frame(), memory.allocate_block()
    assert block is not None
    memory.free_frame(frame)
    memory.free_block(block)
    with pytest.raises(ValueError, match="not allocated"):
        memory.free_frame(frame)
    with pytest.raises(ValueError, match="not allocated"):
        memory.free_block(block)


def test_untouched_memory_is_known_to_be_zero_without_touching_it() -> None:
    memory = PhysicalMemory(16 << 20)
    assert memory.is_zero(memory.base, memory.size)
    memory.write(memory.base + (5 << 20) + 123, b"x")
    assert not memory.is_zero(memory.base, memory.size)
    assert memory.is_zero(memory.base, 4 << 20)
    memory.write(memory.base + (5 << 20) + 123, b"\0")
    assert memory.is_zero(memory.base, memory.size)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(STEPS), st.integers(0, 600)), max_size=60))
def test_no_frame_has_two_owners(steps: list[tuple[str, int]]) -> None:
    memory = PhysicalMemory(8 << 20, base=0x4007_F000)
    frames: list[int] = []
    blocks: list[int] = []
    for step, number in steps:
        if step == "frame" or step == "frames":
            with suppress(OutOfMemoryError):
                frames += memory.allocate_frames(number) if step == "frames" else [memory.allocate_frame()]
        elif step == "block" and (block := memory.allocate_block()) is not None:
            blocks.append(block)
        elif step == "free" and frames:
            at = number % len(frames)
            memory.free_frames(frames[at:])
            del frames[at:]
        elif step == "free block" and blocks:
            memory.free_block(blocks.pop(number % len(blocks)))
        owned = frames + [block + offset for block in blocks for offset in range(0, BLOCK_SIZE, FRAME_SIZE)]
        assert len(owned) == len(set(owned)) == memory.frames_in_use
