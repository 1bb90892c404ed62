# SPDX-License-Identifier: GPL-2.0-or-later
"""Owns what the kernel knows of a running application: its threads, one on each PE, and how it may end."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from fetchsan.kernel.osv.dlfcn import DlStrings
from fetchsan.kernel.osv.guest_calls import Operation
from fetchsan.kernel.osv.ports import OsvPort
from fetchsan.kernel.signals import AlternateStack, SignalAction
from fetchsan.kernel.vfs.fd_table import FdTable
from fetchsan.machine.traps import CPUException, ProcessingElement

if TYPE_CHECKING:
    from fetchsan.kernel.linker.program import Loaded, Program
    from fetchsan.kernel.mmu.osv_space import OsvSpace
    from fetchsan.kernel.mmu.shm_file import ShmFile
    from fetchsan.kernel.mmu.user_memory import UserMemory
    from fetchsan.kernel.osv.kernel import OsvKernel

__all__ = ["Aborted", "Application", "Thread"]


@dataclass(frozen=True, slots=True)
class Aborted:
    """OSv halted: `report` is what it printed, `exception` the exception that it could not handle."""

    signal: int  # what it would be to an application of Linux
    exception: CPUException
    report: str


@dataclass(slots=True)
class Application:
    """What the threads of the application share. OSv keeps these for the whole machine: there is one application."""

    loaded: Loaded | None = None
    arguments: tuple[int, ...] = ()  # argc, argv, envp: what constructors and main() get
    strings: DlStrings = field(default_factory=DlStrings)
    mappings: list[tuple[int, int]] = field(default_factory=list)  # thread-local storage that the kernel made
    stacks: list[int] = field(default_factory=list)
    files: FdTable = field(default_factory=FdTable)
    actions: dict[int, SignalAction] = field(default_factory=dict)
    segments: dict[int, int] = field(default_factory=dict)  # System V shared memory: key -> descriptor
    attached: dict[int, ShmFile] = field(default_factory=dict)  # by address


@dataclass(slots=True)
class Thread:
    """One thread of the application, running on one PE."""

    kernel: OsvKernel
    pe: ProcessingElement
    entry: str = "main"  # the exported function that it began with
    over: bool = False
    signal_mask: int = 0
    alternate_stack: AlternateStack = field(default_factory=AlternateStack)
    operations: list[Operation] = field(default_factory=list)  # under way in the kernel, innermost last

    @property
    def port(self) -> OsvPort:
        """How this processor is programmed."""
        return self.kernel.port

    @property
    def program(self) -> Program:
        """The modules."""
        return self.kernel.program

    @property
    def thread_pointer(self) -> int:
        """TPIDR_EL0, or the base of FS."""
        return self.pe.get(self.port.thread_pointer)

    @property
    def trampoline(self) -> int:
        """Where a signal handler without a restorer returns to."""
        return self.kernel.port.signal_return

    # The names by which system calls reach what they need.
    @property
    def space(self) -> OsvSpace:
        """The address space."""
        return self.kernel.space

    @property
    def memory(self) -> UserMemory:
        """Memory as the kernel reads and writes it on the application's behalf."""
        return self.kernel.memory

    @property
    def application(self) -> Application:
        """The application."""
        return self.kernel.application

    @property
    def files(self) -> FdTable:
        """Open file descriptors."""
        return self.kernel.application.files
