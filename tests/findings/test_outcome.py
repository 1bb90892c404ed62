# SPDX-License-Identifier: GPL-2.0-or-later
"""The exit status: a promise of docs/cli.md, as a table."""

from __future__ import annotations

import pytest

from fetchsan.findings.finding import Finding
from fetchsan.findings.outcome import GuestEnd, exit_status
from fetchsan.settings import Mode

from .samples import finding

NONE: list[Finding] = []
FULL = [finding()]
PREFETCH = [finding(prefetch_only=True)]
LATENT = [finding(latent=True)]
EXIT_0, EXIT_7 = GuestEnd(exit=0), GuestEnd(exit=7)
SIGILL = GuestEnd(signal=4, cause={"esr": 0x0200_0000})
SIGSEGV = GuestEnd(signal=11)
HALTED, INTERRUPTED = GuestEnd(halted=True), GuestEnd(interrupted=True)


@pytest.mark.parametrize(
    ("mode", "end", "findings", "error_exitcode", "strict", "status"),
    [
        ("check", EXIT_0, NONE, 66, False, 0),
        ("check", EXIT_7, NONE, 66, False, 7),
        ("check", GuestEnd(exit=256 + 3), NONE, 66, False, 3),
        ("check", SIGILL, NONE, 66, False, 132),
        ("check", SIGSEGV, NONE, 66, False, 139),
        ("check", EXIT_0, FULL, 66, False, 66),
        ("check", EXIT_7, FULL, 66, False, 66),
        ("check", SIGILL, FULL, 66, False, 66),
        ("check", EXIT_0, FULL, 9, False, 9),
        ("check", EXIT_7, FULL, 0, False, 7),
        ("check", SIGSEGV, FULL, 0, False, 139),
        ("check", EXIT_0, PREFETCH, 66, False, 0),
        ("check", EXIT_0, PREFETCH, 66, True, 66),
        ("check", EXIT_0, PREFETCH + FULL, 66, False, 66),
        ("check", EXIT_0, LATENT, 66, False, 0),
        ("check", EXIT_0, LATENT, 66, True, 66),
        ("check", HALTED, FULL, 66, False, 66),
        ("check", HALTED, FULL, 9, False, 9),
        ("check", HALTED, FULL, 0, False, 66),
        ("check", INTERRUPTED, FULL, 66, False, 130),
        ("check", INTERRUPTED, NONE, 66, False, 130),
        ("stale", SIGILL, NONE, 66, False, 132),
        ("stale", EXIT_7, NONE, 66, True, 7),
        ("coherent", EXIT_0, NONE, 66, False, 0),
    ],
)
def test_exit_status(
    mode: Mode, end: GuestEnd, findings: list[Finding], error_exitcode: int, strict: bool, status: int
) -> None:
    assert exit_status(mode, end, findings, error_exitcode, strict) == status


def test_a_guest_cannot_end_twice() -> None:
    with pytest.raises(ValueError, match="exactly one way"):
        GuestEnd(exit=0, signal=4)


def test_a_guest_must_end_somehow() -> None:
    with pytest.raises(ValueError, match="exactly one way"):
        GuestEnd()
