# SPDX-License-Identifier: GPL-2.0-or-later
"""Maintenance that was issued and has not completed: each PE's pending sets, and which barrier lets what arrive.

The table of design section 2: a DC captures D when issued and arrives in U at a full DSB (a full DMB is enough for the
*other* PEs); an IC captures its PE's U when issued and arrives in I at a full DSB. DSB NSH completes for its own PE only.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from fetchsan.coherency.lines import Line, Numbers

__all__ = ["ALL_ALIASES", "Clean", "Invalidate", "Outstanding"]

ALL_ALIASES = -1
"""The `page` of an invalidate that reaches a line under every executing page (IC IALLU(IS), or a PIPT machine)."""


@dataclass(slots=True)
class Clean:
    """A DC in flight."""

    line: Line
    numbers: Numbers
    own: bool = False  # arrived in the issuer's U
    others: bool = False  # arrived in every other U


@dataclass(slots=True)
class Invalidate:
    """An IC in flight: what it captured of its PE's U, and whom it will reach."""

    line: Line
    page: int
    numbers: Numbers
    local: bool  # IC IALLU: the issuing PE only
    own: bool = False


@dataclass(slots=True)
class Outstanding:
    """One PE's pending sets."""

    cleans: list[Clean] = field(default_factory=list)
    invalidates: list[Invalidate] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.cleans or self.invalidates)

    def clear(self) -> None:
        """Reset of the PE (clause 13)."""
        self.cleans.clear()
        self.invalidates.clear()
