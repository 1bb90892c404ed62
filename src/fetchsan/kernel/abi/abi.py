# SPDX-License-Identifier: GPL-2.0-or-later
"""Owns `Abi`: everything in which the Linux ABIs of the ports differ, as one object that a kernel is made with.

One subclass a port, in `aarch64.py` and `x64.py`, of which a run imports only its own.
"""

from __future__ import annotations

import struct
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar, Protocol

from fetchsan.kernel.abi.calling import Calling
from fetchsan.kernel.abi.open_flags import OpenFlags
from fetchsan.kernel.mmu.layout import LinuxLayoutRules
from fetchsan.kernel.mmu.ports import Port
from fetchsan.kernel.syscalls.table import SYSCALLS, Syscall

if TYPE_CHECKING:
    from fetchsan.kernel.errors import GuestFault
    from fetchsan.kernel.exception_report import Symbolise
    from fetchsan.kernel.host import FileStat
    from fetchsan.kernel.mmu.linux_space import LinuxSpace
    from fetchsan.kernel.mmu.user_memory import UserMemory
    from fetchsan.kernel.signals import AlternateStack, SignalAction, SignalInfo
    from fetchsan.kernel.task import Task
    from fetchsan.machine.traps import CPUException, ProcessingElement

__all__ = ["Abi", "BadFrame", "Interrupted", "RestoredSignalState"]


class BadFrame(Exception):
    """rt_sigreturn was given something that is no signal frame; Linux answers with SIGSEGV."""


@dataclass(frozen=True, slots=True)
class RestoredSignalState:
    """What of a signal frame is no register: the mask, and the alternate stack (a stack_t)."""

    mask: int
    stack: bytes


class Interrupted(Protocol):
    """What a signal frame is made of: a thread, of a Linux process or of OSv's application."""

    @property
    def pe(self) -> ProcessingElement: ...
    @property
    def memory(self) -> UserMemory: ...
    @property
    def alternate_stack(self) -> AlternateStack: ...
    @property
    def trampoline(self) -> int:
        """Where a handler without a restorer returns to; 0: it needs one."""


class Abi(ABC):
    """The Linux ABI of one port. `pc` and `sp` are names of registers on every port."""

    name: ClassVar[str]
    """As reports call the architecture."""
    platform: ClassVar[str]
    """uname(2)'s machine and AT_PLATFORM."""
    elf_machine: ClassVar[int]
    port: ClassVar[Port]
    layout_rules: ClassVar[LinuxLayoutRules]

    calling: ClassVar[Calling]
    call_exception: ClassVar[int | None] = None
    """The exception that is a system call too."""

    entry_state: ClassVar[Mapping[str, int]]
    """Every register of a fresh program but pc and sp."""
    hwcap: int
    signal_frame_size: ClassVar[int]
    """AT_MINSIGSTKSZ."""
    least_alternate_stack: ClassVar[int]
    """MINSIGSTKSZ, below which sigaltstack(2) refuses."""
    red_zone: ClassVar[int]
    """Bytes below the stack pointer that belong to the program."""
    fault_address_exceptions: ClassVar[frozenset[int]]
    """The exceptions that write the register of the fault's address; the others leave an earlier fault's there."""

    open_flags: ClassVar[OpenFlags]
    epoll_event: ClassVar[struct.Struct]

    @cached_property
    def calls(self) -> dict[int, Syscall]:
        """The system calls that are implemented, by the port's number."""
        return {number: SYSCALLS[name] for number, name in self.calling.names.items() if name in SYSCALLS}

    @cached_property
    def call_entry(self) -> tuple[str, ...]:
        """The registers that say what is called (one tuple for all calls: the engine keeps a batch for each)."""
        return self.calling.entry

    @cached_property
    def result_position(self) -> int:
        """Which of `call_entry` the result overwrites, so that an interrupted call can be made again."""
        return self.call_entry.index(self.calling.result)

    # What /proc and /sys say of a processor.
    @abstractmethod
    def cpuinfo(self, number: int) -> str:
        """/proc/cpuinfo of one processor."""

    def identification(self) -> dict[str, str]:
        """/sys/devices/system/cpu/cpuN/regs/identification, by file name."""
        return {}

    @abstractmethod
    def pack_stat(self, st: FileStat) -> bytes:
        """struct stat."""

    def map_vdso(self, space: LinuxSpace, memory: UserMemory, pe: int) -> int:
        """Map what the kernel adds to every program; returns where a signal handler is to return to, if that is there."""
        return 0

    # Exceptions of the CPU.
    @abstractmethod
    def abort(self, fault: GuestFault, pc: int) -> CPUException:
        """The exception that the MMU would have raised."""

    @abstractmethod
    def signal_of(self, task: Task, exception: CPUException) -> SignalInfo:
        """What an exception is to a program."""

    @abstractmethod
    def cause(self, exception: CPUException) -> dict[str, int]:
        """An exception's numbers, as reports name them."""

    def emulate(self, task: Task, exception: CPUException) -> bool:
        """Do what the kernel does in the instruction's place, if it does; False: the exception becomes a signal."""
        return False

    @abstractmethod
    def crash_report(self, task: Task, signal: int, exception: CPUException, symbolise: Symbolise) -> str:
        """OSv's report of a fatal exception."""

    # Signal handlers. Static: nothing of a run's options is in a frame.
    @staticmethod
    @abstractmethod
    def push_frame(thread: Interrupted, info: SignalInfo, action: SignalAction, top: int, mask: int) -> None:
        """Write the frame below `top` and enter the handler. Raises GuestFault; then no register has changed."""

    @staticmethod
    @abstractmethod
    def pop_frame(thread: Interrupted) -> RestoredSignalState:
        """Put every register back from the frame that rt_sigreturn finds. Raises BadFrame or GuestFault."""
