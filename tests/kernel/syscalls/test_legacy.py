# SPDX-License-Identifier: GPL-2.0-or-later
"""The calls that only x86-64 has, made by an x86-64 program."""

from __future__ import annotations

import errno
import os
import struct
from pathlib import Path

import pytest

from fetchsan.kernel.abi.x64 import X64Abi

from .guest import Guest

O_CREAT, O_WRONLY, O_DIRECTORY, O_NOFOLLOW = 0o100, 1, 0o200000, 0o400000
NULL = 0


@pytest.fixture
def guest(tmp_path: Path) -> Guest:
    return Guest(tmp_path, abi=X64Abi())


def seconds(guest: Guest, value: int, micro: int = 0) -> int:
    return guest.put(struct.pack("<qq", value, micro))


def test_open_writes_and_reads(guest: Guest, tmp_path: Path) -> None:
    fd = guest.call("open", b"f", O_CREAT | O_WRONLY, 0o600)
    assert guest.write(fd, b"text") == 4
    assert (tmp_path / "f").read_bytes() == b"text"


def test_open_has_x86_64s_flags(guest: Guest, tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"")
    (tmp_path / "l").symlink_to("f")
    assert guest.call("open", b"f", O_DIRECTORY, 0) == -errno.ENOTDIR
    assert guest.call("open", b"l", O_NOFOLLOW, 0) == -errno.ELOOP
    assert guest.call("open", b"l", 0, 0) >= 0


def test_f_getfl_answers_with_x86_64s_flags(guest: Guest) -> None:
    fd = guest.call("open", b".", O_DIRECTORY, 0)
    assert guest.call("fcntl", fd, 3, 0) & O_DIRECTORY
    information = guest.content(f"/proc/self/fdinfo/{fd}")
    assert isinstance(information, bytes)
    assert b"flags:\t0200000\n" in information


def test_creat_truncates(guest: Guest, tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"old")
    assert guest.call("creat", b"f", 0o600) >= 0
    assert (tmp_path / "f").read_bytes() == b""


@pytest.mark.parametrize("name", ["stat", "lstat"])
def test_struct_stat_is_the_hosts(guest: Guest, tmp_path: Path, name: str) -> None:
    (tmp_path / "f").write_bytes(b"12345")
    (tmp_path / "l").symlink_to("f")
    address = guest.room(144)
    assert guest.call(name, b"l", address) == 0
    _, ino, nlink, mode, _, _, _, _, size = struct.unpack_from("<QQQIIIIQq", guest.peek(address, 144))
    host = os.lstat(tmp_path / "l") if name == "lstat" else os.stat(tmp_path / "l")
    assert (ino, nlink, mode, size) == (host.st_ino, 1, host.st_mode, host.st_size)


def test_names(guest: Guest, tmp_path: Path) -> None:
    assert guest.call("mkdir", b"d", 0o700) == 0
    assert guest.call("mknod", b"d/f", 0o100600, 0) == 0
    assert guest.call("link", b"d/f", b"g") == 0
    assert guest.call("symlink", b"g", b"l") == 0
    assert guest.call("rename", b"g", b"h") == 0
    assert guest.call("access", b"h", 4) == 0
    assert guest.call("access", b"g", 0) == -errno.ENOENT
    assert guest.call("chmod", b"h", 0o640) == 0
    assert guest.call("unlink", b"d/f") == 0
    assert guest.call("rmdir", b"d") == 0
    room = guest.room(16)
    assert guest.peek(room, guest.call("readlink", b"l", room, 16)) == b"g"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["h", "l", "prog"]
    assert (tmp_path / "h").stat().st_mode & 0o777 == 0o640


def test_getdents_has_the_type_in_its_last_byte(guest: Guest) -> None:
    fd = guest.call("open", b".", O_DIRECTORY, 0)
    room = guest.room(1024)
    listing = guest.peek(room, guest.call("getdents", fd, room, 1024))
    found = {}
    while listing:
        _, _, size = struct.unpack_from("<QqH", listing)
        found[listing[18:size].split(b"\0", 1)[0]] = listing[size - 1]
        listing = listing[size:]
    assert found == {b".": 4, b"..": 4, b"prog": 8}


@pytest.mark.parametrize("name", ["utime", "utimes"])
def test_times_are_set(guest: Guest, tmp_path: Path, name: str) -> None:
    (tmp_path / "f").write_bytes(b"")
    times = guest.put(struct.pack("<qq", 11, 22) if name == "utime" else struct.pack("<qqqq", 11, 0, 22, 0))
    assert guest.call(name, b"f", times) == 0
    assert ((tmp_path / "f").stat().st_atime, (tmp_path / "f").stat().st_mtime) == (11, 22)


def test_dup2_of_a_descriptor_onto_itself(guest: Guest) -> None:
    assert guest.call("dup2", 1, 1) == 1
    assert guest.call("dup2", 77, 77) == -errno.EBADF
    assert guest.call("dup2", 1, 9) == 9


def test_poll_and_select_see_a_pipe(guest: Guest) -> None:
    ends = guest.room(8)
    assert guest.call("pipe", ends) == 0
    reader, writer = struct.unpack("<ii", guest.peek(ends, 8))
    poll = guest.put(struct.pack("<ihh", reader, 1, 0))
    assert guest.call("poll", poll, 1, 10) == 0
    assert guest.write(writer, b"x") == 1
    assert guest.call("poll", poll, 1, -1 & 0xFFFF_FFFF) == 1
    readable = guest.put((1 << reader).to_bytes(8, "little"))
    assert guest.call("select", reader + 1, readable, NULL, NULL, seconds(guest, 5)) == 1


def test_select_says_what_was_left_of_its_time(guest: Guest) -> None:
    timeout = seconds(guest, 1)
    assert guest.call("select", 0, NULL, NULL, NULL, timeout) == 0
    assert guest.peek(timeout, 16) == bytes(16)


def test_epoll_events_are_packed(guest: Guest) -> None:
    ends = guest.room(8)
    guest.call("pipe", ends)
    reader, writer = struct.unpack("<ii", guest.peek(ends, 8))
    epoll = guest.call("epoll_create", 1)
    assert guest.call("epoll_ctl", epoll, 1, reader, guest.put(struct.pack("<IQ", 1, 0x1122_3344_5566_7788))) == 0
    guest.write(writer, b"x")
    events = guest.room(24)
    assert guest.call("epoll_wait", epoll, events, 2, 0) == 1
    assert struct.unpack("<IQ", guest.peek(events, 12)) == (1, 0x1122_3344_5566_7788)


def test_time_is_the_virtual_clocks(guest: Guest) -> None:
    address = guest.room(8)
    now = guest.call("time", address)
    assert now == guest.call("time", NULL) == int.from_bytes(guest.peek(address, 8), "little") == 1_704_067_200


def test_alarm_ends_a_pause(guest: Guest) -> None:
    action = guest.put(struct.pack("<QQQQ", 0x40_0000, 0x0400_0000, 0x40_0000, 0))
    assert guest.call("rt_sigaction", 14, action, NULL, 8) == 0
    assert guest.call("alarm", 100) == 0
    assert guest.call("alarm", 3) == 100
    assert guest.call("pause") == 0  # the handler's entry: RAX is 0
    assert (guest.pe.get("rdi"), guest.pe.get("pc")) == (14, 0x40_0000)


def test_arch_prctl_keeps_the_segment_bases(guest: Guest) -> None:
    address = guest.room(8)
    assert guest.call("arch_prctl", 0x1002, 0x7000) == 0
    assert guest.call("arch_prctl", 0x1003, address) == 0
    assert guest.peek(address, 8) == (0x7000).to_bytes(8, "little")
    assert guest.call("arch_prctl", 0x1002, 1 << 47) == -errno.EPERM
    assert guest.call("arch_prctl", 0x3001, 0) == -errno.EINVAL


def test_map_32bit_stays_below_2_gib(guest: Guest) -> None:
    first = guest.call("mmap", 0, 0x3000, 3, 0x62, -1, 0)
    second = guest.call("mmap", 0, 1 << 20, 3, 0x62, -1, 0)
    assert 1 << 30 <= first < first + 0x3000 <= second < second + (1 << 20) <= 1 << 31
    assert guest.call("mmap", 0, 1 << 31, 0, 0x4062, -1, 0) == -errno.ENOMEM


def test_uname_says_x86_64(guest: Guest) -> None:
    address = guest.room(390)
    guest.call("uname", address)
    assert guest.peek(address + 4 * 65, 7) == b"x86_64\0"


def test_a_call_that_we_lack_is_named(guest: Guest) -> None:
    assert guest.call("vfork") == -errno.ENOSYS
    assert "unsupported system call vfork (number 58)" in guest.messages[-1]


def test_an_interrupted_call_is_made_again_with_its_number(guest: Guest) -> None:
    guest.pe.values["pc"] = 0x40_0102
    action = guest.put(struct.pack("<QQQQ", 0x40_0000, 0x1400_0000, 0x40_0000, 0))  # SA_RESTART
    guest.call("rt_sigaction", 14, action, NULL, 8)
    ends = guest.room(8)
    guest.call("pipe", ends)
    reader = int.from_bytes(guest.peek(ends, 4), "little")
    guest.call("alarm", 1)
    guest.pe.values["pc"] = 0x40_0102
    guest.call("read", reader, guest.room(8), 8)
    frame = guest.peek(guest.pe.get("sp"), 440)
    rax, rip = struct.unpack_from("<Q", frame, 8 + 40 + 8 * 13)[0], struct.unpack_from("<Q", frame, 8 + 40 + 8 * 16)[0]
    assert (rax, rip) == (0, 0x40_0100)
