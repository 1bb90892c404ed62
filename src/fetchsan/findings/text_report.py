# SPDX-License-Identifier: GPL-2.0-or-later
"""Findings as text, in the sanitizers' shape: a WARNING line, two stacks, the ledger of steps, a SUMMARY line.

Lines that tools parse (WARNING, stack frames, SUMMARY) are never wrapped; prose is, to the terminal's width. Plain ASCII.
"""

from __future__ import annotations

import contextlib
import os
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TextIO

from fetchsan.arch.aarch64.cpus import CpuProfile, get_cpu
from fetchsan.coherency.verdicts import StepState
from fetchsan.findings.finding import Finding, LedgerStep
from fetchsan.findings.hints import STEP_INSTRUCTIONS, hint
from fetchsan.findings.outcome import RunResult

__all__ = ["Style", "render_finding", "render_report"]

_DEFAULT_WIDTH = 80
_NARROWEST = 40
_WIDEST = 100  # longer lines are no easier to read

_STATE_WORDS: dict[StepState, str] = {
    "done": "[done]",
    "missing": "[MISSING]",
    "pending": "[pending]",
    "not-needed": "[not needed]",
}
_STATE_WIDTH = max(map(len, _STATE_WORDS.values()))
_COLOURS = {"warning": "1;31", "missing": "1;31", "done": "32", "summary": "1"}
_NO_WRITER = "the store was made before its page was watched"


@dataclass(frozen=True, slots=True)
class Style:
    """Where the text goes: how wide, and whether with colour."""

    width: int = _DEFAULT_WIDTH
    colour: bool = False

    @classmethod
    def of(cls, stream: TextIO, environ: Mapping[str, str] = os.environ) -> Style:
        """Colour only on a terminal and if NO_COLOR is unset or empty (no-color.org)."""
        if not stream.isatty():
            return cls()
        # This stream's, which shutil does not ask: with the guest's output redirected, stdout has none.
        width = int(columns) if (columns := environ.get("COLUMNS", "")).isdecimal() else 0
        if not width:
            with contextlib.suppress(OSError, ValueError):
                width = os.get_terminal_size(stream.fileno()).columns
        width = width or _DEFAULT_WIDTH
        return cls(max(_NARROWEST, min(width, _WIDEST)), not environ.get("NO_COLOR") and environ.get("TERM") != "dumb")

    def paint(self, text: str, role: str) -> str:
        return f"\x1b[{_COLOURS[role]}m{text}\x1b[0m" if self.colour and role in _COLOURS else text

    def wrap(self, text: str, first: str, rest: str | None = None) -> list[str]:
        """`text` after `first`, continued under `rest`."""
        indent = " " * len(first) if rest is None else rest
        return textwrap.wrap(
            text, self.width, initial_indent=first, subsequent_indent=indent, break_on_hyphens=False, break_long_words=False
        )


def render_report(result: RunResult, style: Style) -> str:
    """All findings and the line of totals; "" when there is nothing to say."""
    findings = result.findings
    if not findings:
        return ""
    cpu = get_cpu(result.settings.cpu)
    blocks = [render_finding(finding, cpu, style, result.writer_note) for finding in findings]
    return "\n\n".join([*blocks, _total(findings, result)]) + "\n"


def render_finding(finding: Finding, cpu: CpuProfile, style: Style, writer_note: str | None = None) -> str:
    """One finding, without a newline at its end."""
    lines = [style.paint(f"WARNING: FetchSan: {finding.kind} (pe {finding.pe}, thread {finding.thread})", "warning")]
    lines += _executed(finding, style)
    lines += _written(finding, style, writer_note)
    lines.append("  Steps since that store:")
    for step in finding.steps:
        lines += _step(step, style)
    lines += _cpu(cpu, style)
    lines += style.wrap(hint(finding), "  Hint: ")
    if finding.count > 1:
        lines += style.wrap(f"{finding.count} lines in all, written and executed in the same two places.", "  ")
    lines.append(style.paint(f"SUMMARY: FetchSan: {finding.kind} {finding.executed.summary}", "summary"))
    return "\n".join(lines)


def _executed(finding: Finding, style: Style) -> Iterator[str]:
    where = f"(line {finding.line:#x}, physical {finding.physical:#x})"
    yield from style.wrap(f"Executed {finding.pc:#x} {where}, where a fetch may return the old bytes:", "  ", "    ")
    yield f"    stale   {finding.stale:08x}  {finding.stale_text}"
    yield f"    current {finding.current:08x}  {finding.current_text}"
    yield f"    #0 {finding.executed.frame}"


def _written(finding: Finding, style: Style, note: str | None) -> Iterator[str]:
    writer = finding.writer
    if writer is None:
        yield from style.wrap(f"Written by: not known ({note or _NO_WRITER})", "  ", "    ")
        return
    by = f"thread {writer.thread}" if writer.agent == "guest" else f"{writer.agent}, for thread {writer.thread}"
    yield f"  Written by {by}{':' if writer.location is not None else ''}"
    if writer.location is not None:
        yield f"    #0 {writer.location.frame}"


def _step(step: LedgerStep, style: Style) -> list[str]:
    state = _STATE_WORDS[step.state].ljust(_STATE_WIDTH)
    text = f"{step.step.ljust(20)} {STEP_INSTRUCTIONS[step.step]}"
    if step.state == "missing":
        text += "  <-- needed"
    elif step.pe is not None:
        text += f"  pe {step.pe}"
        if step.location is not None:
            text += f", {step.location.brief}"
    lines = textwrap.wrap(
        text, max(_NARROWEST, style.width - _STATE_WIDTH - 5), subsequent_indent=" " * 21, break_on_hyphens=False,
        break_long_words=False, drop_whitespace=True, replace_whitespace=False,
    )
    marker = style.paint(state, step.state)
    return [f"    {marker} {lines[0]}", *(f"    {' ' * _STATE_WIDTH} {line}" for line in lines[1:])]


def _cpu(cpu: CpuProfile, style: Style) -> list[str]:
    said = cpu.advertised
    facts = (
        f"{cpu.name}: CTR_EL0 {cpu.ctr:#x}, IDC={said.idc:d} DIC={said.dic:d}, "
        f"lines of {said.dline} (data) and {said.iline} (instruction) bytes, {said.policy.name}"
    )
    if cpu.behaviour != said:
        facts += f"; its caches do IDC={cpu.idc:d} DIC={cpu.dic:d}, lines of {cpu.dline} and {cpu.iline} bytes"
    return style.wrap(facts, "  CPU: ")


def _total(findings: Sequence[Finding], result: RunResult) -> str:
    lines = sum(finding.count for finding in findings)
    lenient = sum(finding.lenient for finding in findings)
    text = f"FetchSan: {_plural(len(findings), 'finding')} ({_plural(lines, 'line')})"
    if lenient and not result.settings.strict:
        text += f", {lenient} of them prefetch-only"
    return f"{text}; exit status {result.exit_status}, seed {result.settings.seed}"


def _plural(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
