# SPDX-License-Identifier: GPL-2.0-or-later
"""The host's own streams under descriptors 0, 1 and 2: a terminal, a file, a closed pipe."""

from __future__ import annotations

import errno
import os
import pty
import struct
import termios
from collections.abc import Iterator
from pathlib import Path

import pytest

from .guest import Guest

TCGETS, TCSETS, TIOCGWINSZ, TIOCGPGRP, TIOCSTI = 0x5401, 0x5402, 0x5413, 0x540F, 0x5412


@pytest.fixture
def terminal(capfd: pytest.CaptureFixture[str]) -> Iterator[int]:
    """A terminal as the standard input of this process; the other end."""
    master, slave = pty.openpty()
    saved = os.dup(0)
    os.dup2(slave, 0)
    try:
        yield master
    finally:
        os.dup2(saved, 0)
        for fd in (saved, master, slave):
            os.close(fd)


def standard_input(tmp_path: Path, content: bytes) -> int:
    path = tmp_path / "input"
    path.write_bytes(content)
    return os.open(path, os.O_RDONLY)


@pytest.fixture
def redirected(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> Iterator[None]:
    """Standard input is a file with ten digits."""
    file = standard_input(tmp_path, b"0123456789")
    saved = os.dup(0)
    os.dup2(file, 0)
    try:
        yield
    finally:
        os.dup2(saved, 0)
        os.close(saved)
        os.close(file)


def test_terminal_is_recognised(work: Path, terminal: int) -> None:
    guest = Guest(work)
    address = guest.room(64)
    assert guest.call("ioctl", 0, TCGETS, address) == 0
    assert guest.link("/proc/self/fd/0") == b"/dev/tty"
    assert guest.call("ioctl", 0, TIOCGPGRP, address) == 0
    assert guest.peek(address, 4) == struct.pack("<I", 1000)
    assert guest.call("ioctl", 0, TIOCSTI, address) == -errno.ENOTTY


def test_window_size(work: Path, terminal: int) -> None:
    termios.tcsetwinsize(terminal, (33, 99))
    guest = Guest(work)
    address = guest.room(8)
    assert guest.call("ioctl", 0, TIOCGWINSZ, address) == 0
    assert struct.unpack_from("<HH", guest.peek(address, 8)) == (33, 99)


def test_raw_mode_ends_with_the_program(work: Path, terminal: int) -> None:
    guest = Guest(work)
    address = guest.room(64)
    guest.call("ioctl", 0, TCGETS, address)
    before = termios.tcgetattr(0)[3]
    raw = bytearray(guest.peek(address, 36))
    raw[12:16] = bytes(4)  # c_lflag: no echo, no lines
    assert guest.call("ioctl", 0, TCSETS, guest.put(bytes(raw))) == 0
    assert termios.tcgetattr(0)[3] != before
    guest.task.files.close_all()
    assert termios.tcgetattr(0)[3] == before


def test_dev_tty(work: Path, terminal: int) -> None:
    guest = Guest(work)
    fd = guest.open("/dev/tty", 2)
    os.write(terminal, b"line\n")
    assert guest.read(fd, 100) == b"line\n"


def test_input_is_waited_for_and_poll_sees_it(work: Path, terminal: int) -> None:
    guest = Guest(work)
    assert guest.call("fcntl", 0, 4, 0o4000) == 0  # O_NONBLOCK, for the guest only
    assert guest.read(0, 10) == -errno.EAGAIN
    assert os.get_blocking(0)
    os.write(terminal, b"x\n")
    table = guest.put(struct.pack("<ihh", 0, 1, 0))
    assert guest.call("ppoll", table, 1, 0, 0, 8) == 1
    assert guest.read(0, 10) == b"x\n"


def test_redirected_input_can_seek_and_map(work: Path, redirected: None) -> None:
    guest = Guest(work)
    assert guest.read(0, 4) == b"0123"
    assert guest.call("lseek", 0, 8, 0) == 8
    assert guest.read(0, 4) == b"89"
    mapped = guest.call("mmap", 0, 4096, 1, 2, 0, 0)
    assert guest.peek(mapped, 10) == b"0123456789"
    assert guest.open("/dev/tty") == -errno.ENXIO


def test_offset_of_the_hosts_descriptor_moves(work: Path, redirected: None) -> None:
    Guest(work).read(0, 4)
    assert os.read(0, 2) == b"45"


def test_unreadable_pointer_takes_no_input(work: Path, redirected: None) -> None:
    guest = Guest(work)
    assert guest.call("read", 0, 8, 4) == -errno.EFAULT
    assert guest.read(0, 4) == b"0123"
