# SPDX-License-Identifier: GPL-2.0-or-later
"""What a bare guest is and what became of it: the same for the reference machine and for the fast one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from fetchsan.arch.aarch64.cpus import get_cpu
from fetchsan.arch.aarch64.system_instructions import is_exempt
from fetchsan.coherency import CacheRules

__all__ = [
    "PAGE",
    "RAM_BASE",
    "RAM_SIZE",
    "REGISTERS",
    "EndlessGuestError",
    "Found",
    "Guest",
    "Mapping",
    "Mode",
    "Outcome",
    "Start",
]

PAGE = 4096
RAM_BASE = 0x4000_0000
RAM_SIZE = 64 * PAGE
"""What guests use; page tables of the fast machine lie behind."""
REGISTERS = (*(f"x{number}" for number in range(31)), "sp", "pc")

Mode = Literal["check", "stale"]


@dataclass(frozen=True)
class Mapping:
    """One page: `access` is of the letters r, w, x."""

    virtual: int
    physical: int
    access: str


@dataclass(frozen=True)
class Start:
    """Where a PE begins, and its registers (the others are 0)."""

    pc: int
    registers: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True)
class Guest:
    """Programs on bare PEs at EL1h, RAM, and the mappings that all PEs share for the whole run.

    Images are part of the boot image (D = U = I = F). SVC #0 ends a PE's program, SVC #1 lets the next PE run; neither is
    an event for the model. Any exception ends the program, too. PEs begin in order.
    """

    images: tuple[tuple[int, bytes], ...]
    mappings: tuple[Mapping, ...]
    starts: tuple[Start, ...]
    cpu: str = "cortex-a72"

    @property
    def frames(self) -> list[int]:
        """The frames that the images fill."""
        return sorted({page for at, image in self.images for page in range(at & -PAGE, at + len(image), PAGE)})

    @property
    def rules(self) -> CacheRules:
        """What the caches of its CPU do."""
        profile = get_cpu(self.cpu)
        return CacheRules(
            dline=profile.dline,
            iline=profile.iline,
            line=min(profile.dline, profile.iline),
            idc=profile.idc,
            dic=profile.dic,
            vipt=profile.vipt,
            exempt=is_exempt,
        )


@dataclass(frozen=True, order=True)
class Found:
    """One hit."""

    kind: str
    pe: int
    pc: int
    physical: int
    writer_pc: int | None
    stale: int
    current: int


@dataclass(frozen=True)
class Outcome:
    """The end: hits in the order of their telling, registers (REGISTERS) of each PE, guest RAM."""

    found: tuple[Found, ...]
    registers: tuple[tuple[int, ...], ...]
    ram: bytes
    traces: tuple[str, ...] = ()
    """Of each PE, a hash of every (pc, word) it executed; the fast machine has none."""


class EndlessGuestError(Exception):
    """The guest did not end within the limit of instructions."""
