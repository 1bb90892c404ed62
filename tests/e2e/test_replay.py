# SPDX-License-Identifier: GPL-2.0-or-later
"""The second run, which names who wrote code before it was first executed, and does nothing else."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from programs import DATA, elf

from e2e.command import GUESTS, fetchsan, report

VARIANTS = GUESTS / "maintenance/variants"
# W^X, first emission: under --kernel-sync none nobody synchronises, and nobody watched the store.
FIRST = ("--kernel-sync", "none", VARIANTS, "wx-first-none")

# Reads 8 bytes of stdin, appends them to the file `out`, prints them; then writes `ret` over a page that was never executed,
# makes it executable, and calls it.
IMPURE = f"""
    MOV X19, #0
    MOVK X19, #{DATA >> 16}, LSL 16
    MOV X0, #0x756f
    MOVK X0, #0x0074, LSL 16
    STR W0, [X19]
    MOV X1, #0
    SUB X0, X1, #100
    MOV X1, X19
    MOV X2, #1089
    MOV X3, #420
    MOV X8, #56
    SVC #0
    MOV X20, X0
    MOV X0, #0
    ADD X1, X19, #64
    MOV X2, #8
    MOV X8, #63
    SVC #0
    MOV X2, X0
    MOV X0, X20
    ADD X1, X19, #64
    MOV X8, #64
    SVC #0
    MOV X0, #1
    ADD X1, X19, #64
    MOV X2, #8
    MOV X8, #64
    SVC #0
    MOV X0, #0
    MOV X1, #4096
    MOV X2, #3
    MOV X3, #34
    MOV X4, #0
    SUB X4, X4, #1
    MOV X5, #0
    MOV X8, #222
    SVC #0
    MOV X21, X0
    MOV X1, #0x03c0
    MOVK X1, #0xd65f, LSL 16
    STR W1, [X21]
    MOV X1, #4096
    MOV X2, #5
    MOV X8, #226
    SVC #0
    BLR X21
    MOV X0, #0
    MOV X8, #94
    SVC #0
"""


@pytest.fixture
def impure(tmp_path: Path) -> Path:
    path = tmp_path / "program"
    path.write_bytes(elf(IMPURE))
    path.chmod(0o755)
    return path


def generated(path: Path) -> list[dict[str, Any]]:
    """Findings in generated code: `none` finds the program's own text, too."""
    return [found for found in report(path)["findings"] if found["executed"]["object"].startswith("anonymous")]


def test_the_second_run_names_the_writer(tmp_path: Path) -> None:
    fetchsan("run", "--json", tmp_path / "report.json", *FIRST)
    (found,) = generated(tmp_path / "report.json")
    assert (found["writer"]["agent"], found["writer"]["symbol"]) == ("guest", "wx_first")
    assert report(tmp_path / "report.json")["writer_note"] is None


def test_without_it_the_writer_is_null_and_the_report_says_why(tmp_path: Path) -> None:
    outcome = fetchsan("run", "--no-replay", "--json", tmp_path / "report.json", *FIRST)
    (found,) = generated(tmp_path / "report.json")
    assert found["writer"] is None
    assert "--no-replay" in report(tmp_path / "report.json")["writer_note"]
    assert "  Written by: not known (" in outcome.stderr


def test_kinds_and_places_are_those_of_the_first_run(tmp_path: Path) -> None:
    reports = []
    for number, options in enumerate([(), ("--no-replay",)]):
        path = tmp_path / f"{number}.json"
        fetchsan("run", *options, "--json", path, *FIRST)
        reports.append([{**found, "writer": None} for found in report(path)["findings"]])
    assert reports[0] == reports[1]


def test_it_writes_no_file_and_prints_nothing(tmp_path: Path, impure: Path) -> None:
    outcome = fetchsan(
        "run", "--kernel-sync", "none", "--json", tmp_path / "report.json", impure, cwd=tmp_path, stdin=b"8 bytes\n"
    )
    (found,) = generated(tmp_path / "report.json")
    assert found["writer"] is not None  # there was a second run, and it got to the end
    assert outcome.stdout == b"8 bytes\n"
    assert (tmp_path / "out").read_bytes() == b"8 bytes\n"


def test_it_takes_no_input_from_who_reads_next(tmp_path: Path, impure: Path) -> None:
    with (tmp_path / "input").open("wb+") as stdin:
        stdin.write(b"8 bytes\nthe rest\n")
        stdin.flush()
        stdin.seek(0)
        fetchsan("run", "--kernel-sync", "none", impure, cwd=tmp_path, prepare=lambda: os.dup2(stdin.fileno(), 0))
        assert stdin.tell() == 8


def test_a_file_read_between_two_findings_is_no_divergence(tmp_path: Path) -> None:
    """Naming a finding reads the program's own file: that is ours, and must not be in the recording."""
    fetchsan("run", "--kernel-sync", "none", "--json", tmp_path / "report.json", GUESTS / "gcc/clear_cache-static")
    assert report(tmp_path / "report.json")["writer_note"] is None
