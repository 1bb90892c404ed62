# SPDX-License-Identifier: GPL-2.0-or-later
"""execve as a whole: finding the program, scripts, interpreters, segments and stack, and what each refusal says."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

import pytest
from programs import CODE, DATA, EXIT, elf
from syscalls.guest import Guest

from fetchsan.errors import FetchSanError, NotExecutableError, ProgramNotFoundError, UsageError

AT_PHDR, AT_PHNUM, AT_ENTRY, AT_BASE, AT_PAGESZ = 3, 5, 9, 7, 6


@pytest.fixture
def program(tmp_path: Path) -> Callable[[str, bytes], Path]:
    def write(name: str, data: bytes) -> Path:
        path = tmp_path / name
        path.write_bytes(data)
        path.chmod(0o755)
        return path

    return write


def refusal(directory: Path, *argv: str, sysroot: Path | None = None) -> FetchSanError:
    with pytest.raises(FetchSanError) as caught:
        Guest(directory, argv=argv, sysroot=sysroot)
    return caught.value


def dynamic(interpreter: bytes) -> bytes:
    """A position-independent program that names an interpreter."""
    name = interpreter + b"\0"
    header = b"\x7fELF\x02\x01\x01" + bytes(9)
    header += struct.pack("<HHIQQQIHHHHHH", 3, 183, 1, 0x200, 64, 0, 0, 64, 56, 2, 64, 0, 0)
    header += struct.pack("<IIQQQQQQ", 3, 4, 0x100, 0x100, 0x100, len(name), len(name), 1)
    header += struct.pack("<IIQQQQQQ", 1, 5, 0, 0, 0, 0x1000, 0x1000, 0x10000)
    return (header.ljust(0x100, b"\0") + name).ljust(0x1000, b"\0")


def auxiliary(guest: Guest) -> dict[int, int]:
    data = guest.task.process.auxv
    return dict(struct.iter_unpack("<QQ", data))  # type: ignore[arg-type]


def test_entry_and_headers_are_told(tmp_path: Path, program: Callable[[str, bytes], Path]) -> None:
    program("prog", elf(EXIT))
    guest = Guest(tmp_path)
    told = auxiliary(guest)
    assert (told[AT_ENTRY], told[AT_PHDR], told[AT_PHNUM], told[AT_BASE]) == (CODE + 0x1000, CODE + 64, 2, 0)


def test_bss_is_zero(tmp_path: Path, program: Callable[[str, bytes], Path]) -> None:
    program("prog", elf(EXIT))
    assert Guest(tmp_path).peek(DATA, 0x1000) == bytes(0x1000)


def test_the_tail_of_the_last_file_page_is_zeroed_to_the_page_end(
    tmp_path: Path, program: Callable[[str, bytes], Path]
) -> None:
    # .bss of one byte in a writable page that the file fills with 0xff: ld.so allocates from the rest of that page.
    header = b"\x7fELF\x02\x01\x01" + bytes(9)
    header += struct.pack("<HHIQQQIHHHHHH", 2, 183, 1, DATA, 64, 0, 0, 64, 56, 1, 64, 0, 0)
    header += struct.pack("<IIQQQQQQ", 1, 6, 0, DATA, DATA, 0x200, 0x201, 0x1000)
    program("prog", header.ljust(0x2000, b"\xff"))
    guest = Guest(tmp_path)
    assert guest.peek(DATA + 0x1FF, 1) == b"\xff"
    assert guest.peek(DATA + 0x200, 0xE00) == bytes(0xE00)


def test_arguments_are_on_the_stack(tmp_path: Path) -> None:
    guest = Guest(tmp_path, argv=("./prog", "a b", ""))
    sp = guest.pe.get("sp")
    argc, first, second = struct.unpack("<QQQ", guest.peek(sp, 24))
    assert (argc, guest.task.memory.read_cstring(first), guest.task.memory.read_cstring(second)) == (
        3,
        b"./prog",
        b"a b",
    )


def test_a_script_runs_its_interpreter(tmp_path: Path, program: Callable[[str, bytes], Path]) -> None:
    program("interp", elf(EXIT))
    script = program("script", b"#! ./interp  one argument \n")
    guest = Guest(tmp_path, argv=("./script", "x"))
    assert guest.task.process.argv == (b"./interp", b"one argument", bytes(script), b"x")


def test_scripts_that_interpret_each_other_end(tmp_path: Path, program: Callable[[str, bytes], Path]) -> None:
    program("loop", b"#!./loop\n")
    assert "scripts interpret each other" in str(refusal(tmp_path, "./loop"))


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        ("script", b"#!/no/such\n", "needs the interpreter /no/such, which the guest does not have"),
        ("script", b"#!", "the #! line names no interpreter"),
        ("script", b"#!" + b"x" * 300, "the #! line is longer than 256 bytes"),
        ("text", b"hello\n", "not an ELF program"),
        (
            "dynamic",
            dynamic(b"/lib/ld-linux-aarch64.so.1"),
            "needs /lib/ld-linux-aarch64.so.1, not found in the sysroot; `fetchsan sysroot add libc6` fetches it",
        ),
        ("dynamic", dynamic(b"/own/ld.so"), "needs /own/ld.so, not found in the sysroot; -L DIR says where it is"),
    ],
)
def test_a_refusal_says_what_to_do(
    tmp_path: Path, program: Callable[[str, bytes], Path], name: str, data: bytes, words: str
) -> None:
    program(name, data)
    error = refusal(tmp_path, f"./{name}")
    assert isinstance(error, NotExecutableError)
    assert words in str(error)


def test_a_broken_interpreter_is_named(tmp_path: Path, program: Callable[[str, bytes], Path]) -> None:
    program("prog", dynamic(b"./ld.so"))
    program("ld.so", b"garbage")
    assert "./ld.so: not an ELF program" in str(refusal(tmp_path, "./prog"))


def test_an_image_as_large_as_the_address_space_is_refused(tmp_path: Path, program: Callable[[str, bytes], Path]) -> None:
    header = b"\x7fELF\x02\x01\x01" + bytes(9)
    header += struct.pack("<HHIQQQIHHHHHH", 3, 183, 1, 0, 64, 0, 0, 64, 56, 1, 64, 0, 0)
    header += struct.pack("<IIQQQQQQ", 1, 6, 0, 0, 0, 0x100, (1 << 48) - 0x1000, 0x1000)
    program("prog", header.ljust(0x1000, b"\0"))
    assert "cannot be mapped" in str(refusal(tmp_path, "./prog"))


def test_a_directory_is_not_a_program(tmp_path: Path) -> None:
    (tmp_path / "dir").mkdir()
    assert "is a directory" in str(refusal(tmp_path, "./dir"))


def test_a_file_without_the_right_is_refused(tmp_path: Path, program: Callable[[str, bytes], Path]) -> None:
    program("data", elf(EXIT)).chmod(0o644)
    assert "chmod +x" in str(refusal(tmp_path, "./data"))


def test_a_missing_file_is_not_found(tmp_path: Path) -> None:
    assert isinstance(refusal(tmp_path, "./missing"), ProgramNotFoundError)


def test_a_name_here_needs_its_slash(tmp_path: Path, program: Callable[[str, bytes], Path]) -> None:
    program("prog", elf(EXIT))
    assert "say ./prog" in str(refusal(tmp_path, "prog"))


def test_a_name_is_found_in_the_sysroots_path(tmp_path: Path) -> None:
    root, work = tmp_path / "root", tmp_path / "work"
    (root / "usr/bin").mkdir(parents=True)
    work.mkdir()
    tool = root / "usr/bin/tool"
    tool.write_bytes(elf(EXIT))
    tool.chmod(0o755)
    guest = Guest(work, argv=("tool",), sysroot=root)
    assert guest.link("/proc/self/exe") == b"/usr/bin/tool"


def test_arguments_beyond_2_mib_are_refused(tmp_path: Path) -> None:
    error = refusal(tmp_path, "./prog", *["x" * 100_000] * 30)
    assert isinstance(error, UsageError)
    assert "argument list too long" in str(error)


def test_the_trampoline_is_mapped_executable(tmp_path: Path) -> None:
    guest = Guest(tmp_path)
    line = next(line for line in guest.task.process.maps().splitlines() if line.endswith(b"[vdso]"))
    assert b" r-xp " in line


def test_two_loads_are_the_same(tmp_path: Path) -> None:
    first, second = Guest(tmp_path), Guest(tmp_path)
    assert first.task.process.maps() == second.task.process.maps()
