# SPDX-License-Identifier: GPL-2.0-or-later
"""The engine for x86-64: how Unicorn is brought to ring 3, and what its x86 half leaves undone."""

from __future__ import annotations

import ctypes
import mmap
from typing import ClassVar

from fetchsan.errors import InternalError
from fetchsan.machine.engine import PROT_EXEC, PROT_READ, Engine, ctl, lib
from fetchsan.machine.engine_registers import X64

__all__ = ["X64Engine"]

_BOOT_PAGE = 1 << 42
"""Engine-physical address of the first instructions; no fill ever answers it."""
_BOOT = b"\x48\x0f\x07" + b"\x8e\xd8"  # sysretq; mov ds, eax
_NO_EXCEPTION, _GENERAL_PROTECTION = -1, 13
_EFER, _STAR = 0xC000_0080, 0xC000_0081
_CTL_EXITS = ctl(6, 2, 1)
_MSR = 248


class _ModelSpecific(ctypes.Structure):
    _fields_ = (("number", ctypes.c_uint32), ("value", ctypes.c_uint64))


class X64Engine(Engine):
    """An x86-64 PE in 64-bit mode."""

    registers = X64
    _arch, _mode = 4, 8
    _models: ClassVar[dict[str, int]] = {"sandybridge": 17}
    _instructions: ClassVar[dict[str, int]] = {
        "cpuid": 113, "in": 218, "out": 500, "rdtsc": 608, "rdtscp": 609, "syscall": 699, "sysenter": 700,
    }  # fmt: skip

    def __init__(self, model: str, *, user: bool) -> None:
        super().__init__(model)
        self.set("cr0", 0x8005_0033)  # PG, AM, WP, NE (so that x87 errors are #MF), ET, MP, PE
        self.set("cr4", 0x620)  # PAE, OSFXSR, OSXMMEXCPT; no OSXSAVE: XGETBV and XSAVE are #UD
        self.write_msr(_EFER, 0xD01)  # NXE, LMA, LME, SCE
        self.set("mxcsr", 0x1F80)
        self.set("fpcw", 0x37F)
        self.set("fptag", 0xFFFF)
        self._user = user
        self._boot()
        self.set("rflags", 0x202)

    def write_msr(self, number: int, value: int) -> None:
        """Write a model-specific register."""
        lib.uc_reg_write(self.handle, _MSR, ctypes.byref(_ModelSpecific(number, value)))

    def set_exit(self, address: int | None) -> None:
        """Make a run end before it executes the instruction at `address` (if that is not translated yet)."""
        addresses = (ctypes.c_uint64 * 1)(address or 0)
        self.control(_CTL_EXITS, addresses, ctypes.c_size_t(address is not None))

    def forget_exception(self) -> None:
        """No exception is being delivered any more: without this, the next one would be a double fault.

        The engine never learns that we have delivered one, and no register tells it; but saved contexts hold the field.
        """
        context = self._context
        lib.uc_context_save(self.handle, context)
        ctypes.c_int32.from_address(context.value + self._in_flight).value = _NO_EXCEPTION
        lib.uc_context_restore(self.handle, context)

    def _boot(self) -> None:
        """Take the first instructions: to ring 3, which only an instruction can do, and into an exception.

        SYSRETQ needs no descriptor tables, and loading a selector without any is a general protection fault. They run
        before any hook is there, when the virtual TLB is the identity and exceptions end the run.
        """
        page = self._boot_page = mmap.mmap(-1, mmap.PAGESIZE)
        page[: len(_BOOT)] = _BOOT
        self.map_host(_BOOT_PAGE, 4096, PROT_READ | PROT_EXEC, ctypes.addressof(ctypes.c_char.from_buffer(page)))
        self.write_msr(_STAR, 0x23 << 48 | 0x10 << 32)  # Linux's selectors; SYSRET gives CS 0x33, SS 0x2b
        self.set("rax", 0x2B)
        self.set("rcx", _BOOT_PAGE + 3)
        self.set("r11", 0x202)
        self._context = self.save()
        size = lib.uc_context_size(self.handle) // 4
        before = list((ctypes.c_int32 * size).from_address(self._context.value))
        self.start(_BOOT_PAGE + (0 if self._user else 3))
        if self._user and self.get("cs") != 0x33:
            raise InternalError("the engine did not reach ring 3")
        lib.uc_context_save(self.handle, self._context)
        after = list((ctypes.c_int32 * size).from_address(self._context.value))
        changed = [at for at in range(size) if (before[at], after[at]) == (_NO_EXCEPTION, _GENERAL_PROTECTION)]
        if len(changed) != 1:
            raise InternalError("this version of the engine keeps its exception in flight elsewhere")
        self._in_flight = 4 * changed[0]
        self.forget_exception()
        self.flush_tlb()
        for register in ("rax", "rcx", "r11", "pc"):
            self.set(register, 0)
