# SPDX-License-Identifier: GPL-2.0-or-later
"""ELF headers: the good ones are understood, every bad one is refused with a sentence that says what is wrong."""

from __future__ import annotations

import struct
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fetchsan.errors import NotExecutableError
from fetchsan.kernel.linker.elf_file import PF_R, PF_X, Segment, read_elf

LOAD, INTERP, PHDR, GNU_STACK = 1, 3, 6, 0x6474E551


@dataclass
class Bytes:
    """A file in memory."""

    data: bytes

    @property
    def size(self) -> int:
        return len(self.data)

    def read_at(self, offset: int, count: int) -> bytes:
        return self.data[offset : offset + count]


def program_header(
    type_: int = LOAD,
    flags: int = PF_R | PF_X,
    offset: int = 0,
    address: int = 0x400000,
    file_size: int = 0x100,
    memory_size: int = 0x100,
    alignment: int = 0x1000,
) -> bytes:
    return struct.pack("<IIQQQQQQ", type_, flags, offset, address, address, file_size, memory_size, alignment)


def elf(*rows: bytes, kind: int = 2, machine: int = 183, size: int = 0x1000, **changes: int) -> Bytes:
    rows = rows or (program_header(),)
    count = changes.get("count", len(rows))
    identification = b"\x7fELF" + bytes([changes.get("class_", 2), changes.get("order", 1), 1]) + bytes(9)
    header = identification + struct.pack(
        "<HHIQQQIHHHHHH",
        kind, machine, 1, 0x400080, changes.get("table", 64), 0, 0, 64, changes.get("entry_size", 56), count, 64, 0, 0,
    )  # fmt: skip
    return Bytes((header + b"".join(rows)).ljust(size, b"\0"))


def reason(source: Bytes) -> str:
    with pytest.raises(NotExecutableError) as caught:
        read_elf(source, "prog")
    assert caught.value.exit_status == 126
    return caught.value.reason


def test_static_program() -> None:
    program = read_elf(elf(), "prog")
    assert program.segments == (Segment(0, 0x400000, 0x100, 0x100, PF_R | PF_X, 0x1000),)
    assert (program.entry, program.position_independent, program.interpreter) == (0x400080, False, None)


def test_program_headers_are_found_through_the_segment_that_holds_them() -> None:
    assert read_elf(elf(), "prog").program_headers_address == 0x400040


def test_pt_phdr_wins() -> None:
    source = elf(program_header(PHDR, address=0x400100), program_header())
    assert read_elf(source, "prog").program_headers_address == 0x400100


def test_interpreter_is_read() -> None:
    name = b"/lib/ld-linux-aarch64.so.1\0"
    source = elf(program_header(INTERP, offset=0x800, file_size=len(name)), program_header(), kind=3)
    source.data = source.data[:0x800] + name + source.data[0x800 + len(name) :]
    program = read_elf(source, "prog")
    assert (program.interpreter, program.position_independent) == ("/lib/ld-linux-aarch64.so.1", True)


@pytest.mark.parametrize(("flags", "executable"), [(6, False), (7, True)])
def test_gnu_stack_decides_whether_the_stack_is_executable(flags: int, executable: bool) -> None:
    source = elf(program_header(GNU_STACK, flags, file_size=0, memory_size=0), program_header())
    assert read_elf(source, "prog").executable_stack is executable


@pytest.mark.parametrize(
    ("source", "words"),
    [
        (Bytes(b""), "empty file"),
        (Bytes(b"hello\n"), "not an ELF program"),
        (Bytes(b"\x7fELF\x02\x01"), "truncated ELF: the header ends after 6 of 64 bytes"),
        (elf(class_=1), "32-bit ELF"),
        (elf(class_=9), "unknown class 9"),
        (elf(order=2), "big-endian"),
        (elf(machine=243), "built for RISC-V; FetchSan runs AArch64 and x86-64 programs"),
        (elf(machine=40), "built for 32-bit Arm"),
        (elf(machine=0xFFFF), "built for machine number 65535"),
        (elf(kind=1), "relocatable object"),
        (elf(kind=4), "core dump"),
        (elf(kind=0xFE00), "ELF file type 0xfe00"),
        (elf(entry_size=32), "program headers of 32 bytes"),
        (elf(count=0), "0 program headers"),
        (elf(count=0xFFFF), "65535 program headers"),
        (elf(table=1 << 60), "program headers lie outside the file"),
        (elf(table=0xFFF), "program headers lie outside the file"),
        (elf(program_header(GNU_STACK)), "nothing to load"),
        (elf(program_header(file_size=0x2000, memory_size=0x2000)), "segment 0 at 0x400000 lies outside the file"),
        (elf(program_header(offset=(1 << 64) - 0x1000)), "lies outside the file"),
        (elf(program_header(memory_size=1 << 60)), "beyond the 48-bit address space"),
        (elf(program_header(address=0x1000)), "below 0x10000"),
        (elf(program_header(memory_size=0x80)), "larger in the file than in memory"),
        (elf(program_header(alignment=0x1001)), "aligned to 0x1001"),
        (elf(program_header(offset=0x10)), "disagree within a page"),
        (elf(program_header(), program_header()), "overlaps the one before"),
        (elf(program_header(address=0x500000), program_header()), "out of order"),
        (elf(program_header(INTERP, offset=0xFFF, file_size=40), program_header()), "name of its interpreter"),
        (elf(program_header(INTERP, offset=0, file_size=5000), program_header()), "name of its interpreter"),
        (elf(program_header(INTERP, offset=0, file_size=4), program_header()), "interpreter does not end"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said(source: Bytes, words: str) -> None:
    assert words in reason(source)


@given(st.binary(max_size=300))
def test_garbage_is_refused_and_never_breaks_us(garbage: bytes) -> None:
    reason(Bytes(b"\x7fELF\x02\x01" + garbage))


@given(st.data())
def test_a_corrupted_program_is_either_understood_or_refused(data: st.DataObject) -> None:
    good = bytearray(elf(program_header(), program_header(INTERP, offset=0x200, file_size=16), kind=3).data)
    for _ in range(data.draw(st.integers(1, 8))):
        good[data.draw(st.integers(0, 64 + 112))] = data.draw(st.integers(0, 255))
    try:
        program = read_elf(Bytes(bytes(good)), "prog")
    except NotExecutableError:
        return
    assert all(segment.end <= 1 << 48 for segment in program.segments)
