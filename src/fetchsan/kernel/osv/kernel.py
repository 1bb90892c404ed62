# SPDX-License-Identifier: GPL-2.0-or-later
"""Owns the OSv personality: one address space at EL1, applications that the kernel itself loads, runs and unloads.

kernel = OsvKernel(machine, sync="osv")
pe = machine.add_pe(kernel)
kernel.boot(pe)
end = kernel.run_application(pe, RofsFile("/tst-hello.so", data), ["tst-hello.so"])    # Exited or Aborted

The kernel's own text is this Python, so it needs no caches; what it does to memory on the application's behalf goes
through VMAs, page faults and `populate_vma` like everything else. There is one application at a time, and no libc:
an application reaches the kernel by SVC, which OSv has answered since 2022 (`calls`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Final, Literal

from fetchsan.errors import NotExecutableError
from fetchsan.kernel.abi.abi import BadFrame
from fetchsan.kernel.clock import Clock
from fetchsan.kernel.errors import Access, GuestFault
from fetchsan.kernel.exception_report import Symbolise
from fetchsan.kernel.linker.osv_object import LINKER, load_object
from fetchsan.kernel.mmu.maps import procfs_maps
from fetchsan.kernel.mmu.osv_space import OsvSpace
from fetchsan.kernel.mmu.ports import AARCH64, Port
from fetchsan.kernel.mmu.user_memory import UserMemory
from fetchsan.kernel.mmu.vma import MMAP_POPULATE, MMAP_STACK, PERM_READ, PERM_WRITE
from fetchsan.kernel.mmu.write_back import lost_messages
from fetchsan.kernel.options import SyncPolicy
from fetchsan.kernel.osv import file_calls, memory_calls, process_calls, shm_calls, signal_calls  # noqa: F401
from fetchsan.kernel.osv.calls import make_call
from fetchsan.kernel.osv.image import Image, RofsFile, open_console
from fetchsan.kernel.osv.ports import OSV_PORTS
from fetchsan.kernel.osv.signals import generate_signal, return_from_signal
from fetchsan.kernel.osv.thread import Aborted, Application, Thread
from fetchsan.kernel.signals import Signal, SignalCode, SignalInfo
from fetchsan.kernel.task import Exited
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
    fault of a fetch has been served, with the frame and its page: where a model of caches gets to act.
    """

    def __init__(
        self,
        hardware: Hardware,
        *,
        sync: SyncPolicy,
        port: Port = AARCH64,
        files: Iterable[RofsFile] = (),
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
        }
        self.memory = UserMemory(self.space)
        self._next_address = self.space.layout.image_base  # `program::_next_alloc`: it only grows
        self.image = Image(self.clock.realtime_ns, lambda: procfs_maps(self.space).encode("utf-8", "surrogateescape"))
        for file in files:
            self.image.add(file)
        self.application = Application()
        self._threads: dict[int, Thread] = {}  # by PE
        self._unimplemented: set[int] = set()  # system calls that were named already
        self._end: Exited | Aborted | None = None

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
        """Load `file` and make `pe` ready to call its main(). Raises NotExecutableError."""
        self.space.pe = pe.index
        self.memory.origin = Origin(None, LINKER)
        self.image.add(file)
        loaded = load_object(self.space, self.memory, file, self._next_address)
        self._next_address = loaded.end
        self._end = None
        self.application = Application(loaded)
        self._threads[pe.index] = Thread(self, pe)
        for descriptor in range(3):
            self.application.files.place(descriptor, open_console(self.console))
        top = self._make_stack()
        pointers = []
        for argument in argv:
            data = argument.encode() + b"\0"
            top -= len(data)
            self.memory.write(top, data)
            pointers.append(top)
        top = (top - 8 * (len(pointers) + 1)) & -16
        self.memory.write(top, b"".join(pointer.to_bytes(8, "little") for pointer in (*pointers, 0)))
        self._enter(pe, "main", top, len(pointers), top)

    def start_thread(self, pe: ProcessingElement, entry: str) -> Thread:
        """Make `pe`, which is another than main()'s, ready to call the exported function `entry`; to return ends the thread.

        Raises NotExecutableError.
        """
        thread = self._threads[pe.index] = Thread(self, pe, entry)
        self._enter(pe, entry, self._make_stack())
        return thread

    def finish_application(self) -> Exited | Aborted:
        """How it ended; if it has exited, unmap it."""
        end, loaded = self._end, self.application.loaded
        assert end is not None and loaded is not None, "the PE stops only when the application has ended"
        if isinstance(end, Exited):
            self.application.files.close_all()
            for stack in self.application.stacks:
                self.space.evacuate(stack, stack + _STACK_SIZE)
            self._report_lost_writes()
            self.application = Application()
            self._threads = {index: Thread(self, thread.pe) for index, thread in self._threads.items()}
            loaded.unload()
        return end

    def _report_lost_writes(self) -> None:
        """OSv forgets what munmap could not write back; here the console tells."""
        failures = self.space.page_cache.failures
        for line in lost_messages(failures):
            self.console += f"{line}\n".encode("utf-8", "surrogateescape")
        failures.clear()

    def _make_stack(self) -> int:
        """The top of a new one."""
        stack = self.space.map_anon(0, _STACK_SIZE, MMAP_POPULATE | MMAP_STACK, PERM_READ | PERM_WRITE, name="[stack]")
        self.application.stacks.append(stack)
        return stack + _STACK_SIZE

    def _enter(self, pe: ProcessingElement, entry: str, top: int, *arguments: int) -> None:
        """entry(arguments ...), called by the kernel: a context switch, so a CSE."""
        loaded = self.application.loaded
        assert loaded is not None, "an application is loaded"
        address = loaded.lookup(entry)
        if address is None:
            raise NotExecutableError(loaded.path, f"exports no {entry}()")
        self.port.enter(pe, self.memory, address, top, arguments)
        self.hardware.context_synchronise(pe.index)

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
            self.end(Exited(pe.get(self.port.result) & 0xFF))
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
        """Whether `address` is one that the kernel gave the application to return to."""
        if address == self.port.main_return:
            self._returned(pe)
        elif address == self.port.signal_return:
            self.return_from_signal(self._threads[pe.index])
        else:
            return False
        return True

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
        self.end(Aborted(exception, self.port.report(pe, self.memory, signal, exception, self._name, heading)))

    def _name(self, address: int) -> str:
        return self._kernel_names.get(address) or self.symbolise(address)

    def end(self, end: Exited | Aborted) -> None:
        """The application is over (or the machine halted), on every PE."""
        self._end = end
        for thread in self._threads.values():
            thread.pe.stop()
