# SPDX-License-Identifier: GPL-2.0-or-later
"""Owns what a page fault is to the CPU: the syndrome that each port would present."""

from __future__ import annotations

from fetchsan.arch.aarch64 import esr
from fetchsan.arch.aarch64.esr import FaultClass
from fetchsan.kernel.errors import GuestFault
from fetchsan.machine.traps import CPUException

__all__ = ["fault_exception"]


def fault_exception(fault: GuestFault, pc: int) -> CPUException:
    """A data or instruction abort from the same exception level: applications run at EL1."""
    fault_class = FaultClass.PERMISSION if fault.permission else FaultClass.TRANSLATION
    syndrome = esr.abort(fault.access, fault_class, fault.level, same_el=True)
    return CPUException(esr.Esr.EC.of(syndrome), syndrome, fault.address, pc)
