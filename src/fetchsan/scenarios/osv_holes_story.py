# SPDX-License-Identifier: GPL-2.0-or-later
"""Tells what `osv_holes` shows: the table of runs, what is missing and what corrects it, a report in full; or JSON."""

from __future__ import annotations

import json as json_format
import sys
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, TextIO

from fetchsan.arch.aarch64.cpus import get_cpu
from fetchsan.errors import UsageError
from fetchsan.findings.json_report import finding_fields
from fetchsan.findings.text_report import Style, render_finding
from fetchsan.scenarios.osv_holes import CPU, HOLES, MODES, X64, Cell, Hole, Place, objections, run_hole, told
from fetchsan.scenarios.outcome import EC0, OK, OLD_CODE

__all__ = ["FORMAT_VERSION", "PARTS", "Story", "as_json", "play", "play_all", "show"]

FORMAT_VERSION = 1
PARTS = tuple(dict.fromkeys(name for hole in HOLES for name in (hole.name[0], hole.name)))
"""What `--hole` takes: a letter, or one variant of it."""

_WIDTH = 80
_SHOWN = "b"  # the hole whose report is printed in full
_COLUMNS = (30, 16, 18, 10)

_OPENING = """\
OSv's patch of December 2020 synchronises a page of code when populate_vma() brings it in. That is where pages arrive, not
the only place where code changes. Each row below is an application that OSv's own linker loads on a Cortex-A72, with the
patch; "found" and "written by" are what `check` mode reports, "stale" is how the application ends on the worst caches that
the architecture allows, "fixed" how it ends there with the correction that is named further down."""

_CLOSING = """\
With coherent caches (QEMU TCG) every one of them is right, corrected or not; corrected, each is right and silent in all
three modes. On x86-64, where vma_invalidate_cache() is empty, the same applications, built for it, are right as they are."""

_NOT_ON_X64 = "(Not played there: c. Two zeros are an instruction of x86-64.)"

_PREFETCH = """\
(p) Only a prefetch could be stale: such findings are listed last and set no exit status without --strict."""

_ENDS = {OK: "right", EC0: "EC=0", OLD_CODE: "old code"}


@dataclass(frozen=True, slots=True)
class Story:
    """All that was run, for these holes."""

    holes: tuple[Hole, ...]
    cells: list[Cell]
    objections: list[str]

    def cell(self, hole: Hole, mode: Place, *, corrected: bool) -> Cell:
        """One run."""
        return next(c for c in self.cells if (c.hole, c.mode, c.corrected) == (hole, mode, corrected))


def play_all(holes: Sequence[Hole] = HOLES) -> Story:
    """Run every hole, as OSv is and corrected, in the three modes; and as OSv is on x86-64."""
    cells = [run_hole(hole, mode, corrected=corrected) for hole in holes for corrected in (False, True) for mode in MODES]
    cells += [run_hole(hole, X64, corrected=False) for hole in holes if hole.on_x64]
    return Story(tuple(holes), cells, objections(cells))


def play(*, samples: int | None, seed: int, hole: str | None, json: TextIO | None) -> int:
    """Run everything, or the holes that `hole` names; print it, and return 0 if every run is as declared, else 1.

    Raises UsageError for a hole that there is not. Nothing here is sampled.
    """
    if samples is not None:
        raise UsageError("--samples: osv-holes has no model of silicon; that is osv-1100's")
    if hole is not None and hole not in PARTS:
        raise UsageError(f"osv-holes has no hole '{hole}'; there is: {', '.join(PARTS)}")
    story = play_all([each for each in HOLES if each.name.startswith(hole or "")])
    show(story, sys.stdout, detail=hole is not None)
    if json is not None:
        json.write(as_json(story))
    for line in story.objections:
        print(f"fetchsan: osv-holes: {line}", file=sys.stderr)
    return 1 if story.objections else 0


def show(story: Story, stream: TextIO, *, detail: bool = False) -> None:
    """Print the story; `detail`: with every hole's report, not only one."""
    style = Style.of(stream)
    style = replace(style, width=min(style.width, _WIDTH))
    stream.write("\n".join(_lines(story, style, detail)) + "\n")


def _lines(story: Story, style: Style, detail: bool) -> Iterator[str]:
    yield from _fill(_OPENING, style)
    yield ""
    yield from _table(story)
    yield ""
    if any(_prefetch_only(story, hole) for hole in story.holes):
        yield from _fill(_PREFETCH, style)
    yield from _fill(_CLOSING, style)
    if any(not hole.on_x64 for hole in story.holes):
        yield from _fill(_NOT_ON_X64, style)
    for hole in story.holes:
        yield ""
        yield f"{hole.name}. {hole.title}"
        yield from _fill(hole.missing, style, "   Missing:   ")
        yield from _fill(hole.correction, style, "   Corrected: ")
    for hole in story.holes:
        if detail or hole.name == _SHOWN:
            yield ""
            yield f"THE FINDING in {hole.name}"
            for finding in story.cell(hole, "check", corrected=False).findings:
                yield render_finding(finding, get_cpu(CPU), style)
    yield ""
    number = len(story.cells)
    if not story.objections:
        yield f"All {number} runs are as declared."
        return
    yield f"Of {number} runs some are NOT as declared:"
    yield from (f"  {objection}" for objection in story.objections)


def _table(story: Story) -> Iterator[str]:
    yield _row("hole", "written by", "found", "stale", "fixed")
    for hole in story.holes:
        findings = story.cell(hole, "check", corrected=False).findings
        kind, _, who, _ = told(findings[0]) if findings else ("nothing", "", "", 0)
        note = " (p)" if _prefetch_only(story, hole) else ""
        ends = (_end(story.cell(hole, "stale", corrected=corrected)) for corrected in (False, True))
        yield _row(f"{hole.name:<3}{hole.title}", who, f"{kind}{note}", *ends)


def _row(*cells: str) -> str:
    return "".join(cell.ljust(width) for cell, width in zip(cells, (*_COLUMNS, 0), strict=True)).rstrip()


def _end(cell: Cell) -> str:
    return _ENDS.get(cell.outcome.kind, cell.outcome.text)


def _prefetch_only(story: Story, hole: Hole) -> bool:
    return any(finding.prefetch_only for finding in story.cell(hole, "check", corrected=False).findings)


def _fill(text: str, style: Style, first: str = "") -> list[str]:
    return textwrap.wrap(
        text, style.width, initial_indent=first, subsequent_indent=" " * len(first), break_on_hyphens=False
    )


def as_json(story: Story) -> str:
    """Everything that was run, as JSON with a newline at its end."""
    report: dict[str, Any] = {
        "version": FORMAT_VERSION,
        "scenario": "osv-holes",
        "cpu": CPU,
        "contrast": not story.objections,
        "objections": story.objections,
        "holes": [
            {
                "name": hole.name,
                "title": hole.title,
                "missing": hole.missing,
                "correction": hole.correction,
                "corrected_by": hole.corrected_by,
                "runs": [_run(cell) for cell in story.cells if cell.hole is hole],
            }
            for hole in story.holes
        ],
    }
    return json_format.dumps(report, indent=2) + "\n"


def _run(cell: Cell) -> dict[str, Any]:
    return {
        "corrected": cell.corrected,
        "mode": cell.mode,
        "outcome": cell.outcome.kind,
        "text": cell.outcome.text,
        "output": cell.outcome.output,
        "findings": [finding_fields(finding) for finding in cell.findings],
    }
