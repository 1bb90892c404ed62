# SPDX-License-Identifier: GPL-2.0-or-later
"""The system calls of memory, called as the dispatcher calls them: unsigned registers in, a result or an errno out."""

from __future__ import annotations

import errno
from dataclasses import dataclass, field

import pytest

import fetchsan.kernel.syscalls.memory  # noqa: F401  # declares its rows
from fetchsan.kernel.errors import GuestFault, LinuxError
from fetchsan.kernel.mmu import AddressSpace, UserMemory
from fetchsan.kernel.syscalls.table import SYSCALLS

from .recording import PAGE, MemoryFile, World

R, W = 1, 2
PRIVATE, SHARED, ANON, FIXED = 2, 1, 0x20, 0x10
BASE = 0x7000_0000_0000
MMAP, MUNMAP, MPROTECT, BRK = "mmap", "munmap", "mprotect", "brk"
MREMAP, MADVISE, MINCORE, MSYNC = "mremap", "madvise", "mincore", "msync"
MINUS_ONE = (1 << 64) - 1


@dataclass
class OpenedFile:
    inode: MemoryFile
    readable: bool = True
    writable: bool = True
    flags: int = 0


@dataclass
class Descriptors:
    files: dict[int, OpenedFile] = field(default_factory=dict)

    def get(self, fd: int) -> OpenedFile:
        if fd not in self.files:
            raise LinuxError(errno.EBADF)
        return self.files[fd]


@dataclass
class Caller:
    """What the calls of this module ask of a task."""

    space: AddressSpace
    memory: UserMemory
    files: Descriptors

    def call(self, name: str, *arguments: int) -> int:
        return SYSCALLS[name].function(self, *arguments)

    def error(self, name: str, *arguments: int) -> int:
        with pytest.raises(LinuxError) as caught:
            self.call(name, *arguments)
        return caught.value.errno


@pytest.fixture
def task() -> Caller:
    world = World()
    return Caller(world.space, world.memory, Descriptors({3: OpenedFile(MemoryFile(b"file contents"))}))


def test_anonymous_memory_ignores_the_descriptor(task: Caller) -> None:
    address = task.call(MMAP, 0, PAGE, R | W, PRIVATE | ANON, MINUS_ONE, 0)
    task.memory.write(address, b"x")


def test_a_file_is_mapped_by_descriptor(task: Caller) -> None:
    address = task.call(MMAP, 0, PAGE, R, PRIVATE, 3, 0)
    assert task.memory.read(address, 4) == b"file"


def test_mmap_of_bad_descriptors(task: Caller) -> None:
    task.files.files[4] = OpenedFile(MemoryFile(b""), readable=False)
    task.files.files[5] = OpenedFile(MemoryFile(b""))
    task.files.files[5].inode.mappable = False
    task.files.files[6] = OpenedFile(MemoryFile(b""), writable=False)
    assert task.error(MMAP, 0, PAGE, R, PRIVATE, MINUS_ONE, 0) == errno.EBADF
    assert task.error(MMAP, 0, PAGE, R, PRIVATE, 4, 0) == errno.EACCES
    assert task.error(MMAP, 0, PAGE, R, PRIVATE, 5, 0) == errno.ENODEV
    assert task.error(MMAP, 0, PAGE, R | W, SHARED, 6, 0) == errno.EACCES


def test_mincore_writes_its_vector(task: Caller) -> None:
    task.call(MMAP, BASE, 4 * PAGE, R | W, PRIVATE | ANON | FIXED, 0, 0)
    task.memory.write(BASE + PAGE, b"x")
    assert task.call(MINCORE, BASE, 3 * PAGE, BASE + 3 * PAGE) == 0
    assert task.memory.read(BASE + 3 * PAGE, 3) == b"\0\1\0"


def test_mincore_with_a_bad_vector_faults(task: Caller) -> None:
    task.call(MMAP, BASE, PAGE, R | W, PRIVATE | ANON | FIXED, 0, 0)
    with pytest.raises(GuestFault):
        task.call(MINCORE, BASE, PAGE, 8)


def test_get_mempolicy_answers_one_node(task: Caller) -> None:
    task.call(MMAP, BASE, PAGE, R | W, PRIVATE | ANON | FIXED, 0, 0)
    assert task.call("get_mempolicy", BASE, BASE + 8, 128, 0, 4) == 0
    assert task.memory.read(BASE + 8, 16) == b"\1" + bytes(15)


def test_locks_want_mapped_memory(task: Caller) -> None:
    task.call(MMAP, BASE, PAGE, R | W, PRIVATE | ANON | FIXED, 0, 0)
    assert task.call("mlock", BASE + 5, 10) == 0
    assert task.error("mlock", BASE, 2 * PAGE) == errno.ENOMEM


EXTREMES = (0, 1, PAGE, BASE, BASE + 1, 1 << 47, 1 << 48, (1 << 63) - 1, 1 << 63, MINUS_ONE - PAGE + 1, MINUS_ONE)


@pytest.mark.parametrize(
    "name",
    [MMAP, MUNMAP, MPROTECT, BRK, MREMAP, MADVISE, MINCORE, MSYNC, "mlock", "munlock", "mlockall", "mbind", "get_mempolicy"],
)
def test_extreme_arguments_give_errors_and_nothing_else(task: Caller, name: str) -> None:
    task.call(MMAP, BASE, PAGE, R | W, PRIVATE | ANON | FIXED, 0, 0)
    arity = SYSCALLS[name].arity
    for first in EXTREMES:
        for second in EXTREMES:
            for third in (0, 3, 4, MINUS_ONE, 1 << 63):
                rest = [third, third & 0x32, 0, MINUS_ONE][: max(arity - 2, 0)]
                try:
                    task.call(name, *([first, second, *rest][:arity]))
                except (LinuxError, GuestFault):
                    continue


def test_random_arguments_leave_an_address_space_that_can_be_destroyed(task: Caller) -> None:
    for name in (MMAP, MREMAP, MPROTECT, MADVISE, MUNMAP):
        for length in EXTREMES:
            try:
                task.call(name, *[BASE, length, 3, 0x32, 0, 0][: SYSCALLS[name].arity])
            except (LinuxError, GuestFault):
                continue
    task.space.destroy()
    assert task.space.hardware.memory.frames_in_use == 0
