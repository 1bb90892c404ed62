# SPDX-License-Identifier: GPL-2.0-or-later
"""What processing elements of every architecture share: registers by name, the run loop, cached translations, page faults.

Errors cannot cross the engine's C frames: callbacks catch everything, `fail` keeps the first, and `run` raises it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, Literal

from fetchsan.errors import InternalError
from fetchsan.machine.engine import Engine
from fetchsan.machine.fill_table import FillTable
from fetchsan.machine.traps import TrapHandler

__all__ = ["PAGE", "PAGE_MASK", "Access", "EnginePE"]

Access = Literal["read", "write", "execute"]
PAGE = 4096
PAGE_MASK = ~(PAGE - 1)
_LOW_PAGE_MASK = 0xFFFF_F000
_FAULT_LIMIT = 100
"""How often one instruction may fault at one address, each time handled, before we call it a bug of ours."""
_ERR_EXCEPTION = 21


class EnginePE(ABC):
    """PE `index`: one engine and its run loop. Registers survive between runs; `root` is what its page walks start from."""

    def __init__(self, index: int, handler: TrapHandler, engine: Engine, *, user: bool) -> None:
        self.index = index
        self.handler = handler
        self.root = 0
        self.user = user
        self._fills = FillTable()
        self._error: BaseException | None = None
        self._fault: tuple[int, Access] | None = None
        self._stopping = False
        self._flush = False
        self._last_fault: tuple[int, int, str] | None = None
        self._same_fault = 0
        self._engine = engine

    # --- registers and control (machine.traps.ProcessingElement) ---------------------------------------------------------

    def get(self, register: str) -> int:
        """One register, as an unsigned integer."""
        return self._engine.get(register)

    def set(self, register: str, value: int) -> None:
        """Write one register; writing pc inside a trap continues there."""
        self._engine.set(register, value)

    def get_many(self, registers: Sequence[str]) -> list[int]:
        """Several registers in one call."""
        return self._engine.get_many(registers)

    def stop(self) -> None:
        """Ask run() to return; the current trap completes first."""
        self._stopping = True
        self._engine.stop()

    def interrupt(self) -> None:
        """Make the engine pause, from any thread: Python then handles its signals, and the run goes on."""
        self._engine.stop()

    def fail(self, error: BaseException) -> None:
        """Keep the first error and stop."""
        if self._error is None:
            self._error = error
        self.stop()

    def run(self, *, until_wait: bool = False) -> None:
        """Execute until stop(), with `until_wait` also until a WFI or HLT. Raises what fail() was given.

        Who runs PEs in turn gives the next one its turn then: to go on after waiting is no exception.
        """
        self._stopping = False
        engine = self._engine
        while True:
            if self._flush:
                self._flush = False
                engine.flush_tlb()
            self._fault = None
            code = engine.start(engine.pc())
            dealt_with = self._paused()
            self._raise_failure()
            if dealt_with:
                pass
            elif self._fault is not None:
                self._page_fault(*self._fault)
            elif code == _ERR_EXCEPTION:
                # The fill of a code removal failed, or an exception of a kind the engine does not announce.
                raise InternalError(f"unexplained engine exception at pc {engine.pc():#x}")
            elif code:
                raise InternalError(f"the engine stopped at pc {engine.pc():#x} with error {code}")
            elif not self._stopping and self._waits() and until_wait:
                return
            self._raise_failure()
            if self._stopping:
                return

    # --- translations ----------------------------------------------------------------------------------------------------

    def forget_pages(self, virtual: int, size: int) -> None:
        """The PTEs of [virtual, +size) changed: drop what was cached of them before the guest runs again."""
        self._fills.forget_pages(virtual, size)
        self._flush = True

    def forget_data(self) -> None:
        """Drop every cached data translation (a frame's stores must be seen from now on)."""
        self._fills.forget_data()
        self._flush = True

    def forget_all(self) -> None:
        """Drop every cached translation."""
        self._fills.forget_all()
        self._flush = True

    def _fill(self, _uc: Any, virtual: int, kind: int, result: Any, _data: Any) -> bool:
        """A TLB miss that the native table does not answer."""
        try:
            entry = self._translate(virtual, kind)
        except BaseException as error:
            self.fail(error)
            return False
        if not entry:
            return False
        result[0] = entry & _LOW_PAGE_MASK
        result[1] = entry >> 32
        result[2] = entry & 7
        return True

    def _ask_handler(self, virtual: int, access: Access) -> bool:
        """Give the kernel a page fault, which must not come back for ever. Whether the page is there now."""
        if not self.handler.page_fault(self, virtual, access):
            return False
        fault = (self._engine.pc(), virtual, access)
        self._same_fault = self._same_fault + 1 if fault == self._last_fault else 0
        self._last_fault = fault
        if self._same_fault > _FAULT_LIMIT:
            raise InternalError(f"the {access} fault at {virtual:#x} (pc {fault[0]:#x}) comes back although it was handled")
        return True

    def _raise_failure(self) -> None:
        if self._error is not None:
            error, self._error = self._error, None
            raise error

    # --- what each architecture does -------------------------------------------------------------------------------------

    @abstractmethod
    def _translate(self, virtual: int, kind: int) -> int:
        """Engine page | protection for a virtual page, or 0 with `_fault` set."""

    @abstractmethod
    def _page_fault(self, virtual: int, access: Access) -> None:
        """The run ended because `virtual` (a page, for data) has no usable translation."""

    @abstractmethod
    def _paused(self) -> bool:
        """The engine has come back, for whatever reason; whether that has been dealt with."""

    @abstractmethod
    def _waits(self) -> bool:
        """The engine came back without an error, and nobody stopped it: whether the guest waits for an interrupt."""
