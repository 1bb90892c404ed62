# SPDX-License-Identifier: GPL-2.0-or-later
"""/proc and /sys as a program reads them."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from .guest import Guest


def test_self_is_the_process(guest: Guest) -> None:
    assert guest.link("/proc/self") == b"1000"
    assert guest.content("/proc/1000/comm") == b"prog\n"
    assert guest.content("/proc/1/comm") == -errno.ENOENT
    assert {"self", "1000", "cpuinfo"} <= set(guest.names("/proc"))


def test_links(work: Path, guest: Guest) -> None:
    assert guest.link("/proc/self/exe") == bytes(work / "prog")
    assert guest.link("/proc/self/cwd") == bytes(work)
    assert guest.link("/proc/self/root") == b"/"
    guest.call("chdir", b"/tmp")
    assert guest.link("/proc/self/cwd") == b"/tmp"


def test_exe_can_be_opened_even_when_removed(work: Path, guest: Guest) -> None:
    image = (work / "prog").read_bytes()
    guest.call("unlinkat", -100, b"prog", 0)
    assert guest.content("/proc/self/exe") == image
    link = guest.link("/proc/self/exe")
    assert isinstance(link, bytes)
    assert link.endswith(b"prog (deleted)")


def test_command_line_and_environment(guest: Guest) -> None:
    assert guest.content("/proc/self/cmdline") == b"./prog\0"
    assert guest.content("/proc/self/environ") == b"A=b\0"
    auxv = guest.content("/proc/self/auxv")
    assert isinstance(auxv, bytes)
    assert auxv.endswith(bytes(16))


def test_maps_name_the_program(work: Path, guest: Guest) -> None:
    maps = guest.content("/proc/self/maps")
    assert isinstance(maps, bytes)
    assert bytes(work / "prog") in maps
    assert b"[stack]" in maps


def test_maps_read_in_pieces_are_one_text(guest: Guest) -> None:
    fd = guest.open("/proc/self/maps")
    first = guest.read(fd, 10)
    guest.call("mmap", 0, 4096, 0, 0x22, -1, 0)
    rest = guest.read(fd, 60_000)
    assert isinstance(first, bytes)
    assert isinstance(rest, bytes)
    assert (first + rest).count(b"[stack]") == 1


def test_stat_fields(guest: Guest) -> None:
    text = guest.content("/proc/self/stat")
    assert isinstance(text, bytes)
    head, _, tail = text.partition(b") ")
    assert head == b"1000 (prog"
    assert len(tail.split()) == 50
    assert tail.split()[1] == b"999"


def test_descriptors_are_listed(guest: Guest) -> None:
    fd = guest.open("prog")
    assert str(fd) in guest.names("/proc/self/fd")
    link = guest.link(f"/dev/fd/{fd}")
    assert isinstance(link, bytes)
    assert link.endswith(b"/prog")
    guest.call("close", fd)
    assert guest.link(f"/proc/self/fd/{fd}") == -errno.ENOENT


def test_pipe_reopened_by_its_descriptor(guest: Guest) -> None:
    address = guest.room(8)
    guest.call("pipe2", address, 0)
    reader = guest.task.memory.read_u32(address)
    again = guest.open(f"/proc/self/fd/{reader}", 1)
    assert guest.write(again, b"x") == 1
    assert guest.read(reader, 9) == b"x"


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("/proc/sys/kernel/ostype", b"Linux\n"),
        ("/proc/sys/vm/mmap_min_addr", b"65536\n"),
        ("/sys/devices/system/cpu/online", b"0\n"),
        ("/sys/devices/system/cpu/possible", b"0\n"),
        ("/proc/self/statm", None),
        ("/proc/self/status", None),
        ("/proc/self/limits", None),
        ("/proc/self/mounts", None),
        ("/proc/self/task/1000/comm", b"prog\n"),
        ("/proc/thread-self/comm", b"prog\n"),
        ("/proc/cpuinfo", None),
        ("/proc/meminfo", None),
        ("/proc/uptime", None),
        ("/proc/loadavg", None),
        ("/proc/version", None),
        ("/proc/stat", None),
        ("/proc/filesystems", None),
        ("/proc/sys/kernel/random/uuid", None),
        ("/proc/sys/kernel/random/boot_id", None),
    ],
)
def test_files(guest: Guest, path: str, text: bytes | None) -> None:
    found = guest.content(path)
    assert isinstance(found, bytes)
    assert found.endswith(b"\n")
    if text is not None:
        assert found == text


def test_cpuinfo_is_the_profiles(guest: Guest) -> None:
    text = guest.content("/proc/cpuinfo")
    assert isinstance(text, bytes)
    assert b"CPU part\t: 0xd08" in text


def test_writing_where_it_is_not_allowed(guest: Guest) -> None:
    assert guest.open("/proc/cpuinfo", 1) == -errno.EACCES
    assert guest.open("/proc/new", 0o101) == -errno.EACCES
    assert guest.open("/sys/new", 0o101) == -errno.EROFS


def test_mounts_escape_white_space(tmp_path: Path) -> None:
    work = tmp_path / "with space"
    work.mkdir()
    text = Guest(work).content("/proc/mounts")
    assert isinstance(text, bytes)
    assert b"with\\040space" in text
