# SPDX-License-Identifier: GPL-2.0-or-later
"""OSv issue #1100: kernels before and after the patch of December 2020, on three machines, in both faces of the bug.

1. A frame never cleaned. The first application since power-on is filled into frames of which the instruction side has
   seen nothing but power-on zeros. Zeros are undefined: EC=0.
2. A recycled frame. tst-hello runs well because, by luck, its lines were all evicted from the data cache before they were
   fetched, as in most runs on silicon; so the instruction cache holds its code. It exits, tst-other is loaded into the same
   frames, and luck is over: the old code runs. (Luck rather than a cleaning kernel, so that the kernel is one and the same
   throughout. After the patch it makes no difference.)

Every cell of the table is a run on a machine of its own. `osv_1100_story` tells what came of them.
"""

from __future__ import annotations

from dataclasses import dataclass

from fetchsan.arch.aarch64.cpus import get_cpu
from fetchsan.coherency.verdicts import Kind
from fetchsan.findings.finding import Finding
from fetchsan.kernel.mmu.page_cache import FILL
from fetchsan.kernel.options import SyncPolicy
from fetchsan.machine.machine import Mode
from fetchsan.scenarios.life import Eviction, Life, always, never
from fetchsan.scenarios.outcome import EC0, OK, OLD_CODE, Outcome, outcome
from fetchsan.scenarios.silicon import Sampled, Silicon, sample

__all__ = [
    "A72", "AFTER", "BEFORE", "FACES", "FRESH", "KERNELS", "MACHINES", "RECYCLED", "Cell", "Checked", "Face", "Kernel",
    "Platform", "SampledCell", "check", "objections", "play_face", "sampled", "table", "unlucky_run",
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Kernel:
    """One row of the table."""

    name: str
    sync: SyncPolicy


@dataclass(frozen=True, slots=True)
class Platform:
    """One column: a machine, and where one would meet it."""

    name: str
    seen_as: str
    cpu: str
    mode: Mode


@dataclass(frozen=True, slots=True)
class Face:
    """One face of the bug: what ran before (luckily), and the application whose outcome counts."""

    name: str
    title: str
    application: str
    before: str | None
    expected: str
    """The outcome before the patch, where the caches are not coherent."""


BEFORE, AFTER = KERNELS = (Kernel("before the patch", "none"), Kernel("after the patch", "osv"))
_, A72, _ = MACHINES = (
    Platform("coherent caches", "QEMU TCG", "cortex-a72", "coherent"),
    Platform("Cortex-A72", "Raspberry Pi 4: KVM, Firecracker", "cortex-a72", "stale"),
    Platform("Neoverse N1", "coherent I-cache, DIC=1", "neoverse-n1-coherent", "stale"),
)
FRESH, RECYCLED = FACES = (
    Face("fresh", "A frame never cleaned: the first application since power-on", "tst-hello", None, EC0),
    Face("recycled", "A recycled frame: tst-other, loaded where tst-hello was", "tst-other", "tst-hello", OLD_CODE),
)


@dataclass(frozen=True, slots=True)
class Cell:
    """One run of the table."""

    face: Face
    kernel: Kernel
    machine: Platform
    outcome: Outcome

    @property
    def expected(self) -> str:
        """The contrast: the bug shows before the patch on the machine that needs maintenance, and nowhere else."""
        return self.face.expected if self.kernel is BEFORE and self.machine is A72 else OK


@dataclass(frozen=True, slots=True)
class Checked:
    """A run in `check` mode: its findings, and the lines that were fetched while they might be stale, in that order."""

    face: Face
    kernel: Kernel
    findings: tuple[Finding, ...]
    lines: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class SampledCell:
    """What the model of silicon gives for one face and kernel, with what went into it."""

    face: Face
    kernel: Kernel
    lines: int
    stale: float
    result: Sampled


def play_face(machine: Life, face: Face, evicted: Eviction = never) -> Outcome:
    """Play `face` on a machine that was just switched on; returns how its last application ended."""
    if face.before is not None:
        before = face.before
        first = outcome(machine, lambda: machine.run(before, evicted=always))
        if first.kind != OK:
            return first  # shown in the table; the contrast is not there
    return outcome(machine, lambda: machine.run(face.application, evicted=evicted))


def table() -> list[Cell]:
    """Every cell is a run."""
    cells = []
    for face in FACES:
        for kernel in KERNELS:
            for platform in MACHINES:
                with Life(get_cpu(platform.cpu), platform.mode, kernel.sync) as machine:
                    cells.append(Cell(face, kernel, platform, play_face(machine, face)))
    return cells


def check(face: Face, kernel: Kernel) -> Checked:
    """The same life on a Cortex-A72 in `check` mode, where every stale-able fetch is reported and gets the new bytes."""
    with Life(get_cpu(A72.cpu), "check", kernel.sync) as machine:
        play_face(machine, face)
        return Checked(face, kernel, tuple(machine.findings()), tuple(hit.line for hit in machine.hits))


def unlucky_run(checked: Checked) -> Outcome:
    """The run of silicon that was hard to understand: all lines but the one fetched last were evicted in time.

    By then the application has run for a while and has taken other page faults, so FAR_EL1 holds the address of one of them.
    """
    with Life(get_cpu(A72.cpu), A72.mode, checked.kernel.sync) as machine:
        return play_face(machine, checked.face, lambda line: line != checked.lines[-1])


def sampled(checked: Checked, runs: int, seed: int) -> SampledCell:
    """The model of silicon over the lines that this very run fetched."""
    stale = Silicon.of(get_cpu(A72.cpu)).stale(recycled=checked.face.before is not None)
    lines = len(checked.lines)
    return SampledCell(checked.face, checked.kernel, lines, stale, sample(runs, lines, stale, f"{checked.face.name} {seed}"))


def objections(cells: list[Cell], checks: list[Checked], unlucky: Outcome | None) -> list[str]:
    """Why the contrast is not there; [] if it is."""
    found = [
        f"{cell.face.name} frame, {cell.kernel.name}, {cell.machine.name}: {cell.outcome.text}"
        for cell in cells
        if cell.outcome.kind != cell.expected
    ]
    for checked in checks:
        what = f"{checked.face.name} frame, {checked.kernel.name}, check mode"
        if checked.kernel is AFTER:
            if checked.findings:
                found.append(f"{what}: {len(checked.findings)} findings")
        elif not checked.findings:
            found.append(f"{what}: no finding")
        elif not all(_blames_populate(finding) for finding in checked.findings):
            found.append(f"{what}: a finding that does not name the page-cache fill in populate_vma and its DC CVAU")
    if unlucky is None or unlucky.kind != EC0:
        found.append("one line left behind: no exception with EC=0")
    return found


def _blames_populate(finding: Finding) -> bool:
    writer = finding.writer
    return finding.kind is Kind.MISSING_DC_CLEAN and writer is not None and writer.agent == FILL.agent
