# SPDX-License-Identifier: GPL-2.0-or-later
"""How an application of a scenario ended, in the words that tables use.

The applications agree on their exit status: 0 if all went right, 1 if other code ran than memory holds.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from fetchsan.arch.aarch64.esr import ExceptionClass, unknown_reason
from fetchsan.kernel.osv import Aborted
from fetchsan.kernel.task import Exited
from fetchsan.scenarios.life import Life

__all__ = ["EC0", "OK", "OLD_CODE", "OTHER", "Outcome", "outcome"]

OK, EC0, OLD_CODE, OTHER = "ok", "ec0", "old-code", "other"
_BY_STATUS = {0: (OK, "ok"), 1: (OLD_CODE, "the old code ran")}


@dataclass(frozen=True, slots=True)
class Outcome:
    """How an application ended: `kind` is "ok", "ec0", "old-code" or "other", `text` what a table shows."""

    kind: str
    text: str
    output: str
    exit: int | None = None
    abort: Aborted | None = None


def outcome(machine: Life, run: Callable[[], Exited | Aborted]) -> Outcome:
    """Run one application on `machine` and say how it ended."""
    printed = len(machine.console)
    end = run()
    output = machine.console[printed:]
    if isinstance(end, Aborted):
        ec = end.exception.ec
        place = machine.locate(end.exception.pc)
        where = f"{place.symbol}+{place.offset:#x}" if place.symbol is not None else f"{end.exception.pc:#x}"
        undefined = ec == ExceptionClass.UNKNOWN and end.exception.esr == unknown_reason()
        return Outcome(EC0 if undefined else OTHER, f"EC={hex(ec) if ec else 0} at {where}", output, abort=end)
    kind, text = _BY_STATUS.get(end.code, (OTHER, f"exit status {end.code}"))
    return Outcome(kind, text, output, exit=end.code)
