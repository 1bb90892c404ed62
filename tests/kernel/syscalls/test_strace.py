# SPDX-License-Identifier: GPL-2.0-or-later
"""--strace lines, against what qemu-user prints."""

from __future__ import annotations

import pytest

from fetchsan.kernel.syscalls.strace import result_text, trace_call
from fetchsan.kernel.syscalls.table import SYSCALLS

from .guest import Guest


def traced(guest: Guest, name: str, *arguments: int) -> str:
    return trace_call(guest.task, SYSCALLS[name], [argument & (1 << 64) - 1 for argument in arguments])


def test_paths_flags_and_modes(guest: Guest) -> None:
    path = guest.put(b"/etc/pass\nwd\0")
    text = traced(guest, "openat", -100, path, 0o2000101, 0o644)
    assert text == 'openat(AT_FDCWD,"/etc/pass\\nwd",O_WRONLY|O_CREAT|O_CLOEXEC,0644)'


def test_protections_and_mapping_flags(guest: Guest) -> None:
    text = traced(guest, "mmap", 0, 4096, 5, 0x22, -1, 0)
    assert text == "mmap(NULL,4096,PROT_READ|PROT_EXEC,MAP_PRIVATE|MAP_ANONYMOUS,-1,NULL)"


def test_long_buffers_are_cut(guest: Guest) -> None:
    address = guest.put(b"\x01" + b"x" * 99)
    assert traced(guest, "write", 1, address, 100) == f'write(1,"\\001{"x" * 31}"...,100)'


def test_a_wild_path_is_shown_as_its_address(guest: Guest) -> None:
    assert traced(guest, "chdir", 0xBAD0_0000_0000) == "chdir(0xbad000000000)"


def test_a_call_without_a_row_shows_hexadecimal(guest: Guest) -> None:
    assert traced(guest, "prctl", 15, 0x1000) == "prctl(0xf,0x1000)"


@pytest.mark.parametrize(
    ("name", "result", "text"),
    [
        ("read", 12, "12"),
        ("mmap", 0x1000, "0x1000"),
        ("openat", -2, "-1 errno=2 (No such file or directory)"),
    ],
)
def test_results(name: str, result: int, text: str) -> None:
    assert result_text(name, result) == text
