# SPDX-License-Identifier: GPL-2.0-or-later
"""The JSON report (`--json`): format version 1, fixed in docs/cli.md. Fields are added, never renamed or removed."""

from __future__ import annotations

import json
from typing import Any

from fetchsan.findings.finding import Finding, LedgerStep, Writer
from fetchsan.findings.location import Location
from fetchsan.findings.outcome import GuestEnd, RunResult

__all__ = ["FORMAT_VERSION", "finding_fields", "render_json"]

FORMAT_VERSION = 1


def render_json(result: RunResult) -> str:
    """The report as text, with a newline at its end."""
    settings = result.settings
    report = {
        "version": FORMAT_VERSION,
        "program": list(result.program),
        "cpu": settings.cpu,
        "mode": settings.mode,
        "kernel_sync": settings.sync_policy,
        "seed": settings.seed,
        "exit_status": result.exit_status,
        "guest": _guest(result.guest),
        "findings": [finding_fields(finding) for finding in result.findings],
        "writer_note": result.writer_note,
        "statistics": dict(result.statistics),
    }
    return json.dumps(report, indent=2) + "\n"


def finding_fields(finding: Finding) -> dict[str, Any]:
    """One finding: words as disassemblers print them, addresses as hexadecimal strings."""
    return {
        "kind": str(finding.kind),
        "pe": finding.pe,
        "thread": finding.thread,
        "pc": f"{finding.pc:#x}",
        "physical": f"{finding.physical:#x}",
        "line": f"{finding.line:#x}",
        "stale": f"0x{finding.stale:08x}",
        "current": f"0x{finding.current:08x}",
        "stale_text": finding.stale_text,
        "current_text": finding.current_text,
        "executed": _location(finding.executed),
        "writer": _writer(finding.writer) if finding.writer is not None else None,
        "count": finding.count,
        "prefetch_only": finding.prefetch_only,
        "latent": finding.latent,
        "steps": [_step(step) for step in finding.steps],
    }


def _guest(end: GuestEnd) -> dict[str, Any]:
    if end.exit is not None:
        return {"exit": end.exit}
    if end.signal is not None:
        return {"signal": end.signal} | {name: f"0x{value:08x}" for name, value in end.cause.items()}
    return {"halted": True} if end.halted else {"interrupted": True}


def _location(location: Location) -> dict[str, Any]:
    return {
        "symbol": location.symbol,
        "offset": location.offset,
        "file": location.file,
        "line": location.line,
        "object": location.object,
    }


def _writer(writer: Writer) -> dict[str, Any]:
    place = _location(writer.location) if writer.location is not None else None
    return {
        "agent": writer.agent,
        "thread": writer.thread,
        "pc": _hex(writer.pc),
        **(place or dict.fromkeys(("symbol", "offset", "file", "line", "object"))),
    }


def _step(step: LedgerStep) -> dict[str, Any]:
    return {"step": step.step, "state": step.state, "pe": step.pe, "pc": _hex(step.pc)}


def _hex(value: int | None) -> str | None:
    return f"{value:#x}" if value is not None else None
