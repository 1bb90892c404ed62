# SPDX-License-Identifier: GPL-2.0-or-later
"""What the patch of 2020 leaves open: every run of every hole, the story, and what it says when a run is not as declared."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from fetchsan import scenarios
from fetchsan.arch.aarch64.cpus import get_cpu
from fetchsan.cli.main import main
from fetchsan.errors import InternalError, UsageError
from fetchsan.kernel.mmu import sync
from fetchsan.scenarios import osv_holes_story
from fetchsan.scenarios.life import Life
from fetchsan.scenarios.osv_holes import CPU, HOLES, MODES, X64, Hole, objections, run_hole, told

BY_NAME = {hole.name: hole for hole in HOLES}
holes = pytest.mark.parametrize("hole", HOLES, ids=lambda hole: hole.name)


@holes
def test_check_finds_the_hole_and_names_who_wrote(hole: Hole) -> None:
    cell = run_hole(hole, "check", corrected=False)
    assert [told(finding) for finding in cell.findings] == [(hole.kind, hole.executed, hole.writer, hole.pe)]


@holes
def test_the_worst_machine_falls_into_it(hole: Hole) -> None:
    assert run_hole(hole, "stale", corrected=False).outcome.kind == hole.stale != hole.right


@holes
def test_coherent_caches_never_show_it(hole: Hole) -> None:
    assert run_hole(hole, "coherent", corrected=False).outcome.kind == hole.right


@pytest.mark.parametrize("mode", MODES)
@holes
def test_the_corrected_twin_is_right_and_silent(hole: Hole, mode: str) -> None:
    cell = run_hole(hole, mode, corrected=True)  # type: ignore[arg-type]
    assert (cell.outcome.kind, cell.findings) == (hole.right, ())


@pytest.mark.parametrize("hole", [hole for hole in HOLES if hole.on_x64], ids=lambda hole: hole.name)
def test_x86_64_needs_nothing(hole: Hole) -> None:
    cell = run_hole(hole, X64, corrected=False)
    assert (cell.outcome.kind, cell.findings) == (hole.right, ())


def test_every_hole_is_there() -> None:
    assert "".join(dict.fromkeys(hole.name[0] for hole in HOLES)) == "abcdef"


def test_a_second_pe_that_only_prefetched_is_told_apart() -> None:
    found = {hole.name: run_hole(hole, "check", corrected=False).findings[0].prefetch_only for hole in HOLES}
    assert [name for name, prefetch_only in found.items() if prefetch_only] == ["f2"]


def test_runs_are_the_same_every_time() -> None:
    assert run_hole(BY_NAME["f1"], "check", corrected=False) == run_hole(BY_NAME["f1"], "check", corrected=False)


def test_two_threads_that_wait_for_each_other_are_an_error() -> None:
    with Life(get_cpu(CPU), "check", "osv", pes=2) as machine, pytest.raises(InternalError, match="wait for each other"):
        machine.run("tst-two-cpus", "patch", thread="call_service")


def play(capsys: pytest.CaptureFixture[str], hole: str | None = None) -> tuple[int, str, str]:
    status = osv_holes_story.play(samples=None, seed=0, hole=hole, json=None)
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def test_the_story_fits_80_columns(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, err = play(capsys)
    assert (status, max(map(len, out.splitlines())) <= 80, err) == (0, True, "")
    assert out.endswith("All 62 runs are as declared.\n")


def test_one_hole_is_told_with_its_own_report(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = play(capsys, "d")
    assert (status, out.count("WARNING: FetchSan"), "THE FINDING in d2" in out) == (0, 2, True)
    assert out.endswith("All 14 runs are as declared.\n")


def test_a_kernel_without_the_patch_is_not_as_declared(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sync.SYNC_POLICIES, "osv", dataclasses.replace(sync.SYNC_POLICIES["osv"], at_populate=False))
    status, out, err = play(capsys, "e")
    assert (status, "some are NOT as declared" in out) == (1, True)
    assert "fetchsan: osv-holes: hole e, as OSv is, check mode: found " in err


def test_a_correction_that_corrects_nothing_is_not_as_declared(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sync.SYNC_POLICIES, "complete", sync.SYNC_POLICIES["osv"])
    status, _, err = play(capsys, "b")
    assert (status, "hole b, corrected, stale mode: the old code ran, expected ok" in err) == (1, True)


def test_the_right_end_in_the_wrong_place_is_not_as_declared() -> None:
    cell = run_hole(BY_NAME["c"], "coherent", corrected=False)
    elsewhere = dataclasses.replace(cell, outcome=dataclasses.replace(cell.outcome, text="EC=0 at main+0x8"))
    assert (objections([cell]), objections([elsewhere])) == (
        [], ["hole c, as OSv is, coherent mode: EC=0 at main+0x8, expected at tail"],
    )  # fmt: skip


def test_the_command_writes_json(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    assert main(["repro", "osv-holes", "--hole", "b", "--json", str(path)]) == 0
    report = json.loads(path.read_text())
    (hole,) = report["holes"]
    assert (report["contrast"], hole["name"], len(hole["runs"])) == (True, "b", 7)
    assert hole["runs"][0]["findings"][0]["writer"]["agent"] == "linker"


def test_a_hole_that_is_not_there_is_bad_usage_that_lists_all() -> None:
    with pytest.raises(UsageError, match="no hole 'g'; there is: a, b, c, d, d1, d2, e, f, f1, f2, f3"):
        scenarios.run("osv-holes", hole="g")


@pytest.mark.parametrize(("name", "wrong"), [("osv-1100", {"hole": "a"}), ("osv-holes", {"samples": 5})])
def test_what_a_scenario_does_not_have_is_bad_usage(name: str, wrong: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        scenarios.run(name, **wrong)  # type: ignore[arg-type]


def test_the_command_lists_all_scenarios(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["repro", "--list"]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == list(scenarios.NAMES)
