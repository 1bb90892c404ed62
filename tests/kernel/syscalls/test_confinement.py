# SPDX-License-Identifier: GPL-2.0-or-later
"""Nothing but what was granted is reachable: `..`, links, /proc, renames under open directories, the host's devices."""

from __future__ import annotations

import errno
import os
import socket
from pathlib import Path

import pytest

from fetchsan.kernel.options import DirectoryGrant

from .guest import Guest

O_PATH, O_NOFOLLOW, O_DIRECTORY = 0o10000000, 0o100000, 0o40000


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    path = tmp_path / "secret"
    path.write_text("the host's own")
    return path


def test_dot_dot_stops_at_the_guests_root(guest: Guest, secret: Path) -> None:
    assert guest.content("../secret") == -errno.ENOENT
    assert guest.stat("/../../../..")[1] == guest.stat("/")[1]  # type: ignore[index]


def test_absolute_link_starts_at_the_guests_root(work: Path, guest: Guest, secret: Path) -> None:
    (work / "link").symlink_to(secret)
    assert guest.content("link") == -errno.ENOENT


def test_absolute_link_into_a_grant_works(work: Path, guest: Guest) -> None:
    (work / "file").write_text("mine")
    (work / "link").symlink_to(work / "file")
    assert guest.content("link") == b"mine"


def test_relative_link_upwards_stays_inside(work: Path, guest: Guest, secret: Path) -> None:
    (work / "link").symlink_to("../" * 20 + str(secret).lstrip("/"))
    assert guest.content("link") == -errno.ENOENT


def test_link_to_a_directory_outside(work: Path, guest: Guest, secret: Path) -> None:
    (work / "up").symlink_to("..")
    assert guest.content("up/secret") == -errno.ENOENT


def test_the_hosts_root_is_not_there(guest: Guest) -> None:
    assert guest.content("/etc/passwd") == -errno.ENOENT
    assert set(guest.names("/")) >= {"proc", "sys", "dev", "tmp"}
    assert "etc" not in guest.names("/")


@pytest.mark.parametrize("way", ["/proc/self/root", "/proc/self/cwd/..", "/proc/self/exe/..", "/proc/self/fd/../root"])
def test_proc_leads_nowhere_else(guest: Guest, secret: Path, way: str) -> None:
    result = guest.content(f"{way}/secret")
    assert result in (-errno.ENOENT, -errno.ENOTDIR)


def test_links_that_loop(work: Path, guest: Guest) -> None:
    (work / "a").symlink_to("b")
    (work / "b").symlink_to("a")
    assert guest.content("a") == -errno.ELOOP


def test_forty_links_are_followed_and_more_are_not(work: Path, guest: Guest) -> None:
    (work / "l0").write_text("end")
    for i in range(41):
        (work / f"l{i + 1}").symlink_to(f"l{i}")
    assert guest.content("l40") == b"end"
    assert guest.content("l41") == -errno.ELOOP


def test_directory_replaced_by_a_link_after_the_lookup(work: Path, guest: Guest, tmp_path: Path) -> None:
    (work / "d").mkdir()
    (work / "d" / "file").write_text("inside")
    fd = guest.open("d", O_DIRECTORY)
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "file").write_text("outside")
    (work / "d").rename(work / "moved")
    (work / "d").symlink_to(outside)
    assert guest.read(guest.open("file", dirfd=fd), 100) == b"inside"
    assert guest.content("d/file") == -errno.ENOENT


def test_directory_moved_out_of_the_grant_does_not_take_dot_dot_along(work: Path, guest: Guest, tmp_path: Path) -> None:
    (work / "d").mkdir()
    (tmp_path / "secret").write_text("x")
    assert guest.call("chdir", b"d") == 0
    (work / "d").rename(tmp_path / "d")
    assert guest.content("../secret") == -errno.ENOENT


def test_fifo_socket_and_device_are_shown_and_refused(work: Path, guest: Guest) -> None:
    os.mkfifo(work / "fifo")
    server = socket.socket(socket.AF_UNIX)
    here = Path.cwd()
    os.chdir(work)  # a socket's address is short
    try:
        server.bind("sock")
    finally:
        os.chdir(here)
        server.close()
    assert {"fifo", "sock"} <= set(guest.names("."))
    assert guest.open("fifo") == -errno.EACCES
    assert guest.open("sock") == -errno.ENXIO


def test_host_device_node_is_refused(work: Path, guest: Guest) -> None:
    try:
        os.mknod(work / "zero", 0o20666, os.makedev(1, 5))
    except PermissionError:
        pytest.skip("needs the right to make device nodes")
    assert guest.open("zero") == -errno.EACCES


def test_read_only_grant(tmp_path: Path, work: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    (data / "file").write_text("x")
    guest = Guest(work, grants=(DirectoryGrant(data, "/mnt/data", read_only=True),))
    assert guest.content("/mnt/data/file") == b"x"
    for call in (
        ("openat", -100, b"/mnt/data/file", 1, 0),
        ("openat", -100, b"/mnt/data/file", 0o1000, 0),
        ("openat", -100, b"/mnt/data/new", 0o101, 0o644),
        ("unlinkat", -100, b"/mnt/data/file", 0),
        ("mkdirat", -100, b"/mnt/data/d", 0o755),
        ("symlinkat", b"x", -100, b"/mnt/data/l"),
        ("truncate", b"/mnt/data/file", 0),
        ("fchmodat", -100, b"/mnt/data/file", 0o600),
        ("utimensat", -100, b"/mnt/data/file", 0, 0),
        ("faccessat", -100, b"/mnt/data/file", 2),
        ("renameat", -100, b"/mnt/data/file", -100, b"/mnt/data/other"),
    ):
        assert guest.call(*call) == -errno.EROFS, call
    assert (data / "file").read_text() == "x"


def test_grant_points_appear_in_listings(tmp_path: Path, work: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    guest = Guest(work, grants=(DirectoryGrant(data, "/mnt/deep/data"),))
    assert "mnt" in guest.names("/")
    assert guest.names("/mnt") == [".", "..", "deep"]
    assert guest.call("unlinkat", -100, b"/mnt/deep/data", 0x200) == -errno.EBUSY
    assert guest.call("mkdirat", -100, b"/mnt/other", 0o755) == -errno.EROFS


def test_grant_below_a_link_of_the_sysroot(tmp_path: Path, work: Path) -> None:
    sysroot, data = tmp_path / "sysroot", tmp_path / "data"
    (sysroot / "usr" / "lib").mkdir(parents=True)
    (sysroot / "usr" / "lib" / "libc.so").write_text("c")
    (sysroot / "lib").symlink_to("usr/lib")
    data.mkdir()
    (data / "f").write_text("granted")
    guest = Guest(work, sysroot=sysroot, grants=(DirectoryGrant(data, "/lib/extra"),))
    assert guest.content("/lib/extra/f") == b"granted"
    assert guest.content("/usr/lib/extra/f") == b"granted"
    assert guest.names("/usr/lib") == [".", "..", "libc.so", "extra"]


def test_sysroot_is_read_only_and_its_absolute_links_stay_inside(tmp_path: Path, work: Path) -> None:
    sysroot = tmp_path / "sysroot"
    (sysroot / "etc").mkdir(parents=True)
    (sysroot / "etc" / "real").write_text("in the sysroot")
    (sysroot / "etc" / "link").symlink_to("/etc/real")
    guest = Guest(work, sysroot=sysroot)
    assert guest.content("/etc/link") == b"in the sysroot"
    assert guest.open("/etc/real", 2) == -errno.EROFS
    assert guest.stat("/etc/real")[4] == 0  # type: ignore[index]  # root's


def test_the_programs_own_file_and_not_its_neighbours(tmp_path: Path, work: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "neighbour").write_text("x")
    Guest(elsewhere)  # makes `prog`
    guest = Guest(work, argv=(str(elsewhere / "prog"),))
    assert guest.content(str(elsewhere / "prog")) == (elsewhere / "prog").read_bytes()
    assert guest.content(str(elsewhere / "neighbour")) == -errno.ENOENT


def test_tmp_is_private(guest: Guest) -> None:
    name = f"/tmp/fetchsan-test-{os.getpid()}"
    assert guest.open(name, 0o101) >= 0
    assert not Path(name).exists()


def test_hard_links_between_mounts(work: Path, guest: Guest) -> None:
    assert guest.call("linkat", -100, b"prog", -100, b"/tmp/prog", 0) == -errno.EXDEV
    assert guest.call("renameat", -100, b"prog", -100, b"/tmp/prog") == -errno.EXDEV


def test_set_user_id_is_not_given(work: Path, guest: Guest) -> None:
    assert guest.call("fchmodat", -100, b"prog", 0o6755) == 0
    assert (work / "prog").stat().st_mode & 0o7777 == 0o755
