# SPDX-License-Identifier: GPL-2.0-or-later
"""Findings: hits merged by place, named, told as text and JSON, and the exit status they make."""

from __future__ import annotations

from fetchsan.findings.collector import Collector
from fetchsan.findings.finding import Finding, LedgerStep, Writer
from fetchsan.findings.location import Location
from fetchsan.findings.outcome import GuestEnd, RunResult, exit_status
from fetchsan.findings.symbols import MappedRange, Symboliser

__all__ = [
    "Collector",
    "Finding",
    "GuestEnd",
    "LedgerStep",
    "Location",
    "MappedRange",
    "RunResult",
    "Symboliser",
    "Writer",
    "exit_status",
]
