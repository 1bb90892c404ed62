# SPDX-License-Identifier: GPL-2.0-or-later
"""A program that shares file mappings with itself: what it prints and leaves behind is what it does on the host's kernel."""

from __future__ import annotations

import resource
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from e2e.command import PROGRAMS, build, fetchsan, needs_compiler

pytestmark = needs_compiler
_NATIVE = shutil.which("cc") if sys.platform == "linux" else None


@pytest.mark.skipif(_NATIVE is None, reason="no compiler for the host")
def test_mappings_of_a_file_agree_with_the_host_in_much_and_in_little_memory(tmp_path: Path) -> None:
    program = build("sharedfile", tmp_path)
    assert _NATIVE is not None
    own = tmp_path / "own"
    subprocess.run([_NATIVE, "-O1", "-w", "-o", own, PROGRAMS / "sharedfile.c"], check=True, timeout=60)
    places = {name: tmp_path / name for name in ("host", "4G", "16M")}
    for place in places.values():
        place.mkdir()
    native = subprocess.run([own], cwd=places["host"], capture_output=True, timeout=60, check=True)
    for memory in ("4G", "16M"):
        outcome = fetchsan("run", "--memory", memory, program, cwd=places[memory])
        assert (outcome.status, outcome.stdout.decode(), outcome.stderr) == (0, native.stdout.decode(), "")
        assert (places[memory] / "data").read_bytes() == (places["host"] / "data").read_bytes()


def test_stores_that_the_host_refuses_are_told_by_msync_and_at_the_end(tmp_path: Path) -> None:
    (tmp_path / "full").write_bytes(bytes(1 << 20))
    outcome = fetchsan(
        "run",
        build("sharedfile", tmp_path),
        "full",
        cwd=tmp_path,
        prepare=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, 1 << 16)),
    )
    assert outcome.stdout == b"msync: EFBIG\n"
    path = tmp_path / "full"
    assert outcome.lines == [f"fetchsan: {path}: 4096 bytes stored through a mapping were not written back: file too large"]
