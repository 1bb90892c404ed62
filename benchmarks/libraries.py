# SPDX-License-Identifier: GPL-2.0-or-later
"""Owns the benchmarks of libraries in a machine (docs/api.md, "Libraries"): start-up, and what a call costs.

`benchmarks/run.py` puts what `section` gives into results.md. Seconds are of the wall clock, in one process.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from ctypes import CFUNCTYPE, c_char_p, c_double, c_int, c_size_t

from fetchsan import Machine
from fetchsan.errors import FetchSanError

__all__ = ["section"]

CPUS = {"aarch64": "cortex-a72", "x64": "x86-64"}
CALLS = 5000


def section(repetitions: int, *, quick: bool) -> list[str]:
    """The lines of results.md about libraries; none without a libc in the sysroots."""
    try:
        columns = {name: _measure(cpu, repetitions, CALLS // 5 if quick else CALLS) for name, cpu in CPUS.items()}
    except FetchSanError:
        return []
    rows = next(iter(columns.values()))
    return [
        "",
        "## Libraries called from Python",
        "",
        f"Wall clock, median of {repetitions}.",
        "",
        f"| what | {' | '.join(columns)} |",
        "|---|" + "---:|" * len(columns),
        *(f"| {row} | {' | '.join(column[row] for column in columns.values())} |" for row in rows),
    ]


def _measure(cpu: str, repetitions: int, calls: int) -> dict[str, str]:
    cells: dict[str, list[float]] = {}
    for _ in range(repetitions):
        began = time.perf_counter()
        with Machine(cpu=cpu, clean_environment=True) as machine:
            libc = machine.load("libc.so.6")
            cells.setdefault("start-up: the first load, ms", []).append((time.perf_counter() - began) * 1e3)
            for name, call in _calls(machine, libc, machine.load("libm.so.6")):
                call()
                began = time.perf_counter()
                for _ in range(calls):
                    call()
                cells.setdefault(name, []).append((time.perf_counter() - began) / calls * 1e6)
    return {name: f"{statistics.median(values):.0f}" for name, values in cells.items()}


def _calls(machine: Machine, libc: object, libm: object) -> Iterator[tuple[str, Callable[[], object]]]:
    toupper, strlen, cos = libc["toupper"], libc["strlen"], libm["cos"]  # type: ignore[index]
    toupper.argtypes = [c_int]
    strlen.argtypes, strlen.restype = [c_char_p], c_size_t
    cos.argtypes, cos.restype = [c_double], c_double
    prototype = CFUNCTYPE(c_int, c_int)
    back = machine.callback(prototype, lambda value: value)
    called = machine.function(back.address, prototype)
    yield "a call, an int to an int, us", lambda: toupper(97)
    yield "a double to a double, us", lambda: cos(0.5)
    yield "bytes to a size, us", lambda: strlen(b"sixteen bytes...")
    yield "a call that calls Python back, us", lambda: called(1)
