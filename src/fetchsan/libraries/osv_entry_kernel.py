# SPDX-License-Identifier: GPL-2.0-or-later
"""OSv's kernel for a machine with libraries: its own linker loads them, against its own C library."""

from __future__ import annotations

from typing import Any

from fetchsan.kernel.exception_report import backtrace
from fetchsan.kernel.osv.runner import OsvRunner
from fetchsan.kernel.osv.thread import Aborted
from fetchsan.kernel.task import Exited
from fetchsan.libraries.convention import CONVENTIONS
from fetchsan.libraries.entry_kernel import Death, PrivateCall
from fetchsan.machine.traps import ProcessingElement

__all__ = ["OsvEntryKernel"]


class OsvEntryKernel(OsvRunner):
    """OSv's."""

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        super().__init__(*arguments, **keywords)
        self.private = PrivateCall()
        self._number = self.port.abi.calling.number
        self._pe: ProcessingElement | None = None

    @property
    def end_state(self) -> Exited | None:
        """How it exited, if it did."""
        end = self.ended
        return end if isinstance(end, Exited) else None

    @property
    def death(self) -> Death | None:
        """The exception that halted the machine, with the PE as it is since."""
        end = self.ended
        if not isinstance(end, Aborted) or self._pe is None:
            return None
        trace = backtrace(end.exception.pc, self._pe.get(CONVENTIONS[self.abi.name].frame), self.memory.read_u64)
        return Death(int(end.signal), end.exception, tuple(trace), end.report)

    def start(self, pe: ProcessingElement) -> None:
        self._pe = pe
        super().start(pe)

    def system_call(self, pe: ProcessingElement) -> None:
        if not self.private.is_made(pe, self._number):
            super().system_call(pe)
