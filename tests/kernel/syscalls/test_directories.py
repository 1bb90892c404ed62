# SPDX-License-Identifier: GPL-2.0-or-later
"""Names: making, removing and moving them, listings, the current directory; on the host and in memory alike."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from .guest import AT_FDCWD, Guest

REMOVEDIR = 0x200
O_CREAT_WRONLY = 0o101


@pytest.fixture(params=["host", "memory"])
def at(request: pytest.FixtureRequest, guest: Guest) -> Guest:
    """A guest whose current directory is empty and lies on the host, or in memory."""
    place = b"empty" if request.param == "host" else b"/tmp/empty"
    assert guest.call("mkdirat", AT_FDCWD, place, 0o755) == 0
    assert guest.call("chdir", place) == 0
    return guest


def make(guest: Guest, name: str) -> None:
    fd = guest.open(name, O_CREAT_WRONLY)
    guest.write(fd, name.encode())
    guest.call("close", fd)


def rename(guest: Guest, old: bytes, new: bytes, flags: int = 0) -> int:
    return guest.call("renameat2", AT_FDCWD, old, AT_FDCWD, new, flags)


def test_listing(at: Guest) -> None:
    make(at, "b")
    make(at, "a")
    at.call("mkdirat", AT_FDCWD, b"c", 0o755)
    assert at.names(".") == [".", "..", "a", "b", "c"]


def test_small_buffers(at: Guest) -> None:
    make(at, "name")
    fd = at.open(".", 0o40000)
    address = at.room(64)
    assert at.call("getdents64", fd, address, 8) == -errno.EINVAL
    sizes = [at.call("getdents64", fd, address, 24) for _ in range(4)]
    assert sizes == [24, 24, 24, 0]
    assert at.call("lseek", fd, 0, 0) == 0
    assert at.call("getdents64", fd, address, 64) == 48


def test_listing_again_after_rewinding_sees_new_names(at: Guest) -> None:
    fd = at.open(".", 0o40000)
    address = at.room(256)
    before = at.call("getdents64", fd, address, 256)
    make(at, "new")
    at.call("lseek", fd, 0, 0)
    assert at.call("getdents64", fd, address, 256) == before + 24


def test_mkdir_errors(at: Guest) -> None:
    make(at, "f")
    assert at.call("mkdirat", AT_FDCWD, b"f", 0o755) == -errno.EEXIST
    assert at.call("mkdirat", AT_FDCWD, b"f/d", 0o755) == -errno.ENOTDIR
    assert at.call("mkdirat", AT_FDCWD, b"x/d", 0o755) == -errno.ENOENT
    assert at.call("mkdirat", AT_FDCWD, b".", 0o755) == -errno.EEXIST
    assert at.call("mkdirat", AT_FDCWD, b"/", 0o755) == -errno.EEXIST
    assert at.call("mkdirat", AT_FDCWD, b"d/", 0o755) == 0
    assert at.call("mkdirat", AT_FDCWD, b"e/.", 0o755) == -errno.ENOENT


def test_unlink_errors(at: Guest) -> None:
    make(at, "f")
    at.call("mkdirat", AT_FDCWD, b"d", 0o755)
    assert at.call("unlinkat", AT_FDCWD, b"d", 0) == -errno.EISDIR
    assert at.call("unlinkat", AT_FDCWD, b"f/", 0) == -errno.ENOTDIR
    assert at.call("unlinkat", AT_FDCWD, b"none", 0) == -errno.ENOENT
    assert at.call("unlinkat", AT_FDCWD, b"f", 0x400) == -errno.EINVAL
    assert at.call("unlinkat", AT_FDCWD, b"f", REMOVEDIR) == -errno.ENOTDIR
    assert at.call("unlinkat", AT_FDCWD, b".", REMOVEDIR) == -errno.EINVAL
    assert at.call("unlinkat", AT_FDCWD, b"d/..", REMOVEDIR) == -errno.ENOTEMPTY
    make(at, "d/x")
    assert at.call("unlinkat", AT_FDCWD, b"d", REMOVEDIR) == -errno.ENOTEMPTY


def test_removed_file_stays_open(at: Guest) -> None:
    fd = at.open("f", 0o102)
    at.call("unlinkat", AT_FDCWD, b"f", 0)
    assert at.write(fd, b"still") == 5
    assert at.call("lseek", fd, 0, 0) == 0
    assert at.read(fd, 9) == b"still"
    link = at.link(f"/proc/self/fd/{fd}")
    assert isinstance(link, bytes)
    assert link.endswith(b"/empty/f (deleted)")


def test_name_made_anew_is_a_new_file(at: Guest) -> None:
    make(at, "f")
    held = at.open("f")
    at.call("unlinkat", AT_FDCWD, b"f", 0)
    fd = at.open("f", O_CREAT_WRONLY)
    at.write(fd, b"new")
    assert at.content("f") == b"new"
    assert at.read(held, 9) == b"f"


def test_rename_replaces(at: Guest) -> None:
    make(at, "a")
    make(at, "b")
    assert rename(at, b"a", b"b", 1) == -errno.EEXIST
    assert rename(at, b"a", b"b") == 0
    assert at.names(".") == [".", "..", "b"]
    assert at.content("b") == b"a"


def test_rename_errors(at: Guest) -> None:
    make(at, "f")
    for name in (b"d", b"d/sub", b"full"):
        at.call("mkdirat", AT_FDCWD, name, 0o755)
    make(at, "full/x")
    assert rename(at, b"d", b"d/sub/deeper") == -errno.EINVAL
    assert rename(at, b"f", b"d") == -errno.EISDIR
    assert rename(at, b"d", b"f") == -errno.ENOTDIR
    assert rename(at, b"d/sub", b"full") == -errno.ENOTEMPTY
    assert rename(at, b"none", b"x") == -errno.ENOENT
    assert rename(at, b"f", b"x/") == -errno.ENOTDIR
    assert rename(at, b".", b"x") == -errno.EBUSY
    assert rename(at, b"d/..", b"x") == -errno.EBUSY
    assert rename(at, b"f", b"x", 2) == -errno.EINVAL


def test_rename_to_another_name_of_itself(at: Guest) -> None:
    make(at, "a")
    assert at.call("linkat", AT_FDCWD, b"a", AT_FDCWD, b"b", 0) == 0
    assert rename(at, b"a", b"b") == 0
    assert at.names(".") == [".", "..", "a", "b"]


def test_current_directory_follows_a_rename_above_it(at: Guest) -> None:
    at.call("mkdirat", AT_FDCWD, b"d", 0o755)
    at.call("mkdirat", AT_FDCWD, b"d/e", 0o755)
    at.call("chdir", b"d/e")
    assert at.call("renameat", AT_FDCWD, b"../../d", AT_FDCWD, b"../../moved") == 0
    address = at.room(4096)
    size = at.call("getcwd", address, 4096)
    assert at.peek(address, size).endswith(b"/empty/moved/e\0")
    assert at.call("chdir", b"..") == 0
    assert at.names(".") == [".", "..", "e"]


def test_removed_current_directory(at: Guest) -> None:
    at.call("mkdirat", AT_FDCWD, b"d", 0o755)
    at.call("chdir", b"d")
    assert at.call("unlinkat", AT_FDCWD, b"../d", REMOVEDIR) == 0
    assert at.call("getcwd", at.room(100), 100) == -errno.ENOENT
    assert at.open("f", O_CREAT_WRONLY) == -errno.ENOENT


def test_hard_links(at: Guest) -> None:
    make(at, "a")
    at.call("mkdirat", AT_FDCWD, b"d", 0o755)
    assert at.call("linkat", AT_FDCWD, b"a", AT_FDCWD, b"b", 0) == 0
    assert at.call("linkat", AT_FDCWD, b"a", AT_FDCWD, b"b", 0) == -errno.EEXIST
    assert at.call("linkat", AT_FDCWD, b"d", AT_FDCWD, b"e", 0) == -errno.EPERM
    first, second = at.stat("a"), at.stat("b")
    assert first == second
    assert isinstance(first, tuple)
    assert first[3] == 2
    fd = at.open("a", 2)
    at.write(fd, b"through a")
    assert at.content("b") == b"through a"


def test_symlinks(at: Guest) -> None:
    make(at, "f")
    assert at.call("symlinkat", b"f", AT_FDCWD, b"l") == 0
    assert at.link("l") == b"f"
    assert at.content("l") == b"f"
    assert at.link("f") == -errno.EINVAL
    assert at.call("symlinkat", b"", AT_FDCWD, b"m") == -errno.ENOENT
    assert at.call("symlinkat", b"x", AT_FDCWD, b"l") == -errno.EEXIST
    address = at.room(4)
    assert at.call("readlinkat", AT_FDCWD, b"l", address, 0) == -errno.EINVAL
    assert at.call("unlinkat", AT_FDCWD, b"l", 0) == 0
    assert at.content("f") == b"f"


def test_only_regular_files_can_be_made(at: Guest) -> None:
    assert at.call("mknodat", AT_FDCWD, b"f", 0o100644, 0) == 0
    assert at.call("mknodat", AT_FDCWD, b"f", 0o100644, 0) == -errno.EEXIST
    assert at.call("mknodat", AT_FDCWD, b"dev", 0o020644, 0x103) == -errno.EPERM


def test_mode_is_enforced_in_memory(guest: Guest) -> None:
    make(guest, "/tmp/f")
    assert guest.call("fchmodat", AT_FDCWD, b"/tmp/f", 0o400) == 0
    assert guest.open("/tmp/f", 1) == -errno.EACCES
    assert guest.call("faccessat", AT_FDCWD, b"/tmp/f", 4) == 0
    assert guest.call("faccessat", AT_FDCWD, b"/tmp/f", 2) == -errno.EACCES


def test_dirfd(work: Path, guest: Guest) -> None:
    (work / "d").mkdir()
    (work / "d" / "f").write_text("in d")
    fd = guest.open("d", 0o10000000)
    assert guest.read(guest.open("f", dirfd=fd), 9) == b"in d"
    assert guest.open("f", dirfd=guest.open("prog")) == -errno.ENOTDIR
    assert guest.open("f", dirfd=99) == -errno.EBADF
    assert guest.open("/tmp", dirfd=99) >= 0
    assert guest.call("fchdir", fd) == 0
    assert guest.content("f") == b"in d"
    assert guest.call("fchdir", guest.open("f")) == -errno.ENOTDIR


def test_getcwd_needs_room(work: Path, guest: Guest) -> None:
    assert guest.call("getcwd", guest.room(4), 4) == -errno.ERANGE
    address = guest.room(4096)
    assert guest.call("getcwd", address, 4096) == len(str(work)) + 1
    assert guest.peek(address, len(str(work)) + 1) == str(work).encode() + b"\0"


def test_only_root_mounts(guest: Guest) -> None:
    assert guest.call("mount", 0, 0, 0, 0, 0) == -errno.EPERM
    assert guest.call("chroot", b"/tmp") == -errno.EPERM
