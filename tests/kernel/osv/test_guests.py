# SPDX-License-Identifier: GPL-2.0-or-later
"""OSv's own acceptance tests of memory, in our words (guests/osv), run as applications; the exit status says what failed."""

from __future__ import annotations

from pathlib import Path

import pytest

from fetchsan.arch.aarch64.cpus import get_cpu
from fetchsan.kernel.mmu.ports import AARCH64, X64, Port
from fetchsan.kernel.osv import Aborted, OsvKernel, RofsFile
from fetchsan.kernel.task import Exited
from fetchsan.machine.hits import Hit
from fetchsan.machine.machine import Machine, Mode
from fetchsan.machine.memory import PhysicalMemory
from fetchsan.machine.x64_machine import X64Machine

GUESTS = Path(__file__).resolve().parents[3] / "guests" / "osv"
APPLICATIONS = ("tst-mmap", "tst-mmap-file", "tst-elf-permissions")


def run(machine: Machine | X64Machine, port: Port, path: Path) -> tuple[Exited | Aborted, str, int]:
    """How it ended, what it printed, and how many frames it left behind."""
    name = path.name.removesuffix(".so")
    try:
        kernel = OsvKernel(machine, sync="osv", port=port)
        pe = machine.add_pe(kernel)
        kernel.boot(pe)
        before = machine.memory.frames_in_use
        end = kernel.run_application(pe, RofsFile(f"/{name}.so", path.read_bytes()), [name])
        machine.finish()
        return end, kernel.console.decode(), machine.memory.frames_in_use - before
    finally:
        machine.close()


@pytest.mark.parametrize("mode", ["check", "stale", "coherent"])
@pytest.mark.parametrize("name", APPLICATIONS)
def test_every_check_holds_and_no_stale_fetch_is_reported(name: str, mode: Mode) -> None:
    hits: list[Hit] = []
    memory = PhysicalMemory(64 << 20)
    machine = Machine(get_cpu("cortex-a72"), memory=memory, mode=mode, user=False, on_hit=hits.append)
    end, console, left = run(machine, AARCH64, GUESTS / f"{name}.so")
    assert (end, console) == (Exited(0), f"{name}: ok\n"), end.report if isinstance(end, Aborted) else console
    assert hits == []
    assert left == 0


@pytest.mark.parametrize("name", APPLICATIONS)
def test_every_check_holds_on_x64(name: str) -> None:
    machine = X64Machine(memory=PhysicalMemory(64 << 20), user=False)
    end, console, left = run(machine, X64, GUESTS / "x64" / f"{name}.so")
    assert (end, console) == (Exited(0), f"{name}: ok\n"), end.report if isinstance(end, Aborted) else console
    assert left == 0
