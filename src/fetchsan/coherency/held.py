# SPDX-License-Identifier: GPL-2.0-or-later
"""Hits that clause 6 holds back: old-or-new is legal for exempt opcodes, as long as the new one is on its way.

A held hit is dropped when its store reaches I of the PE that executed it, and due when the slot is stored again, its
frame is freed or the run ends first.
"""

from __future__ import annotations

from collections.abc import Callable

from fetchsan.coherency.lines import Line
from fetchsan.coherency.verdicts import Judgement

__all__ = ["HeldHits"]


class HeldHits:
    """All held hits; `due` is called with each that must be reported after all."""

    def __init__(self, due: Callable[[Judgement], None]) -> None:
        self._due = due
        self._held: dict[Line, list[tuple[Judgement, int]]] = {}  # with the executing page

    def hold(self, line: Line, judgement: Judgement, page: int) -> None:
        """The fetch was legal if its store arrives."""
        self._held.setdefault(line, []).append((judgement, page))

    def arrived(self, pe: int, line: Line) -> None:
        """Something reached I of `pe`: drop what waited for it."""
        if line in self._held:
            self._keep(line, lambda hit, page: hit.pe != pe or line.side(pe, page).cached[hit.slot] < hit.number)

    def stored(self, line: Line, slots: int) -> None:
        """The slots of the bit mask were stored again: the old store never arrived alone."""
        if line in self._held:
            for hit in self._keep(line, lambda hit, _: not slots >> hit.slot & 1):
                self._due(hit)

    def release(self, line: Line) -> None:
        """The line's frame is freed: no maintenance can follow."""
        for hit, _ in self._held.pop(line, ()):
            self._due(hit)

    def release_all(self) -> None:
        """The run ends."""
        for line in list(self._held):
            self.release(line)

    def _keep(self, line: Line, wanted: Callable[[Judgement, int], bool]) -> list[Judgement]:
        held = self._held.pop(line)
        keep = [(hit, page) for hit, page in held if wanted(hit, page)]
        if keep:
            self._held[line] = keep
        return [hit for hit, page in held if (hit, page) not in keep]
