# SPDX-License-Identifier: GPL-2.0-or-later
"""Opening, reading, writing, positioning, and what a hostile program passes."""

from __future__ import annotations

import errno
import struct
from pathlib import Path

import pytest

from .guest import Guest

O_WRONLY, O_RDWR, O_CREAT, O_EXCL, O_TRUNC, O_APPEND = 1, 2, 0o100, 0o200, 0o1000, 0o2000
O_DIRECTORY, O_NOFOLLOW, O_PATH, O_TMPFILE = 0o40000, 0o100000, 0o10000000, 0o20040000
PAGE = 4096
MAP_SHARED, MAP_ANONYMOUS = 1, 0x20


def iovecs(guest: Guest, *segments: tuple[int, int]) -> int:
    return guest.put(b"".join(struct.pack("<QQ", *segment) for segment in segments))


def test_write_reaches_the_host_file(work: Path, guest: Guest) -> None:
    fd = guest.open("new", O_WRONLY | O_CREAT, 0o640)
    assert guest.write(fd, b"hello") == 5
    assert (work / "new").read_bytes() == b"hello"


def test_umask_narrows_the_mode_and_ours_does_not(work: Path, guest: Guest) -> None:
    guest.call("umask", 0o002)
    guest.open("new", O_WRONLY | O_CREAT, 0o666)
    assert (work / "new").stat().st_mode & 0o777 == 0o664


def test_append_goes_to_the_end(work: Path, guest: Guest) -> None:
    (work / "log").write_text("one ")
    fd = guest.open("log", O_WRONLY | O_APPEND)
    guest.call("lseek", fd, 0, 0)
    guest.write(fd, b"two")
    assert (work / "log").read_text() == "one two"


def test_truncate_on_open(work: Path, guest: Guest) -> None:
    (work / "f").write_text("old")
    guest.open("f", O_WRONLY | O_TRUNC)
    assert (work / "f").read_text() == ""


@pytest.mark.parametrize("place", ["", "/tmp/"])
def test_open_errors(guest: Guest, place: str) -> None:
    assert guest.call("mkdirat", -100, f"{place}d".encode(), 0o755) == 0
    assert guest.open(f"{place}f", O_CREAT | O_WRONLY) >= 0
    assert guest.open(f"{place}f", O_CREAT | O_EXCL) == -errno.EEXIST
    assert guest.open(f"{place}f", O_DIRECTORY) == -errno.ENOTDIR
    assert guest.open(f"{place}d", O_WRONLY) == -errno.EISDIR
    assert guest.open(f"{place}f/x") == -errno.ENOTDIR
    assert guest.open(f"{place}f/") == -errno.ENOTDIR
    assert guest.open(f"{place}none", O_WRONLY) == -errno.ENOENT
    assert guest.open(f"{place}none/", O_CREAT) == -errno.EISDIR
    assert guest.open("") == -errno.ENOENT
    assert guest.open("x" * 256) == -errno.ENAMETOOLONG
    assert guest.open("/".join(["d"] * 2100)) == -errno.ENAMETOOLONG


def test_create_through_a_dangling_link(work: Path, guest: Guest) -> None:
    (work / "link").symlink_to("target")
    assert guest.open("link", O_CREAT | O_WRONLY) >= 0
    assert (work / "target").exists()
    (work / "link2").symlink_to("target2")
    assert guest.open("link2", O_CREAT | O_EXCL | O_WRONLY) == -errno.EEXIST


def test_nofollow_and_o_path(work: Path, guest: Guest) -> None:
    (work / "link").symlink_to("nowhere")
    assert guest.open("link", O_NOFOLLOW) == -errno.ELOOP
    fd = guest.open("link", O_NOFOLLOW | O_PATH)
    assert fd >= 0
    address = guest.room(16)
    assert guest.call("readlinkat", fd, b"", address, 16) == 7
    assert guest.read(fd, 1) == -errno.EBADF
    assert guest.call("fchmod", fd, 0o600) == -errno.EBADF


def test_reading_a_directory(guest: Guest) -> None:
    assert guest.read(guest.open("."), 10) == -errno.EISDIR


def test_wrong_direction(guest: Guest) -> None:
    reader, writer = guest.open("prog"), guest.open("out", O_WRONLY | O_CREAT)
    assert guest.write(reader, b"x") == -errno.EBADF
    assert guest.read(writer, 1) == -errno.EBADF
    assert guest.read(77, 1) == -errno.EBADF
    assert guest.read(-1, 1) == -errno.EBADF


def test_positional_calls_leave_the_offset(work: Path, guest: Guest) -> None:
    (work / "f").write_text("0123456789")
    fd = guest.open("f", O_RDWR)
    address = guest.room(16)
    assert guest.call("pread64", fd, address, 3, 4) == 3
    assert guest.peek(address, 3) == b"456"
    assert guest.call("pwrite64", fd, guest.put(b"AB"), 2, 8) == 2
    assert guest.read(fd, 10) == b"01234567AB"
    assert guest.call("pread64", fd, address, 1, -1) == -errno.EINVAL


def test_vectors(work: Path, guest: Guest) -> None:
    fd = guest.open("/tmp/v", O_RDWR | O_CREAT)
    assert guest.call("writev", fd, iovecs(guest, (guest.put(b"abc"), 3), (0, 0), (guest.put(b"defgh"), 5)), 3) == 8
    guest.call("lseek", fd, 0, 0)
    first, second = guest.room(2), guest.room(16)
    assert guest.call("readv", fd, iovecs(guest, (first, 2), (second, 16)), 2) == 8
    assert guest.peek(first, 2) + guest.peek(second, 6) == b"abcdefgh"


def test_vector_errors(guest: Guest) -> None:
    fd = guest.open("/tmp/v", O_RDWR | O_CREAT)
    assert guest.call("readv", fd, 0, 1025) == -errno.EINVAL
    assert guest.call("readv", fd, 0, -1) == -errno.EINVAL
    assert guest.call("readv", fd, 8, 1) == -errno.EFAULT
    assert guest.call("writev", fd, iovecs(guest, (8, 1 << 63)), 1) == -errno.EINVAL
    assert guest.call("writev", fd, 0, 0) == 0


def test_fault_in_the_middle_is_a_partial_transfer(guest: Guest) -> None:
    end = guest.call("mmap", 0, 2 * PAGE, 3, 0x22, -1, 0) + PAGE
    assert guest.call("munmap", end, PAGE) == 0
    zero = guest.open("/dev/zero")
    fd = guest.open("/tmp/f", O_RDWR | O_CREAT)
    assert guest.call("write", fd, end - 10, 1 << 40) == 10
    guest.call("lseek", fd, 0, 0)
    assert guest.call("read", zero, end - 5, 100) == 5
    assert guest.call("read", zero, end, 100) == -errno.EFAULT
    assert guest.call("write", fd, end, 1) == -errno.EFAULT


@pytest.mark.parametrize("pointer", [1, 0xFFFF_0000_0000_0000, (1 << 64) - 1, 1 << 47])
def test_wild_pointers(guest: Guest, pointer: int) -> None:
    fd = guest.open("/dev/zero", O_RDWR)
    calls: list[tuple[str, tuple[int, ...]]] = [
        ("read", (fd, pointer, 1 << 62)),
        ("pread64", (fd, pointer, 8, 0)),
        ("write", (guest.open("/tmp/x", 0o101), pointer, 1 << 62)),
        ("openat", (-100, pointer, 0, 0)),
        ("newfstatat", (-100, guest.put(b"/\0"), pointer, 0)),
        ("fstat", (fd, pointer)),
        ("getcwd", (pointer, 100)),
        ("pipe2", (pointer, 0)),
        ("ppoll", (pointer, 1, 0, 0, 0)),
        ("statfs", (guest.put(b"/\0"), pointer)),
        ("getdents64", (guest.open("/"), pointer, 4096)),
        ("readlinkat", (-100, guest.put(b"/proc/self\0"), pointer, 100)),
    ]
    for name, arguments in calls:
        assert guest.call(name, *arguments) == -errno.EFAULT, name


def test_bytes_of_a_pipe_survive_a_bad_pointer(guest: Guest) -> None:
    address = guest.room(8)
    guest.call("pipe2", address, 0)
    reader, writer = struct.unpack("<ii", guest.peek(address, 8))
    guest.write(writer, b"kept")
    assert guest.call("read", reader, 8, 4) == -errno.EFAULT
    assert guest.read(reader, 10) == b"kept"


def test_seeking(guest: Guest) -> None:
    fd = guest.open("/tmp/f", O_RDWR | O_CREAT)
    guest.call("ftruncate", fd, 1 << 40)
    assert guest.call("lseek", fd, -1, 2) == (1 << 40) - 1
    assert guest.call("lseek", fd, 0, 3) == -errno.ENXIO  # SEEK_DATA: all of it is a hole
    guest.call("pwrite64", fd, guest.put(b"x"), 1, 1 << 30)
    assert guest.call("lseek", fd, 0, 3) == 1 << 30
    assert guest.call("lseek", fd, 1 << 30, 4) == (1 << 30) + (1 << 16)
    assert guest.call("lseek", fd, -1, 0) == -errno.EINVAL
    assert guest.call("lseek", fd, (1 << 63) - 1, 2) == -errno.EOVERFLOW
    assert guest.call("lseek", fd, 0, 9) == -errno.EINVAL


def test_sparse_file_reads_zeros_and_takes_little(guest: Guest) -> None:
    fd = guest.open("/tmp/sparse", O_RDWR | O_CREAT)
    assert guest.call("ftruncate", fd, 1 << 45) == 0
    assert guest.read(fd, 100) == bytes(100)
    assert guest.kernel.process.fs.vfs.memory.used < 1 << 20
    assert guest.call("ftruncate", fd, (1 << 63) - 1) == -errno.EFBIG
    assert guest.call("ftruncate", fd, -1) == -errno.EINVAL


def test_memory_files_end_in_enospc(guest: Guest) -> None:
    fd = guest.open("/tmp/big", O_RDWR | O_CREAT)
    assert guest.call("fallocate", fd, 0, 0, 1 << 40) == -errno.ENOSPC
    assert guest.call("fallocate", fd, 0, 0, 1 << 20) == 0
    assert guest.kernel.process.fs.vfs.memory.used < 1 << 22


def test_removed_memory_file_gives_its_storage_back(guest: Guest) -> None:
    before = guest.kernel.process.fs.vfs.memory.used
    fd = guest.open("/tmp/big", O_RDWR | O_CREAT)
    guest.write(fd, bytes(100_000))
    guest.call("unlinkat", -100, b"/tmp/big", 0)
    guest.call("close", fd)
    assert guest.kernel.process.fs.vfs.memory.used == before


def test_mapped_pages_see_writes(guest: Guest) -> None:
    fd = guest.open("/tmp/m", O_RDWR | O_CREAT)
    guest.write(fd, b"before".ljust(PAGE, b"."))
    mapped = guest.call("mmap", 0, PAGE, 3, MAP_SHARED, fd, 0)
    assert guest.peek(mapped, 6) == b"before"
    guest.call("pwrite64", fd, guest.put(b"after!"), 6, 0)
    assert guest.peek(mapped, 6) == b"after!"


def test_reads_see_stores_through_a_mapping(work: Path, guest: Guest) -> None:
    (work / "f").write_bytes(bytes(PAGE))
    fd = guest.open("f", O_RDWR)
    mapped = guest.call("mmap", 0, PAGE, 3, MAP_SHARED, fd, 0)
    guest.task.memory.write(mapped, b"stored")
    assert guest.read(fd, 6) == b"stored"


def test_read_into_a_mapping_is_a_store_by_read(guest: Guest) -> None:
    hardware = guest.kernel.hardware
    hardware.calls.clear()  # type: ignore[attr-defined]
    guest.read(guest.open("prog"), 4)
    assert ("read(2)") in [call[3] for call in hardware.named("store")]  # type: ignore[attr-defined]


def stored_through_a_mapping(guest: Guest, path: str, at: int, size: int) -> int:
    """A descriptor of a file that has been stored to, and not yet told."""
    fd = guest.open(path, O_RDWR)
    mapped = guest.call("mmap", 0, size, 3, MAP_SHARED, fd, 0)
    guest.task.memory.write(mapped + at, b"stored")
    return fd


@pytest.mark.parametrize("call", ["fsync", "fdatasync", "syncfs", "sync", "sync_file_range"])
def test_stores_through_a_mapping_are_synced(work: Path, guest: Guest, call: str) -> None:
    (work / "f").write_bytes(bytes(3 * PAGE))
    fd = stored_through_a_mapping(guest, "f", PAGE, 3 * PAGE)
    assert (work / "f").read_bytes() == bytes(3 * PAGE)
    assert guest.call(call, *(() if call == "sync" else (fd, PAGE, 1, 7) if call == "sync_file_range" else (fd,))) == 0
    assert (work / "f").read_bytes()[PAGE : PAGE + 6] == b"stored"


def test_holes_of_a_host_file_are_found_and_a_mapping_that_was_stored_to_is_none(work: Path, guest: Guest) -> None:
    (work / "f").write_bytes(b"")
    size = 1 << 20
    with (work / "f").open("r+b") as file:
        file.truncate(size)
    fd = guest.open("f", O_RDWR)
    if guest.call("lseek", fd, 0, 4) != 0:
        pytest.skip("the host's file system does not tell where holes are")
    assert guest.call("lseek", fd, 0, 3) == -errno.ENXIO
    stored_through_a_mapping(guest, "f", size // 2, size)
    assert 0 < guest.call("lseek", fd, 0, 3) <= size // 2 < guest.call("lseek", fd, size // 2, 4)


def test_a_file_that_the_host_changes_between_two_mappings_is_read_again(work: Path, guest: Guest) -> None:
    (work / "f").write_bytes(b"before".ljust(PAGE))
    fd = guest.open("f")
    for text in (b"before", b"after"):
        mapped = guest.call("mmap", 0, PAGE, 1, MAP_SHARED, fd, 0)
        assert guest.peek(mapped, len(text)) == text
        guest.call("munmap", mapped, PAGE)
        (work / "f").write_bytes(b"after".ljust(PAGE + 1))


def test_truncated_under_a_mapping(guest: Guest) -> None:
    fd = guest.open("/tmp/m", O_RDWR | O_CREAT)
    guest.write(fd, b"x" * PAGE)
    mapped = guest.call("mmap", 0, PAGE, 3, MAP_SHARED, fd, 0)
    guest.peek(mapped, 1)
    guest.call("ftruncate", fd, 0)
    assert guest.call("write", fd, mapped, 1) == -errno.EFAULT


def test_sendfile_and_copy_file_range(work: Path, guest: Guest) -> None:
    (work / "f").write_bytes(b"0123456789" * 1000)
    source, target = guest.open("f"), guest.open("g", O_RDWR | O_CREAT)
    offset = guest.put(struct.pack("<Q", 5))
    assert guest.call("sendfile", target, source, offset, 10) == 10
    assert guest.peek(offset, 8) == struct.pack("<Q", 15)
    assert guest.call("copy_file_range", source, 0, target, 0, 1 << 40, 0) == 10_000
    assert (work / "g").read_bytes() == b"5678901234" + b"0123456789" * 1000


def test_punched_hole_reads_zeros(work: Path, guest: Guest) -> None:
    (work / "f").write_text("0123456789")
    fd = guest.open("f", O_RDWR)
    assert guest.call("fallocate", fd, 3, 2, 1 << 40) == 0
    assert (work / "f").read_bytes() == b"01" + bytes(8)


def test_unnamed_file(guest: Guest) -> None:
    fd = guest.open("/dev/shm", O_TMPFILE | O_RDWR)
    assert guest.write(fd, b"x") == 1
    assert guest.names("/dev/shm") == [".", ".."]
    assert guest.open("/dev/shm", O_TMPFILE) == -errno.EINVAL
    assert guest.open(".", O_TMPFILE | O_RDWR) == -errno.EOPNOTSUPP


def test_devices(guest: Guest) -> None:
    assert guest.content("/dev/null") == b""
    assert guest.write(guest.open("/dev/null", O_WRONLY), b"gone") == 4
    assert guest.read(guest.open("/dev/zero"), 3) == bytes(3)
    assert guest.write(guest.open("/dev/full", O_WRONLY), b"x") == -errno.ENOSPC
    first = guest.read(guest.open("/dev/urandom"), 16)
    assert first != guest.read(guest.open("/dev/urandom"), 16)
    assert "ptmx" not in guest.names("/dev")


def test_randomness_is_that_of_the_seed(tmp_path: Path) -> None:
    values = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        guest = Guest(tmp_path / name)
        values.append(guest.read(guest.open("/dev/urandom"), 16))
    assert values[0] == values[1]


def test_shared_memory_directory(guest: Guest) -> None:
    assert guest.open("/dev/shm/segment", O_RDWR | O_CREAT) >= 0
    assert guest.names("/dev/shm") == [".", "..", "segment"]


def how(guest: Guest, flags: int, mode: int, resolve: int) -> int:
    return guest.put(struct.pack("<QQQ", flags, mode, resolve))


@pytest.mark.parametrize(
    ("path", "resolve", "expected"),
    [
        ("d/../f", 0x08, 0),
        ("../work/f", 0x08, -errno.EXDEV),
        ("/f", 0x08, -errno.EXDEV),
        ("/f", 0x10, 0),
        ("../../f", 0x10, 0),
        ("link", 0x04, -errno.ELOOP),
        ("link", 0x00, 0),
        ("/proc/self/exe", 0x02, -errno.ELOOP),
        ("/proc/self/exe", 0x08, -errno.EXDEV),
        ("/tmp", 0x01, -errno.EXDEV),
        ("f", 0x40, -errno.EINVAL),
        ("f", 0x18, -errno.EINVAL),
    ],
)
def test_openat2(work: Path, guest: Guest, path: str, resolve: int, expected: int) -> None:
    (work / "d").mkdir()
    (work / "f").write_text("x")
    (work / "link").symlink_to("f")
    fd = guest.open(".", O_PATH)
    result = guest.call("openat2", fd, path.encode(), how(guest, 0, 0, resolve), 24)
    assert min(result, 0) == expected


def test_openat2_size(guest: Guest) -> None:
    assert guest.call("openat2", -100, b"prog", how(guest, 0, 0, 0), 16) == -errno.EINVAL
    longer = guest.put(struct.pack("<QQQQ", 0, 0, 0, 1))
    assert guest.call("openat2", -100, b"prog", longer, 32) == -errno.E2BIG
    assert guest.call("openat2", -100, b"prog", how(guest, 0, 0o644, 0), 24) == -errno.EINVAL
