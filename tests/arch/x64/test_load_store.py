# SPDX-License-Identifier: GPL-2.0-or-later
"""Decoding x86-64 instructions: which bytes they access and which way, and block by block."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from fetchsan.arch.x64.load_store import MemoryAccess, find_access, first_reaching, first_vex, next_instruction

PC = 0x40_0000
PAGE = 0x5000
AT_RBX = {"rbx": PAGE + 0x20}


@pytest.mark.parametrize(
    ("code", "text"),
    [
        ("4c034b10", "add r9, [rbx+0x10]"),
        ("4803434c", "add rax, [rbx+0x4c]"),
        ("2303", "and eax, [rbx]"),
        ("1b03", "sbb eax, [rbx]"),
        ("3303", "xor eax, [rbx]"),
        ("480fb603", "movzx rax, byte ptr [rbx]"),
        ("0fa303", "bt [rbx], eax"),
        ("3903", "cmp [rbx], eax"),
        ("f703ffffffff", "test dword ptr [rbx], -1"),
    ],
)
def test_what_only_reads(code: str, text: str) -> None:
    found = find_access(bytes.fromhex(code), 0x1000, lambda name: AT_RBX.get(name, 0), PAGE, "read")
    assert found is not None and not found.write, text


@pytest.mark.parametrize(
    ("code", "text"),
    [
        ("0103", "add [rbx], eax"),
        ("ff03", "inc dword ptr [rbx]"),
        ("c1230c", "shl dword ptr [rbx], 12"),
        ("8703", "xchg [rbx], eax"),
        ("f00fb103", "lock cmpxchg [rbx], eax"),
        ("0fab03", "bts [rbx], eax"),
        ("0f9403", "sete byte ptr [rbx]"),
    ],
)
def test_what_reads_to_write_faults_as_a_write(code: str, text: str) -> None:
    found = find_access(bytes.fromhex(code), 0x1000, lambda name: AT_RBX.get(name, 0), PAGE, "read")
    assert found is not None and found.write, text


def registers(**values: int) -> Callable[[str], int]:
    return lambda name: values.get(name, 0)


def test_an_access_outside_the_page_is_none() -> None:
    assert find_access(bytes.fromhex("488b07"), PC, registers(rdi=0x5000), 0x6000, "read") is None


def test_an_access_that_reaches_into_the_page_starts_at_its_beginning() -> None:
    assert find_access(bytes.fromhex("488b07"), PC, registers(rdi=0x5FFD), 0x6000, "read") == MemoryAccess(
        0x6000, 8, False, False
    )


def test_of_two_operands_the_one_with_the_direction_counts() -> None:
    get = registers(rsi=0x6010, rdi=0x6020)
    read = find_access(bytes.fromhex("a4"), PC, get, 0x6000, "read")
    write = find_access(bytes.fromhex("a4"), PC, get, 0x6000, "write")
    assert read is not None and write is not None
    assert (read.address, write.address) == (0x6010, 0x6020)


def test_bytes_that_are_no_instruction_access_nothing() -> None:
    assert find_access(b"\x06", PC, registers(), 0, "read") is None
    assert find_access(b"", PC, registers(), 0, "read") is None


def test_addresses_wrap() -> None:
    found = find_access(bytes.fromhex("488b4710"), PC, registers(rdi=(1 << 64) - 8), 0, "read")
    assert found is not None and found.address == 8


@pytest.mark.parametrize(
    ("code", "boundary", "at"),
    [("90909090", 2, 2), ("9048c7c0010000009090", 4, 1), ("90", 0, 0), ("9006", 4, 1), ("9048", 4, 1), ("", 4, 0)],
)
def test_the_first_instruction_that_reaches_a_boundary(code: str, boundary: int, at: int) -> None:
    assert first_reaching(bytes.fromhex(code), PC, PC + boundary) == PC + at


def test_the_next_instruction() -> None:
    assert next_instruction(bytes.fromhex("48c7c001000000"), PC) == PC + 7
    assert next_instruction(bytes.fromhex("48c7c0"), PC) is None


@pytest.mark.parametrize(
    ("code", "at"),
    [("90c5f058c2", 1), ("64c5f81000", 0), ("67c5f81000", 0), ("4889c5c3", None), ("b8c5f05800", None), ("", None)],
)
def test_the_first_vex_prefix(code: str, at: int | None) -> None:
    assert first_vex(bytes.fromhex(code), PC) == (None if at is None else PC + at)
