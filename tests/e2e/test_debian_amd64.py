# SPDX-License-Identifier: GPL-2.0-or-later
"""Unmodified Debian programs for x86-64: no finding in any mode, and what they print on the host's own processor."""

from __future__ import annotations

from pathlib import Path

import pytest

from e2e.command import PROGRAMS, Outcome, fetchsan, finding_kinds, native
from e2e.debian import DEBIAN, Program
from fetchsan.sysroot import default_root

SYSROOT = default_root("amd64")

pytestmark = pytest.mark.skipif(
    not SYSROOT.is_dir(), reason="no sysroot: `fetchsan sysroot add --arch amd64 busybox-static luajit ...`"
)


def installed(program: Program) -> Path:
    path = SYSROOT / "usr/bin" / program.name
    if not path.exists():
        pytest.skip(f"{program.name} is not in the sysroot")
    return path


def natively(program: Program) -> Outcome:
    installed(program)
    outcome = native(*program.command, sysroot=SYSROOT, cwd=PROGRAMS, stdin=program.stdin)
    if outcome is None:
        pytest.skip("this is no x86-64 Linux machine")
    return outcome


@pytest.mark.parametrize("name", DEBIAN)
def test_silent_and_as_on_the_host(tmp_path: Path, name: str) -> None:
    """By its path: the file says which machine it is for, and that which root it gets."""
    program = DEBIAN[name]
    expected = natively(program)
    path = tmp_path / "report.json"
    command = (installed(program), *program.command[1:])
    outcome = fetchsan("run", "--json", path, *command, cwd=PROGRAMS, stdin=program.stdin)
    assert (outcome.status, outcome.stdout) == (expected.status, expected.stdout), outcome.stderr
    assert finding_kinds(path) == []
    assert outcome.stderr == ""


@pytest.mark.parametrize("mode", ["stale", "coherent"])
@pytest.mark.parametrize("name", ["luajit-traces", "luajit-objects", "luajit-ffi", "sqlite3", "pcre2test", "grep-P"])
def test_every_mode_is_the_same(name: str, mode: str) -> None:
    program = DEBIAN[name]
    expected = natively(program)
    outcome = fetchsan("run", "-L", SYSROOT, "--mode", mode, *program.command, cwd=PROGRAMS, stdin=program.stdin)
    assert (outcome.status, outcome.stdout, outcome.stderr) == (expected.status, expected.stdout, "")


@pytest.mark.parametrize("seed", ["1", "2"])
def test_other_addresses_make_no_difference(seed: str) -> None:
    program = DEBIAN["luajit-objects"]
    expected = natively(program)
    outcome = fetchsan("run", "-L", SYSROOT, "--seed", seed, *program.command, cwd=PROGRAMS)
    assert (outcome.status, outcome.stdout, outcome.stderr) == (expected.status, expected.stdout, "")


def test_a_missing_interpreter_names_the_package(tmp_path: Path) -> None:
    outcome = fetchsan("run", "-L", tmp_path, installed(DEBIAN["luajit-traces"]))
    assert outcome.status == 126
    assert outcome.lines[-1].endswith(
        "needs /lib64/ld-linux-x86-64.so.2, not found in the sysroot; "
        "`fetchsan sysroot add --arch amd64 libc6` fetches it, or -L DIR"
    )
