# SPDX-License-Identifier: GPL-2.0-or-later
"""Process and Task: what threads of one program share, and what each has of its own.

A process has one task for now; everything per thread (registers, signal mask, alternate stack) already lives in Task.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from fetchsan.kernel.limits import ResourceLimits
from fetchsan.kernel.mmu.maps import linux_maps
from fetchsan.kernel.signals import AlternateStack, PendingSignals, SignalAction
from fetchsan.kernel.timers import TimerTable
from fetchsan.machine.traps import CPUException, ProcessingElement

if TYPE_CHECKING:
    from fetchsan.kernel.kernel import Kernel
    from fetchsan.kernel.mmu.linux_space import LinuxSpace
    from fetchsan.kernel.mmu.user_memory import UserMemory
    from fetchsan.kernel.vfs.context import FileSystemContext
    from fetchsan.kernel.vfs.dentry import Dentry
    from fetchsan.kernel.vfs.fd_table import FdTable

__all__ = ["FIRST_PID", "PARENT_PID", "USER_ID", "Exited", "Process", "Signaled", "Task"]

# Fixed, so that two runs print the same. No host process has anything to do with them.
PARENT_PID = 999
FIRST_PID = 1000
USER_ID = 1000


@dataclass(frozen=True, slots=True)
class Exited:
    """The program called exit_group (or its last thread exit) with this status."""

    code: int

    @property
    def exit_status(self) -> int:
        """As a shell shows it."""
        return self.code


@dataclass(frozen=True, slots=True)
class Signaled:
    """The program died of a signal; `exception` is there if the CPU raised it."""

    signal: int
    exception: CPUException | None = None

    @property
    def exit_status(self) -> int:
        """As a shell shows it."""
        return 128 + self.signal


@dataclass(slots=True)
class Process:
    """What the threads of a program share."""

    kernel: Kernel
    pid: int
    space: LinuxSpace
    memory: UserMemory
    files: FdTable
    fs: FileSystemContext
    timers: TimerTable
    executable: Dentry  # what /proc/self/exe leads to
    limits: ResourceLimits
    argv: tuple[bytes, ...] = ()
    envp: tuple[bytes, ...] = ()
    auxv: bytes = b""
    actions: dict[int, SignalAction] = field(default_factory=dict)
    pending: PendingSignals = field(default_factory=PendingSignals)
    trampoline: int = 0  # where a signal handler returns to
    process_group: int = FIRST_PID
    session: int = PARENT_PID
    personality: int = 0
    dumpable: int = 1
    no_new_privileges: bool = False
    membarrier_registered: int = 0  # the expedited commands that the process has registered for
    tasks: list[Task] = field(default_factory=list)

    # What /proc shows (vfs.proc.ProcessView).
    @property
    def parent_pid(self) -> int:
        """getppid(2)."""
        return PARENT_PID

    @property
    def name(self) -> bytes:
        """The main thread's name (/proc/self/comm)."""
        return self.tasks[0].name

    @property
    def cmdline(self) -> bytes:
        """The arguments, each with its NUL."""
        return b"".join(string + b"\0" for string in self.argv)

    @property
    def environ(self) -> bytes:
        """The environment at the start, each string with its NUL."""
        return b"".join(string + b"\0" for string in self.envp)

    def maps(self) -> bytes:
        """/proc/self/maps."""
        return linux_maps(self.space).encode("utf-8", "surrogateescape")

    def thread_ids(self) -> list[int]:
        """/proc/self/task."""
        return [task.tid for task in self.tasks]

    def memory_usage(self) -> tuple[int, int]:
        """Bytes mapped and bytes resident."""
        return self.space.all_vmas_size(), self.space.resident_size()

    def descriptor_flags(self, fd: int) -> int:
        """The O_* flags of an open file, as the program has them."""
        return self.kernel.abi.open_flags.to_program(self.files.get(fd).flags)

    def cpu_ns(self) -> int:
        """CPU time used."""
        return self.kernel.clock.elapsed_ns

    def start_ns(self) -> int:
        """When it began, since boot."""
        return self.kernel.clock.uptime_at_start_ns


@dataclass(slots=True)
class Task:
    """One thread of the guest, running on one PE."""

    process: Process
    tid: int
    pe: ProcessingElement
    name: bytes = b""
    signal_mask: int = 0
    restored_mask: int | None = None  # what rt_sigsuspend puts back when the handler returns
    pending: PendingSignals = field(default_factory=PendingSignals)
    alternate_stack: AlternateStack = field(default_factory=AlternateStack)
    clear_child_tid: int = 0
    robust_list: tuple[int, int] = (0, 0)
    restart_value: int | None = None  # what to put into the result register to make an interrupted call again (SA_RESTART)

    @property
    def needs_attention(self) -> bool:
        """Whether the way back to the program leads through signal delivery."""
        return bool(
            self.pending.queue
            or self.process.pending.queue
            or self.restart_value is not None
            or self.restored_mask is not None
        )

    @property
    def trampoline(self) -> int:
        """Where a signal handler without a restorer returns to."""
        return self.process.trampoline

    # The names by which system calls reach what they need; attributes of the process would be one step more everywhere.
    @property
    def kernel(self) -> Kernel:
        """The kernel."""
        return self.process.kernel

    @property
    def pid(self) -> int:
        """The process's number (getpid(2))."""
        return self.process.pid

    @property
    def space(self) -> LinuxSpace:
        """The address space."""
        return self.process.space

    @property
    def memory(self) -> UserMemory:
        """The guest's memory, as the kernel reads and writes it."""
        return self.process.memory

    @property
    def files(self) -> FdTable:
        """Open file descriptors."""
        return self.process.files

    @property
    def fs(self) -> FileSystemContext:
        """Root, working directory and umask."""
        return self.process.fs
