# SPDX-License-Identifier: GPL-2.0-or-later
"""Which way an instruction accesses its memory operand: what a page fault is reported as."""

from __future__ import annotations

import pytest

from fetchsan.arch.x64.load_store import find_access

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
