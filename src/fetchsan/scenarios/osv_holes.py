# SPDX-License-Identifier: GPL-2.0-or-later
"""What OSv's patch of 2020 does not cover: each hole an application that falls into it, and what corrects it.

The patch synchronises a page of code when `populate_vma` brings it in. Code also changes afterwards, and elsewhere. Every
hole is played as OSv is ("osv") and corrected: by the kernel, which then synchronises where it should (the policy
"complete"), or by the application, which is given the option "corrected". Each in `check`, `stale` and `coherent` mode, and
as OSv is on x86-64, whose caches need nothing. Every cell is a run on a machine of its own. `osv_holes_story` tells what came
of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from fetchsan.arch.aarch64.cpus import get_cpu
from fetchsan.coherency.verdicts import Kind
from fetchsan.findings.finding import Finding
from fetchsan.kernel.options import SyncPolicy
from fetchsan.machine.machine import Mode
from fetchsan.machine.memory import FRAME_SIZE
from fetchsan.scenarios.life import Life
from fetchsan.scenarios.outcome import EC0, OK, OLD_CODE, Outcome, outcome

__all__ = ["CPU", "HOLES", "MODES", "X64", "Cell", "Hole", "Place", "objections", "run_hole", "told"]

CPU = "cortex-a72"
MODES: tuple[Mode, ...] = ("check", "stale", "coherent")
Place = Mode | Literal["x86-64"]
"""A mode of the Cortex-A72, or the other machine."""
X64: Literal["x86-64"] = "x86-64"
_PLUGIN = "tst-plugin.so"


@dataclass(frozen=True, slots=True)
class Hole:
    """One row. `missing` is what OSv lacks, `correction` what the corrected twin has; the rest is how to play it.

    `kind`, `executed`, `writer` and `pe` are what `check` mode must find, `stale` the outcome in `stale` mode, `right`
    everywhere else.
    """

    name: str
    title: str
    application: str
    kind: Kind
    executed: str
    writer: str
    stale: str
    corrected_by: Literal["kernel", "application"]
    missing: str
    correction: str
    arguments: tuple[str, ...] = ()
    thread: str | None = None
    at_once: bool = False
    right: str = OK
    on_x64: bool = True

    @property
    def pe(self) -> int:
        """Where the code is executed: on the second PE, if there is one."""
        return int(self.thread is not None)


@dataclass(frozen=True, slots=True)
class Cell:
    """One run. `findings` are those of `check` mode."""

    hole: Hole
    corrected: bool
    mode: Place
    outcome: Outcome
    findings: tuple[Finding, ...]


HOLES = (
    Hole(
        "a", "mprotect RW to RX", "tst-mprotect", Kind.MISSING_DC_CLEAN, "generated", "emit()", EC0, "application",
        "mprotect() edits the PTEs of resident pages and does not come past populate_vma(): nothing synchronises what was "
        "stored there before.",
        "The application synchronises after its stores, as on every AArch64 system (__builtin___clear_cache). A kernel could "
        "do it, too: Linux does when a page first gets an executable PTE.",
    ),
    Hole(
        "b", "text relocation", "tst-textrel", Kind.MISSING_DC_CLEAN, "relocated", "linker", OLD_CODE, "kernel",
        "With DT_TEXTREL the linker makes text writable. Its first store to a page faults the page in, populate_vma() "
        "synchronises it, and only then does the store happen.",
        "The linker synchronises the text of an object that it has relocated, before it makes it read-only again.",
    ),
    Hole(
        "c", ".bss in an rwx segment", "tst-bss-tail", Kind.MISSING_DC_CLEAN, "tail", "linker", OLD_CODE, "kernel",
        "Where a segment ends in the file, the linker zeroes the rest of the page: the page comes in, is synchronised, then "
        "zeroed. What follows in the file can still be executed; zeros would have stopped it (EC=0, here the right end).",
        "The linker synchronises executable segments after it has zeroed their ends.",
        right=EC0,
        on_x64=False,  # two zeros are an instruction there (ADD)
    ),
    Hole(
        "d1", "write(2) to mapped code", "tst-alias", Kind.MISSING_DC_CLEAN, "answer", "pwrite64(2)", OLD_CODE, "application",
        "Written data goes to the page cache, and the executable pages that map the file change with it. The page is there "
        "already, so no fault leads to populate_vma().",
        "The application synchronises the executable mapping after the call.",
        arguments=("write",),
    ),
    Hole(
        "d2", "store by a second mapping", "tst-alias", Kind.MISSING_DC_CLEAN, "answer", "patch()", OLD_CODE, "application",
        "The mapping that is stored through is not executable, so its faults synchronise nothing, and msync() only writes "
        "back. Only a page's first store unmaps it elsewhere; after that the executable mapping sees no fault.",
        "The application synchronises the executable mapping after its stores.",
        arguments=("mapping",),
    ),
    Hole(
        "e", "store to a shared rwx page", "tst-alias", Kind.MISSING_DC_CLEAN, "answer", "patch()", OLD_CODE, "application",
        "A page of a MAP_SHARED mapping is populated, and synchronised, when it is first fetched, and again in the write fault "
        "of the first store: before that store. Later stores do not even fault.",
        "The application synchronises after its stores.",
        arguments=("shared",),
    ),
    Hole(
        "f1", "2 PEs: fetch before sync", "tst-two-cpus", Kind.MISSING_DC_CLEAN, "service", "page-cache fill", EC0,
        "kernel",
        "populate_vma() writes the PTE first and synchronises then. In between, another PE that calls the same function takes "
        "no fault, and fetches what the patch was made against.",
        "The kernel synchronises the frame before it writes the PTE: Linux's order.",
        arguments=("arrive",), thread="call_service", at_once=True,
    ),
    Hole(
        "f2", "2 PEs: fetch after sync", "tst-two-cpus", Kind.MISSING_ISB, "service", "page-cache fill", EC0, "kernel",
        "DC and IC by address reach every PE; the ISB is local to the one that faulted. Another PE may have fetched ahead "
        "since the PTE was there, and it takes no exception of its own.",
        "The same order: what has no PTE yet cannot be fetched ahead.",
        arguments=("arrive",), thread="call_service",
    ),
    Hole(
        "f3", "2 PEs: patched by other", "tst-two-cpus", Kind.MISSING_ISB, "patched", "patch()", OLD_CODE,
        "application",
        "The application does all that one PE can do for another, __builtin___clear_cache; the ISB in it is its own. OSv has "
        "no call that synchronises the context of other PEs (Linux: membarrier, SYNC_CORE).",
        "The PE that executes the code does an ISB once it has been told of the change.",
        arguments=("patch",), thread="call_patched",
    ),
)  # fmt: skip
"""In the order of the letters; the digits tell variants of a hole apart."""


def run_hole(hole: Hole, mode: Place, *, corrected: bool) -> Cell:
    """One run, on a machine that was just switched on (and a second one, if the first did not see who wrote)."""
    cell, unseen = _run(hole, mode, corrected, frozenset())
    return _run(hole, mode, corrected, unseen)[0] if unseen else cell


def _run(hole: Hole, mode: Place, corrected: bool, tracked: frozenset[int]) -> tuple[Cell, frozenset[int]]:
    by_kernel = corrected and hole.corrected_by == "kernel"
    sync: SyncPolicy = "complete" if by_kernel else "osv"
    arguments = (*hole.arguments, "corrected") if corrected and not by_kernel else hole.arguments
    cpu, machine_mode = (get_cpu(CPU), mode) if mode != X64 else (None, MODES[0])
    with Life(cpu, machine_mode, sync, pes=hole.pe + 1, tracked=tracked) as machine:
        machine.add_file(_PLUGIN)
        end = outcome(
            machine, lambda: machine.run(hole.application, *arguments, thread=hole.thread, at_once=hole.at_once)
        )
        unseen = frozenset(hit.physical & -FRAME_SIZE for hit in machine.hits if hit.writer is None)
        return Cell(hole, corrected, mode, end, tuple(machine.findings())), unseen - tracked


def told(finding: Finding) -> tuple[Kind, str, str, int]:
    """What a finding says: its kind, what was executed, who wrote it, and on which PE."""
    writer = finding.writer
    if writer is None:
        who = "nobody seen"
    elif writer.agent != "guest":
        who = writer.agent
    else:
        who = f"{writer.location.symbol if writer.location is not None else None}()"
    return finding.kind, finding.executed.symbol or "", who, finding.pe


def objections(cells: Sequence[Cell]) -> list[str]:
    """What is not as declared, one line each; empty if every cell is."""
    return [f"{_name(cell)}: {objection}" for cell in cells for objection in _objections(cell)]


def _objections(cell: Cell) -> list[str]:
    hole = cell.hole
    expected = hole.stale if cell.mode == "stale" and not cell.corrected else hole.right
    found = [told(finding) for finding in cell.findings]
    due = [(hole.kind, hole.executed, hole.writer, hole.pe)] if cell.mode == "check" and not cell.corrected else []
    wrong = []
    if cell.outcome.kind != expected:
        wrong.append(f"{cell.outcome.text}, expected {expected}")
    elif expected == EC0 and f" {hole.executed}+0x0" not in cell.outcome.text:
        wrong.append(f"{cell.outcome.text}, expected at {hole.executed}")
    if found != due:
        wrong.append(f"found {_list(found)}, expected {_list(due)}")
    return wrong


def _list(found: Sequence[tuple[Kind, str, str, int]]) -> str:
    return "; ".join(f"{kind} in {executed}, written by {who}, on PE {pe}" for kind, executed, who, pe in found) or "nothing"


def _name(cell: Cell) -> str:
    place = X64 if cell.mode == X64 else f"{cell.mode} mode"
    return f"hole {cell.hole.name}, {'corrected' if cell.corrected else 'as OSv is'}, {place}"
