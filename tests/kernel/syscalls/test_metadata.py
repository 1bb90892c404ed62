# SPDX-License-Identifier: GPL-2.0-or-later
"""stat and its kin: the arm64 layouts, times, owners, and the calls that change them."""

from __future__ import annotations

import errno
import os
import stat
import struct
from pathlib import Path

import pytest

from fetchsan.kernel.clock import EPOCH_NS

from .guest import AT_FDCWD, Guest

EMPTY_PATH, NOFOLLOW = 0x1000, 0x100
NOW, OMIT = (1 << 30) - 1, (1 << 30) - 2


def test_stat_is_the_hosts(work: Path, guest: Guest) -> None:
    (work / "f").write_bytes(b"12345")
    host = (work / "f").stat()
    found = guest.stat("f")
    assert isinstance(found, tuple)
    assert found[:4] == (host.st_dev, host.st_ino, host.st_mode, 1)
    assert found[7] == 5


def test_own_files_belong_to_the_guests_user(guest: Guest) -> None:
    found = guest.stat("prog")
    assert isinstance(found, tuple)
    assert found[4:6] == (1000, 1000)


def test_layout_of_struct_stat(work: Path, guest: Guest) -> None:
    os.utime(work / "prog", ns=(1_000_000_001, 2_000_000_002))
    address = guest.put(b"\xff" * 136)
    assert guest.call("newfstatat", AT_FDCWD, b"prog", address, 0) == 0
    data = guest.peek(address, 136)
    assert struct.unpack_from("<qQqQ", data, 72) == (1, 1, 2, 2)
    assert struct.unpack_from("<iiq", data, 56)[0] == 4096
    assert data[128:] == b"\xff" * 8


def test_layout_of_statx(work: Path, guest: Guest) -> None:
    os.utime(work / "prog", ns=(1_000_000_001, 2_000_000_002))
    address = guest.put(b"\xff" * 260)
    assert guest.call("statx", AT_FDCWD, b"prog", 0, 0xFFF, address) == 0
    data = guest.peek(address, 260)
    host = (work / "prog").stat()
    assert struct.unpack_from("<H", data, 28)[0] == host.st_mode
    assert struct.unpack_from("<QQ", data, 32) == (host.st_ino, host.st_size)
    assert struct.unpack_from("<qI", data, 0x40) == (1, 1)
    assert struct.unpack_from("<qI", data, 0x70) == (2, 2)
    assert struct.unpack_from("<II", data, 0x88) == (os.major(host.st_dev), os.minor(host.st_dev))
    assert data[256:] == b"\xff" * 4


def test_statx_errors(guest: Guest) -> None:
    address = guest.room(256)
    assert guest.call("statx", AT_FDCWD, b"prog", 0x6000, 0, address) == -errno.EINVAL
    assert guest.call("statx", AT_FDCWD, b"prog", 0, 1 << 31, address) == -errno.EINVAL
    assert guest.call("statx", AT_FDCWD, b"", 0, 0, address) == -errno.ENOENT
    assert guest.call("statx", 1, b"", EMPTY_PATH, 0, address) == 0


def test_stat_follows_links_or_not(work: Path, guest: Guest) -> None:
    (work / "link").symlink_to("prog")
    followed, link = guest.stat("link"), guest.stat("link", NOFOLLOW)
    assert isinstance(followed, tuple)
    assert isinstance(link, tuple)
    assert stat.S_ISREG(followed[2])
    assert stat.S_ISLNK(link[2])


def test_unknown_flags(guest: Guest) -> None:
    assert guest.stat("prog", 1) == -errno.EINVAL
    assert guest.call("faccessat2", AT_FDCWD, b"prog", 4, 1) == -errno.EINVAL


def test_access(work: Path, guest: Guest) -> None:
    (work / "data").write_text("x")
    assert guest.call("faccessat", AT_FDCWD, b"prog", 7) == 0
    assert guest.call("faccessat", AT_FDCWD, b"data", 1) == -errno.EACCES
    assert guest.call("faccessat", AT_FDCWD, b"none", 0) == -errno.ENOENT
    assert guest.call("faccessat", AT_FDCWD, b"prog", 8) == -errno.EINVAL
    assert guest.call("faccessat", AT_FDCWD, b"/dev/null", 6) == 0


def test_chmod(work: Path, guest: Guest) -> None:
    assert guest.call("fchmodat", AT_FDCWD, b"prog", 0o700) == 0
    assert guest.call("fchmod", guest.open("prog"), 0o711) == 0
    assert (work / "prog").stat().st_mode & 0o7777 == 0o711


def test_chmod_of_a_link_changes_its_target_inside_only(work: Path, guest: Guest, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.write_text("x")
    outside.chmod(0o600)
    (work / "link").symlink_to(outside)
    assert guest.call("fchmodat", AT_FDCWD, b"link", 0o777) == -errno.ENOENT
    assert outside.stat().st_mode & 0o777 == 0o600


def test_chmod_of_an_open_file_after_a_rename(work: Path, guest: Guest) -> None:
    fd = guest.open("prog")
    guest.call("renameat", AT_FDCWD, b"prog", AT_FDCWD, b"moved")
    (work / "prog").write_text("another")
    (work / "prog").chmod(0o600)
    assert guest.call("fchmod", fd, 0o711) == 0
    assert (work / "moved").stat().st_mode & 0o777 == 0o711
    assert (work / "prog").stat().st_mode & 0o777 == 0o600


def test_chown_to_oneself_only(guest: Guest) -> None:
    assert guest.call("fchownat", AT_FDCWD, b"prog", 1000, -1, 0) == 0
    assert guest.call("fchownat", AT_FDCWD, b"prog", 0, -1, 0) == -errno.EPERM
    assert guest.call("fchown", guest.open("prog"), -1, -1) == 0


@pytest.mark.parametrize("name", [b"prog", b"/tmp/f"])
def test_times(guest: Guest, name: bytes) -> None:
    guest.open("/tmp/f", 0o101)
    times = guest.put(struct.pack("<qqqq", 5, 6, 7, 8))
    assert guest.call("utimensat", AT_FDCWD, name, times, 0) == 0
    address = guest.room(128)
    guest.call("newfstatat", AT_FDCWD, name, address, 0)
    assert struct.unpack_from("<qQqQ", guest.peek(address, 128), 72) == (5, 6, 7, 8)


def test_times_now_and_omitted(guest: Guest) -> None:
    fd = guest.open("prog", 2)
    guest.call("utimensat", fd, 0, guest.put(struct.pack("<qqqq", 5, 0, 5, 0)), 0)
    assert guest.call("utimensat", fd, 0, guest.put(struct.pack("<qqqq", 0, OMIT, 0, NOW)), 0) == 0
    address = guest.room(128)
    guest.call("fstat", fd, address)
    atime, _, mtime, _ = struct.unpack_from("<qQqQ", guest.peek(address, 128), 72)
    assert (atime, mtime) == (5, EPOCH_NS // 1_000_000_000)


def test_bad_times(guest: Guest) -> None:
    times = guest.put(struct.pack("<qqqq", 0, 1 << 40, 0, 0))
    assert guest.call("utimensat", AT_FDCWD, b"prog", times, 0) == -errno.EINVAL
    far = guest.put(struct.pack("<qqqq", (1 << 63) - 1, 0, -(1 << 63), 0))
    assert guest.call("utimensat", AT_FDCWD, b"/tmp", far, 0) in (0, -errno.EINVAL)


def test_statfs(guest: Guest) -> None:
    address = guest.put(b"\xff" * 128)
    assert guest.call("statfs", b"/tmp", address) == 0
    data = guest.peek(address, 128)
    assert struct.unpack_from("<QQ", data) == (0x0102_1994, 4096)
    assert data[120:] == b"\xff" * 8
    assert guest.call("statfs", b".", address) == 0
    assert struct.unpack_from("<Q", guest.peek(address, 8))[0] == 0xEF53
    assert guest.call("fstatfs", guest.open("/proc"), address) == 0
    assert struct.unpack_from("<Q", guest.peek(address, 8))[0] == 0x9FA0


def test_no_extended_attributes(guest: Guest) -> None:
    assert guest.call("getxattr", b"prog", b"user.x", 0, 0) == -errno.EOPNOTSUPP
    assert guest.call("flistxattr", 1, 0, 0) == -errno.EOPNOTSUPP
