# SPDX-License-Identifier: GPL-2.0-or-later
"""`fetchsan run --linker osv`: programs built against glibc run on the kernel's linker and its C library."""

from __future__ import annotations

import pytest

from e2e.command import GUESTS, fetchsan

HOSTED = GUESTS / "linker/hosted"


@pytest.mark.parametrize("name", ["program", "program.so"])
@pytest.mark.parametrize("mode", ["check", "stale"])
def test_a_c_program_runs(name: str, mode: str) -> None:
    outcome = fetchsan("run", "--linker", "osv", "--mode", mode, f"./{name}", HOSTED / "plugin.so", cwd=HOSTED)
    assert outcome.stdout.decode().splitlines() == [
        f"constructor: 2 ./{name} environment",
        "malloc: 99999",
        "thread-local: 42, errno 0",
        "sqrt: 1.414",
        "plugin constructor",
        "plugin: 42",
        "plugin destructor",
        "atexit",
        "destructor",
    ]
    assert outcome.stderr == "to stderr\n"
    assert outcome.status == 7


def test_a_relative_path_begins_in_the_current_directory() -> None:
    outcome = fetchsan("run", "--linker", "osv", "hosted/program", "./hosted/plugin.so", cwd=HOSTED.parent)
    assert b"plugin: 42" in outcome.stdout


def test_a_path_out_of_the_current_directory_finds_nothing() -> None:
    outcome = fetchsan("run", "--linker", "osv", "./program", "../aarch64/library.so", cwd=HOSTED)
    assert outcome.status == 3
    assert b"library.so: not found" in outcome.stdout


def test_without_the_patch_of_2020_its_code_is_stale() -> None:
    outcome = fetchsan(
        "run", "--linker", "osv", "--kernel-sync", "none", "./program.so", HOSTED / "plugin.so", cwd=HOSTED
    )
    assert outcome.status == 66
    assert "missing-dc-clean" in outcome.stderr


def test_a_library_that_is_nowhere_is_one_line() -> None:
    outcome = fetchsan("run", "--linker", "osv", "./library.so", cwd=GUESTS / "linker/aarch64")
    assert (outcome.status, len(outcome.lines)) == (126, 1)
    assert "library.so: exports no main()" in outcome.stderr


def test_a_plugin_that_is_nowhere_is_the_programs_business() -> None:
    outcome = fetchsan("run", "--linker", "osv", "./program", "/no/plugin.so", cwd=HOSTED)
    assert outcome.status == 3
    assert b"dlopen: failed to open /no/plugin.so: not found" in outcome.stdout


def test_x86_64_programs_are_refused() -> None:
    outcome = fetchsan("run", "--linker", "osv", "./lazy.so", cwd=GUESTS / "linker/x64")
    assert (outcome.status, len(outcome.lines)) == (2, 1)
