# SPDX-License-Identifier: GPL-2.0-or-later
"""The reproduction of OSv #1100: every cell, the exception, the findings, and what it says when the contrast is gone."""

from __future__ import annotations

import dataclasses
import io
import json
import re
from pathlib import Path

import pytest

from fetchsan import scenarios
from fetchsan.cli.main import main
from fetchsan.errors import UsageError
from fetchsan.kernel.mmu import populate
from fetchsan.scenarios import osv_1100, osv_1100_story
from fetchsan.scenarios.osv_1100 import A72, AFTER, BEFORE, FACES, FRESH, RECYCLED, Cell
from fetchsan.scenarios.outcome import Outcome


@pytest.fixture(scope="module")
def cells() -> list[Cell]:
    return osv_1100.table()


def cell(cells: list[Cell], face: osv_1100.Face, kernel: osv_1100.Kernel, machine: osv_1100.Platform) -> Outcome:
    (found,) = [c.outcome for c in cells if (c.face, c.kernel, c.machine) == (face, kernel, machine)]
    return found


def test_every_kernel_meets_every_machine_in_both_faces(cells: list[Cell]) -> None:
    assert len({(c.face.name, c.kernel.name, c.machine.name) for c in cells}) == 2 * 2 * 3


def test_a_frame_never_cleaned_is_undefined_at_the_first_instruction(cells: list[Cell]) -> None:
    outcome = cell(cells, FRESH, BEFORE, A72)
    assert outcome.abort is not None
    assert (outcome.abort.exception.esr, outcome.text) == (0x0200_0000, "EC=0 at main+0x0")


def test_a_recycled_frame_runs_the_old_program(cells: list[Cell]) -> None:
    stale, fresh = cell(cells, RECYCLED, BEFORE, A72), cell(cells, FRESH, AFTER, A72)
    checksum = fresh.output.rpartition(" ")[2]
    assert stale.output == f"tst-other: the code of another program ran, checksum {checksum}"


def test_all_other_cells_are_ok(cells: list[Cell]) -> None:
    others = [c.outcome.kind for c in cells if not (c.kernel is BEFORE and c.machine is A72)]
    assert others == ["ok"] * 10


@pytest.mark.parametrize("face", FACES, ids=lambda face: face.name)
def test_before_the_patch_each_finding_blames_the_fill_in_populate_vma(face: osv_1100.Face) -> None:
    findings = osv_1100.check(face, BEFORE).findings
    blamed = {(str(f.kind), f.writer.agent if f.writer else None, f.steps[0].state) for f in findings}
    assert blamed == {("missing-dc-clean", "page-cache fill", "missing")}


def test_a_stale_word_of_a_recycled_frame_is_the_other_programs() -> None:
    first = osv_1100.check(RECYCLED, BEFORE).findings[0]
    # The two applications differ in the constants of their MOVZ.
    assert first.stale != first.current and first.stale_text.startswith("mov x1, #")


@pytest.mark.parametrize("face", FACES, ids=lambda face: face.name)
def test_after_the_patch_there_is_no_finding(face: osv_1100.Face) -> None:
    assert osv_1100.check(face, AFTER).findings == ()


def test_one_line_left_behind_is_enough_and_far_is_another_faults_address() -> None:
    outcome = osv_1100.unlucky_run(osv_1100.check(FRESH, BEFORE))
    assert outcome.abort is not None
    exception = outcome.abort.exception
    assert (exception.ec, exception.esr, exception.far) == (0, 0x0200_0000, 0x1000_0000_6068)
    assert exception.pc == 0x1000_0000_10C0


def play(capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    status = osv_1100_story.play(samples=None, seed=0, hole=None, json=None)
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def test_the_story_fits_80_columns_and_is_not_coloured(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = play(capsys)
    assert (status, max(map(len, out.splitlines())) <= 80, "\x1b" in out) == (0, True, False)


def test_a_kernel_whose_patch_does_nothing_loses_the_contrast(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(populate, "vma_invalidate_cache", lambda *arguments: None)
    status, out, err = play(capsys)
    assert (status, "The contrast is NOT there" in out) == (1, True)
    assert "fetchsan: osv-1100: the contrast is not there: fresh frame, after the patch, Cortex-A72: EC=0" in err


def test_a_kernel_that_never_had_the_bug_loses_the_contrast(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    patched = dataclasses.replace(BEFORE, sync="osv")
    monkeypatch.setattr(osv_1100, "KERNELS", (patched, AFTER))
    monkeypatch.setattr(osv_1100, "BEFORE", patched)
    monkeypatch.setattr(osv_1100_story, "KERNELS", (patched, AFTER))
    monkeypatch.setattr(osv_1100_story, "BEFORE", patched)
    status, _, err = play(capsys)
    assert (status, "fresh frame, before the patch, check mode: no finding" in err) == (1, True)


def test_a_terminal_gets_a_table(monkeypatch: pytest.MonkeyPatch, cells: list[Cell]) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("NO_COLOR", "1")
    screen = Terminal()
    osv_1100_story.show(osv_1100_story.Story(cells, [osv_1100.check(FRESH, BEFORE)], None, [], 0, []), screen)
    shown = re.sub(r"\x1b\[[0-9;]*m", "", screen.getvalue())
    assert "───" in shown and max(map(len, shown.splitlines())) <= 80


def test_the_command_writes_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "report.json"
    assert main(["repro", "osv-1100", "--samples", "100", "--seed", "3", "--json", str(path)]) == 0
    report = json.loads(path.read_text())
    assert (report["contrast"], len(report["cells"]), len(report["checks"]), report["samples"]["seed"]) == (True, 12, 4, 3)
    assert report["exception"]["esr"] == "0x02000000"



def test_an_unknown_scenario_is_bad_usage_that_lists_all() -> None:
    with pytest.raises(UsageError, match="no scenario 'osv-1101'; there is: osv-1100, osv-holes"):
        scenarios.run("osv-1101")


def test_a_json_file_that_cannot_be_written_is_bad_usage(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"--json: .*: no such file or directory"):
        scenarios.run("osv-1100", json_path=tmp_path / "missing" / "x")
