# SPDX-License-Identifier: GPL-2.0-or-later
"""The osv-1100 scenario as it is told: plain text of 80 columns for pipes, a table on terminals, JSON for programs."""

from __future__ import annotations

import json as json_format
import sys
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, TextIO

from fetchsan.arch.aarch64.cpus import get_cpu
from fetchsan.errors import UsageError
from fetchsan.findings.json_report import finding_fields
from fetchsan.findings.text_report import Style, render_finding
from fetchsan.scenarios.osv_1100 import (
    A72,
    AFTER,
    BEFORE,
    FACES,
    FRESH,
    KERNELS,
    MACHINES,
    RECYCLED,
    Cell,
    Checked,
    Face,
    Kernel,
    SampledCell,
    check,
    objections,
    sampled,
    table,
    unlucky_run,
)
from fetchsan.scenarios.outcome import Outcome
from fetchsan.scenarios.silicon import DEFAULT_TRAFFIC, Silicon

__all__ = ["FORMAT_VERSION", "Story", "as_json", "play", "show"]

FORMAT_VERSION = 1
_WIDTH = 80
_LABEL, _COLUMN = 20, 20

_OPENING = """\
OSv issue #1100. The kernel's own linker maps an application; its text arrives page by page, in page faults, by stores of
the kernel. An instruction cache need not see these. Below, tst-hello.so and tst-other.so are loaded, run at EL1 and
unloaded by such a kernel; every cell is a run on a machine of its own, on the worst caches that its architecture allows."""

_UNLUCKY = """\
On silicon most lines leave the data cache by themselves before they are fetched. This run, before the patch, had that luck
for every line but one, the last to be fetched. It stopped as OSv stopped:"""

_FAR = """\
EC=0 does not write FAR_EL1: the address in it is that of the last page fault, which was served long ago and is innocent.
Seen through a debugger, which reads data, the instruction at PC is right."""

_PATCH = """\
The patch gives populate_vma(), which fills pages on a fault or eagerly, a last step: vma_invalidate_cache(), which on
AArch64, if the VMA is executable, cleans the range to the point of unification and invalidates it in the instruction caches
(DC CVAU, DSB, IC IVAU, DSB, ISB: __builtin___clear_cache). On x86-64, where the caches do this by themselves, it is empty."""


@dataclass(frozen=True, slots=True)
class Story:
    """All that was run."""

    cells: list[Cell]
    checks: list[Checked]
    unlucky: Outcome | None
    models: list[SampledCell]
    seed: int
    objections: list[str]

    def outcome(self, face: Face, kernel: Kernel, machine: str) -> Outcome:
        """The outcome in one cell."""
        return next(c.outcome for c in self.cells if c.face is face and c.kernel is kernel and c.machine.name == machine)


def play(*, samples: int | None, seed: int, hole: str | None, json: TextIO | None) -> int:
    """Run everything, print it, and return 0 if the contrast is there, else 1. Raises UsageError for a `hole`."""
    if hole is not None:
        raise UsageError("--hole: osv-1100 has none; they are osv-holes'")
    cells = table()
    checks = [check(face, kernel) for face in FACES for kernel in KERNELS]
    before = next(checked for checked in checks if checked.face is FRESH and checked.kernel is BEFORE)
    unlucky = unlucky_run(before) if before.lines else None
    models = [sampled(checked, samples, seed) for checked in checks] if samples else []
    story = Story(cells, checks, unlucky, models, seed, objections(cells, checks, unlucky))
    show(story, sys.stdout)
    if json is not None:
        json.write(as_json(story))
    for line in story.objections:
        print(f"fetchsan: osv-1100: the contrast is not there: {line}", file=sys.stderr)
    return 1 if story.objections else 0


def show(story: Story, stream: TextIO) -> None:
    """Print the story."""
    style = Style.of(stream)
    style = replace(style, width=min(style.width, _WIDTH))
    stream.write(_fill(_OPENING, style) + "\n\n")
    if stream.isatty():
        _rich_table(story, stream, style)
    else:
        stream.write("\n".join(_plain_table(story)) + "\n")
    stream.write("\n")
    stream.write("\n".join(_after_the_table(story, style)) + "\n")


def _after_the_table(story: Story, style: Style) -> Iterator[str]:
    old = next((c.outcome.output for c in story.cells if c.outcome.kind == "old-code"), "")
    if old:
        yield "The old code ran: what tst-other then prints"
        yield from textwrap.indent(old.rstrip("\n"), "  ").splitlines()
        good = story.outcome(RECYCLED, AFTER, A72.name).output
        yield "instead of"
        yield from textwrap.indent(good.rstrip("\n"), "  ").splitlines()
        yield ""
    if story.unlucky is not None and story.unlucky.abort is not None:
        yield "THE EXCEPTION"
        yield _fill(_UNLUCKY, style)
        yield ""
        yield from textwrap.indent(story.unlucky.abort.report.rstrip("\n"), "  ").splitlines()
        yield ""
        yield _fill(_FAR, style)
        yield ""
    yield "THE FINDING"
    yield from _finding(story.checks, style)
    yield ""
    yield "THE PATCH"
    yield _fill(_PATCH, style)
    if story.models:
        yield ""
        yield from _model(story, style)
    yield ""
    yield "The contrast is there." if not story.objections else "The contrast is NOT there:"
    yield from (f"  {objection}" for objection in story.objections)


def _finding(checks: list[Checked], style: Style) -> Iterator[str]:
    before = next(c for c in checks if c.kernel is BEFORE and c.face is FRESH)
    yield _fill("`check` mode needs no luck, bad or good. Before the patch, on a Cortex-A72:", style)
    yield ""
    if before.findings:
        first, *rest = before.findings
        yield render_finding(first, get_cpu(A72.cpu), style)
        if rest:
            lines = sum(finding.count for finding in before.findings)
            names = f"{rest[0].executed.symbol}() to {rest[-1].executed.symbol}()"
            yield _fill(f"... and {len(rest)} more, the same in {names}: {lines} lines in all.", style)
    yield ""
    for checked in checks:
        number = len(checked.findings)
        yield f"  {checked.face.name} frame, {checked.kernel.name}: {number or 'no'} finding{'' if number == 1 else 's'}"


def _model(story: Story, style: Style) -> Iterator[str]:
    silicon = Silicon.of(get_cpu(A72.cpu))
    runs = story.models[0].result.runs
    yield f"A MODEL OF SILICON (a model, not a measurement): {runs} runs, seed {story.seed}"
    traffic = DEFAULT_TRAFFIC
    yield _fill(
        f"Between the filling of a line and its first fetch {traffic.data} KiB pass through the data cache, between the two "
        f"applications {traffic.instructions} KiB through the instruction cache; both replace lines at random. So on a "
        f"Cortex-A72 a filled line reaches the point of unification in time with probability {silicon.evicted:.5f}, and an old "
        f"line is still in the instruction cache with probability {silicon.survives:.5f}. The lines are those that the runs "
        "above fetched; a run fails at its first stale one.",
        style,
    )
    yield ""
    for cell in story.models:
        result = cell.result
        what = f"{cell.face.name} frame, {cell.kernel.name}:"
        rate = f"{100 * result.rate:.1f} %" if result.failures else "0 %"
        places = f", at {result.places} of {cell.lines} lines" if result.failures else ""
        yield f"  {what:<34}{rate:>6} of runs fail{places}"


def _fill(text: str, style: Style) -> str:
    return "\n".join(textwrap.wrap(text, style.width, break_on_hyphens=False))


# The table ----------------------------------------------------------------------------------------------------------


def _plain_table(story: Story) -> Iterator[str]:
    heads = [textwrap.wrap(f"({machine.seen_as})", _COLUMN - 2) for machine in MACHINES]
    yield _row("", *(machine.name for machine in MACHINES))
    for number in range(max(map(len, heads))):
        yield _row("", *(head[number] if number < len(head) else "" for head in heads))
    for face in FACES:
        yield face.title
        for kernel in KERNELS:
            cells = (story.outcome(face, kernel, machine.name).text for machine in MACHINES)
            yield _row(f"  {kernel.name}", *cells)


def _row(label: str, *cells: str) -> str:
    return (label.ljust(_LABEL) + "".join(cell.ljust(_COLUMN) for cell in cells)).rstrip()


def _rich_table(story: Story, stream: TextIO, style: Style) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column("")
    for machine in MACHINES:
        table.add_column(f"{machine.name}\n({machine.seen_as})", max_width=_COLUMN)
    for face in FACES:
        table.add_section()
        table.add_row(Text(face.title, style="bold"))
        for kernel in KERNELS:
            outcomes = [story.outcome(face, kernel, machine.name) for machine in MACHINES]
            cells = (Text(o.text, style="green" if o.kind == "ok" else "bold red") for o in outcomes)
            table.add_row(Text(f"  {kernel.name}"), *cells)
    Console(file=stream, width=style.width, no_color=not style.colour, highlight=False).print(table)


# JSON ---------------------------------------------------------------------------------------------------------------


def as_json(story: Story) -> str:
    """Everything that was run, as JSON with a newline at its end."""
    report: dict[str, Any] = {
        "version": FORMAT_VERSION,
        "scenario": "osv-1100",
        "contrast": not story.objections,
        "objections": story.objections,
        "cells": [
            {
                "face": cell.face.name,
                "kernel": cell.kernel.name,
                "kernel_sync": cell.kernel.sync,
                "machine": cell.machine.name,
                "cpu": cell.machine.cpu,
                "mode": cell.machine.mode,
                "expected": cell.expected,
                **_outcome(cell.outcome),
            }
            for cell in story.cells
        ],
        "exception": _outcome(story.unlucky) if story.unlucky is not None else None,
        "checks": [
            {
                "face": checked.face.name,
                "kernel": checked.kernel.name,
                "kernel_sync": checked.kernel.sync,
                "lines": len(checked.lines),
                "findings": [finding_fields(finding) for finding in checked.findings],
            }
            for checked in story.checks
        ],
    }
    if story.models:
        silicon = Silicon.of(get_cpu(A72.cpu))
        report["samples"] = {
            "model": True,
            "seed": story.seed,
            "data_traffic_kib": DEFAULT_TRAFFIC.data,
            "instruction_traffic_kib": DEFAULT_TRAFFIC.instructions,
            "evicted": silicon.evicted,
            "survives": silicon.survives,
            "cells": [
                {
                    "face": cell.face.name,
                    "kernel": cell.kernel.name,
                    "lines": cell.lines,
                    "stale": cell.stale,
                    "runs": cell.result.runs,
                    "failures": cell.result.failures,
                    "rate": cell.result.rate,
                }
                for cell in story.models
            ],
        }
    return json_format.dumps(report, indent=2) + "\n"


def _outcome(outcome: Outcome) -> dict[str, Any]:
    fields: dict[str, Any] = {"outcome": outcome.kind, "text": outcome.text, "output": outcome.output}
    if outcome.abort is None:
        return fields | {"exit": outcome.exit}
    exception = outcome.abort.exception
    return fields | {
        "ec": exception.ec,
        "esr": f"0x{exception.esr:08x}",
        "far": f"{exception.far:#x}",
        "pc": f"{exception.pc:#x}",
        "report": outcome.abort.report,
    }
