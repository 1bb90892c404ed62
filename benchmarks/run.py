# SPDX-License-Identifier: GPL-2.0-or-later
"""Owns the benchmarks: what is run (`CASES`), under what (`RUNNERS`), how often, and how it is told.

`python benchmarks/run.py [--quick]` writes benchmarks/results.md. Seconds are user + system CPU time of the process, the
median of interleaved repetitions, so that a noisy machine disturbs all runners alike: trust the ratios. A run whose
output or exit status is not the expected one is a failure, not a measurement.
"""

from __future__ import annotations

import argparse
import os
import platform
import resource
import shlex
import shutil
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import mmu

import libraries

__all__ = ["CASES", "RUNNERS", "Case", "Runner", "main"]

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
RESULTS = HERE / "results.md"
TIME_LIMIT = 900  # seconds of wall clock: a run that takes longer has failed
BASELINE = "qemu-user"

Command = list[str]


@dataclass(frozen=True, slots=True)
class Case:
    """One row of the results. `needs_sysroot`: the program is a Debian one, found in FetchSan's sysroot."""

    name: str
    program: str
    arguments: tuple[str, ...] = ()
    quick: tuple[str, ...] | None = None  # arguments for --quick
    expected: str | None = None  # stdout; None: what the first runner printed
    needs_sysroot: bool = False
    ratios: bool = True  # a ratio tells something (not of start-up: that is seconds somebody waits)
    runners: tuple[str, ...] = ("qemu-user", "plain Unicorn", "check", "stale", "coherent")


@dataclass(frozen=True, slots=True)
class Runner:
    """One column. `command` gives None where this machine cannot run the case that way."""

    name: str
    command: Callable[[Case, Sequence[str]], Command | None]


def _sysroot() -> Path:
    from fetchsan.sysroot import default_root

    return default_root()


def _in_sysroot(case: Case) -> Path:
    return _sysroot() / case.program.lstrip("/") if case.needs_sysroot else ROOT / case.program


def _qemu(case: Case, arguments: Sequence[str]) -> Command | None:
    qemu = shutil.which("qemu-aarch64-static") or shutil.which("qemu-aarch64")
    if qemu is None or not _in_sysroot(case).exists():
        return None
    root = ["-L", str(_sysroot())] if case.needs_sysroot else []
    return [qemu, *root, str(_in_sysroot(case)), *arguments]


def _plain(case: Case, arguments: Sequence[str]) -> Command | None:
    return [sys.executable, str(HERE / "plain_unicorn.py"), str(ROOT / case.program), *arguments]


def _fetchsan(mode: str) -> Runner:
    def command(case: Case, arguments: Sequence[str]) -> Command | None:
        if not _in_sysroot(case).exists():
            return None
        program = case.program if case.needs_sysroot else str(ROOT / case.program)
        return [*_COMMAND, "run", "--mode", mode, "--clean-env", program, *arguments]

    return Runner(mode, command)


_COMMAND = (str(Path(sys.executable).with_name("fetchsan")),)
RUNNERS: tuple[Runner, ...] = (
    Runner("qemu-user", _qemu),
    Runner("plain Unicorn", _plain),
    _fetchsan("check"),
    _fetchsan("stale"),
    _fetchsan("coherent"),
    Runner("fetchsan", lambda case, arguments: [*_COMMAND, *arguments]),
)

_DYNAMIC = ("qemu-user", "check", "stale", "coherent")  # plain Unicorn has no dynamic linker
CASES: tuple[Case, ...] = (
    Case("start-up: `fetchsan --help`", "", ("--help",), ratios=False, runners=("fetchsan",)),
    Case("start-up: a static hello", "guests/hello/hello", expected="hello\n", ratios=False),
    Case("CPU-bound C program", "benchmarks/guests/cpu", expected="283146 1105421 00726f40a20b71c2\n"),
    Case("rewriter, 100,000 cycles", "benchmarks/guests/rewriter", ("100000",), ("10000",)),
    Case(
        "LuaJIT, compute", "/usr/bin/luajit", (str(HERE / "lua/compute.lua"), "2"), (str(HERE / "lua/compute.lua"), "1"),
        needs_sysroot=True, runners=_DYNAMIC,
    ),
    Case(
        "LuaJIT, JIT churn", "/usr/bin/luajit", (str(HERE / "lua/churn.lua"), "500"), (str(HERE / "lua/churn.lua"), "100"),
        needs_sysroot=True, runners=_DYNAMIC,
    ),
)  # fmt: skip

Times = dict[tuple[str, str], list[float]]
"""(case, runner) -> CPU seconds of each repetition."""
Facts = dict[str, str]
"""What the machine is: name -> text."""


class BenchmarkError(Exception):
    """A run did not do what it should: its time means nothing."""


def measure(command: Command) -> tuple[float, str]:
    """CPU seconds (user + system) and standard output of one run. Raises BenchmarkError unless it exits with 0."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    try:
        # From the project's root: guests see the current directory, and the Lua scripts in it, at their own path.
        done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=TIME_LIMIT, check=False)
    except subprocess.TimeoutExpired:
        raise BenchmarkError(f"{shlex.join(command)}: no end after {TIME_LIMIT} s") from None
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        raise BenchmarkError(f"{shlex.join(command)}: status {done.returncode}: {done.stderr[-500:]}")
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, done.stdout


def run_all(cases: Sequence[Case], repetitions: int, *, quick: bool) -> Times:
    """All cases under all their runners, `repetitions` times round, so that a disturbance meets every column."""
    times: Times = {}
    for repetition in range(repetitions):
        for case in cases:
            expected = case.expected
            arguments = case.quick if quick and case.quick is not None else case.arguments
            for runner in RUNNERS:
                command = runner.command(case, arguments) if runner.name in case.runners else None
                if command is None:
                    continue
                seconds, output = measure(command)
                if expected is None:
                    expected = output
                if output != expected:
                    raise BenchmarkError(f"{case.name} under {runner.name} printed {output!r}, not {expected!r}")
                times.setdefault((case.name, runner.name), []).append(seconds)
                print(f"{repetition + 1}/{repetitions}  {case.name:28}  {runner.name:14} {seconds:8.2f} s", file=sys.stderr)
    return times


def report(
    times: Times, cases: Sequence[Case], repetitions: int, machine: Facts, sections: Sequence[str], *, quick: bool
) -> str:
    """results.md: the machine, the seconds, the same as ratios to qemu-user, and what the other modules here have measured."""
    columns = [runner.name for runner in RUNNERS if any((case.name, runner.name) in times for case in cases)]
    medians = {key: statistics.median(seconds) for key, seconds in times.items()}

    def table(cell: Callable[[str, str], str], wanted: Sequence[Case]) -> Iterator[str]:
        yield "| benchmark | " + " | ".join(columns) + " |"
        yield "|---|" + "---:|" * len(columns)
        for case in wanted:
            yield f"| {case.name} | " + " | ".join(cell(case.name, column) for column in columns) + " |"

    def seconds(case: str, column: str) -> str:
        return f"{medians[case, column]:.2f}" if (case, column) in medians else "-"

    def ratio(case: str, column: str) -> str:
        return f"{medians[case, column] / medians[case, BASELINE]:.2f}" if (case, column) in medians else "-"

    measured = [case for case in cases if any(name == case.name for name, _ in times)]
    compared = [case for case in measured if case.ratios and (case.name, BASELINE) in medians]
    lines = [
        "# Benchmark results",
        "",
        f"Written by `benchmarks/run.py{' --quick' if quick else ''}`: median of {repetitions} interleaved repetitions, "
        "user + system CPU seconds of the whole process, start-up included. "
        "Trust the ratios, not the absolutes: a busy machine disturbs all columns alike, but not equally.",
        "",
        *(f"* {name}: {value}" for name, value in machine.items()),
    ]
    if measured:
        lines += ["", "## CPU seconds", "", *table(seconds, measured)]
    if compared:
        lines += ["", f"## Ratio to {BASELINE}", "", *table(ratio, compared)]
    lines += sections
    missing = [case.name for case in cases if case not in measured]
    if missing:
        lines += ["", f"Not measured here (program or tool missing): {', '.join(missing)}."]
    return "\n".join(lines) + "\n"


def describe_machine() -> Facts:
    """The machine as it is before the first run."""
    facts = {
        "CPU": f"{_cpu_model()}, {os.cpu_count()} logical",
        "load when it began": f"{os.getloadavg()[0]:.1f}",
        "system": f"{platform.system()} {platform.machine()}, Python {platform.python_version()}",
        "engine": f"unicorn {version('unicorn')}, llvmlite {version('llvmlite')}",
        "FetchSan": f"{version('fetchsan')}, revision {_revision()}",
    }
    qemu = shutil.which("qemu-aarch64-static") or shutil.which("qemu-aarch64")
    if qemu is not None:
        said = subprocess.run([qemu, "--version"], capture_output=True, text=True, check=True).stdout
        facts[BASELINE] = said.splitlines()[0].removeprefix("qemu-aarch64 version ")
    return facts


def _revision() -> str:
    try:
        done = subprocess.run(
            ["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown (no git checkout)"
    return done.stdout.strip()


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or "unknown"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what was asked for; the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="one repetition of the shorter versions")
    parser.add_argument("--repetitions", type=int, default=None, metavar="N", help="default: 5; 1 with --quick")
    parser.add_argument("--only", metavar="TEXT", default="", help="benchmarks whose name contains TEXT")
    parser.add_argument("--output", type=Path, default=RESULTS, metavar="FILE", help="default: benchmarks/results.md")
    options = parser.parse_args(arguments)
    repetitions = options.repetitions or (1 if options.quick else 5)
    cases = [case for case in CASES if options.only.lower() in case.name.lower()]
    machine = describe_machine()
    try:
        times = run_all(cases, repetitions, quick=options.quick)
        wanted = options.only.lower() in "memory manager"
        sections = mmu.section(repetitions, quick=options.quick) if wanted else []
        if options.only.lower() in "libraries":
            sections += libraries.section(repetitions, quick=options.quick)
    except (BenchmarkError, mmu.BenchmarkError) as error:
        print(f"benchmarks: {error}", file=sys.stderr)
        return 1
    options.output.write_text(report(times, cases, repetitions, machine, sections, quick=options.quick))
    print(f"written: {options.output}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
