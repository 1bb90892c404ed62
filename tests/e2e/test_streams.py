# SPDX-License-Identifier: GPL-2.0-or-later
"""The guest's streams are its own: pipes, closed and full ones, terminals; and Ctrl-C."""

from __future__ import annotations

import fcntl
import os
import pty
import resource
import signal
import struct
import subprocess
import sys
import termios
from pathlib import Path

import pytest
from programs import DATA, elf

from e2e.command import GUESTS, TIMEOUT, environment, fetchsan, interrupt, report

VARIANTS = GUESTS / "maintenance/variants"
HELLO = GUESTS / "hello/hello"
# Reads until the end of stdin and writes what it read; exits with 1 if either fails.
COPY = f"""
    MOV X19, #0
    MOVK X19, #{DATA >> 16}, LSL 16
again:
    MOV X0, #0
    MOV X1, X19
    MOV X2, #4096
    MOV X8, #63
    SVC #0
    CBZ X0, done
    MOV X2, X0
    MOV X0, #1
    MOV X1, X19
    MOV X8, #64
    SVC #0
    B again
done:
    MOV X0, #0
    MOV X8, #94
    SVC #0
"""
SAY = f"""
    MOV X1, #0
    MOVK X1, #{DATA >> 16}, LSL 16
    MOV X0, #10
    STRB W0, [X1]
    MOV X0, #1
    MOV X2, #1
    MOV X8, #64
    SVC #0
"""
LOOP = SAY + "forever: B forever\n"
# mmap(0, 4096, RWX, PRIVATE|ANONYMOUS); executes `ret`, replaces it by another word, executes that: a finding. Then SAY, LOOP.
STALE = """
    MOV X0, #0
    MOV X1, #4096
    MOV X2, #7
    MOV X3, #34
    MOV X4, #0
    SUB X4, X4, #1
    MOV X5, #0
    MOV X8, #222
    SVC #0
    MOV X20, X0
    MOV X1, #0x03c0
    MOVK X1, #0xd65f, LSL 16
    STR W1, [X20]
    MOV X1, #0x03c0
    MOVK X1, #0xd65f, LSL 16
    ADD X2, X20, #4
    STR W1, [X2]
    BLR X20
    MOV X1, #0x0020
    MOVK X1, #0x5280, LSL 16
    STR W1, [X20]
    BLR X20
"""


def program(directory: Path, source: str) -> Path:
    path = directory / "program"
    path.write_bytes(elf(source))
    path.chmod(0o755)
    return path


def test_stdin_from_a_pipe(tmp_path: Path) -> None:
    text = b"line\n" * 10_000
    assert fetchsan("run", program(tmp_path, COPY), stdin=text).stdout == text


@pytest.mark.parametrize("closed", [(0,), (1,), (2,), (0, 1, 2)])
def test_closed_streams_are_no_failure(closed: tuple[int, ...]) -> None:
    outcome = fetchsan("run", VARIANTS, "none", prepare=lambda: [os.close(stream) for stream in closed])
    assert outcome.status == 66


def test_a_report_file_does_not_become_the_guests_closed_stdout(tmp_path: Path) -> None:
    fetchsan("run", "--json", tmp_path / "report.json", HELLO, prepare=lambda: os.close(1))
    assert report(tmp_path / "report.json")["guest"] == {"exit": 0}
    assert b"hello" not in (tmp_path / "report.json").read_bytes().replace(bytes(HELLO), b"")


def test_a_reader_that_goes_away_kills_the_guest_by_sigpipe(tmp_path: Path) -> None:
    endless = program(tmp_path, "again:\n" + SAY + "B again\n")
    with subprocess.Popen(
        [sys.executable, "-m", "fetchsan", "run", endless], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment({})
    ) as process:
        assert process.stdout is not None
        process.stdout.read(1)
        process.stdout.close()
        assert process.wait(TIMEOUT) == 128 + signal.SIGPIPE
        assert process.stderr is not None
        assert process.stderr.read() == b""


def test_a_full_device_is_the_guests_error(tmp_path: Path) -> None:
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [sys.executable, "-m", "fetchsan", "run", "--strace", program(tmp_path, SAY + "UDF #0")],
            stdout=full, stderr=subprocess.PIPE, env=environment({}), timeout=TIMEOUT, check=False,
        )  # fmt: skip
    assert done.stderr.splitlines()[0].endswith(b"= -1 errno=28 (No space left on device)")


def test_too_little_address_space_is_one_line() -> None:
    limit = 4 << 30
    outcome = fetchsan("run", HELLO, prepare=lambda: resource.setrlimit(resource.RLIMIT_AS, (limit, limit)))
    assert outcome.status == 125
    assert outcome.lines == ["fetchsan: no room for 4096 MiB of guest RAM (Cannot allocate memory); --memory takes less"]


@pytest.mark.parametrize("mode", ["check", "stale", "coherent"])
def test_interrupt_ends_a_loop(tmp_path: Path, mode: str) -> None:
    outcome, seconds = interrupt("run", "--mode", mode, program(tmp_path, LOOP), when=b"\n")
    assert outcome.status == 130
    assert seconds < 10  # a fraction of one, on a machine that does nothing else


def test_interrupt_ends_a_wait_for_input(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    process = subprocess.Popen(
        [sys.executable, "-m", "fetchsan", "run", program(tmp_path, SAY + COPY)],
        stdin=reading, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment({}),
    )  # fmt: skip
    assert process.stdout is not None
    process.stdout.read(1)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=TIMEOUT)
    os.close(reading)
    os.close(writing)
    assert (process.returncode, said) == (130, b"")


def test_interrupt_keeps_the_report(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    outcome, _ = interrupt("run", "--json", path, program(tmp_path, STALE + LOOP), when=b"\n")
    assert outcome.status == 130
    assert "SUMMARY: FetchSan: missing-dc-clean" in outcome.stderr
    found = report(path)
    assert (found["exit_status"], found["guest"]) == (130, {"interrupted": True})
    assert [finding["kind"] for finding in found["findings"]] == ["missing-dc-clean"]


@pytest.mark.parametrize("columns", [20, 40, 80, 200])
def test_a_terminal_of_any_width(columns: int) -> None:
    """The report on a terminal: wrapped to it, but never narrower than 40, and in colour."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("4H", 24, columns, 0, 0))
    with subprocess.Popen(
        [sys.executable, "-m", "fetchsan", "run", VARIANTS, "none"],
        stdin=theirs, stdout=subprocess.DEVNULL, stderr=theirs, env=environment({"TERM": "xterm"}),
    ) as process:  # fmt: skip
        os.close(theirs)
        said = b""
        while True:
            try:
                more = os.read(ours, 4096)
            except OSError:  # EIO: the other side was closed
                break
            said += more
        os.close(ours)
        assert process.wait(TIMEOUT) == 66
    assert b"\x1b[1;31mWARNING: FetchSan: missing-dc-clean" in said
    prose = [line for line in said.decode().splitlines() if line.startswith(("  CPU:", "       ", "  Hint:"))]
    assert prose
    assert all(len(line) <= max(40, columns) for line in prose)
