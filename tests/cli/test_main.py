# SPDX-License-Identifier: GPL-2.0-or-later
"""The command itself: help, bad usage, errors as one line with their status, reports to their places."""

from __future__ import annotations

import json
import subprocess
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fetchsan.cli.main import main
from fetchsan.errors import NotExecutableError, ProgramNotFoundError
from fetchsan.findings.outcome import GuestEnd
from fetchsan.settings import RunSettings
from findings.samples import FinishedRun, finding

ENVIRONMENT = {"PYTHONPATH": ":".join(sys.path)}
HEAVY = ("unicorn", "capstone", "llvmlite", "elftools", "rich", "sortedcontainers")


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Callable[[Any], list[list[str]]]:
    """Puts a finished run (or an error) where a machine would be: what is tested here begins when the guest has ended."""

    def install(outcome: Any) -> list[list[str]]:
        runs: list[list[str]] = []

        class Finished:
            def __init__(self, **keywords: Any) -> None:
                self.settings = RunSettings(**{**keywords, "cpu": "cortex-a72"})

            def run(self, program: list[str]) -> FinishedRun:
                runs.append(program)
                if isinstance(outcome, BaseException):
                    raise outcome
                return FinishedRun(**outcome, settings=self.settings, program=program)

        module = types.ModuleType("fetchsan.api")
        module.Machine = Finished  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "fetchsan.api", module)
        return runs

    monkeypatch.delenv("FETCHSAN_OPTIONS", raising=False)
    monkeypatch.delenv("FETCHSAN_DEBUG", raising=False)
    return install


Install = Callable[[Any], list[list[str]]]


def loaded(*arguments: str) -> set[str]:
    """The top-level modules that a command line loads."""
    code = f"import sys; from fetchsan.cli.main import main; main({list(arguments)!r}); print(*sys.modules, file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=ENVIRONMENT)
    return {name.partition(".")[0] for name in done.stderr.split()}


@pytest.mark.parametrize("arguments", [["--help"], ["run", "--help"], ["repro", "--help"], ["cpus"], ["sysroot", "--help"]])
def test_help_imports_nothing_heavy(arguments: list[str]) -> None:
    assert loaded(*arguments).isdisjoint(HEAVY)


def test_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    shown = capsys.readouterr().out
    assert all(f"  {verb} " in shown for verb in ("run", "repro", "sysroot", "cpus"))


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("fetchsan ")


def test_no_arguments_is_bad_usage_with_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert capsys.readouterr().err.startswith("Usage: fetchsan")


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["frobnicate"], "fetchsan: No such command 'frobnicate'; try 'fetchsan --help'"),
        (["run"], "fetchsan run: no PROGRAM named; try 'fetchsan run --help'"),
        (["run", "--seed"], "fetchsan run: Option '--seed' requires an argument; try 'fetchsan run --help'"),
        (["run", "--seed", "x", "p"], "fetchsan: --seed: 'x' is not a whole number"),
        (["run", "--smp", "2", "p"], "fetchsan: smp 2: more than one processor is not built yet"),
        (["run", "--json", "/no/such/dir/x", "p"], "fetchsan: --json: /no/such/dir/x: no such file or directory"),
        (["run", "--log-file", "/", "p"], "fetchsan: --log-file: /: is a directory"),
        (["sysroot", "add"], "fetchsan sysroot add: Missing argument 'PKG...'; try 'fetchsan sysroot add --help'"),
    ],
)
def test_bad_usage_is_one_line_and_status_2(
    arguments: list[str], line: str, machine: Install, capsys: pytest.CaptureFixture[str]
) -> None:
    machine({})
    assert main(arguments) == 2
    assert capsys.readouterr().err == line + "\n"


def test_fetchsan_options_help(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("FETCHSAN_OPTIONS", "help=1")
    assert main(["run"]) == 0
    assert capsys.readouterr().out.startswith("FETCHSAN_OPTIONS=key=value")


def test_options_after_the_program_are_its_own(machine: Install) -> None:
    runs = machine({})
    assert main(["run", "--strict", "ls", "--cpu", "-L", "--", "x"]) == 0
    assert runs == [["ls", "--cpu", "-L", "--", "x"]]


def test_a_double_dash_ends_our_options(machine: Install) -> None:
    runs = machine({})
    assert main(["run", "--", "-odd-name", "x"]) == 0
    assert runs == [["-odd-name", "x"]]


def test_findings_go_to_stderr_and_make_66(machine: Install, capsys: pytest.CaptureFixture[str]) -> None:
    machine({"findings": [finding()]})
    assert main(["run", "p"]) == 66
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("WARNING: FetchSan: missing-ic-invalidate")


def test_a_clean_run_says_nothing(machine: Install, capsys: pytest.CaptureFixture[str]) -> None:
    machine({"guest": GuestEnd(exit=7)})
    assert main(["run", "p"]) == 7
    assert capsys.readouterr() == ("", "")


def test_reports_in_files(machine: Install, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    machine({"findings": [finding()]})
    assert main(["run", f"--json={tmp_path}/r.json", f"--log-file={tmp_path}/log.%p", "p"]) == 66
    assert json.loads((tmp_path / "r.json").read_text())["exit_status"] == 66
    [log] = tmp_path.glob("log.*")
    assert log.suffix[1:].isdigit()
    assert log.read_text().startswith("WARNING: FetchSan:")
    assert capsys.readouterr().err == ""


def test_a_percent_sign_can_be_written(machine: Install, tmp_path: Path) -> None:
    machine({})
    assert main(["run", f"--log-file={tmp_path}/%%p", "p"]) == 0
    assert (tmp_path / "%p").exists()


def test_ctrl_c_keeps_the_report(machine: Install, capsys: pytest.CaptureFixture[str]) -> None:
    machine({"findings": [finding()], "guest": GuestEnd(interrupted=True)})
    assert main(["run", "p"]) == 130
    assert "SUMMARY: FetchSan:" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "status", "line"),
    [
        (ProgramNotFoundError("p"), 127, "fetchsan: p: no such file"),
        (NotExecutableError("p", "not ELF"), 126, "fetchsan: p: not ELF"),
        (ZeroDivisionError("oh\nno"), 125, "fetchsan: internal error: ZeroDivisionError: oh no"),
    ],
)
def test_errors_are_one_line(
    error: Exception, status: int, line: str, machine: Install, capsys: pytest.CaptureFixture[str]
) -> None:
    machine(error)
    assert main(["run", "p"]) == status
    assert capsys.readouterr().err == line + "\n"


def test_ctrl_c_before_the_guest_runs_is_130(machine: Install) -> None:
    machine(KeyboardInterrupt())
    assert main(["run", "p"]) == 130


def test_a_traceback_on_request(
    machine: Install, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    machine(ZeroDivisionError("oh"))
    monkeypatch.setenv("FETCHSAN_DEBUG", "1")
    assert main(["run", "p"]) == 125
    assert "Traceback" in capsys.readouterr().err


def test_a_reader_that_goes_away_is_met_in_silence() -> None:
    code = "import sys; from fetchsan.cli.main import main; sys.exit(main(['cpus']))"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=ENVIRONMENT
    ) as process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""


def test_cpus_lists_every_profile_in_plain_columns(capsys: pytest.CaptureFixture[str]) -> None:
    from fetchsan.arch.aarch64.cpus import CPUS

    assert main(["cpus"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[1:]] == list(CPUS)


def test_cpus_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cpus", "--json"]) == 0
    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)}
    assert (rows["neoverse-n1-linux"]["ctr"], rows["neoverse-n1-linux"]["iline"]) == ("0x9444c00a", 4096)
