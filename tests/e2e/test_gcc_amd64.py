# SPDX-License-Identifier: GPL-2.0-or-later
"""GCC's trampolines on x86-64: code written to the stack, between the data of everybody else's frames."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from e2e.command import GUESTS, TIMEOUT, fetchsan, finding_kinds
from fetchsan.sysroot import default_root

COMPILER = shutil.which("x86_64-linux-gnu-gcc")
SOURCE = GUESTS / "gcc/nested_functions.c"


@pytest.fixture(scope="module", params=["static", "dynamic"])
def program(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    if COMPILER is None:
        pytest.skip("x86_64-linux-gnu-gcc is not installed")
    if request.param == "dynamic" and not (default_root("amd64") / "lib64/ld-linux-x86-64.so.2").is_symlink():
        pytest.skip("no sysroot: `fetchsan sysroot add --arch amd64 libc6`")
    path = tmp_path_factory.mktemp("gcc") / "nested_functions"
    flags = ["-std=gnu11", "-O2", *(["-static"] if request.param == "static" else [])]
    subprocess.run([COMPILER, *flags, "-o", path, SOURCE], check=True, capture_output=True, timeout=TIMEOUT)
    return path


@pytest.mark.parametrize("mode", ["check", "stale", "coherent"])
def test_trampolines_are_fresh(tmp_path: Path, program: Path, mode: str) -> None:
    path = tmp_path / "report.json"
    outcome = fetchsan("run", "--mode", mode, "--json", path, program)
    assert (outcome.status, outcome.stdout) == (0, SOURCE.with_suffix(".out").read_bytes()), outcome.stderr
    assert finding_kinds(path) == []
