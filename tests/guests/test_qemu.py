# SPDX-License-Identifier: GPL-2.0-or-later
"""The variants under qemu-user, which is coherent: the guests themselves are right, whatever FetchSan makes of them."""

from __future__ import annotations

import resource
import shutil
import subprocess
from pathlib import Path

import pytest

from .variants_table import ROOT, VARIANTS, VARIANTS_PROGRAM

QEMU = shutil.which("qemu-aarch64-static") or shutil.which("qemu-aarch64")
# DC CVAP is not known to qemu-user before version 8; DC and IC are no accesses there and cannot fault.
UNLIKE_SILICON = {"dc-cvap", "dc-unreadable", "ic-unreadable"}

pytestmark = pytest.mark.skipif(QEMU is None, reason="qemu-aarch64-static is not installed")


def _run(*command: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    assert QEMU is not None
    return subprocess.run(
        [QEMU, *command],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_CORE, (0, 0)),
    )


def _status(returncode: int) -> int:
    return 128 - returncode if returncode < 0 else returncode


def test_the_table_has_every_variant_of_the_program(tmp_path) -> None:
    assert sorted(_run(str(VARIANTS_PROGRAM), "--list", cwd=tmp_path).stdout.split()) == sorted(VARIANTS)


@pytest.mark.parametrize("name", [name for name in VARIANTS if name not in UNLIKE_SILICON])
def test_variant_runs_fresh_where_caches_are_coherent(name, tmp_path) -> None:
    variant = VARIANTS[name]
    expected = variant.check if variant.qemu is None else variant.qemu
    result = _run(str(VARIANTS_PROGRAM), name, cwd=tmp_path)
    assert (result.stdout.removesuffix("\n"), _status(result.returncode)) == (expected, variant.exit)


def test_unknown_variant_is_bad_usage(tmp_path) -> None:
    assert _run(str(VARIANTS_PROGRAM), "no-such-variant", cwd=tmp_path).returncode == 2


@pytest.mark.parametrize(
    ("program", "output"),
    [
        ("guests/hello/hello", "hello\n"),
        ("guests/hello/hello-glibc", "hello from glibc\n"),
        # Sum of cycle mod 2^16 over a hundred thousand cycles.
        ("benchmarks/guests/rewriter", f"{sum(cycle & 0xFFFF for cycle in range(100_000))}\n"),
    ],
)
def test_program_prints(program, output, tmp_path) -> None:
    assert _run(str(ROOT / program), cwd=tmp_path).stdout == output
