# SPDX-License-Identifier: GPL-2.0-or-later
"""Owns the OSv personality: one address space at EL1, applications that the kernel itself loads, runs and unloads.

kernel = OsvKernel(machine, sync="osv")
pe = machine.add_pe(kernel)
kernel.boot(pe)
end = kernel.run_application(pe, RofsFile("/tst-hello.so", data), ["tst-hello.so"])    # Exited or Aborted

The kernel's own text is this Python, so it needs no caches; what it does to memory on the application's behalf goes
through VMAs, page faults and `populate_vma` like everything else. There is one application at a time, and no libc:
an application reaches the kernel by SVC, which OSv has answered since 2022.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal

from fetchsan.arch.aarch64 import esr
from fetchsan.arch.aarch64.esr import ExceptionClass, FaultClass
from fetchsan.errors import NotExecutableError
from fetchsan.kernel.errors import Access, GuestFault, LinuxError
from fetchsan.kernel.exception_report import RegisterDump, Symbolise, backtrace, exception_report
from fetchsan.kernel.linker.osv_object import LINKER, OsvObject, load_object
from fetchsan.kernel.mmu.osv_space import OsvSpace
from fetchsan.kernel.mmu.page_cache import MappableInode
from fetchsan.kernel.mmu.user_memory import UserMemory
from fetchsan.kernel.mmu.vma import MMAP_POPULATE, MMAP_STACK, PERM_READ, PERM_WRITE
from fetchsan.kernel.options import SyncPolicy
from fetchsan.kernel.signal_frame import GENERAL_REGISTERS
from fetchsan.kernel.signals import Signal
from fetchsan.kernel.task import Exited
from fetchsan.machine.hardware import Hardware, Origin
from fetchsan.machine.traps import CPUException, ProcessingElement

__all__ = ["Aborted", "OsvKernel", "RofsFile"]

_STACK_SIZE: Final = 1 << 20  # a pthread's, populated when it is made (OSv #143)
_KERNEL_TEXT: Final = 0x4008_0000
"""`kernel_base`: where main() returns to. Nothing is mapped there for the guest: the fetch comes here instead."""
_SYS_WRITE, _SYS_EXIT_GROUP = 64, 94
_STDOUT, _STDERR = 1, 2

# Of the exceptions that come through `exception`, those that write FAR_EL1 (Arm ARM, "FAR_EL1"). EC=0 does not.
_UPDATE_FAR = frozenset({ExceptionClass.PC_ALIGNMENT, ExceptionClass.WATCHPOINT_SAME})


@dataclass(frozen=True, slots=True)
class Aborted:
    """OSv halted: `report` is what it printed, `exception` the exception that it could not handle."""

    exception: CPUException
    report: str


class RofsFile:
    """A file of OSv's read-only file system image."""

    dev = 1

    def __init__(self, path: str, data: bytes, ino: int = 1) -> None:
        self.path = path
        self.ino = ino
        self._data = data

    @property
    def identity(self) -> tuple[object, ...]:
        return ("rofs", self.ino)

    @property
    def size(self) -> int:
        return len(self._data)

    def read_at(self, offset: int, size: int) -> bytes:
        """Up to `size` bytes."""
        return self._data[offset : offset + size]

    def write_at(self, offset: int, data: bytes) -> int:
        """Refused."""
        raise LinuxError(errno.EROFS)


class _KernelSpace(OsvSpace):
    """The address space, with the FAR_EL1 of its PE: at EL1 the kernel's own accesses fault like the application's."""

    far = 0

    def fault(self, pe: int, virtual: int, access: Access) -> None:
        self.far = virtual
        super().fault(pe, virtual, access)


class OsvKernel:
    """Implements machine.traps.TrapHandler for one PE.

    `sync` is "none" (before the patch of 2020) or "osv" (after it). `text_arrived(physical, virtual)` is called when a page
    fault of a fetch has been served, with the frame and its page: where a model of caches gets to act.
    """

    def __init__(
        self,
        hardware: Hardware,
        *,
        sync: SyncPolicy,
        symbolise: Symbolise = lambda address: "",
        text_arrived: Callable[[int, int], None] = lambda physical, virtual: None,
    ) -> None:
        self.hardware = hardware
        self.symbolise = symbolise
        self.text_arrived = text_arrived
        self.console = bytearray()
        """What applications wrote."""
        self.space = _KernelSpace(hardware, sync=sync)
        self.memory = UserMemory(self.space)
        self._next_address = self.space.layout.image_base  # `program::_next_alloc`: it only grows
        self._end: Exited | Aborted | None = None

    def boot(self, pe: ProcessingElement) -> None:
        """Give `pe` the page tables."""
        self.hardware.set_translation_root(pe.index, self.space.root)

    def run_application(self, pe: ProcessingElement, file: MappableInode, argv: Sequence[str]) -> Exited | Aborted:
        """Load `file`, call its main(), and when it has exited unmap it, so that its frames are free again.

        Raises NotExecutableError. After `Aborted` the machine has halted and everything is as it was.
        """
        self.space.pe = pe.index
        self.memory.origin = Origin(None, LINKER)
        loaded = load_object(self.space, self.memory, file, self._next_address)
        self._next_address = loaded.end
        stack = self.space.map_anon(0, _STACK_SIZE, MMAP_POPULATE | MMAP_STACK, PERM_READ | PERM_WRITE, name="[stack]")
        self._enter(pe, loaded, stack + _STACK_SIZE, argv)
        self._end = None
        pe.run()
        end = self._end
        assert end is not None, "the PE stops only when the application has ended"
        if isinstance(end, Exited):
            self.space.munmap(stack, _STACK_SIZE)
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
            number, *arguments = pe.get_many(("x8", "x0", "x1", "x2"))
            if number == _SYS_EXIT_GROUP:
                self._stop(pe, Exited(arguments[0] & 0xFF))
                return
            result = self._write(*arguments) if number == _SYS_WRITE else -errno.ENOSYS
            pe.set("x0", result & 0xFFFF_FFFF_FFFF_FFFF)
        except Exception as error:
            pe.fail(error)

    def _write(self, descriptor: int, buffer: int, size: int) -> int:
        if descriptor not in (_STDOUT, _STDERR):
            return -errno.EBADF
        try:
            self.console += self.memory.read(buffer, size)
        except GuestFault:
            return -errno.EFAULT
        except LinuxError as error:
            return -error.errno
        return size

    def page_fault(self, pe: ProcessingElement, virtual: int, access: Literal["read", "write", "execute"]) -> bool:
        """`vm_fault`. No CSE for fetches (coherency model, rule 12)."""
        try:
            if access == "execute" and virtual == _KERNEL_TEXT:
                self._stop(pe, Exited(pe.get("x0") & 0xFF))
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
        self._stop(pe, Aborted(exception, exception_report(signal, exception, state, trace, self._name)))

    def _name(self, address: int) -> str:
        return "run_main+0x0 (kernel)" if address == _KERNEL_TEXT else self.symbolise(address)

    def _stop(self, pe: ProcessingElement, end: Exited | Aborted) -> None:
        self._end = end
        pe.stop()
