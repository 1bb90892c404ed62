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

from fetchsan.arch.aarch64 import esr
from fetchsan.arch.aarch64.esr import ExceptionClass, FaultClass
from fetchsan.errors import NotExecutableError
from fetchsan.kernel.clock import Clock
from fetchsan.kernel.errors import Access, GuestFault
from fetchsan.kernel.exception_report import RegisterDump, Symbolise, backtrace, exception_report
from fetchsan.kernel.linker.osv_object import LINKER, OsvObject, load_object
from fetchsan.kernel.mmu.maps import procfs_maps
from fetchsan.kernel.mmu.osv_space import OsvSpace
from fetchsan.kernel.mmu.user_memory import UserMemory
from fetchsan.kernel.mmu.vma import MMAP_POPULATE, MMAP_STACK, PERM_READ, PERM_WRITE
from fetchsan.kernel.options import SyncPolicy
from fetchsan.kernel.osv import file_calls, memory_calls, process_calls  # noqa: F401  (each declares its calls)
from fetchsan.kernel.osv.calls import ABIS, make_call
from fetchsan.kernel.osv.image import Image, RofsFile, open_console
from fetchsan.kernel.osv.thread import Aborted, Application, Thread
from fetchsan.kernel.signal_frame import GENERAL_REGISTERS
from fetchsan.kernel.signals import Signal
from fetchsan.kernel.task import Exited
from fetchsan.machine.hardware import Hardware, Origin
from fetchsan.machine.traps import CPUException, ProcessingElement

__all__ = ["OsvKernel"]

_STACK_SIZE: Final = 1 << 20  # a pthread's, populated when it is made (OSv #143)
_KERNEL_TEXT: Final = 0x4008_0000
"""`kernel_base`: where main() returns to. Nothing is mapped there for the guest: the fetch comes here instead."""

# Of the exceptions that come through `exception`, those that write FAR_EL1 (Arm ARM, "FAR_EL1"). EC=0 does not.
_UPDATE_FAR = frozenset({ExceptionClass.PC_ALIGNMENT, ExceptionClass.WATCHPOINT_SAME})


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
        self.space = _KernelSpace(hardware, sync=sync)
        self.memory = UserMemory(self.space)
        self._next_address = self.space.layout.image_base  # `program::_next_alloc`: it only grows
        self.image = Image(self.clock.realtime_ns, lambda: procfs_maps(self.space).encode("utf-8", "surrogateescape"))
        for file in files:
            self.image.add(file)
        self.application = Application()
        self._abi = ABIS[self.space.port.name]
        self._threads: dict[int, Thread] = {}  # by PE
        self._unimplemented: set[int] = set()  # system calls that were named already
        self._end: Exited | Aborted | None = None

    @property
    def ended(self) -> bool:
        """Whether the application is over."""
        return self._end is not None

    def boot(self, pe: ProcessingElement) -> None:
        """Give `pe` the page tables, and a thread to run."""
        self._threads[pe.index] = Thread(self, pe)
        self.hardware.set_translation_root(pe.index, self.space.root)

    def run_application(self, pe: ProcessingElement, file: RofsFile, argv: Sequence[str]) -> Exited | Aborted:
        """Load `file`, call its main(), and when it has exited unmap it, so that its frames are free again.

        Raises NotExecutableError. After `Aborted` the machine has halted and everything is as it was.
        """
        self.space.pe = pe.index
        self.memory.origin = Origin(None, LINKER)
        self.image.add(file)
        loaded = load_object(self.space, self.memory, file, self._next_address)
        self._next_address = loaded.end
        stack = self.space.map_anon(0, _STACK_SIZE, MMAP_POPULATE | MMAP_STACK, PERM_READ | PERM_WRITE, name="[stack]")
        self._enter(pe, loaded, stack + _STACK_SIZE, argv)
        self._end = None
        for descriptor in range(3):
            self.application.files.place(descriptor, open_console(self.console))
        pe.run()
        end = self._end
        assert end is not None, "the PE stops only when the application has ended"
        if isinstance(end, Exited):
            self.application.files.close_all()
            self.application = Application()
            self._threads = {index: Thread(self, thread.pe) for index, thread in self._threads.items()}
            self.space.evacuate(stack, stack + _STACK_SIZE)
            loaded.unload()
        return end

    def _enter(self, pe: ProcessingElement, loaded: OsvObject, top: int, argv: Sequence[str]) -> None:
        """main(argc, argv), called by the kernel."""
        main = loaded.lookup("main")
        if main is None:
            raise NotExecutableError(loaded.path, "exports no main()")
        pointers = []
        for argument in argv:
            data = argument.encode() + b"\0"
            top -= len(data)
            self.memory.write(top, data)
            pointers.append(top)
        top = (top - 8 * (len(pointers) + 1)) & -16
        self.memory.write(top, b"".join(pointer.to_bytes(8, "little") for pointer in (*pointers, 0)))
        for register in GENERAL_REGISTERS:
            pe.set(register, 0)
        for register, value in (("x0", len(pointers)), ("x1", top), ("x30", _KERNEL_TEXT), ("sp", top), ("pc", main)):
            pe.set(register, value)

    # The doors of TrapHandler ---------------------------------------------------------------------------------------

    def system_call(self, pe: ProcessingElement) -> None:
        """SVC: a CSE, twice (entry and return)."""
        self.hardware.context_synchronise(pe.index)
        try:
            self.clock.tick()
            self.space.pe = pe.index
            make_call(self._threads[pe.index], self._abi)
        except Exception as error:
            pe.fail(error)
        self.hardware.context_synchronise(pe.index)

    def unimplemented(self, name: str, number: int) -> None:
        """A system call that there is no function for: named once."""
        if number not in self._unimplemented:
            self._unimplemented.add(number)
            self.console += f"syscall(): unimplemented system call {name} ({number})\n".encode()

    def page_fault(self, pe: ProcessingElement, virtual: int, access: Literal["read", "write", "execute"]) -> bool:
        """`vm_fault`. No CSE for fetches (coherency model, rule 12)."""
        try:
            if access == "execute" and virtual == _KERNEL_TEXT:
                self.end(pe, Exited(pe.get("x0") & 0xFF))
                return False
            try:
                self.space.fault(pe.index, virtual, access)
            except GuestFault as fault:
                fault_class = FaultClass.PERMISSION if fault.permission else FaultClass.TRANSLATION
                syndrome = esr.abort(access, fault_class, fault.level, same_el=True)
                exception = CPUException(esr.Esr.EC.of(syndrome), syndrome, virtual, pe.get("pc"))
                self._abort(pe, exception, Signal(fault.signal))
                return False
            if access == "execute":
                self.text_arrived(self.memory.physical(virtual) & -4096, virtual & -4096)
            return True
        except Exception as error:
            pe.fail(error)
            return False

    def exception(self, pe: ProcessingElement, exception: CPUException) -> None:
        """Everything else is fatal: `handle_unexpected_exception`."""
        try:
            if exception.ec not in _UPDATE_FAR:
                exception = replace(exception, far=self.space.far)
            self._abort(pe, exception, Signal.SIGILL)
        except Exception as error:
            pe.fail(error)

    def _abort(self, pe: ProcessingElement, exception: CPUException, signal: Signal) -> None:
        *general, sp, pstate = pe.get_many((*GENERAL_REGISTERS, "sp", "pstate"))
        state = RegisterDump(tuple(general), sp, exception.pc, pstate)
        trace = backtrace(exception.pc, general, self.memory.read_u64)
        self.end(pe, Aborted(exception, exception_report(signal, exception, state, trace, self._name)))

    def _name(self, address: int) -> str:
        return "run_main+0x0 (kernel)" if address == _KERNEL_TEXT else self.symbolise(address)

    def end(self, pe: ProcessingElement, end: Exited | Aborted) -> None:
        """The application is over (or the machine halted)."""
        self._end = end
        pe.stop()
