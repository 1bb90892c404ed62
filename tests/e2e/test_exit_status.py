# SPDX-License-Identifier: GPL-2.0-or-later
"""The exit statuses of `fetchsan run`, as a shell sees them (docs/cli.md, "Exit status")."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import pytest
from programs import elf

from e2e.command import GUESTS, fetchsan

VARIANTS = GUESTS / "maintenance/variants"
HELLO = GUESTS / "hello/hello"
HOSTILE = GUESTS / "hostile/hostile"


@dataclass(frozen=True)
class Case:
    """A command line after `run`, and its status."""

    arguments: tuple[str | Path, ...]
    status: int


CASES = {
    "clean": Case((HELLO,), 0),
    "findings": Case((VARIANTS, "none"), 66),
    "findings-other-status": Case(("--error-exitcode", "7", VARIANTS, "none"), 7),
    "findings-own-status": Case(("--error-exitcode", "0", VARIANTS, "none"), 0),
    "findings-then-own-status-of-usage": Case(("--error-exitcode", "0", VARIANTS), 2),
    "findings-halted": Case(("--halt-on-error", VARIANTS, "none"), 66),
    "findings-halted-own-status": Case(("--halt-on-error", "--error-exitcode", "0", VARIANTS, "none"), 66),
    "prefetch-only": Case((VARIANTS, "fresh-no-isb"), 0),
    "prefetch-only-strict": Case(("--strict", VARIANTS, "fresh-no-isb"), 66),
    "stale-reports-nothing": Case(("--mode", "stale", VARIANTS, "none"), 0),
    "coherent-reports-nothing": Case(("--mode", "coherent", VARIANTS, "none"), 0),
    "own-status": Case((HOSTILE, "close-everything"), 7),
    "sigsegv": Case((HOSTILE, "jump-null"), 139),
    "sigbus": Case((HOSTILE, "jump-misaligned"), 135),
    "sigtrap": Case((HOSTILE, "own-brk", "1"), 133),
    "sigill": Case((HOSTILE, "privileged", "0"), 132),
    "not-executable": Case((GUESTS / "README.md",), 126),
    "directory": Case((GUESTS,), 126),
    "not-found": Case(("./no-such-program",), 127),
    "not-found-in-path": Case(("no-such-program-anywhere",), 127),
    "no-program": Case((), 2),
    "unknown-option": Case(("--no-such-option", HELLO), 2),
    "unknown-cpu": Case(("--cpu", "cortex-m0", HELLO), 2),
    "unknown-mode": Case(("--mode", "sideways", HELLO), 2),
    "not-built": Case(("--sarif", "out.sarif", HELLO), 2),
    "unwritable-report": Case(("--json", "/no/such/directory/report.json", HELLO), 2),
    "status-out-of-range": Case(("--error-exitcode", "256", HELLO), 2),
}


@pytest.mark.parametrize("name", CASES)
def test_status(tmp_path: Path, name: str) -> None:
    case = CASES[name]
    outcome = fetchsan("run", *case.arguments, cwd=tmp_path)
    assert outcome.status == case.status, outcome.stderr


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.status in (2, 126, 127) and "own" not in name])
def test_a_refusal_is_one_line(tmp_path: Path, name: str) -> None:
    outcome = fetchsan("run", *CASES[name].arguments, cwd=tmp_path)
    assert len(outcome.lines) == 1
    assert outcome.lines[0].startswith("fetchsan")
    assert outcome.stdout == b""


@pytest.mark.parametrize("mode", ["check", "stale", "coherent"])
@pytest.mark.parametrize("number", [1, 42, 255])
def test_the_guests_own_status_in_every_mode(tmp_path: Path, mode: str, number: int) -> None:
    program = tmp_path / "program"
    program.write_bytes(elf(f"MOV X0, #{number}\nMOV X8, #94\nSVC #0"))
    program.chmod(0o755)
    assert fetchsan("run", "--mode", mode, program).status == number


@pytest.mark.parametrize("number", [1, 9, 15])
def test_death_by_a_signal_that_it_sent_itself(tmp_path: Path, number: int) -> None:
    program = tmp_path / "program"
    program.write_bytes(elf(f"MOV X8, #172\nSVC #0\nMOV X1, #{number}\nMOV X8, #129\nSVC #0\nUDF #0"))
    program.chmod(0o755)
    assert fetchsan("run", program).status == 128 + number


def test_a_stale_fetch_of_memory_never_cleaned_dies_as_issue_1100_did(tmp_path: Path) -> None:
    outcome = fetchsan("run", "--mode", "stale", "--kernel-sync", "none", HELLO, cwd=tmp_path)
    assert outcome.status == 132
    assert "unexpected synchronous exception, EC: 0x0000" in outcome.stderr
    assert "ESR: 0x0000000002000000" in outcome.stderr


def test_the_exception_report_names_the_function() -> None:
    outcome = fetchsan("run", HOSTILE, "recursion")
    assert any(re.fullmatch(rf"PC: 0x[0-9a-f]{{16}} <descend\+0x[0-9a-f]+ \({HOSTILE}\)>", line) for line in outcome.lines)
