# SPDX-License-Identifier: GPL-2.0-or-later
"""Every error that the calls of memory know, against the host's kernel: the number, and what is mapped afterwards."""

from __future__ import annotations

import errno

import pytest

from fetchsan.kernel.mmu.mman import Madvise, Map, Mremap, Msync, Prot

from .sides import ARENA, PAGE, Both

R, W, X = Prot.READ, Prot.WRITE, Prot.EXEC
PRIVATE, SHARED, ANON, FIXED = Map.PRIVATE, Map.SHARED, Map.ANONYMOUS, Map.FIXED
NOREPLACE = Map.FIXED_NOREPLACE
MAYMOVE, REFIXED, DONTUNMAP = Mremap.MAYMOVE, Mremap.FIXED, Mremap.DONTUNMAP
RW, RO, WO, ODD, DIRECTORY, PATH, CLOSED = 100, 101, 102, 103, 104, 105, 106
O_PATH = 0o10000000
TOP = (1 << 64) - PAGE
PLAIN, NONE, READ_ONLY, HOLE, PRIVATE_FILE, SHARED_FILE, SHARED_RO, SHARED_ANON, FREE, WRITE_ONLY = (
    ARENA + page * PAGE for page in (0, 4, 5, 7, 8, 12, 16, 20, 24, 31)
)
_WHOLE = 24 * PAGE


def furnish(both: Both) -> None:
    """One of each kind of mapping in the arena, with holes between."""
    for slot, path, flags in (
        (RW, "data", 2), (RO, "data", 0), (WO, "data", 1), (ODD, "odd", 2), (DIRECTORY, ".", 0), (PATH, "data", O_PATH),
    ):  # fmt: skip
        assert both.open(slot, path, flags) == 0
    for start, pages, prot, flags, fd in (
        (PLAIN, 4, R | W, PRIVATE | ANON, -1),
        (NONE, 1, 0, PRIVATE | ANON, -1),
        (READ_ONLY, 2, R, PRIVATE | ANON, -1),
        (PRIVATE_FILE, 4, R | W, PRIVATE, RO),
        (SHARED_FILE, 4, R | W, SHARED, RW),
        (SHARED_RO, 4, R, SHARED, RO),
        (SHARED_ANON, 4, R | W, SHARED | ANON, -1),
        (WRITE_ONLY, 1, W, PRIVATE | ANON, -1),
    ):
        assert both.call("mmap", start, pages * PAGE, prot, flags | FIXED, fd, 0) == start
    both.store(PLAIN, 7)


REFUSED = [
    # What mmap wants of its arguments.
    (errno.EINVAL, "mmap", FREE, 0, R, PRIVATE | ANON, -1, 0),
    (errno.EINVAL, "mmap", FREE, PAGE, R, ANON, -1, 0),
    (errno.EINVAL, "mmap", FREE, PAGE, R, 0, RW, 0),
    (errno.EINVAL, "mmap", FREE + 1, PAGE, R, PRIVATE | ANON | FIXED, -1, 0),
    (errno.EINVAL, "mmap", FREE, PAGE, R, PRIVATE, RW, 1),
    (errno.EINVAL, "mmap", FREE, PAGE, R, PRIVATE, RW, 512),
    (errno.ENOMEM, "mmap", FREE, TOP, R, PRIVATE | ANON, -1, 0),
    (errno.ENOMEM, "mmap", FREE, (1 << 64) - 1, R, PRIVATE | ANON, -1, 0),
    (errno.ENOMEM, "mmap", 0, 1 << 49, R, PRIVATE | ANON, -1, 0),
    (errno.ENOMEM, "mmap", TOP, PAGE, R, PRIVATE | ANON | FIXED, -1, 0),
    (errno.ENOMEM, "mmap", 1 << 60, PAGE, R, PRIVATE | ANON | FIXED, -1, 0),
    (errno.EOVERFLOW, "mmap", FREE, 2 * PAGE, R, PRIVATE, RW, (1 << 63) - PAGE),
    (errno.EOVERFLOW, "mmap", FREE, PAGE, R, PRIVATE, RW, TOP),
    (errno.EEXIST, "mmap", PLAIN, PAGE, R, PRIVATE | ANON | NOREPLACE, -1, 0),
    (errno.EEXIST, "mmap", HOLE, 2 * PAGE, R, PRIVATE | ANON | NOREPLACE, -1, 0),
    (errno.EEXIST, "mmap", PLAIN, PAGE, R, PRIVATE | ANON | NOREPLACE | FIXED, -1, 0),
    (errno.EINVAL, "mmap", HOLE + 1, PAGE, R, PRIVATE | ANON | NOREPLACE, -1, 0),
    (errno.EOPNOTSUPP, "mmap", FREE, PAGE, R, Map.SHARED_VALIDATE | 1 << 22, RW, 0),
    (errno.EOPNOTSUPP, "mmap", FREE, PAGE, R, Map.SHARED_VALIDATE | Map.SYNC, RW, 0),
    (errno.EINVAL, "mmap", FREE, PAGE, R, Map.SHARED_VALIDATE | ANON, -1, 0),
    # What it wants of its descriptor.
    (errno.EBADF, "mmap", FREE, PAGE, R, PRIVATE, CLOSED, 0),
    (errno.EBADF, "mmap", FREE, PAGE, R, PRIVATE, -1, 0),
    (errno.EBADF, "mmap", FREE, PAGE, R, PRIVATE, PATH, 0),
    (errno.ENODEV, "mmap", FREE, PAGE, R, PRIVATE, DIRECTORY, 0),
    (errno.EACCES, "mmap", FREE, PAGE, R, PRIVATE, WO, 0),
    (errno.EACCES, "mmap", FREE, PAGE, W, SHARED, WO, 0),
    (errno.EACCES, "mmap", FREE, PAGE, R | W, SHARED, RO, 0),
    # Which error comes first.
    (errno.EBADF, "mmap", FREE, 0, R, PRIVATE, CLOSED, 0),
    (errno.EINVAL, "mmap", FREE, PAGE, R, PRIVATE, CLOSED, 1),
    (errno.EINVAL, "mmap", FREE, 0, R, PRIVATE, WO, 0),
    (errno.EEXIST, "mmap", PLAIN, PAGE, R, PRIVATE | NOREPLACE, WO, 0),
    (errno.EINVAL, "munmap", PLAIN + 1, PAGE),
    (errno.EINVAL, "munmap", PLAIN, 0),
    (errno.EINVAL, "munmap", PLAIN, TOP),
    (errno.EINVAL, "munmap", TOP, PAGE),
    (errno.EINVAL, "munmap", TOP, 2 * PAGE),
    (errno.EINVAL, "munmap", 1 << 60, PAGE),
    (errno.EINVAL, "mprotect", PLAIN + 1, PAGE, R),
    (errno.EINVAL, "mprotect", PLAIN, PAGE, 1 << 8),
    (errno.EINVAL, "mprotect", PLAIN, PAGE, R | Prot.GROWSDOWN),
    (errno.EINVAL, "mprotect", PLAIN, PAGE, R | Prot.GROWSUP),
    (errno.EINVAL, "mprotect", PLAIN, PAGE, R | Prot.GROWSDOWN | Prot.GROWSUP),
    (errno.ENOMEM, "mprotect", PLAIN, TOP, R),
    (errno.ENOMEM, "mprotect", PLAIN, (1 << 64) - 1, R),
    (errno.ENOMEM, "mprotect", TOP, 2 * PAGE, R),
    (errno.ENOMEM, "mprotect", HOLE, PAGE, R),
    (errno.ENOMEM, "mprotect", READ_ONLY, 3 * PAGE, R | W),
    (errno.ENOMEM, "mprotect", HOLE, 2 * PAGE, R),
    (errno.ENOMEM, "mprotect", FREE, PAGE, R | Prot.GROWSDOWN),
    (errno.EACCES, "mprotect", SHARED_RO, PAGE, R | W),
    (errno.EACCES, "mprotect", SHARED_FILE, 8 * PAGE, W),
    (errno.EINVAL, "mremap", PLAIN + 1, PAGE, PAGE, MAYMOVE, 0),
    (errno.EINVAL, "mremap", PLAIN, PAGE, 0, MAYMOVE, 0),
    (errno.EINVAL, "mremap", PLAIN, PAGE, PAGE, 8, 0),
    (errno.EINVAL, "mremap", PLAIN, PAGE, PAGE, REFIXED, FREE),
    (errno.EINVAL, "mremap", PLAIN, PAGE, PAGE, DONTUNMAP, FREE),
    (errno.EINVAL, "mremap", PLAIN, PAGE, 2 * PAGE, MAYMOVE | DONTUNMAP, FREE),
    (errno.EINVAL, "mremap", PLAIN, PAGE, PAGE, MAYMOVE | REFIXED, FREE + 1),
    (errno.EINVAL, "mremap", PLAIN, 2 * PAGE, 2 * PAGE, MAYMOVE | REFIXED, PLAIN + PAGE),
    (errno.EINVAL, "mremap", PLAIN, PAGE, PAGE, MAYMOVE | REFIXED, PLAIN),
    (errno.EINVAL, "mremap", PLAIN, PAGE, PAGE, MAYMOVE | REFIXED, TOP),
    (errno.EINVAL, "mremap", PLAIN, 0, PAGE, MAYMOVE, 0),
    (errno.EINVAL, "mremap", PRIVATE_FILE, 0, PAGE, MAYMOVE, 0),
    (errno.ENOMEM, "mremap", SHARED_FILE, 0, PAGE, 0, 0),
    (errno.ENOMEM, "mremap", PLAIN, PAGE, 2 * PAGE, 0, 0),
    (errno.ENOMEM, "mremap", PLAIN, 4 * PAGE, 5 * PAGE, 0, 0),
    (errno.EFAULT, "mremap", HOLE, PAGE, PAGE, MAYMOVE, 0),
    (errno.EFAULT, "mremap", HOLE, PAGE, 2 * PAGE, MAYMOVE, 0),
    (errno.EFAULT, "mremap", PLAIN, 5 * PAGE, 6 * PAGE, MAYMOVE, 0),
    (errno.EFAULT, "mremap", READ_ONLY, 3 * PAGE, 4 * PAGE, MAYMOVE, 0),
    (errno.EFAULT, "mremap", PLAIN, 5 * PAGE, 6 * PAGE, MAYMOVE | REFIXED, FREE),
    (errno.EINVAL, "madvise", PLAIN + 1, PAGE, Madvise.DONTNEED),
    (errno.EINVAL, "madvise", PLAIN, PAGE, 5),
    (errno.EINVAL, "madvise", PLAIN, PAGE, -1),
    (errno.EINVAL, "madvise", PLAIN, TOP, Madvise.DONTNEED),
    (errno.EINVAL, "madvise", PLAIN, (1 << 64) - 1, Madvise.DONTNEED),
    (errno.ENOMEM, "madvise", HOLE, PAGE, Madvise.DONTNEED),
    (errno.ENOMEM, "madvise", PLAIN, _WHOLE, Madvise.NORMAL),
    (errno.ENOMEM, "madvise", READ_ONLY, 3 * PAGE, Madvise.DONTNEED),
    (errno.EINVAL, "madvise", PRIVATE_FILE, PAGE, Madvise.FREE),
    (errno.EINVAL, "madvise", SHARED_FILE, PAGE, Madvise.FREE),
    (errno.EINVAL, "madvise", SHARED_ANON, PAGE, Madvise.FREE),
    (errno.EINVAL, "madvise", PLAIN, PAGE, Madvise.REMOVE),
    (errno.EACCES, "madvise", PRIVATE_FILE, PAGE, Madvise.REMOVE),
    (errno.EACCES, "madvise", SHARED_RO, PAGE, Madvise.REMOVE),
    (errno.EINVAL, "madvise", SHARED_ANON, PAGE, Madvise.WIPEONFORK),
    (errno.EINVAL, "madvise", PRIVATE_FILE, PAGE, Madvise.WIPEONFORK),
    (errno.EINVAL, "madvise", NONE, PAGE, Madvise.POPULATE_READ),
    (errno.EINVAL, "madvise", READ_ONLY, PAGE, Madvise.POPULATE_WRITE),
    (errno.EINVAL, "madvise", WRITE_ONLY, PAGE, Madvise.POPULATE_READ),
    (errno.ENOMEM, "madvise", HOLE, PAGE, Madvise.POPULATE_READ),
    (errno.ENOMEM, "madvise", READ_ONLY, 3 * PAGE, Madvise.POPULATE_READ),
    (errno.EINVAL, "msync", PLAIN + 1, PAGE, Msync.SYNC),
    (errno.EINVAL, "msync", PLAIN, PAGE, Msync.SYNC | Msync.ASYNC),
    (errno.EINVAL, "msync", PLAIN, PAGE, 8),
    (errno.ENOMEM, "msync", PLAIN, TOP, Msync.SYNC),
    (errno.ENOMEM, "msync", HOLE, PAGE, Msync.SYNC),
    (errno.ENOMEM, "msync", HOLE, PAGE, Msync.ASYNC),
    (errno.ENOMEM, "msync", HOLE, PAGE, 0),
    (errno.ENOMEM, "msync", SHARED_FILE, 16 * PAGE, Msync.SYNC),
    (errno.EINVAL, "mincore", PLAIN + 1, PAGE, PLAIN),
    (errno.ENOMEM, "mincore", HOLE, PAGE, PLAIN),
    (errno.ENOMEM, "mincore", READ_ONLY, 3 * PAGE, PLAIN),
    (errno.ENOMEM, "mincore", PLAIN, TOP, PLAIN),
    (errno.EFAULT, "mincore", PLAIN, PAGE, HOLE),
    (errno.EFAULT, "mincore", PLAIN, PAGE, READ_ONLY),
    (errno.ENOMEM, "mlock", HOLE, PAGE),
    (errno.ENOMEM, "mlock", READ_ONLY, 3 * PAGE),
    (errno.ENOMEM, "mlock", NONE, PAGE),
    (errno.EINVAL, "mlock", PLAIN, TOP),
    (errno.EINVAL, "mlock", TOP, 2 * PAGE),
    (errno.EINVAL, "mlock2", PLAIN, PAGE, 2),
    (errno.ENOMEM, "munlock", HOLE, PAGE),
    (errno.EINVAL, "munlock", PLAIN, TOP),
    (errno.EINVAL, "mlockall", 0),
    (errno.EINVAL, "mlockall", 4),
    (errno.EINVAL, "mlockall", 8),
    (errno.EFAULT, "pread64", RW, HOLE, 8, 0),
    (errno.EFAULT, "pread64", RW, READ_ONLY, 8, 0),
    (errno.EFAULT, "pread64", RW, NONE, 8, 0),
    (errno.EFAULT, "pwrite64", RW, NONE, 8, 0),
    (errno.EFAULT, "pwrite64", RW, HOLE, 8, 0),
    (errno.EBADF, "pread64", WO, PLAIN, 8, 0),
    (errno.EBADF, "pwrite64", RO, PLAIN, 8, 0),
    (errno.EINVAL, "pread64", RW, PLAIN, 8, -1),
    (errno.EINVAL, "ftruncate", RO, 0),
    (errno.EINVAL, "ftruncate", RW, -1),
]


@pytest.mark.parametrize(
    ("expected", "call"), [(row[0], row[1:]) for row in REFUSED], ids=lambda value: _name(value) if value else ""
)
def test_refused(both: Both, expected: int, call: tuple[str, *tuple[int, ...]]) -> None:
    furnish(both)
    assert both.call(*call) == -expected
    both.maps()
    both.residency(PLAIN, 4 * PAGE)


def _name(value: object) -> str:
    if isinstance(value, int):
        return errno.errorcode[value]
    assert isinstance(value, tuple)
    return "-".join(f"{word:x}" if isinstance(word, int) else word for word in value)


GRANTED = [
    ("munmap", PLAIN, 1),
    ("munmap", PLAIN + PAGE, PAGE + 1),
    ("munmap", HOLE, PAGE),
    ("munmap", PLAIN, _WHOLE),
    ("munmap", PRIVATE_FILE + PAGE, 6 * PAGE),
    ("mprotect", PLAIN, 0, R),
    ("mprotect", HOLE, 0, R),
    ("mprotect", PLAIN, 7 * PAGE, R),
    ("mprotect", PLAIN + PAGE, 1, 0),
    ("mprotect", PRIVATE_FILE, 4 * PAGE, R | W | X),
    ("mprotect", SHARED_RO, 4 * PAGE, 0),
    ("mprotect", SHARED_RO, 4 * PAGE, R | X),
    ("mremap", PLAIN, 4 * PAGE, PAGE, 0, 0),
    ("mremap", PLAIN, 4 * PAGE, 4 * PAGE, 0, 0),
    ("mremap", READ_ONLY, 2 * PAGE, 3 * PAGE, 0, 0),
    ("mremap", PLAIN, 4 * PAGE, 6 * PAGE, MAYMOVE | REFIXED, FREE),
    ("mremap", PLAIN, 4 * PAGE, 2 * PAGE, MAYMOVE | REFIXED, FREE),
    ("mremap", PLAIN + PAGE, PAGE, PAGE, MAYMOVE | REFIXED, FREE),
    ("mremap", PLAIN, PAGE, 2 * PAGE, MAYMOVE | REFIXED, SHARED_FILE),
    ("mremap", SHARED_FILE, 0, 2 * PAGE, MAYMOVE | REFIXED, FREE),
    ("mremap", SHARED_ANON, 4 * PAGE, 6 * PAGE, MAYMOVE | REFIXED, FREE),
    ("mremap", SHARED_FILE, PAGE, PAGE, MAYMOVE | REFIXED, SHARED_FILE - PAGE),
    ("mremap", PLAIN, 2 * PAGE, 2 * PAGE, MAYMOVE | REFIXED | DONTUNMAP, FREE),
    ("madvise", PLAIN, 0, Madvise.DONTNEED),
    ("madvise", HOLE, 0, Madvise.DONTNEED),
    ("madvise", PLAIN, 7 * PAGE, Madvise.DONTNEED),
    ("madvise", PLAIN, PAGE, Madvise.WILLNEED),
    ("madvise", PLAIN, 4 * PAGE, Madvise.POPULATE_READ),
    ("madvise", PLAIN, 4 * PAGE, Madvise.POPULATE_WRITE),
    ("madvise", SHARED_ANON, PAGE, Madvise.REMOVE),
    ("msync", PLAIN, 7 * PAGE, Msync.SYNC),
    ("msync", PLAIN, 7 * PAGE, Msync.INVALIDATE),
    ("msync", HOLE, 0, Msync.SYNC),
    ("msync", SHARED_FILE, 8 * PAGE, Msync.SYNC | Msync.INVALIDATE),
    ("mincore", HOLE, 0, PLAIN),
    ("mincore", PLAIN, 1, PLAIN),
    ("mlock", PLAIN + 5, 10),
    ("mlock", PLAIN, 2 * PAGE),
    ("mlock", PLAIN + PAGE, PAGE),
    ("mlock", HOLE, 0),
    ("mlock2", PLAIN, 3 * PAGE, 1),
    ("munlock", PLAIN, 2 * PAGE),
    ("pread64", RW, PLAIN + PAGE, 3 * PAGE, 0),
    ("pread64", RW, PLAIN + 2 * PAGE, 3 * PAGE, 0),
    ("pread64", RW, READ_ONLY - PAGE, 0, 0),
    ("pwrite64", RW, PLAIN + 3 * PAGE, 2 * PAGE, 0),
    ("pwrite64", RW, READ_ONLY, 3 * PAGE, PAGE),
    ("pread64", RW, SHARED_FILE, 2 * PAGE, PAGE),
    ("ftruncate", RW, PAGE + 5),
    ("ftruncate", RW, 20 * PAGE),
    ("mmap", FREE, 2 * PAGE, R, PRIVATE | ANON, -1, 0),
    ("mmap", FREE + 5, 1, R | W, PRIVATE | ANON, -1, 0),
    ("mmap", HOLE, PAGE, R, PRIVATE | ANON, -1, 0),
    ("mmap", HOLE, PAGE, R | W, PRIVATE | ANON | NOREPLACE, -1, 0),
    ("mmap", FREE, PAGE, R, PRIVATE | ANON, -1, PAGE),
    ("mmap", FREE, 3 * PAGE, R | W, PRIVATE | ANON | Map.POPULATE, -1, 0),
    ("mmap", FREE, 3 * PAGE, R | W, PRIVATE | ANON | Map.POPULATE | Map.NONBLOCK, -1, 0),
    ("mmap", FREE, 3 * PAGE, 0, PRIVATE | ANON | Map.POPULATE, -1, 0),
    ("mmap", FREE, 3 * PAGE, R | W, PRIVATE | ANON | Map.LOCKED, -1, 0),
    ("mmap", FREE, 3 * PAGE, R | W, SHARED | ANON | Map.POPULATE, -1, 0),
    ("mmap", FREE, 3 * PAGE, R, PRIVATE | Map.POPULATE, ODD, 0),
    ("mmap", FREE, PAGE, R, PRIVATE, RW, 40 * PAGE),
    ("mmap", FREE, PAGE, R | W, PRIVATE | ANON | Map.STACK | Map.NORESERVE, -1, 0),
    ("mmap", FREE, PAGE, R | W, PRIVATE | ANON | 1 << 28, -1, 0),
    ("mmap", FREE, PAGE, R | 1 << 10, PRIVATE | ANON, -1, 0),
    ("mmap", FREE, 2 * PAGE, R | W, Map.SHARED_VALIDATE, RW, PAGE),
    ("mmap", PLAIN + PAGE, 2 * PAGE, R, PRIVATE | FIXED, ODD, 0),
    ("mmap", PLAIN, 20 * PAGE, R, PRIVATE | FIXED | ANON, -1, 0),
]  # fmt: skip


@pytest.mark.parametrize("call", GRANTED, ids=_name)
def test_granted(both: Both, call: tuple[str, *tuple[int, ...]]) -> None:
    furnish(both)
    result = both.call(*call)
    assert not isinstance(result, int) or result >= 0
    both.maps()
    # What is resident is compared where it is the program's doing alone: not in files.
    for start, pages in ((PLAIN, 4), (NONE, 1), (READ_ONLY, 2), (SHARED_ANON, 4), (FREE, 6)):
        if call[-2] not in (RW, ODD):
            both.residency(start, pages * PAGE)
    for page in range(30):
        both.load(ARENA + page * PAGE)
    for page in range(30):
        both.store(ARENA + page * PAGE, 200 + page)
    for page in range(30):
        both.load(ARENA + page * PAGE)
    assert isinstance(both.get(RW, 0, 8 * PAGE), str)
