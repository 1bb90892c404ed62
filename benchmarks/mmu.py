# SPDX-License-Identifier: GPL-2.0-or-later
"""Owns the memory manager's benchmarks: a gibibyte of page tables, page faults of a program, the memory of a sparse one.

`benchmarks/run.py` puts what `section` gives into results.md. The tables belong to OSv's address space (or Linux's) on a
whole machine with one PE that runs nothing; programs are whole runs of the `fetchsan` command. Seconds are CPU seconds.
"""

from __future__ import annotations

import gc
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from fetchsan.arch.aarch64.cpus import get_cpu
from fetchsan.kernel.mmu import AddressSpace, LinuxSpace, OsvSpace, linux_layout
from fetchsan.kernel.mmu.ports import AARCH64, X64, Port
from fetchsan.kernel.mmu.vma import MMAP_FIXED, MMAP_POPULATE, MMAP_SMALL
from fetchsan.machine.machine import Machine
from fetchsan.machine.memory import PhysicalMemory
from fetchsan.machine.traps import TrapHandler
from fetchsan.machine.x64_machine import X64Machine

__all__ = ["FaultCase", "TableCase", "section"]

ROOT = Path(__file__).resolve().parent.parent
PORTS = (AARCH64, X64)
GUESTS = {"aarch64": "benchmarks/guests/touch", "x64": "benchmarks/guests/touch-x64"}
GIB = 1 << 30
PAGE = 4096
BASE = 0x2000_0000_0000
R, RW, RWX = 1, 3, 7
FAULTS = 20_000
TIME_LIMIT = 600


# The peak of a process counts what its parent had when it forked: a small one starts it.
_METER = """
import os, sys
_, status, usage = os.wait4(os.posix_spawn(sys.argv[1], sys.argv[1:], os.environ), 0)
print(usage.ru_utime + usage.ru_stime, usage.ru_maxrss, end="")
sys.exit(os.waitstatus_to_exitcode(status))
"""


class _Idle(TrapHandler):
    """The kernel of a PE that never runs."""


@dataclass(frozen=True, slots=True)
class TableCase:
    """One row: `timed` after `before`, over a gibibyte. `flags` choose the size of the pages."""

    name: str
    before: Callable[[AddressSpace, int, int], None]
    timed: Callable[[AddressSpace, int, int], None]
    flags: int
    perm: int
    linux: bool = False


def _nothing(space: AddressSpace, flags: int, perm: int) -> None:
    """Nothing has to be there before."""


def _populate(space: AddressSpace, flags: int, perm: int) -> None:
    space.map_anon(BASE, GIB, MMAP_FIXED | MMAP_POPULATE | flags, perm)


def _protect(space: AddressSpace, flags: int, perm: int) -> None:
    space.protect(BASE, BASE + GIB, R)


def _unmap(space: AddressSpace, flags: int, perm: int) -> None:
    space.evacuate(BASE, BASE + GIB)


TABLE_CASES = (
    TableCase("populate, 2 MiB pages", _nothing, _populate, 0, RW),
    TableCase("populate, 2 MiB pages, executable", _nothing, _populate, 0, RWX),
    TableCase("populate, 4 KiB pages", _nothing, _populate, MMAP_SMALL, RW),
    TableCase("populate, 4 KiB pages, executable", _nothing, _populate, MMAP_SMALL, RWX),
    TableCase("the same for a Linux program", _nothing, _populate, MMAP_SMALL, RWX, linux=True),
    TableCase("protect, 2 MiB pages", _populate, _protect, 0, RW),
    TableCase("protect, 4 KiB pages", _populate, _protect, MMAP_SMALL, RW),
    TableCase("protect, 4 KiB pages, no longer executable", _populate, _protect, MMAP_SMALL, RWX),
    TableCase("munmap, 2 MiB pages", _populate, _unmap, 0, RW),
    TableCase("munmap, 4 KiB pages", _populate, _unmap, MMAP_SMALL, RW),
)


@dataclass(frozen=True, slots=True)
class FaultCase:
    """One row: microseconds a fault, from runs of the touching guest with many pages and with none."""

    name: str
    extra: tuple[str, ...] = ()
    options: tuple[str, ...] = ()


FAULT_CASES = (
    FaultCase("a store to a new page"),
    FaultCase("the same, executable", ("x",)),
    FaultCase("the same, executable, `--mode coherent`", ("x",), ("--mode", "coherent")),
)


class BenchmarkError(Exception):
    """A run did not do what it should."""


def section(repetitions: int, *, quick: bool) -> list[str]:
    """The lines of results.md about the memory manager. Raises BenchmarkError."""
    return [
        "",
        "## Memory manager",
        "",
        f"A gibibyte of anonymous memory: CPU seconds, median of {repetitions}, and pages of 4 KiB a second.",
        "",
        *_table(repetitions),
        "",
        f"Page faults of a program, end to end: CPU microseconds each, from a run with {_faults(quick):,} and one with none.",
        "",
        *_fault_table(repetitions, quick=quick),
        "",
        *_sparse(),
    ]


def _table(repetitions: int) -> Iterator[str]:
    yield _row("operation", *(port.name for port in PORTS))
    yield "|---|" + "---:|" * len(PORTS)
    for case in TABLE_CASES:
        cells = []
        for port in PORTS:
            seconds = statistics.median(_time(case, port) for _ in range(repetitions))
            _progress(case.name, port, f"{seconds:8.4f} s")
            cells.append(f"{seconds:.4f} s ({GIB / PAGE / seconds:,.0f}/s)")
        yield _row(case.name, *cells)


def _time(case: TableCase, port: Port) -> float:
    space = _space(port, linux=case.linux)
    case.before(space, case.flags, case.perm)
    gc.collect()
    began = time.process_time()
    case.timed(space, case.flags, case.perm)
    return time.process_time() - began


def _space(port: Port, *, linux: bool) -> AddressSpace:
    """An address space on a machine with room for the gibibyte and its tables."""
    memory = PhysicalMemory(GIB + (64 << 20))
    machine: Machine | X64Machine
    if port is AARCH64:
        machine = Machine(get_cpu("cortex-a72"), memory=memory, user=linux)
    else:
        machine = X64Machine(memory=memory, user=linux)
    machine.add_pe(_Idle())
    if linux:
        return LinuxSpace(machine, sync="linux", layout=linux_layout(1), port=port)
    return OsvSpace(machine, sync="osv", port=port)


def _faults(quick: bool) -> int:
    return FAULTS // 4 if quick else FAULTS


def _fault_table(repetitions: int, *, quick: bool) -> Iterator[str]:
    yield _row("access", *(port.name for port in PORTS))
    yield "|---|" + "---:|" * len(PORTS)
    count = _faults(quick)
    size = (count + 1) * PAGE
    for case in FAULT_CASES:
        cells = []
        for port in PORTS:
            each = []
            for _ in range(repetitions):
                with_faults = _run(port, case.options, size, PAGE, count, *case.extra)[0]
                without = _run(port, case.options, size, PAGE, 0, *case.extra)[0]
                each.append((with_faults - without) / count * 1e6)
            cells.append(f"{statistics.median(each):.1f}")
            _progress(case.name, port, f"{cells[-1]:>8} us")
        yield _row(case.name, *cells)


def _sparse() -> Iterator[str]:
    """A program that maps 8 GiB and touches a page in every 64 MiB."""
    size = 8 * GIB
    for port in PORTS:
        _, least = _run(port, (), size, 64 << 20, 0)
        _, most = _run(port, (), size, 64 << 20, size >> 26)
        _progress("8 GiB mapped", port, f"{most - least:8} KiB")
        yield (
            f"* {port.name}: a program that maps 8 GiB and touches {size >> 26} pages of it takes {most >> 10} MiB of the "
            f"host's memory at most, {max(most - least, 0):,} KiB of them for those pages."
        )


def _run(port: Port, options: tuple[str, ...], *arguments: object) -> tuple[float, int]:
    """CPU seconds and peak resident KiB of one run of the touching guest."""
    program = ROOT / GUESTS[port.name]
    command = [sys.executable, "-m", "fetchsan", "run", *options, str(program), *map(str, arguments)]
    meter = [sys.executable, "-S", "-c", _METER, *command]
    done = subprocess.run(meter, capture_output=True, cwd=ROOT, text=True, timeout=TIME_LIMIT, check=False)
    output, _, figures = done.stdout.rpartition("\n")
    if done.returncode or output != "touched":
        raise BenchmarkError(f"{' '.join(command)}: status {done.returncode}: {done.stderr[-500:]}")
    seconds, peak = figures.split()
    return float(seconds), int(peak)


def _row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def _progress(name: str, port: Port, result: str) -> None:
    print(f"memory manager  {name:42} {port.name:8} {result}", file=sys.stderr)
