# SPDX-License-Identifier: GPL-2.0-or-later
"""x86-64 programs under `fetchsan run`: the ELF header decides, and what belongs to AArch64 alone is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from e2e.command import GUESTS, fetchsan, report

VARIANTS = GUESTS / "x64/variants"
AARCH64 = GUESTS / "hello/hello"


@pytest.mark.parametrize("mode", ["check", "stale", "coherent"])
def test_rewritten_code_is_fresh_and_nothing_is_said(mode: str) -> None:
    done = fetchsan("run", "--mode", mode, VARIANTS, "self-next")
    assert (done.status, done.stdout, done.stderr) == (0, b"new\n", "")


def test_json_names_the_cpu_and_has_no_findings(tmp_path: Path) -> None:
    fetchsan("run", "--json", tmp_path / "report.json", VARIANTS, "first-execution")
    found = report(tmp_path / "report.json")
    assert (found["cpu"], found["findings"], found["guest"]) == ("x86-64", [], {"exit": 0})


def test_json_of_an_exception_has_its_vector(tmp_path: Path) -> None:
    done = fetchsan("run", "--json", tmp_path / "report.json", VARIANTS, "undefined")
    found = report(tmp_path / "report.json")
    assert done.status == 132
    assert found["guest"] == {"signal": 4, "vector": "0x00000006", "error_code": "0x00000000"}


def test_one_seed_is_one_run() -> None:
    first, second = (fetchsan("run", "--strace", "--dump-maps", "--seed", "5", VARIANTS, "thousand") for _ in range(2))
    assert first.stderr == second.stderr != ""


@pytest.mark.parametrize(
    ("options", "program", "reason"),
    [
        (["--cpu", "cortex-a72"], VARIANTS, "is an x86-64 program, and there is one CPU for those: x86-64"),
        (["--ignore-maintenance", "all"], VARIANTS, "is an x86-64 program, which has no cache maintenance to ignore"),
        (["--cpu", "x86-64"], AARCH64, "is an AArch64 program"),
    ],
)
def test_what_the_architecture_has_not_is_refused(options: list[str], program: Path, reason: str) -> None:
    done = fetchsan("run", *options, program)
    assert done.status == 2
    assert reason in done.stderr
    assert done.stderr.count("\n") == 1


def test_the_cpu_may_be_named() -> None:
    assert fetchsan("run", "--cpu", "x86-64", VARIANTS, "first-execution").stdout == b"new\n"


def test_a_script_runs_on_its_interpreters_architecture(tmp_path: Path) -> None:
    script = tmp_path / "script"
    script.write_text(f"#!{VARIANTS}\n")
    script.chmod(0o755)
    done = fetchsan("run", "--dir", f"{VARIANTS.parent}:{VARIANTS.parent}:ro", "--json", tmp_path / "report.json", script)
    assert report(tmp_path / "report.json")["cpu"] == "x86-64"
    assert b"variant" in done.stdout + done.stderr.encode()  # it was given the script's name, which is none


def test_another_architecture_is_126(tmp_path: Path) -> None:
    program = tmp_path / "program"
    data = bytearray(VARIANTS.read_bytes())
    data[18:20] = (243).to_bytes(2, "little")
    program.write_bytes(data)
    program.chmod(0o755)
    done = fetchsan("run", program)
    assert done.status == 126
    assert "built for RISC-V; FetchSan runs AArch64 and x86-64 programs" in done.stderr
