# SPDX-License-Identifier: GPL-2.0-or-later
"""The Kernel: one run of one program under the Linux ABI, and the doors through which the machine reaches it.

kernel = Kernel(machine, options, host=Host(), abi=Aarch64Abi(get_cpu("cortex-a72")))
kernel.start(machine.pe(0))      # loads the program; NotExecutableError, ProgramNotFoundError
end = kernel.run()               # Exited or Signaled
kernel.close()                   # after the reports, which still look into the address space
"""

from __future__ import annotations

import os
import random
import sys
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Literal

from fetchsan.errors import InternalError, UsageError
from fetchsan.kernel.clock import Clock
from fetchsan.kernel.errors import GuestFault, LinuxError
from fetchsan.kernel.exception_report import Symbolise
from fetchsan.kernel.limits import Resource, ResourceLimits
from fetchsan.kernel.linker.linux_exec import load_program
from fetchsan.kernel.linker.program_file import find_program
from fetchsan.kernel.mmu.frames import Frames
from fetchsan.kernel.mmu.layout import linux_layout
from fetchsan.kernel.mmu.linux_space import LinuxSpace
from fetchsan.kernel.mmu.maps import linux_maps
from fetchsan.kernel.mmu.page_cache import PageCache
from fetchsan.kernel.mmu.user_memory import UserMemory
from fetchsan.kernel.mmu.write_back import lost_messages
from fetchsan.kernel.options import KernelOptions
from fetchsan.kernel.signal_delivery import force_signal, has_deliverable, send_signal
from fetchsan.kernel.signals import SignalInfo, default_action, signal_name
from fetchsan.kernel.syscalls.dispatch import dispatch
from fetchsan.kernel.task import FIRST_PID, USER_ID, Exited, Process, Signaled, Task
from fetchsan.kernel.timers import TimerTable
from fetchsan.kernel.vfs.fd_table import FdTable
from fetchsan.kernel.vfs.proc_system import SystemFacts
from fetchsan.kernel.vfs.streams import open_standard_streams
from fetchsan.kernel.vfs.tree import build_tree
from fetchsan.kernel.waiting import DeadlockError, Interrupted
from fetchsan.machine.hardware import Hardware
from fetchsan.machine.traps import CPUException, ProcessingElement

if TYPE_CHECKING:
    from fetchsan.kernel.abi.abi import Abi
    from fetchsan.kernel.host import Host

__all__ = ["Kernel"]

def _to_stderr(text: str) -> None:
    print(text, file=sys.stderr)


class Kernel:
    """Implements machine.traps.TrapHandler for programs of `abi`.

    `message` gets lines for the person at the terminal (a replay drops them).
    """

    def __init__(
        self,
        hardware: Hardware,
        options: KernelOptions,
        *,
        host: Host,
        abi: Abi,
        cpu_count: int = 1,
        symbolise: Symbolise = lambda address: "",
        message: Callable[[str], None] = _to_stderr,
    ) -> None:
        self.hardware = hardware
        self.options = options
        self.host = host
        self.abi = abi
        self.cpu_count = cpu_count
        self.symbolise = symbolise
        self.message = message
        self.clock = Clock()
        self.random = random.Random(options.seed)
        self.page_cache = PageCache(Frames(hardware))
        self.captured: dict[int, bytearray] = {1: bytearray()} if options.capture_stdout else {}
        self.unsupported: set[int] = set()  # system calls that were named already
        self.end_state: Exited | Signaled | None = None
        self._process: Process | None = None
        self._running: dict[int, Task] = {}  # PE index to the task on it
        self._fault_address: dict[int, int] = {}  # PE index to its FAR_EL1 or CR2

    # The life of a run ----------------------------------------------------------------------------------------------

    @property
    def process(self) -> Process:
        """The program."""
        if self._process is None:
            raise InternalError("the kernel was not started")
        return self._process

    @property
    def ended(self) -> bool:
        """Whether the program is over; whoever is about to do more for it need not."""
        return self.end_state is not None

    def start(self, pe: ProcessingElement) -> Task:
        """Load the program onto `pe`. Raises NotExecutableError, ProgramNotFoundError, UsageError."""
        options = self.options
        name = options.argv[0]
        environment = dict(options.env)
        tree = build_tree(
            self.host,
            cwd=options.cwd,
            now=self.clock.realtime_ns,
            facts=self._system_facts(),
            random_source=self.random,
            sysroot=options.sysroot,
            program=options.cwd / name if "/" in name else None,
            grants=options.directories,
            owner=(USER_ID, USER_ID),
        )
        space = LinuxSpace(
            self.hardware,
            sync=options.sync_policy,
            layout=linux_layout(options.seed, self.abi.layout_rules),
            page_cache=self.page_cache,
            port=self.abi.port,
        )
        limits = ResourceLimits()
        space.stack_limit = lambda: limits.get(Resource.STACK)[0]
        process = Process(
            self,
            FIRST_PID,
            space,
            UserMemory(space),
            FdTable(lambda: limits.get(Resource.NOFILE)[0]),
            tree.start,
            TimerTable(self.clock),
            tree.vfs.root,
            limits,
        )
        self._process = process
        self.hardware.set_translation_root(pe.index, space.root)
        tree.processes.add(process)
        program = find_program(tree.start, name, environment.get("PATH"), options.sysroot)
        task = Task(process, process.pid, pe, name=program.name[:15])
        process.tasks.append(task)
        try:
            entry = load_program(
                process,
                program,
                [os.fsencode(argument) for argument in options.argv],
                [os.fsencode(f"{key}={value}") for key, value in options.env],
            )
        except LinuxError as error:
            raise UsageError(f"{name}: {os.strerror(error.errno).lower()}") from None
        for fd, stream in open_standard_streams(self.host, self.captured).items():
            process.files.place(fd, stream)
        process.trampoline = self.abi.map_vdso(space, process.memory, pe.index)
        for register, value in self.abi.entry_state.items():
            pe.set(register, value)
        pe.set("sp", entry.sp)
        pe.set("pc", entry.pc)
        self._running[pe.index] = task
        return task

    def run(self) -> Exited | Signaled:
        """Execute until the program ends. Raises what stopped FetchSan: FetchSanError, KeyboardInterrupt."""
        process = self.process
        try:
            process.tasks[0].pe.run()
        finally:
            self._finish(process)
        if self.end_state is None:
            raise InternalError("the machine stopped, but the program has not ended")
        return self.end_state

    def end(self, state: Exited | Signaled) -> None:
        """The program is over, by exit_group or by a signal. The first end counts."""
        if self.end_state is None:
            self.end_state = state
        for task in self.process.tasks:
            task.pe.stop()

    def close(self) -> None:
        """Give back all of guest memory."""
        self.process.space.destroy()
        self.page_cache.close()

    def _finish(self, process: Process) -> None:
        if self.options.dump_maps:
            self.message(linux_maps(process.space).rstrip("\n"))
        process.files.close_all()
        self.page_cache.failures += self.page_cache.write_back_all()
        for failure in lost_messages(self.page_cache.failures):
            self.message(f"fetchsan: {failure}")

    def _system_facts(self) -> SystemFacts:
        memory = self.hardware.memory
        return SystemFacts(
            memory=lambda: (memory.size, memory.size - memory.frames_in_use * 4096),
            uptime_ns=self.clock.monotonic_ns,
            random=self.random,
            processors=self.cpu_count,
            cpuinfo=self.abi.cpuinfo,
            identification=self.abi.identification(),
        )

    # The doors of TrapHandler ---------------------------------------------------------------------------------------

    def system_call(self, pe: ProcessingElement) -> None:
        """The instruction that calls the kernel."""
        try:
            dispatch(self, self._running[pe.index])
        except Exception as error:
            pe.fail(error)

    def page_fault(self, pe: ProcessingElement, virtual: int, access: Literal["read", "write", "execute"]) -> bool:
        """A demand fault (no CSE: coherency model, rule 12), or a signal."""
        task = self._running[pe.index]
        try:
            try:
                self._fault_address[pe.index] = virtual
                task.space.fault(pe.index, virtual, access)
                return True
            except GuestFault as fault:
                exception = self.abi.abort(fault, pe.get("pc"))
                force_signal(task, SignalInfo(fault.signal, fault.code, fault.address, exception=exception))
        except Exception as error:
            pe.fail(error)
        return False

    def exception(self, pe: ProcessingElement, exception: CPUException) -> None:
        """Everything else: emulated where Linux emulates, else a signal."""
        try:
            self._exception(self._running[pe.index], exception)
        except Exception as error:
            pe.fail(error)

    def _exception(self, task: Task, exception: CPUException) -> None:
        index = task.pe.index
        if exception.ec in self.abi.fault_address_exceptions:
            self._fault_address[index] = exception.far
        else:
            exception = replace(exception, far=self._fault_address.get(index, 0))
        if exception.ec == self.abi.call_exception:
            dispatch(self, task)
        elif not self.abi.emulate(task, exception):
            force_signal(task, self.abi.signal_of(task, exception))

    # What system calls use ------------------------------------------------------------------------------------------

    def kill(self, task: Task, info: SignalInfo) -> None:
        """A signal's default action ends the program; an exception gets OSv's report."""
        exception = info.exception
        if exception is None:
            if default_action(info.signal) == "core":
                self.message(f"fetchsan: the program died of {signal_name(info.signal)}")
            self.end(Signaled(int(info.signal)))
            return
        self.message(self.abi.crash_report(task, info.signal, exception, self.symbolise).rstrip("\n"))
        self.end(Signaled(int(info.signal), exception))

    def wait(self, task: Task, waiting_for: str, ready: Callable[[], bool], duration_ns: int | None) -> bool:
        """Let time pass until `ready()` (True) or for `duration_ns` (False).

        Raises Interrupted when a signal arrives, and DeadlockError when nothing can ever happen: with several threads
        this is where the others run.
        """
        deadline = None if duration_ns is None else self.clock.elapsed_ns + duration_ns
        while not ready():
            self.fire_timers(task)
            if has_deliverable(task):
                raise Interrupted
            if ready():
                return True
            timer = self.clock.next_deadline()
            left = None if deadline is None else deadline - self.clock.elapsed_ns
            if left is not None and left <= 0:
                return False
            if timer is None and left is None:
                raise DeadlockError(task.tid, waiting_for)
            self.clock.advance(min(step for step in (timer, left) if step is not None))
        return True

    def fire_timers(self, task: Task) -> None:
        """Send what the timers that are due send."""
        for info in task.process.timers.expired():
            send_signal(task, info)
