# SPDX-License-Identifier: GPL-2.0-or-later
"""The JSON report: every field of it is a promise."""

from __future__ import annotations

import json
from typing import Any

import pytest

from fetchsan.findings.finding import Writer
from fetchsan.findings.json_report import render_json
from fetchsan.findings.outcome import GuestEnd
from fetchsan.settings import RunSettings

from .samples import FinishedRun, finding


def report(run: FinishedRun) -> Any:
    return json.loads(render_json(run))


def test_the_head_of_a_report() -> None:
    run = FinishedRun(settings=RunSettings(cpu="neoverse-n1", seed=3), statistics={"instructions": 12})
    assert report(run) == {
        "version": 1,
        "program": ["demo", "arg"],
        "cpu": "neoverse-n1",
        "mode": "check",
        "kernel_sync": "linux",
        "seed": 3,
        "exit_status": 0,
        "guest": {"exit": 0},
        "findings": [],
        "writer_note": None,
        "statistics": {"instructions": 12},
    }


@pytest.mark.parametrize(
    ("end", "shown"),
    [
        (GuestEnd(exit=3), {"exit": 3}),
        (GuestEnd(signal=4, cause={"esr": 0x0200_0000}), {"signal": 4, "esr": "0x02000000"}),
        (GuestEnd(signal=15), {"signal": 15}),
        (GuestEnd(halted=True), {"halted": True}),
        (GuestEnd(interrupted=True), {"interrupted": True}),
    ],
)
def test_the_guest_s_end(end: GuestEnd, shown: dict[str, Any]) -> None:
    assert report(FinishedRun(guest=end))["guest"] == shown


def test_a_finding_field_by_field() -> None:
    [shown] = report(FinishedRun([finding()]))["findings"]
    steps = shown.pop("steps")
    assert shown == {
        "kind": "missing-ic-invalidate",
        "pe": 0,
        "thread": 1,
        "pc": "0x10000040",
        "physical": "0x40012040",
        "line": "0x10000040",
        "stale": "0x52800020",
        "current": "0x52800040",
        "stale_text": "mov w0, #1",
        "current_text": "mov w0, #2",
        "executed": {
            "symbol": None, "offset": 64, "file": None, "line": None, "object": "anonymous RWX mapping at 0x10000000",
        },
        "writer": {
            "agent": "guest", "thread": 1, "pc": "0x401920",
            "symbol": "emit", "offset": 32, "file": None, "line": None, "object": "/guest/demo",
        },
        "count": 1,
        "prefetch_only": False,
        "latent": False,
    }
    assert steps[0] == {"step": "dc-clean", "state": "done", "pe": 0, "pc": "0x401930"}
    assert steps[2] == {"step": "ic-invalidate", "state": "missing", "pe": None, "pc": None}


def test_words_keep_their_leading_zeros() -> None:
    assert report(FinishedRun([finding(stale=0)]))["findings"][0]["stale"] == "0x00000000"


def test_an_unknown_writer_is_null() -> None:
    assert report(FinishedRun([finding(writer=None)]))["findings"][0]["writer"] is None


def test_a_writer_without_a_place_has_null_places() -> None:
    writer = report(FinishedRun([finding(writer=Writer("linker", 1, None, None))]))["findings"][0]["writer"]
    assert (writer["agent"], writer["pc"], writer["symbol"], writer["object"]) == ("linker", None, None, None)


def test_auto_is_shown_as_what_it_meant() -> None:
    assert report(FinishedRun(settings=RunSettings(kernel_sync="none")))["kernel_sync"] == "none"
