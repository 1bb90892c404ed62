# SPDX-License-Identifier: GPL-2.0-or-later
"""The kernel of a machine with libraries, and the private system call by which its guest comes back to Python."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from fetchsan.kernel.exception_report import backtrace
from fetchsan.kernel.kernel import Kernel
from fetchsan.kernel.signals import SignalInfo
from fetchsan.kernel.task import Signaled, Task
from fetchsan.libraries.convention import CONVENTIONS
from fetchsan.machine.traps import CPUException, ProcessingElement

__all__ = ["Death", "Entries", "EntryKernel", "PrivateCall"]

_PRIVATE_CALL = 0x0F5C_0000  # the host program's PRIVATE_CALL
_ENTRY_SIZE = 16


@dataclass(frozen=True, slots=True)
class Entries:
    """Where guest code makes the private call: to return from a call, and to call Python back."""

    returning: int
    callbacks: int
    callback_count: int

    def callback(self, pc: int) -> int | None:
        """The number of the callback whose code has `pc`; None: it is the returning one's. Raises ValueError."""
        if self.returning <= pc < self.returning + _ENTRY_SIZE:
            return None
        number = (pc - self.callbacks) // _ENTRY_SIZE
        if not 0 <= number < self.callback_count:
            raise ValueError
        return number

    def address(self, number: int) -> int:
        """What the guest calls for callback `number`."""
        return self.callbacks + number * _ENTRY_SIZE


@dataclass(frozen=True, slots=True)
class Death:
    """A fatal signal as it was met."""

    signal: int
    exception: CPUException | None
    backtrace: tuple[int, ...]
    report: str


class PrivateCall:
    """Stops the PE at the private call, which is no event for the caches: a call from Python is a branch like any other."""

    def __init__(self) -> None:
        self.entries: Entries | None = None
        """None until the host program has told them: its one private call before is right anywhere."""
        self.called: int | None = None
        """The callback that the guest is in, when it has stopped."""

    def is_made(self, pe: ProcessingElement, number: str) -> bool:
        """Whether that is what the PE asks for; then it is stopped. `number` is the register of the call's number."""
        if pe.get(number) != _PRIVATE_CALL:
            return False
        if self.entries is not None:
            try:
                self.called = self.entries.callback(pe.get("pc"))
            except ValueError:
                return False  # the program made the call itself
        pe.stop()
        return True


class EntryKernel(Kernel):
    """Linux's."""

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        super().__init__(*arguments, **keywords)
        self.private = PrivateCall()
        self.death: Death | None = None
        self._number = self.abi.calling.number

    def system_call(self, pe: ProcessingElement) -> None:
        if not self.private.is_made(pe, self._number):
            super().system_call(pe)

    def finish(self) -> None:
        """Close its files and write back what it stored to them."""
        self._finish(self.process)

    def kill(self, task: Task, info: SignalInfo) -> None:
        """A fatal signal, which whoever called will tell."""
        exception = info.exception
        pc = exception.pc if exception is not None else task.pe.get("pc")
        trace = backtrace(pc, task.pe.get(CONVENTIONS[self.abi.name].frame), task.memory.read_u64)
        report = self.abi.crash_report(task, info.signal, exception, self.symbolise) if exception is not None else ""
        self.death = Death(int(info.signal), exception, tuple(trace), report)
        self.end(Signaled(int(info.signal), exception))
