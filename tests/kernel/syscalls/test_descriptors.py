# SPDX-License-Identifier: GPL-2.0-or-later
"""Descriptors: duplicates, flags, limits, and the files without a path."""

from __future__ import annotations

import errno
import os
import struct

import pytest

from fetchsan.kernel.waiting import DeadlockError

from .guest import Guest

O_NONBLOCK, O_CLOEXEC, O_RDWR = 0o4000, 0o2000000, 2
DUPFD, GETFD, SETFD, GETFL, SETFL, GETLK, SETLK = range(7)
SETPIPE_SZ, GETPIPE_SZ, ADD_SEALS, GET_SEALS = 1031, 1032, 1033, 1034


def pipe(guest: Guest, flags: int = 0) -> tuple[int, int]:
    address = guest.room(8)
    assert guest.call("pipe2", address, flags) == 0
    reader, writer = struct.unpack("<ii", guest.peek(address, 8))
    return reader, writer


def test_duplicates_share_the_offset(guest: Guest) -> None:
    fd = guest.open("prog")
    other = guest.call("dup", fd)
    guest.read(fd, 4)
    assert guest.call("lseek", other, 0, 1) == 4


def test_lowest_number_first(guest: Guest) -> None:
    first, second = guest.open("prog"), guest.open("prog")
    guest.call("close", first)
    assert guest.open("prog") == first
    assert guest.open("prog") == second + 1


def test_dup3(guest: Guest) -> None:
    fd = guest.open("prog")
    assert guest.call("dup3", fd, 100, O_CLOEXEC) == 100
    assert guest.call("fcntl", 100, GETFD, 0) == 1
    assert guest.call("dup3", fd, fd, 0) == -errno.EINVAL
    assert guest.call("dup3", fd, 1 << 20, 0) == -errno.EBADF
    assert guest.call("dup3", fd, -1, 0) == -errno.EBADF


def test_closing_a_standard_stream_leaves_ours_open(guest: Guest) -> None:
    for fd in range(3):
        guest.call("close", fd)
    assert guest.call("close", 0) == -errno.EBADF
    os.fstat(0)
    os.fstat(1)
    os.fstat(2)


def test_close_range(guest: Guest) -> None:
    fds = [guest.open("prog") for _ in range(4)]
    assert guest.call("close_range", fds[2], 0xFFFF_FFFF, 4) == 0
    assert guest.call("fcntl", fds[3], GETFD, 0) == 1
    assert guest.call("close_range", fds[0], fds[1], 0) == 0
    assert guest.call("close", fds[0]) == -errno.EBADF
    assert guest.call("close_range", 5, 4, 0) == -errno.EINVAL


def test_as_many_descriptors_as_the_limit_says(guest: Guest) -> None:
    results = [guest.call("dup", 1) for _ in range(1100)]
    assert results[-1] == -errno.EMFILE
    assert max(results) == 1023


def test_status_flags(guest: Guest) -> None:
    fd = guest.open("prog", O_RDWR)
    assert guest.call("fcntl", fd, SETFL, O_NONBLOCK | 0o100 | 1) == 0
    assert guest.call("fcntl", fd, GETFL, 0) == O_RDWR | O_NONBLOCK | 0o400000
    assert guest.call("fcntl", fd, 999, 0) == -errno.EINVAL


def test_dupfd_from_a_minimum(guest: Guest) -> None:
    assert guest.call("fcntl", 1, DUPFD, 50) == 50
    assert guest.call("fcntl", 1, DUPFD, 50) == 51
    assert guest.call("fcntl", 1, DUPFD, -1) == -errno.EINVAL


def test_locks_are_always_free(guest: Guest) -> None:
    fd = guest.open("prog", O_RDWR)
    lock = guest.put(struct.pack("<hh4xqqi4x", 1, 0, 0, 0, 0))
    assert guest.call("fcntl", fd, SETLK, lock) == 0
    assert guest.call("fcntl", fd, GETLK, lock) == 0
    assert struct.unpack_from("<h", guest.peek(lock, 2))[0] == 2
    assert guest.call("fcntl", guest.open("prog"), SETLK, guest.put(struct.pack("<hh28x", 1, 0))) == -errno.EBADF
    assert guest.call("flock", fd, 2 | 4) == 0
    assert guest.call("flock", fd, 3) == -errno.EINVAL


def test_pipe_carries_bytes_in_order(guest: Guest) -> None:
    reader, writer = pipe(guest)
    guest.write(writer, b"one")
    guest.write(writer, b"two")
    assert guest.read(reader, 4) == b"onet"
    assert guest.read(reader, 9) == b"wo"


def test_pipe_ends(guest: Guest) -> None:
    reader, writer = pipe(guest)
    guest.write(writer, b"x")
    guest.call("close", writer)
    assert guest.read(reader, 9) == b"x"
    assert guest.read(reader, 9) == b""


def test_writing_without_a_reader_is_sigpipe(guest: Guest) -> None:
    reader, writer = pipe(guest)
    guest.call("close", reader)
    guest.call("rt_sigaction", 13, guest.put(struct.pack("<QQQ", 1, 0, 0)), 0, 8)  # SIG_IGN
    assert guest.write(writer, b"x") == -errno.EPIPE
    guest.call("rt_sigaction", 13, guest.put(bytes(24)), 0, 8)
    guest.write(writer, b"x")
    assert guest.kernel.end_state is not None
    assert guest.kernel.end_state.exit_status == 128 + 13


def test_nonblocking_pipe(guest: Guest) -> None:
    reader, writer = pipe(guest, O_NONBLOCK)
    assert guest.read(reader, 1) == -errno.EAGAIN
    assert guest.write(writer, bytes(60_000)) == 60_000
    assert guest.write(writer, bytes(8_000)) == 65_536 - 60_000
    assert guest.write(writer, bytes(1)) == -errno.EAGAIN
    guest.read(reader, 100)
    assert guest.write(writer, bytes(101)) == -errno.EAGAIN  # atomic up to PIPE_BUF


def test_wait_that_nothing_can_end(guest: Guest) -> None:
    reader, _ = pipe(guest)
    with pytest.raises(DeadlockError, match="data in a pipe"):
        guest.read(reader, 1)


def test_pipe_size(guest: Guest) -> None:
    reader, writer = pipe(guest)
    assert guest.call("fcntl", reader, GETPIPE_SZ, 0) == 65_536
    assert guest.call("fcntl", writer, SETPIPE_SZ, 5000) == 8192
    guest.write(writer, bytes(8000))
    assert guest.call("fcntl", writer, SETPIPE_SZ, 4096) == -errno.EBUSY
    assert guest.call("fcntl", writer, SETPIPE_SZ, 1 << 30) == -errno.EPERM
    assert guest.call("fcntl", 1, GETPIPE_SZ, 0) == -errno.EBADF


def test_failed_pipe_leaves_no_descriptors(guest: Guest) -> None:
    before = list(guest.task.files)
    assert guest.call("pipe2", 8, 0) == -errno.EFAULT
    assert list(guest.task.files) == before


def test_eventfd_counts(guest: Guest) -> None:
    fd = guest.call("eventfd2", 3, O_NONBLOCK)
    assert guest.write(fd, struct.pack("<Q", 4)) == 8
    assert guest.read(fd, 8) == struct.pack("<Q", 7)
    assert guest.read(fd, 8) == -errno.EAGAIN
    assert guest.read(fd, 4) == -errno.EINVAL
    assert guest.write(fd, b"\xff" * 8) == -errno.EINVAL


def test_eventfd_as_a_semaphore(guest: Guest) -> None:
    fd = guest.call("eventfd2", 2, O_NONBLOCK | 1)
    assert [guest.read(fd, 8) for _ in range(3)] == [struct.pack("<Q", 1)] * 2 + [-errno.EAGAIN]


def test_memfd(guest: Guest) -> None:
    fd = guest.call("memfd_create", b"jit code", 1)
    assert guest.write(fd, b"code") == 4
    assert guest.link(f"/proc/self/fd/{fd}") == b"/memfd:jit code (deleted)"
    assert guest.content(f"/proc/self/fd/{fd}") == b"code"
    assert guest.call("fcntl", fd, GET_SEALS, 0) == 1
    assert guest.call("memfd_create", b"x" * 250, 0) == -errno.ENAMETOOLONG
    assert guest.call("memfd_create", b"x", 0x100) == -errno.EINVAL


def test_seals(guest: Guest) -> None:
    fd = guest.call("memfd_create", b"x", 2)
    guest.call("ftruncate", fd, 4096)
    assert guest.call("fcntl", fd, ADD_SEALS, 2 | 4) == 0
    assert guest.call("ftruncate", fd, 0) == -errno.EPERM
    assert guest.call("ftruncate", fd, 8192) == -errno.EPERM
    assert guest.write(fd, b"within") == 6
    assert guest.call("fcntl", fd, ADD_SEALS, 8 | 1) == 0
    assert guest.write(fd, b"x") == -errno.EPERM
    assert guest.call("fcntl", fd, ADD_SEALS, 8) == -errno.EPERM


def test_captured_output(guest: Guest) -> None:
    guest.write(1, b"to stdout")
    assert bytes(guest.kernel.captured[1]) == b"to stdout"


def test_output_through_its_dev_name(guest: Guest) -> None:
    fd = guest.open("/dev/stdout", 1)
    guest.write(fd, b"by name")
    assert bytes(guest.kernel.captured[1]) == b"by name"


def test_ioctls_of_any_descriptor(guest: Guest) -> None:
    reader, writer = pipe(guest)
    guest.write(writer, b"12345")
    number = guest.put(struct.pack("<I", 1))
    assert guest.call("ioctl", reader, 0x5421, number) == 0  # FIONBIO
    assert guest.call("fcntl", reader, GETFL, 0) & O_NONBLOCK
    assert guest.call("ioctl", reader, 0x541B, number) == 0  # FIONREAD
    assert guest.peek(number, 4) == struct.pack("<I", 5)
    assert guest.call("ioctl", reader, 0x5451, 0) == 0  # FIOCLEX
    assert guest.call("fcntl", reader, GETFD, 0) == 1
    assert guest.call("ioctl", reader, 0x5401, guest.room(64)) == -errno.ENOTTY  # TCGETS
    assert guest.call("ioctl", 1, 0x5413, guest.room(8)) == -errno.ENOTTY


def test_no_network(guest: Guest) -> None:
    assert guest.call("socket", 2, 1, 0) == -errno.EAFNOSUPPORT
