# SPDX-License-Identifier: GPL-2.0-or-later
"""Owns the OSv personality: one address space at EL1, applications that the kernel itself loads, runs and unloads.

kernel = OsvKernel(machine, sync="osv")
pe = machine.add_pe(kernel)
kernel.boot(pe)
end = kernel.run_application(pe, RofsFile("/tst-hello.so", data), ["tst-hello.so"])    # Exited or Aborted

The kernel's own text is this Python, so it needs no caches; what it does to memory on the application's behalf goes
through VMAs, page faults and `populate_vma` like everything else. There is one application at a time. It reaches the kernel
by calls of functions that the kernel provides (`functions`), and by SVC, which OSv has answered since 2022 (`calls`).
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Final, Literal

from fetchsan.errors import NotExecutableError
from fetchsan.kernel.abi.abi import BadFrame
from fetchsan.kernel.clock import Clock
from fetchsan.kernel.errors import Access, GuestFault, LinuxError
from fetchsan.kernel.exception_report import Symbolise
from fetchsan.kernel.linker.file import LINKER
from fetchsan.kernel.linker.object import GuestCall
from fetchsan.kernel.linker.program import Loaded, Program
from fetchsan.kernel.linker.search import SEARCH_PATH
from fetchsan.kernel.mmu.maps import procfs_maps
from fetchsan.kernel.mmu.osv_space import OsvSpace
from fetchsan.kernel.mmu.ports import AARCH64, Port
from fetchsan.kernel.mmu.user_memory import UserMemory
from fetchsan.kernel.mmu.vma import MMAP_POPULATE, MMAP_STACK, PERM_READ, PERM_WRITE
from fetchsan.kernel.mmu.write_back import lost_messages
from fetchsan.kernel.options import SyncPolicy
from fetchsan.kernel.osv import file_calls, libc_calls, memory_calls, process_calls, shm_calls, signal_calls  # noqa: F401
from fetchsan.kernel.osv.calls import make_call
from fetchsan.kernel.osv.functions import enter_function, function_names, kernel_images
from fetchsan.kernel.osv.guest_calls import begin, resume
from fetchsan.kernel.osv.image import FileTree, Image, RofsFile, open_console
from fetchsan.kernel.osv.linker_entries import entries
from fetchsan.kernel.osv.ports import OSV_PORTS
from fetchsan.kernel.osv.signals import generate_signal, return_from_signal
from fetchsan.kernel.osv.start import enter_main, load_application, make_thread_storage
from fetchsan.kernel.osv.thread import Aborted, Application, Thread
from fetchsan.kernel.signals import Signal, SignalCode, SignalInfo
from fetchsan.kernel.task import Exited
from fetchsan.kernel.vfs.flags import O_RDONLY
from fetchsan.kernel.vfs.inode import RegularInode
from fetchsan.kernel.vfs.open_file import OpenFile
from fetchsan.machine.hardware import Hardware, Origin
from fetchsan.machine.traps import CPUException, ProcessingElement

__all__ = ["OsvKernel"]

_STACK_SIZE: Final = 1 << 20  # a pthread's, populated when it is made (OSv #143)


class _KernelSpace(OsvSpace):
    """The address space, with the FAR_EL1 of its PE: at EL1 the kernel's own accesses fault like the application's."""

    far = 0

    def fault(self, pe: int, virtual: int, access: Access) -> None:
        self.far = virtual
        super().fault(pe, virtual, access)


class OsvKernel:
    """Implements machine.traps.TrapHandler. `files` are what the image holds beside the applications.

    `sync` is "none" (before the patch of 2020) or "osv" (after it). `text_arrived(physical, virtual)` is called when a page
    fault of a fetch has been served, with the frame and its page: where a model of caches gets to act. `libc` is the kernel's
    C library; without one applications have only what the kernel itself provides. `hwcap` is what resolvers are told.
    """

    def __init__(
        self,
        hardware: Hardware,
        *,
        sync: SyncPolicy,
        port: Port = AARCH64,
        files: Iterable[RofsFile] = (),
        libc: RofsFile | None = None,
        hwcap: int = 0,
        seed: int = 0,
        symbolise: Symbolise = lambda address: "",
        text_arrived: Callable[[int, int], None] = lambda physical, virtual: None,
    ) -> None:
        self.hardware = hardware
        self.symbolise = symbolise
        self.text_arrived = text_arrived
        self.console = bytearray()
        """What applications wrote, and what the kernel said beside it."""
        self.clock = Clock()
        self.space = _KernelSpace(hardware, sync=sync, port=port)
        self.port = OSV_PORTS[port.name]
        self._kernel_names = {
            self.port.main_return: "run_main+0x0 (kernel)",
            self.port.signal_return: "call_signal_handler_thunk+0x0 (kernel)",
            **function_names(self.port.functions),
        }
        self.memory = UserMemory(self.space)
        self._next_address = self.space.layout.image_base  # `program::_next_alloc`: it only grows
        self.image: FileTree = Image(self.clock.realtime_ns, lambda: procfs_maps(self.space).encode("utf-8", "surrogateescape"))
        for file in files:
            self.image.add(file)
        self.application = Application()
        self.libc = libc
        self.hwcap = hwcap
        self.random = random.Random(seed)
        self.search_path: tuple[str, ...] = SEARCH_PATH
        self._threads: dict[int, Thread] = {}  # by PE
        self._unimplemented: set[int] = set()  # system calls that were named already
        self._unsupported: set[str] = set()
        self._end: Exited | Aborted | None = None
        self.program = self._make_program(())

    @property
    def ended(self) -> Exited | Aborted | None:
        """How the application ended; None while it runs."""
        return self._end

    def thread(self, pe: ProcessingElement) -> Thread:
        """The thread on `pe`."""
        return self._threads[pe.index]

    def boot(self, pe: ProcessingElement) -> None:
        """Give `pe` the page tables, and a thread to run."""
        self._threads[pe.index] = Thread(self, pe)
        self.hardware.set_translation_root(pe.index, self.space.root)

    def run_application(self, pe: ProcessingElement, file: RofsFile, argv: Sequence[str]) -> Exited | Aborted:
        """Load `file`, call its main(), and when it has exited unmap it, so that its frames are free again.

        Raises NotExecutableError. After `Aborted` the machine has halted and everything is as it was.
        """
        self.start_application(pe, file, argv)
        pe.run()
        return self.finish_application()

    def start_application(self, pe: ProcessingElement, file: RofsFile, argv: Sequence[str]) -> None:
        """Load `file` and what it needs, and make `pe` ready to call its main(). Raises NotExecutableError."""
        self.image.add(file)
        self.start_program(pe, file.path, argv)

    def start_program(self, pe: ProcessingElement, path: str, argv: Sequence[str], environment: Sequence[str] = ()) -> None:
        """As `start_application`, for a file that is there."""
        self.space.pe = pe.index
        self.memory.origin = Origin(None, LINKER)
        self._end = None
        self.application = Application()
        thread = self._threads[pe.index] = Thread(self, pe)
        self.program = self._make_program(environment)
        self.program.thread = pe.index
        for descriptor in range(3):
            stream = self._open_console(descriptor)
            if stream is not None:
                self.application.files.place(descriptor, stream)

        def loaded(application: Loaded) -> None:
            self.application.loaded = application
            enter_main(thread, application, stack, argv, environment)

        stack = self._make_stack()
        pe.set("sp", stack)
        try:
            begin(thread, load_application(thread, path, self.libc), loaded)
        except BaseException:
            self._clear(thread)
            raise

    def _make_program(self, environment: Sequence[str]) -> Program:
        before, after = kernel_images(self.port.functions)
        paths = [entry.partition("=")[2] for entry in environment if entry.startswith("LD_LIBRARY_PATH=")]
        program = Program(
            self.space,
            self.memory,
            self._open_object,
            at=self._next_address,
            kernel=(before, after),
            provided=self.port.provided,
            entries=entries(self.port.functions),
            current=lambda: os.fsdecode(self.image.fs.cwd.path()),
            threads=lambda: [thread.thread_pointer for thread in self._threads.values() if thread.thread_pointer],
            search_path=(*(part for path in paths for part in path.split(":") if part), *self.search_path),
        )
        program.resolver_arguments = (self.hwcap,)
        return program

    def _open_object(self, path: str) -> RegularInode | None:
        try:
            inode = self.image.fs.vfs.open(self.image.fs.cwd, path.encode("utf-8", "surrogateescape"), O_RDONLY).inode
        except (LinuxError, ValueError):
            return None
        return inode if isinstance(inode, RegularInode) else None

    def begin_main(self, thread: Thread, main: GuestCall) -> None:
        """Constructors, then main(): where no C library sees to it."""
        loaded = thread.application.loaded
        assert loaded is not None
        steps = self.program.initialise(loaded, main.arguments)
        thread.pe.set("sp", main.below or 0)
        begin(thread, steps, lambda _: self.enter(thread, main))

    def enter(self, thread: Thread, call: GuestCall) -> None:
        """Call a function as the first of a thread: a context switch, so a CSE."""
        pointer = thread.thread_pointer
        self.port.enter(thread.pe, self.memory, call.address, call.below or 0, call.arguments)
        thread.pe.set(self.port.thread_pointer, pointer)
        self.hardware.context_synchronise(thread.pe.index)

    def start_thread(self, pe: ProcessingElement, entry: str) -> Thread:
        """Make `pe`, which is another than main()'s, ready to call the exported function `entry`; to return ends the thread.

        Raises NotExecutableError.
        """
        loaded = self.application.loaded
        assert loaded is not None, "an application is loaded"
        found = self.program.lookup_deep(loaded.root, entry.encode())
        if found is None:
            raise NotExecutableError(loaded.root.path, f"exports no {entry}()")
        thread = self._threads[pe.index] = Thread(self, pe, entry)
        make_thread_storage(thread)
        self.enter(thread, GuestCall(found.address, below=self._make_stack()))
        return thread

    def finish_application(self) -> Exited | Aborted:
        """How it ended; if it has exited, unmap it."""
        end = self._end
        assert end is not None, "the PE stops only when the application has ended"
        if isinstance(end, Exited):
            self._clear(next(iter(self._threads.values())))
        return end

    def _clear(self, thread: Thread) -> None:
        """Take everything of the application away."""
        application = self.application
        application.files.close_all()
        for stack in application.stacks:
            self.space.evacuate(stack, stack + _STACK_SIZE)
        for start, end in application.mappings:
            self.space.evacuate(start, end)
        self._report_lost_writes()
        application.strings.close(thread)
        self.application = Application()
        self._threads = {index: Thread(self, each.pe) for index, each in self._threads.items()}
        self._next_address = self.program.next_address
        self.program.close()

    def _report_lost_writes(self) -> None:
        """OSv forgets what munmap could not write back; here the console tells."""
        failures = self.space.page_cache.failures
        for line in lost_messages(failures):
            self.console += f"{line}\n".encode("utf-8", "surrogateescape")
        failures.clear()

    def _open_console(self, descriptor: int) -> OpenFile | None:
        return open_console(self.console)

    def _make_stack(self) -> int:
        """The top of a new one."""
        stack = self.space.map_anon(0, _STACK_SIZE, MMAP_POPULATE | MMAP_STACK, PERM_READ | PERM_WRITE, name="[stack]")
        self.application.stacks.append(stack)
        return stack + _STACK_SIZE

    # The doors of TrapHandler ---------------------------------------------------------------------------------------

    def system_call(self, pe: ProcessingElement) -> None:
        """SVC or SYSCALL: a CSE, twice (entry and return)."""
        self.hardware.context_synchronise(pe.index)
        try:
            self.clock.tick()
            self.space.pe = pe.index
            make_call(self._threads[pe.index], self.port.abi.calling)
        except Exception as error:
            pe.fail(error)
        self.hardware.context_synchronise(pe.index)

    def unimplemented(self, name: str, number: int) -> None:
        """A system call that there is no function for: named once."""
        if number not in self._unimplemented:
            self._unimplemented.add(number)
            self.console += f"syscall(): unimplemented system call {name} ({number})\n".encode()

    def page_fault(self, pe: ProcessingElement, virtual: int, access: Literal["read", "write", "execute"]) -> bool:
        """`page_fault` and `vm_fault`. No CSE for fetches (coherency model, rule 12)."""
        try:
            return self._page_fault(pe, virtual, access)
        except Exception as error:
            pe.fail(error)
            return False

    def _returned(self, pe: ProcessingElement) -> None:
        """From main(), or from the first function of another thread."""
        thread = self._threads[pe.index]
        thread.over = True
        if thread.entry == "main":
            end = Exited(pe.get(self.port.result) & 0xFF)
            begin(thread, self.program.finish(), lambda _: self.end(end))
        else:
            pe.stop()

    def _page_fault(self, pe: ProcessingElement, virtual: int, access: Access) -> bool:
        if access == "execute" and virtual in self.port.kernel_text and self._kernel_entered(pe, virtual):
            return False
        try:
            self.space.fault(pe.index, virtual, access)
        except GuestFault as fault:
            self._signal(pe, fault)
            return False
        if access == "execute":
            self.text_arrived(self.memory.physical(virtual) & -4096, virtual & -4096)
        return True

    def _kernel_entered(self, pe: ProcessingElement, address: int) -> bool:
        """Whether `address` is one that the kernel gave the application to come to."""
        thread = self._threads[pe.index]
        self.space.pe = pe.index
        self.program.thread = pe.index
        try:
            if address == self.port.call_return:
                return resume(thread)
            if address == self.port.main_return:
                self._returned(pe)
            elif address == self.port.signal_return:
                self.return_from_signal(thread)
            else:
                self.memory.origin = Origin(None, LINKER)
                return enter_function(thread, address)
        except GuestFault as fault:
            self._signal(pe, fault)
        return True

    def abort(self, pe: ProcessingElement, heading: str, pc: int) -> None:
        """The application has called for something that is not there."""
        exception = self.port.page_fault(self.space, GuestFault(pc, "execute", Signal.SIGSEGV, 1), pc)
        self._abort(pe, exception, Signal.SIGSEGV, heading)

    def unsupported(self, what: str) -> None:
        """Something that an application asked for and the kernel does not do: named once."""
        if what not in self._unsupported:
            self._unsupported.add(what)
            self.console += f"{what} is not supported\n".encode()

    def return_from_signal(self, thread: Thread) -> None:
        """The handler is done. What is no frame is fatal."""
        pe, sp = thread.pe, thread.pe.get("sp")
        try:
            return_from_signal(thread)
        except (GuestFault, BadFrame):
            fault = GuestFault(sp, "read", Signal.SIGSEGV, SignalCode.SEGV_MAPERR)
            exception = self.port.page_fault(self.space, fault, pe.get("pc"))
            self._abort(pe, exception, Signal.SIGSEGV, "return from a signal handler, but no signal frame at SP")

    def _signal(self, pe: ProcessingElement, fault: GuestFault) -> None:
        """`vm_sigsegv` and `vm_sigbus`: to the application's handler, or the end."""
        pc = pe.get("pc")
        exception = self.port.page_fault(self.space, fault, pc)
        if pc == 0:
            heading = "trying to execute null pointer"
        elif pc in self.port.kernel_text:
            heading = f"page fault outside application, addr: 0x{fault.address:016x}"
        else:
            info = SignalInfo(fault.signal, fault.code, fault.address, exception=exception)
            if generate_signal(self._threads[pe.index], info):
                return
            heading = f"page fault in application, addr: 0x{fault.address:016x}"
        self._abort(pe, exception, Signal(fault.signal), heading)

    def exception(self, pe: ProcessingElement, exception: CPUException) -> None:
        """Nearly everything else is fatal: `handle_unexpected_exception`."""
        try:
            if exception.ec not in self.port.fault_address_exceptions:
                exception = replace(exception, far=self.space.far)
            signal, code = self.port.signals.get(exception.ec, (Signal.SIGILL, SignalCode.ILL_ILLOPC))
            if exception.ec in self.port.signals:
                info = SignalInfo(signal, code, exception.pc, exception=exception)
                if generate_signal(self._threads[pe.index], info):
                    return
            self._abort(pe, exception, signal)
        except Exception as error:
            pe.fail(error)

    def _abort(self, pe: ProcessingElement, exception: CPUException, signal: Signal, heading: str | None = None) -> None:
        self.end(Aborted(signal, exception, self.port.report(pe, self.memory, signal, exception, self._name, heading)))

    def _name(self, address: int) -> str:
        return self._kernel_names.get(address) or self.symbolise(address)

    def end(self, end: Exited | Aborted) -> None:
        """The application is over (or the machine halted), on every PE."""
        self._end = end
        for thread in self._threads.values():
            thread.pe.stop()
