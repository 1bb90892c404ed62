# SPDX-License-Identifier: GPL-2.0-or-later
"""How a run ended: the guest's end, and the exit status that `fetchsan run` makes of it and the findings."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from fetchsan.findings.finding import Finding
from fetchsan.settings import FINDINGS_EXIT_STATUS, Mode, RunSettings

__all__ = ["GuestEnd", "RunResult", "exit_status"]

_SIGNAL_BASE = 128  # what shells make of a death by signal
_SIGINT = 2


@dataclass(frozen=True, slots=True)
class GuestEnd:
    """The end of the guest: exactly one of `exit`, `signal`, `halted` (by --halt-on-error) and `interrupted` (Ctrl-C).

    `cause` goes with a signal that an exception of the CPU caused: `esr` on AArch64, `vector` and `error_code` on x86-64.
    """

    exit: int | None = None
    signal: int | None = None
    halted: bool = False
    interrupted: bool = False
    cause: Mapping[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if (self.exit is not None) + (self.signal is not None) + self.halted + self.interrupted != 1:
            raise ValueError("a guest ends in exactly one way")

    @property
    def status(self) -> int:
        """What a shell would call it."""
        if self.exit is not None:
            return self.exit & 0xFF
        if self.halted:
            return FINDINGS_EXIT_STATUS
        return _SIGNAL_BASE + (_SIGINT if self.signal is None else self.signal)


class RunResult(Protocol):
    """What the reports and the command need of a finished run; `fetchsan.api.Result` is one."""

    @property
    def program(self) -> Sequence[str]: ...
    @property
    def settings(self) -> RunSettings: ...
    @property
    def guest(self) -> GuestEnd: ...
    @property
    def exit_status(self) -> int: ...
    @property
    def findings(self) -> Sequence[Finding]: ...
    @property
    def statistics(self) -> Mapping[str, int | float]: ...
    @property
    def writer_note(self) -> str | None:
        """Why findings without a writer have none."""


def exit_status(
    mode: Mode,
    guest_end: GuestEnd,
    findings: Iterable[Finding],
    error_exitcode: int = FINDINGS_EXIT_STATUS,
    strict: bool = False,
) -> int:
    """The exit status of `fetchsan run` (docs/cli.md, "Exit status").

    An `error_exitcode` of 0 keeps the guest's own; a guest that --halt-on-error stopped has none, so 66 stands.
    """
    if guest_end.interrupted or mode != "check":
        return guest_end.status
    if any(strict or not finding.lenient for finding in findings):
        return error_exitcode or guest_end.status
    return guest_end.status
