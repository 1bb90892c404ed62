# SPDX-License-Identifier: GPL-2.0-or-later
"""Programs whose system calls are hard on the reports."""

from __future__ import annotations

from pathlib import Path

from e2e.command import build, fetchsan, finding_kinds, needs_compiler, report

pytestmark = needs_compiler


def test_a_finding_in_a_file_larger_than_memory(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    outcome = fetchsan("run", "--memory", "256M", "--json", path, build("sparse", tmp_path))
    assert (outcome.status, finding_kinds(path)) == (66, ["missing-dc-clean"])
    assert "sparse" in report(path)["findings"][0]["executed"]["object"]
