# SPDX-License-Identifier: GPL-2.0-or-later
"""What is no program, or a damaged one: the right status, one clear line, never a failure of ours."""

from __future__ import annotations

import os
import signal
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from e2e.command import GUESTS, fetchsan
from fetchsan import Machine
from fetchsan.errors import FetchSanError, InternalError

HELLO = (GUESTS / "hello/hello").read_bytes()
VARIANTS = (GUESTS / "maintenance/variants").read_bytes()
HEADER, ROW = 64, 56  # the sizes of Elf64_Ehdr and Elf64_Phdr
TABLE = struct.unpack_from("<Q", HELLO, 32)[0]  # e_phoff; its first row is the only PT_LOAD
TEXT_END = struct.unpack_from("<Q", HELLO, TABLE + 32)[0]  # p_filesz of it
STATUSES = {0, 66, 126, *(128 + number for number in (signal.SIGILL, signal.SIGTRAP, signal.SIGBUS, signal.SIGSEGV))}
SECONDS = 20  # of one damaged program: it may well loop


def patched(offset: int, layout: str, value: int, of: bytes = HELLO) -> bytes:
    """A copy with one field changed."""
    copy = bytearray(of)
    struct.pack_into(layout, copy, offset, value)
    return bytes(copy)


@dataclass(frozen=True)
class Broken:
    """A file's contents, and what must be said of it."""

    contents: bytes
    said: str
    status: int = 126


SEGMENT = {name: TABLE + offset for name, offset in {"address": 16, "filesz": 32, "memsz": 40, "align": 48}.items()}
BROKEN = {
    "empty": Broken(b"", "empty file"),
    "text": Broken(b"hello, world\n", "not an ELF program"),
    "script-without-interpreter": Broken(b"#!\necho\n", "names no interpreter"),
    "script-of-missing-interpreter": Broken(b"#!/no/such/thing\n", "needs the interpreter /no/such/thing"),
    "header-cut": Broken(HELLO[: HEADER - 1], "truncated ELF: the header ends after 63 of 64 bytes"),
    "table-missing": Broken(HELLO[:HEADER], "truncated ELF: its program headers lie outside the file"),
    "table-cut": Broken(HELLO[: TABLE + ROW], "truncated ELF: its program headers lie outside the file"),
    "segment-cut": Broken(HELLO[: TEXT_END - 1], "truncated ELF: loadable segment 0"),
    "risc-v": Broken(patched(18, "<H", 243), "built for RISC-V"),
    "machine-unknown": Broken(patched(18, "<H", 4711), "built for machine number 4711"),
    "32-bit": Broken(patched(4, "<B", 1), "32-bit ELF"),
    "big-endian": Broken(patched(5, "<B", 2), "big-endian ELF"),
    "relocatable": Broken(patched(16, "<H", 1), "ET_REL"),
    "core-dump": Broken(patched(16, "<H", 4), "ET_CORE"),
    "no-program-headers": Broken(patched(56, "<H", 0), "0 program headers"),
    "too-many-program-headers": Broken(patched(56, "<H", 65535), "65535 program headers"),
    "odd-program-headers": Broken(patched(54, "<H", 32), "program headers of 32 bytes"),
    "table-far-away": Broken(patched(32, "<Q", (1 << 64) - 1), "truncated ELF: its program headers lie outside the file"),
    "nothing-to-load": Broken(patched(TABLE, "<I", 0), "nothing to load"),
    "file-size-huge": Broken(patched(SEGMENT["filesz"], "<Q", 1 << 62), "loadable segment 0"),
    "memory-size-huge": Broken(patched(SEGMENT["memsz"], "<Q", (1 << 64) - 1), "beyond the 48-bit address space"),
    "at-the-top": Broken(patched(SEGMENT["address"], "<Q", 0xFFFF_0000_0040_0000), "beyond the 48-bit address space"),
    "at-null": Broken(patched(SEGMENT["address"], "<Q", 0), "Linux maps nothing there"),
    "alignment-odd": Broken(patched(SEGMENT["align"], "<Q", 3), "aligned to 0x3"),
    "offset-disagrees": Broken(patched(SEGMENT["address"], "<Q", 0x40_0010), "disagree within a page"),
}


def executable(path: Path, contents: bytes) -> Path:
    path.write_bytes(contents)
    path.chmod(0o755)
    return path


def refused(path: str | Path, **options: object) -> FetchSanError:
    with pytest.raises(FetchSanError) as caught:
        Machine(**options).run([str(path)], message=lambda _text: None)
    assert not isinstance(caught.value, InternalError)
    assert "\n" not in str(caught.value)
    return caught.value


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_file_is_refused_by_its_reason(tmp_path: Path, name: str) -> None:
    broken = BROKEN[name]
    error = refused(executable(tmp_path / "broken", broken.contents))
    assert broken.said in str(error)
    assert error.exit_status == broken.status


def test_the_command_says_it_in_one_line(tmp_path: Path) -> None:
    outcome = fetchsan("run", executable(tmp_path / "text", b"hello\n"))
    assert outcome.status == 126
    assert outcome.lines == [f"fetchsan: {tmp_path / 'text'}: not an ELF program (nor a script with #!)"]


@pytest.mark.parametrize("end", [0, 4, 16, 18, 24, HEADER - 1, HEADER, TABLE + ROW - 1, TABLE + ROW, TABLE + 2 * ROW - 1])
def test_cut_at_a_boundary_of_the_headers(tmp_path: Path, end: int) -> None:
    assert refused(executable(tmp_path / "cut", HELLO[:end])).exit_status == 126


def test_sections_are_not_needed(tmp_path: Path) -> None:
    cut = executable(tmp_path / "cut", HELLO[:TEXT_END])
    assert Machine().run([str(cut)], capture_stdout=True).stdout == b"hello\n"


def test_a_directory(tmp_path: Path) -> None:
    error = refused(tmp_path)
    assert (error.exit_status, str(error)) == (126, f"{tmp_path}: is a directory")


def test_a_fifo_is_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo", 0o755)
    assert refused(tmp_path / "fifo").exit_status == 126


def test_a_link_to_itself(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    assert refused(tmp_path / "loop").exit_status == 126


@pytest.mark.parametrize("make", [lambda path: None, lambda path: path.symlink_to("nowhere")], ids=["missing", "dangling"])
def test_no_such_file(tmp_path: Path, make: Callable[[Path], None]) -> None:
    make(tmp_path / "program")
    assert refused(tmp_path / "program").exit_status == 127


def test_a_name_that_is_not_in_path(tmp_path: Path) -> None:
    error = refused("no-such-program-anywhere", sysroot=tmp_path)
    assert error.exit_status == 127
    assert "sysroot add" in str(error)


def test_a_file_without_the_executable_bit(tmp_path: Path) -> None:
    program = executable(tmp_path / "program", HELLO)
    program.chmod(0o644)
    error = refused(program)
    assert error.exit_status == 126
    assert "chmod +x" in str(error)


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads every file")
def test_a_file_that_may_not_be_read(tmp_path: Path) -> None:
    program = executable(tmp_path / "program", HELLO)
    program.chmod(0o111)
    assert refused(program).exit_status == 126


def test_a_missing_interpreter_names_the_package(tmp_path: Path) -> None:
    error = refused(GUESTS / "gcc/clear_cache", sysroot=tmp_path)
    assert error.exit_status == 126
    assert "/lib/ld-linux-aarch64.so.1" in str(error)
    assert "fetchsan sysroot add libc6" in str(error)


def test_overlapping_segments(tmp_path: Path) -> None:
    twice = bytearray(HELLO)
    twice[TABLE + ROW : TABLE + 2 * ROW] = twice[TABLE : TABLE + ROW]
    assert "overlaps" in str(refused(executable(tmp_path / "twice", bytes(twice))))


def test_scripts_that_interpret_each_other(tmp_path: Path) -> None:
    script = tmp_path / "script"
    executable(script, b"#!%s\n" % os.fsencode(script))
    assert "interpret each other" in str(refused(script))


def test_a_huge_bss_costs_nothing(tmp_path: Path) -> None:
    program = executable(tmp_path / "huge", patched(SEGMENT["memsz"], "<Q", 1 << 44))
    assert Machine(memory=64 << 20).run([str(program)], capture_stdout=True).exit_status == 0


@pytest.mark.parametrize(
    ("entry", "status"), [(0, 139), (0xFFFF << 48, 139), (0x40_0002, 135)], ids=["null", "kernel", "misaligned"]
)
def test_an_entry_that_cannot_be_executed(tmp_path: Path, entry: int, status: int) -> None:
    program = executable(tmp_path / "entry", patched(24, "<Q", entry))
    assert Machine().run([str(program)], message=lambda _text: None).exit_status == status


def run_damaged(path: Path, contents: bytes, arguments: tuple[str, ...]) -> int:
    """The status, of a program that may do anything; stopped like by Ctrl-C if it loops."""
    executable(path, contents)

    def interrupt(_number: int, _frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    signal.alarm(SECONDS)
    try:
        result = Machine(memory=64 << 20).run([str(path), *arguments], capture_stdout=True, message=lambda _text: None)
        return 0 if result.guest.interrupted else result.exit_status
    except FetchSanError as error:
        assert not isinstance(error, InternalError)
        assert "\n" not in str(error)
        return error.exit_status
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


quick = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], derandomize=True)


@settings(quick, max_examples=300)
@given(flips=st.lists(st.integers(0, (TABLE + 2 * ROW) * 8 - 1) | st.integers(0, len(HELLO) * 8 - 1), min_size=1, max_size=4))
def test_bits_flipped(tmp_path: Path, flips: list[int]) -> None:
    damaged = bytearray(HELLO)
    for bit in flips:
        damaged[bit >> 3] ^= 1 << (bit & 7)
    status = run_damaged(tmp_path / "damaged", bytes(damaged), ())
    # exit(2) takes whatever a damaged MOV leaves in x0.
    assert status in STATUSES or status < 128


@settings(quick, max_examples=100)
@given(data=st.data())
def test_names_in_a_report_come_from_any_symbol_table(tmp_path: Path, data: st.DataObject) -> None:
    sections = struct.unpack_from("<Q", VARIANTS, 40)[0]
    damaged = bytearray(VARIANTS)
    positions = st.integers(0, HEADER - 1) | st.integers(sections, len(VARIANTS) - 1)
    for at in data.draw(st.lists(positions, min_size=1, max_size=6)):
        damaged[at] = data.draw(st.integers(0, 255))
    assert run_damaged(tmp_path / "damaged", bytes(damaged), ("none",)) in STATUSES


@settings(quick, max_examples=60)
@given(size=st.integers(0, len(HELLO)))
def test_cut_anywhere(tmp_path: Path, size: int) -> None:
    assert run_damaged(tmp_path / "cut", HELLO[:size], ()) == (126 if size < TEXT_END else 0)
