# SPDX-License-Identifier: GPL-2.0-or-later
"""Maintenance that was issued and has not completed: each PE's pending sets.

A later DC of the same line captured all that the earlier one did and completes no later, so it takes the earlier one's
place; an IC likewise. The sets are bounded by the lines there are.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from fetchsan.coherency.lines import Line, Numbers

__all__ = ["Clean", "Invalidate", "Outstanding"]


@dataclass(slots=True)
class Clean:
    """A DC in flight."""

    numbers: Numbers
    own: bool = False  # arrived in the issuer's U
    others: bool = False  # arrived in every other U


@dataclass(slots=True)
class Invalidate:
    """An IC in flight: what it captured of its PE's U (and of what that U would be without the kernel's own help)."""

    numbers: Numbers
    unaided: Numbers | None
    own: bool = False  # arrived in the issuer's I


@dataclass(slots=True)
class Outstanding:
    """One PE's pending sets. An IC is known by its line, the executing page it names, and whether it is local (IALLU)."""

    cleans: dict[Line, Clean] = field(default_factory=dict)
    invalidates: dict[tuple[Line, int, bool], Invalidate] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.cleans or self.invalidates)

    def clear(self) -> None:
        """All has arrived, or the PE was reset (clause 13)."""
        self.cleans.clear()
        self.invalidates.clear()

    def completed_for_issuer(self) -> None:
        """DSB NSH: what others still wait for remains."""
        self.cleans = {line: clean for line, clean in self.cleans.items() if not clean.others}
        self.invalidates = {key: invalidate for key, invalidate in self.invalidates.items() if not key[2]}

    def forget(self, line: Line) -> None:
        """The line's record is gone."""
        self.cleans.pop(line, None)
        for key in [key for key in self.invalidates if key[0] is line]:
            del self.invalidates[key]

    def numbers_of(self, line: Line) -> set[int]:
        """Stores of the line that are still on their way."""
        numbers: set[int] = set()
        if line in self.cleans:
            numbers.update(self.cleans[line].numbers)
        for (of, _, _), invalidate in self.invalidates.items():
            if of is line:
                numbers.update(invalidate.numbers, invalidate.unaided or ())
        return numbers
