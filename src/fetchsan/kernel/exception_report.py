# SPDX-License-Identifier: GPL-2.0-or-later
"""OSv's report of a fatal exception, word for word: registers, symbolised PC, ESR, then the backtrace.

Whoever has seen issue #1100 on a console recognises it: EC 0x0000, ESR 0x02000000, and a FAR left over from an earlier
fault, because an exception of unknown reason does not update FAR_EL1 (OSv `arch/aarch64/dump.cc`, `exceptions.cc`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from fetchsan.arch.aarch64.esr import exception_class_name
from fetchsan.kernel.errors import GuestFault
from fetchsan.kernel.signals import signal_name
from fetchsan.machine.traps import CPUException

__all__ = ["RegisterDump", "Symbolise", "backtrace", "exception_report"]

# A caller's way to name an address: "symbol+0x10 (object)", or "" if it has no name.
Symbolise = Callable[[int], str]

_MAX_FRAMES = 64


@dataclass(frozen=True, slots=True)
class RegisterDump:
    """The state at the exception."""

    general: tuple[int, ...]  # x0..x30
    sp: int
    pc: int
    pstate: int


def backtrace(pc: int, frame: int, read_u64: Callable[[int], int]) -> list[int]:
    """PC, then the return addresses along the chain that starts at `frame`: {caller's frame pointer, return address}, which
    x29 points at on AArch64 (AAPCS64) and RBP on x86-64.

    A guest that died may have left anything there: the walk only goes up, stays aligned and ends after 64 frames.
    """
    addresses = [pc]
    while frame and frame % 8 == 0 and len(addresses) < _MAX_FRAMES:
        try:
            caller, link = read_u64(frame), read_u64(frame + 8)
        except GuestFault:
            break
        if link:
            addresses.append(link)
        if caller <= frame:
            break
        frame = caller
    return addresses


def exception_report(
    signal: int,
    exception: CPUException,
    state: RegisterDump,
    trace: Sequence[int],
    symbolise: Symbolise,
    *,
    heading: str | None = None,
) -> str:
    """The text, ending in a newline. `heading` is the first line of what is no unexpected exception."""

    def named(address: int) -> str:
        return f"0x{address:016x} <{symbolise(address) or f'???+{address}'}>"

    cells = [f"X{number:02}: 0x{value:016x}" for number, value in enumerate(state.general)]
    cells += [f"SP:  0x{state.sp:016x}", f"ESR: 0x{exception.esr:016x}"]
    lines = [
        heading or f"unexpected synchronous exception, EC: 0x{exception.ec:04x}",
        "[registers]",
        f"PC: {named(state.pc)}",
        *(" ".join(cells[row : row + 3]) for row in range(0, len(cells), 3)),
        f"PSTATE: 0x{state.pstate:016x}",
        f"FAR: 0x{exception.far:016x}",
        f"Aborted: {signal_name(signal)}, {exception_class_name(exception.ec)}",
        "",
        "[backtrace]",
        *(named(address) for address in trace),
    ]
    return "\n".join(lines) + "\n"
