# SPDX-License-Identifier: GPL-2.0-or-later
"""Objects that a real linker made, damaged: they load, or they are refused with one error; nothing stays, nothing hangs."""

from __future__ import annotations

import random
import struct
import time
from collections.abc import Callable
from typing import TypeVar

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fetchsan.arch.aarch64.cpus import get_cpu
from fetchsan.errors import NotExecutableError
from fetchsan.kernel.linker.elf_file import read_elf
from fetchsan.kernel.linker.inspection import Inspected
from fetchsan.kernel.linker.object import InGuest
from fetchsan.kernel.linker.program import Program
from fetchsan.kernel.mmu.osv_space import OsvSpace
from fetchsan.kernel.mmu.ports import AARCH64, X64
from fetchsan.kernel.mmu.user_memory import UserMemory
from fetchsan.kernel.osv import RofsFile
from fetchsan.machine.machine import Machine
from fetchsan.machine.memory import PhysicalMemory
from fetchsan.machine.x64_machine import X64Machine
from kernel.linker.programs import FOLDER

T = TypeVar("T")
PROGRAM_BASE = 0x1000_0000_0000
OBJECTS = {
    (port, name): (FOLDER / port / name).read_bytes()
    for port in ("aarch64", "x64")
    for name in ("library.so", "lazy.so", "plugin.so", "pie")
}
# What makes a linker's life hard.
WORDS = [0, 1, 7, 8, 0x7FFF_FFFF, 0xFFFF_FFFF, 1 << 32, 1 << 40, 1 << 47, 1 << 63, (1 << 64) - 1]
VALUES: tuple[Callable[[random.Random], int], ...] = (
    lambda draw: draw.choice(WORDS),
    lambda draw: draw.getrandbits(8),
    lambda draw: draw.getrandbits(64),
)
VALUE = st.one_of(st.sampled_from(WORDS), st.integers(0, 255), st.integers(0, (1 << 64) - 1))
EDIT = st.tuples(st.floats(0, 1, exclude_max=True), VALUE)


class Linker:
    """An address space to load into, again and again."""

    def __init__(self, port: str) -> None:
        memory = PhysicalMemory(16 << 20)
        hardware = (
            Machine(get_cpu("cortex-a72"), memory=memory, user=False)
            if port == "aarch64"
            else X64Machine(memory=memory, user=False)
        )
        self.space = OsvSpace(hardware, sync="osv", port=AARCH64 if port == "aarch64" else X64)
        self.memory = UserMemory(self.space)

    def try_to_load(self, data: bytes) -> bool:
        """Load, look something up, walk all names, unload. Whether it could be loaded."""
        program = Program(self.space, self.memory, {"/it.so": RofsFile("/it.so", data)}.get, at=PROGRAM_BASE)
        try:
            loaded = drive(program.load("/it.so"))
            drive(program.initialise(loaded, ()))
            program.lookup(b"twice")
            return True
        except NotExecutableError as error:
            assert "\n" not in str(error)
            return False
        finally:
            program.close()
            assert not list(self.space.vmas.mapped())


def drive(steps: InGuest[T]) -> T:
    try:
        next(steps)
        while True:
            steps.send(0)
    except StopIteration as done:
        result: T = done.value
        return result


_LINKERS = {port: Linker(port) for port in ("aarch64", "x64")}


def parts(data: bytes) -> list[tuple[int, int]]:
    """(start, size) of what the linker reads: headers, the dynamic table, everything before the text."""
    elf = read_elf(RofsFile("/it.so", data), "/it.so")
    assert elf.dynamic is not None
    segment = next(each for each in elf.segments if each.address <= elf.dynamic.address < each.end)
    dynamic = elf.dynamic.address - segment.address + segment.offset
    return [(0, 64 + 56 * elf.program_header_count), (dynamic, elf.dynamic.size), (0x200, 0x800)]


def damaged(data: bytes, which: int, edits: list[tuple[float, int]]) -> bytes:
    start, size = parts(data)[which]
    copy = bytearray(data)
    for place, value in edits:
        at = start + int(place * size) // 8 * 8
        if value < 256:
            copy[at + value % 8] = value
        else:
            struct.pack_into("<Q", copy, at, value)
    return bytes(copy)


CASES = st.tuples(st.sampled_from(sorted(OBJECTS)), st.integers(0, 2), st.lists(EDIT, min_size=1, max_size=4))


def check(case: tuple[tuple[str, str], int, list[tuple[float, int]]]) -> None:
    (port, name), which, edits = case
    data = damaged(OBJECTS[port, name], which, edits)
    started = time.process_time()
    _LINKERS[port].try_to_load(data)
    try:
        found = Inspected(RofsFile("/it.so", data), "/it.so")
        _ = found.relocations, found.undefined, found.warnings
    except NotExecutableError:
        pass
    assert time.process_time() - started < 20


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(case=CASES)
def test_a_damaged_object_loads_or_is_refused(case: tuple[tuple[str, str], int, list[tuple[float, int]]]) -> None:
    check(case)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(20))
def test_a_million_damaged_objects_load_or_are_refused(seed: int) -> None:
    """Fifty thousand from each seed, drawn as above without Hypothesis, which would take most of the time."""
    draw = random.Random(seed)
    objects = sorted(OBJECTS)
    for _ in range(50_000):
        edits = [(draw.random(), draw.choice(VALUES)(draw)) for _ in range(draw.randint(1, 4))]
        check((draw.choice(objects), draw.randrange(3), edits))


@pytest.mark.parametrize("seed", range(8))
def test_a_truncated_object_is_refused(seed: int) -> None:
    draw = random.Random(seed)
    (port, _), data = draw.choice(sorted(OBJECTS.items()))
    end = max(segment.offset + segment.file_size for segment in read_elf(RofsFile("/it.so", data), "/it.so").segments)
    assert not _LINKERS[port].try_to_load(data[: draw.randrange(end)])


def test_objects_that_need_each_other_load() -> None:
    linker = _LINKERS["aarch64"]
    names = ("lazy.so", "library.so")
    files = {f"/{name}": RofsFile(f"/{name}", OBJECTS["aarch64", name], ino) for ino, name in enumerate(names, 1)}
    program = Program(linker.space, linker.memory, files.get, at=PROGRAM_BASE)
    loaded = drive(program.load("/lazy.so"))
    first, second = program.modules
    second.needed.append(first)
    assert loaded.new == (second, first)
    assert set(program._dependencies_first(second)) == {first, second}
    program.close()
