# SPDX-License-Identifier: GPL-2.0-or-later
"""The page that the kernel adds to every program: where a signal handler returns to (arm64 has no sa_restorer).

It belongs to the boot image (coherency model, rule 2): its instructions are in every view before the program starts,
whatever `--kernel-sync` says. It has no clocks: AT_SYSINFO_EHDR is absent, and time is a system call.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from fetchsan.kernel.mmu.vma import PERM_EXEC, PERM_READ, PERM_WRITE
from fetchsan.machine.hardware import Origin
from fetchsan.machine.memory import FRAME_SIZE

if TYPE_CHECKING:
    from fetchsan.kernel.mmu.linux_space import LinuxSpace
    from fetchsan.kernel.mmu.user_memory import UserMemory

__all__ = ["map_vdso"]

_NOP = 0xD503_201F
# Unwinders look one instruction before the return address, so Linux starts with a NOP, and gdb knows the other two.
_SIGRETURN = (_NOP, 0xD280_1168, 0xD400_0001)  # nop; mov x8, #139; svc #0
_ENTRY = 4


def map_vdso(space: LinuxSpace, memory: UserMemory, pe: int) -> int:
    """Map the page; returns the address of the signal trampoline."""
    address = space.map_anon(0, FRAME_SIZE, 0, PERM_READ | PERM_WRITE, name="[vdso]")
    memory.origin = Origin(None, "vDSO")
    memory.write(address, struct.pack("<3I", *_SIGRETURN))
    physical = memory.physical(address)
    space.hardware.synchronise(pe, physical, address, FRAME_SIZE)
    space.frames.clean.add(physical)
    space.protect(address, address + FRAME_SIZE, PERM_READ | PERM_EXEC)
    return address + _ENTRY
