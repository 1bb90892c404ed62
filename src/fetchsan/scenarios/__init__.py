# SPDX-License-Identifier: GPL-2.0-or-later
"""Public bugs as scenarios: `run(name)` plays one before and after its fix on each machine, and says what it shows."""

from __future__ import annotations

import contextlib
from importlib import import_module
from pathlib import Path
from types import MappingProxyType
from typing import Protocol, TextIO, cast

from fetchsan.errors import UsageError

__all__ = ["NAMES", "run"]

NAMES = MappingProxyType(
    {
        "osv-1100": "OSv #1100: code loaded by page faults, executed from instruction caches that were never told",
        "osv-holes": "What OSv's patch for #1100 does not cover, each with its correction",
    }
)
"""Every scenario with its line of description."""

_MODULES = {"osv-1100": "fetchsan.scenarios.osv_1100_story", "osv-holes": "fetchsan.scenarios.osv_holes_story"}


class _Scenario(Protocol):
    def play(self, *, samples: int | None, seed: int, hole: str | None, json: TextIO | None) -> int:
        """Run, print to stdout, and return the exit status: 0 if the contrast is there."""


def run(
    name: str, *, samples: int | None = None, seed: int = 0, hole: str | None = None, json_path: Path | None = None
) -> int:
    """Play scenario `name`; the result is the exit status.

    `samples` also models so many runs on silicon, from `seed`; `hole` names a part of osv-holes; `json_path` gets the outcome
    as JSON. Raises UsageError for an unknown name, what the scenario does not have, or a file that cannot be written.
    """
    if name not in NAMES:
        raise UsageError(f"no scenario '{name}'; there is: {', '.join(NAMES)}")
    scenario = cast(_Scenario, import_module(_MODULES[name]))
    with contextlib.ExitStack() as stack:
        json = None
        if json_path is not None:
            try:
                json = stack.enter_context(json_path.open("w", encoding="utf-8"))
            except OSError as error:
                raise UsageError(f"--json: {json_path}: {(error.strerror or str(error)).lower()}") from None
        return scenario.play(samples=samples, seed=seed, hole=hole, json=json)
