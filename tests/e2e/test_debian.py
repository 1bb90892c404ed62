# SPDX-License-Identifier: GPL-2.0-or-later
"""Unmodified Debian programs maintain their caches, so nothing is found; and they print what they print under qemu-user."""

from __future__ import annotations

from pathlib import Path

import pytest

from e2e.command import GUESTS, PROGRAMS, Outcome, fetchsan, finding_kinds, qemu, report
from e2e.debian import DEBIAN, Program
from fetchsan.sysroot import default_root

SYSROOT = default_root()
MODES = ("check", "stale", "coherent")
GCC = {
    "nested-functions": "nested_functions",
    "nested-functions-static": "nested_functions-static",
    "clear-cache": "clear_cache",
    "clear-cache-static": "clear_cache-static",
}

needs_sysroot = pytest.mark.skipif(not SYSROOT.is_dir(), reason="no sysroot: `fetchsan sysroot add busybox-static luajit ...`")


def installed(program: Program) -> Path:
    path = SYSROOT / "usr/bin" / program.name
    if not path.exists():
        pytest.skip(f"{program.name} is not in the sysroot")
    return path


def under_qemu(program: Program) -> Outcome:
    outcome = qemu(installed(program), *program.command[1:], sysroot=SYSROOT, cwd=PROGRAMS, stdin=program.stdin)
    if outcome is None:
        pytest.skip("qemu-aarch64-static is not installed")
    return outcome


@needs_sysroot
@pytest.mark.parametrize("name", DEBIAN)
def test_silent_and_right(tmp_path: Path, name: str) -> None:
    """No finding, not even one that gives no 66, and qemu-user's output."""
    program = DEBIAN[name]
    expected = under_qemu(program)
    path = tmp_path / "report.json"
    outcome = fetchsan("run", "--json", path, *program.command, cwd=PROGRAMS, stdin=program.stdin)
    assert (outcome.status, outcome.stdout) == (expected.status, expected.stdout), outcome.stderr
    assert finding_kinds(path) == []
    assert outcome.stderr == ""


@needs_sysroot
@pytest.mark.parametrize("mode", ["stale", "coherent"])
@pytest.mark.parametrize("name", ["luajit-traces", "luajit-objects", "luajit-ffi", "sqlite3", "pcre2test", "grep-P"])
def test_a_correct_program_is_the_same_in_every_mode(name: str, mode: str) -> None:
    program = DEBIAN[name]
    expected = under_qemu(program)
    outcome = fetchsan("run", "--mode", mode, *program.command, cwd=PROGRAMS, stdin=program.stdin)
    assert (outcome.status, outcome.stdout, outcome.stderr) == (expected.status, expected.stdout, "")


@needs_sysroot
@pytest.mark.parametrize("cpu", ["cortex-a53", "neoverse-n1-coherent", "a64fx", "cortex-a55-idc", "max"])
def test_silent_on_every_kind_of_cache(tmp_path: Path, cpu: str) -> None:
    program = DEBIAN["luajit-objects"]
    installed(program)
    path = tmp_path / "report.json"
    assert fetchsan("run", "--cpu", cpu, "--json", path, *program.command, cwd=PROGRAMS).status == 0
    assert finding_kinds(path) == []


@needs_sysroot
@pytest.mark.parametrize("what", ["dc", "ic", "all"])
def test_luajit_without_its_maintenance_is_found_out(tmp_path: Path, what: str) -> None:
    program = DEBIAN["luajit-traces"]
    expected = under_qemu(program)
    path = tmp_path / "report.json"
    outcome = fetchsan("run", "--ignore-maintenance", what, "--json", path, *program.command, cwd=PROGRAMS)
    assert outcome.status == 66
    assert outcome.stdout == expected.stdout  # `check` executes the new bytes
    assert set(finding_kinds(path)) == {"missing-ic-invalidate" if what == "ic" else "missing-dc-clean"}
    assert all(found["writer"]["object"] == "/usr/bin/luajit" for found in report(path)["findings"])


@needs_sysroot
@pytest.mark.parametrize("what", ["dc", "ic", "all"])
def test_luajit_without_its_maintenance_misbehaves(what: str) -> None:
    program = DEBIAN["luajit-traces"]
    expected = under_qemu(program)
    outcome = fetchsan("run", "--mode", "stale", "--ignore-maintenance", what, *program.command, cwd=PROGRAMS)
    assert (outcome.status, outcome.stdout) != (expected.status, expected.stdout)


@needs_sysroot
def test_a_coherent_machine_forgives_everything() -> None:
    program = DEBIAN["luajit-traces"]
    expected = under_qemu(program)
    outcome = fetchsan("run", "--mode", "coherent", "--ignore-maintenance", "all", *program.command, cwd=PROGRAMS)
    assert (outcome.status, outcome.stdout) == (expected.status, expected.stdout)


def built_by_gcc(name: str) -> Path:
    path = GUESTS / "gcc" / GCC[name]
    if "static" not in name and not (SYSROOT / "lib/ld-linux-aarch64.so.1").exists():
        pytest.skip("no sysroot: `fetchsan sysroot add libc6`")
    return path


# A captured variable beside its trampoline is stored to 120,000 times in a line that executes: half a minute in `check`.
GCC_RUNS = [
    pytest.param(name, mode, marks=[pytest.mark.slow] if mode == "check" and name.startswith("nested") else [])
    for name in GCC
    for mode in MODES
]


@pytest.mark.parametrize(("name", "mode"), GCC_RUNS)
def test_code_built_by_gcc_maintains_its_caches(tmp_path: Path, name: str, mode: str) -> None:
    program = built_by_gcc(name)
    path = tmp_path / "report.json"
    outcome = fetchsan("run", "--mode", mode, "--json", path, program)
    assert outcome.stdout == program.with_name(program.name.removesuffix("-static") + ".out").read_bytes()
    assert (outcome.status, finding_kinds(path)) == (0, [])


@pytest.mark.parametrize("name", ["clear-cache", "clear-cache-static"])
def test_without_clear_cache_it_is_found(tmp_path: Path, name: str) -> None:
    path = tmp_path / "report.json"
    assert fetchsan("run", "--json", path, built_by_gcc(name), "no-clear").status == 66
    assert set(finding_kinds(path)) == {"missing-dc-clean"}
