# SPDX-License-Identifier: GPL-2.0-or-later
"""A finding: one (kind, writing function, executing function), with its first hit in full and a count of lines."""

from __future__ import annotations

from dataclasses import dataclass

from fetchsan.coherency.verdicts import Kind, StepName, StepState
from fetchsan.findings.location import Location

__all__ = ["Finding", "LedgerStep", "Writer"]


@dataclass(frozen=True, slots=True)
class Writer:
    """Who made the store. `agent` is "guest", or what wrote on its behalf ("read(2)"); then `pc` is the system call's."""

    agent: str
    thread: int
    pc: int | None
    location: Location | None


@dataclass(frozen=True, slots=True)
class LedgerStep:
    """One row of the ledger, with where the step was executed, when it was."""

    step: StepName
    state: StepState
    pe: int | None
    pc: int | None
    location: Location | None


@dataclass(frozen=True, slots=True)
class Finding:
    """What a report says. Words are as disassemblers print them; `pc` and `line` are virtual addresses."""

    kind: Kind
    pe: int
    thread: int
    pc: int
    physical: int
    line: int
    stale: int
    current: int
    stale_text: str
    current_text: str
    executed: Location
    writer: Writer | None
    steps: tuple[LedgerStep, ...]
    count: int
    prefetch_only: bool
    latent: bool

    @property
    def lenient(self) -> bool:
        """Counts for the exit status under --strict only."""
        return self.prefetch_only or self.latent
