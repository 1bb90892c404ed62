# SPDX-License-Identifier: GPL-2.0-or-later
"""Hits, findings and results by hand: what the machine hands over, with defaults for whatever a test does not care about."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from fetchsan.coherency.verdicts import Kind, Step
from fetchsan.findings.finding import Finding, LedgerStep, Writer
from fetchsan.findings.location import Location
from fetchsan.findings.outcome import GuestEnd, exit_status
from fetchsan.machine.hardware import Origin
from fetchsan.machine.hits import Hit
from fetchsan.settings import RunSettings

RX = "anonymous RWX mapping at 0x10000000"

HIT = Hit(
    kind=Kind.MISSING_IC_INVALIDATE,
    pe=0,
    thread=1,
    pc=0x1000_0040,
    physical=0x4001_2040,
    line=0x1000_0040,
    stale=0x5280_0020,
    current=0x5280_0040,
    steps=(
        Step("dc-clean", "done", 0, 0x40_1930),
        Step("dsb-after-clean", "done", 0, 0x40_1934),
        Step("ic-invalidate", "missing"),
        Step("dsb-after-invalidate", "pending"),
        Step("isb", "pending"),
    ),
    writer=Origin(pc=0x40_1920, thread=1),
)

FINDING = Finding(
    kind=HIT.kind,
    pe=0,
    thread=1,
    pc=HIT.pc,
    physical=HIT.physical,
    line=HIT.line,
    stale=HIT.stale,
    current=HIT.current,
    stale_text="mov w0, #1",
    current_text="mov w0, #2",
    executed=Location(HIT.pc, RX, 0x40, offset=0x40),
    writer=Writer("guest", 1, 0x40_1920, Location(0x40_1920, "/guest/demo", 0x1920, "emit", 0x20)),
    steps=tuple(
        LedgerStep(s.step, s.state, s.pe, s.pc, Location(s.pc, "/guest/demo", s.pc - 0x40_0000, "emit", s.pc - 0x40_1900))
        if s.pc is not None
        else LedgerStep(s.step, s.state, None, None, None)
        for s in HIT.steps
    ),
    count=1,
    prefetch_only=False,
    latent=False,
)


def hit(**changes: Any) -> Hit:
    return replace(HIT, **changes)


def finding(**changes: Any) -> Finding:
    return replace(FINDING, **changes)


@dataclass
class FinishedRun:
    """A RunResult made by hand: no machine is needed to test how a run is told."""

    findings: Sequence[Finding] = ()
    guest: GuestEnd = field(default_factory=lambda: GuestEnd(exit=0))
    settings: RunSettings = field(default_factory=lambda: RunSettings(cpu="cortex-a72"))
    program: Sequence[str] = ("demo", "arg")
    statistics: Mapping[str, int | float] = field(default_factory=dict)
    writer_note: str | None = None

    @property
    def exit_status(self) -> int:
        s = self.settings
        return exit_status(s.mode, self.guest, self.findings, s.error_exitcode, s.strict)
