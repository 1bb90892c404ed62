# SPDX-License-Identifier: GPL-2.0-or-later
"""Rewritten x86-64 code is fresh without any maintenance, in every mode, and nothing is found; natively it is the same."""

from __future__ import annotations

import platform
import re
import subprocess
import sys
import tomllib
from dataclasses import dataclass

import pytest

import fetchsan

from .variants_table import ROOT

FOLDER = ROOT / "guests/x64"
PROGRAM = FOLDER / "variants"
native = pytest.mark.skipif(
    (sys.platform, platform.machine()) != ("linux", "x86_64"), reason="this is no x86-64 Linux machine"
)


@dataclass(frozen=True)
class Variant:
    """One row of variants.toml (its head comment says what the fields mean)."""

    name: str
    output: str = "new"
    exit: int = 0


VARIANTS = {row["name"]: Variant(**row) for row in tomllib.loads((FOLDER / "variants.toml").read_text())["variant"]}


def test_the_table_and_the_program_have_the_same_variants() -> None:
    sources = "".join(path.read_text() for path in sorted(FOLDER.glob("*.c")))
    named = re.findall(r'(?:\{|TEMPLATE\()"([a-z0-9-]+)",', sources) + [
        f"store-{size}" for size in re.findall(r"^    STORE\((\d)\)", sources, re.MULTILINE)
    ]
    assert sorted(named) == sorted(VARIANTS)


@native
@pytest.mark.parametrize("variant", VARIANTS.values(), ids=lambda variant: variant.name)
def test_on_the_hosts_own_processor(variant: Variant) -> None:
    done = subprocess.run([PROGRAM, variant.name], capture_output=True, text=True, timeout=60, check=False)
    status = 128 - done.returncode if done.returncode < 0 else done.returncode
    assert (done.stdout.rstrip("\n"), status) == (variant.output, variant.exit)


@pytest.mark.parametrize("mode", ["check", "stale", "coherent"])
@pytest.mark.parametrize("variant", VARIANTS.values(), ids=lambda variant: variant.name)
def test_fresh_and_silent_in_every_mode(variant: Variant, mode: str) -> None:
    machine = fetchsan.Machine(mode=mode, memory=256 << 20)
    result = machine.run([str(PROGRAM), variant.name], capture_stdout=True, message=lambda _text: None)
    assert ((result.stdout or b"").decode().rstrip("\n"), result.guest.status) == (variant.output, variant.exit)
    assert (result.findings, result.exit_status) == ((), variant.exit)
