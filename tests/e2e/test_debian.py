# SPDX-License-Identifier: GPL-2.0-or-later
"""Unmodified Debian programs maintain their caches, so nothing is found; and they print what they print under qemu-user."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from e2e.command import GUESTS, PROGRAMS, Outcome, fetchsan, finding_kinds, qemu, report
from fetchsan.sysroot import default_root

SYSROOT = default_root()
TEXT = b"".join(b"%d %d line-%d the quick brown fox\n" % (i, i * i % 1009, i * 37 % 101) for i in range(1, 400))
MODES = ("check", "stale", "coherent")
ARITHMETIC = b"scale=40\n4*a(1)\n2^200\ndefine f(n) { if (n < 2) return (1); return (n * f(n - 1)); }\nf(60)\nsqrt(2)\n"
PATTERNS = rb"""/(a+)+b$/jit
    aaaaaaaaab
/^(?<year>\d{4})-(\d\d)/jit,g
    2020-12-20
    20-12
/(\w)(?=\1)/jit,g
    aabbc
"""


@dataclass(frozen=True)
class Program:
    """What to run in a directory that holds programs/, and its stdin."""

    command: tuple[str, ...]
    stdin: bytes = b""

    @property
    def name(self) -> str:
        return self.command[0]


DEBIAN = {
    "busybox-sh": Program(("busybox", "sh", "applets.sh")),
    "busybox-sort": Program(("busybox", "sort", "-k2", "-n"), TEXT),
    "busybox-sha256sum": Program(("busybox", "sha256sum"), TEXT * 20),
    "busybox-awk": Program(("busybox", "awk", "{ s += $2 } END { print s, NR }"), TEXT),
    "busybox-sed": Program(("busybox", "sed", "-e", "s/\\(quick\\) \\(brown\\)/\\2 \\1/;3q"), TEXT),
    "busybox-gzip": Program(("busybox", "gzip", "-c"), TEXT * 20),
    "busybox-tr": Program(("busybox", "tr", "a-z", "A-Z"), TEXT),
    "busybox-od": Program(("busybox", "od", "-tx1"), TEXT[:500]),
    "busybox-diff": Program(("busybox", "diff", "traces.lua", "objects.lua")),
    "busybox-ls": Program(("busybox", "ls", "-1s", ".")),
    "busybox-false": Program(("busybox", "false")),
    "luajit-traces": Program(("luajit", "traces.lua")),
    "luajit-objects": Program(("luajit", "objects.lua")),
    "luajit-ffi": Program(("luajit", "ffi.lua")),
    "luajit-small-cache": Program(("luajit", "-Omaxmcode=64,sizemcode=32", "traces.lua")),
    "luajit-eager": Program(("luajit", "-Ohotloop=2,hotexit=2", "objects.lua")),
    "luajit-flush": Program(
        ("luajit", "-e", "for k=1,20 do local s=0 for i=1,200 do s=s+i%k end print(s) jit.flush() end")
    ),
    "luajit-error": Program(("luajit", "-e", "os.exit(7)")),
    "lua-traces": Program(("lua5.4", "traces.lua")),
    "lua-objects": Program(("lua5.4", "objects.lua")),
    "sqlite3": Program(("sqlite3", "-batch", ":memory:", ".read queries.sql")),
    "gawk": Program(("gawk", "-f", "sums.awk"), TEXT),
    "bc": Program(("bc", "-l"), ARITHMETIC),
    "grep-P": Program(("grep", "-nP", r"(?<=line-)(\d)\1\b.*fox$"), TEXT),
    "grep-P-only": Program(("grep", "-oP", r"\b(\w)\w*\1\b"), TEXT),
    "pcre2test": Program(("pcre2test", "-q", "-jit"), PATTERNS),
}
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
