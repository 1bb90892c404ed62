# SPDX-License-Identifier: GPL-2.0-or-later
"""A hit: one fetch that the architecture allows to be stale, as the machine saw it; findings are made of hits."""

from __future__ import annotations

from dataclasses import dataclass

from fetchsan.coherency.verdicts import Kind, Step
from fetchsan.machine.hardware import Origin

__all__ = ["Hit"]


@dataclass(frozen=True, slots=True)
class Hit:
    """Evidence for one (PE, line, newest store): never reported twice (docs/coherency_model.md, 2.4)."""

    kind: Kind
    pe: int
    thread: int
    pc: int  # virtual address of the executed slot
    physical: int  # physical address of the executed slot
    line: int  # virtual address of the line (its first byte)
    stale: int  # the word a stale fetch may return
    current: int  # the word memory holds
    steps: tuple[Step, ...]  # the ledger, in the order of the chain
    writer: Origin | None  # who made the store, if seen
    prefetch_only: bool = False
    latent: bool = False  # made fresh only by the kernel's own synchronisation (reported under --strict)
