# SPDX-License-Identifier: GPL-2.0-or-later
"""How a PE reaches a kernel: the three doors of `TrapHandler`, and the registers a handler may touch.

Any of the calls may end the run of the PE with `pe.stop()`. None may raise: an error is kept with `pe.fail(exception)`
and re-raised by `PE.run()` (exceptions cannot cross the engine's C frames).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

__all__ = ["CPUException", "ProcessingElement", "TrapHandler"]


@dataclass(frozen=True, slots=True)
class CPUException:
    """A synchronous exception as the architecture would present it (the engine gives no syndromes: they are ours)."""

    ec: int  # ESR_EL1.EC, 6 bits
    esr: int  # the whole of ESR_EL1
    far: int  # FAR_EL1 (not updated by EC=0: then the previous value, as on silicon)
    pc: int  # preferred return address (ELR_EL1)


class ProcessingElement(Protocol):
    """One PE as kernels see it. Register names: x0..x30, sp, pc, pstate, tpidr_el0, fpcr, fpsr, v0..v31 (128-bit)."""

    index: int

    def get(self, register: str) -> int:
        """One register, as an unsigned integer."""

    def set(self, register: str, value: int) -> None:
        """Write one register; writing pc inside a trap continues there."""

    def get_many(self, registers: Sequence[str]) -> list[int]:
        """Several registers in one call (cheaper than one by one)."""

    def run(self) -> None:
        """Execute until stop(). Raises what fail() was given."""

    def stop(self) -> None:
        """Ask run() to return; the current trap completes first."""

    def fail(self, error: BaseException) -> None:
        """Keep the first error and stop."""


class TrapHandler(Protocol):
    """What a kernel implements."""

    def system_call(self, pe: ProcessingElement) -> None:
        """SVC #0: pc is already past it. Arguments in x8, x0..x5; the handler writes x0."""

    def page_fault(
        self, pe: ProcessingElement, virtual: int, access: Literal["read", "write", "execute"]
    ) -> bool:
        """No usable translation for `virtual` (exact address for data). True: mapped now, retry the instruction.

        False: the handler has arranged something else (delivered a signal, stopped the PE).
        """

    def exception(self, pe: ProcessingElement, exception: CPUException) -> None:
        """Any other synchronous exception (undefined slot, BRK of the guest's own, alignment, SVC with imm != 0 ...)."""
