# SPDX-License-Identifier: GPL-2.0-or-later
"""OSv's report of a fatal exception on x64: a line that names it, registers, then the backtrace (OSv `arch/x64/dump.cc`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from fetchsan.arch.x64.mmu_faults import Vector
from fetchsan.kernel.exception_report import Symbolise
from fetchsan.kernel.signals import signal_name
from fetchsan.machine.traps import CPUException

__all__ = ["REPORTED_REGISTERS", "exception_report_x64"]

# OSv's order; four to a line.
_GENERAL = ("rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rbp", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15", "rsp")
REPORTED_REGISTERS = (*_GENERAL, "rflags")


def exception_report_x64(
    signal: int,
    exception: CPUException,
    registers: Mapping[str, int],
    selectors: tuple[int, int],
    trace: Sequence[int],
    symbolise: Symbolise,
    *,
    heading: str | None = None,
) -> str:
    """The text, ending in a newline. `registers` has REPORTED_REGISTERS; `selectors` are CS and SS; `heading` is the first
    line where the exception alone does not say it.
    """

    def named(address: int) -> str:
        return f"0x{address:016x} <{symbolise(address) or f'???+{address}'}>"

    if heading is not None:
        first = heading
    elif exception.ec == Vector.PAGE_FAULT:
        first = f"page fault outside application, addr: 0x{exception.far:016x}"
    else:
        first = f"unexpected exception, vector: {exception.ec}"
    cells = [f"{f'{name.upper()}:':<4} 0x{registers[name]:016x}" for name in _GENERAL]
    code, stack = selectors
    lines = [
        first,
        "[registers]",
        f"RIP: {named(exception.pc)}",
        f"RFL: 0x{registers['rflags']:016x}  CS:  0x{code:016x}  SS:  0x{stack:016x}",
        *("  ".join(cells[row : row + 4]) for row in range(0, len(cells), 4)),
        f"Aborted: {signal_name(signal)}, {_name(exception.ec)}, error code 0x{exception.esr:04x}",
        "",
        "[backtrace]",
        *(named(address) for address in trace),
    ]
    return "\n".join(lines) + "\n"


def _name(vector: int) -> str:
    return Vector(vector).name.lower().replace("_", " ") if vector in list(Vector) else f"vector {vector}"
