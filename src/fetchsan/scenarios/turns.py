# SPDX-License-Identifier: GPL-2.0-or-later
"""An application's two threads on two PEs, in turn and always in the same way.

A turn lasts until the PE waits (WFI or HLT, with interrupts masked: no exception, so no context synchronisation event). With
`at_once` the other PE also gets a turn in the middle of the first's page faults: as soon as the PTE of a page of code can
be seen, which is before OSv synchronises the page.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from fetchsan.errors import InternalError
from fetchsan.kernel.osv import OsvKernel
from fetchsan.kernel.osv.thread import Thread
from fetchsan.machine.engine_pe import EnginePE

__all__ = ["Turns"]

_LIMIT = 1000
"""So many turns without an end are a deadlock of the two threads."""


class Turns:
    """`main` is ready to run the application's main(); `other` will run the exported function `entry`."""

    def __init__(self, kernel: OsvKernel, main: EnginePE, other: EnginePE, entry: str, *, at_once: bool) -> None:
        self._kernel = kernel
        self._main = main
        self._other = other
        self._entry = entry
        self._thread: Thread | None = None
        self._at_once = at_once
        if at_once:
            port = kernel.space.port

            def interleaved(*arguments: Any) -> None:
                self.code_is_mapped()
                port.vma_invalidate_cache(*arguments)

            kernel.space.port = replace(port, vma_invalidate_cache=interleaved)

    def run(self) -> None:
        """To the end of the application."""
        for _ in range(_LIMIT):
            self._main.run(until_wait=True)
            if not self._kernel.ended:
                self._give_turn()
            if self._kernel.ended:
                return
        raise InternalError("the two threads of an application wait for each other")

    def code_is_mapped(self) -> None:
        """A PTE of code has just been written: the other PE, if it has come to wait, need wait no longer."""
        if self._at_once and self._thread is not None and self._kernel.space.pe == self._main.index:
            self._give_turn()

    def _give_turn(self) -> None:
        if self._thread is None:  # begins with a context switch, hence with all that main() has loaded so far
            self._thread = self._kernel.start_thread(self._other, self._entry)
        if self._thread.over:
            return
        space = self._kernel.space
        interrupted, space.pe = space.pe, self._other.index
        self._other.run(until_wait=True)
        space.pe = interrupted
