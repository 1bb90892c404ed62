# SPDX-License-Identifier: GPL-2.0-or-later
"""The one place that touches Unicorn: its C interface, through ctypes, with callbacks that may be native code.

The library comes from the `unicorn` wheel, but its Python binding is not used: it costs 50 ms to import and 2 to 40 µs a
call. Only the documented C API is. What Unicorn does and costs is measured; each oddity worked round here says so.
"""

from __future__ import annotations

import ctypes
import importlib.util
import signal
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar

from fetchsan.errors import FetchSanError, InternalError
from fetchsan.machine.engine_registers import AARCH64, RegisterTable

__all__ = [
    "CTL_TLB_FLUSH",
    "FETCH",
    "MAGIC",
    "PROT_EXEC",
    "PROT_READ",
    "PROT_WRITE",
    "READ",
    "WRITE",
    "XZR",
    "Aarch64Engine",
    "Engine",
    "EngineError",
    "FillCallback",
    "InterruptCallback",
    "StoreCallback",
    "SystemCallback",
    "X64BlockCallback",
    "X64Callback",
    "X64PortCallback",
    "X64UndefinedCallback",
    "ctl",
    "lib",
    "on_abort",
]

READ, WRITE, FETCH = 16, 17, 18
PROT_READ, PROT_WRITE, PROT_EXEC = 1, 2, 4
XZR = 7
MAGIC = 0x00FF << 48
"""Virtual addresses MAGIC | p translate to engine-physical p: translations are dropped through them (`remove_code`)."""

_HOOK_TYPES = {"interrupt": 1, "undefined": 1 << 14, "translated": 1 << 15, "fill": 1 << 17}
_HOOK_INSN = 2


def ctl(kind: int, arguments: int, direction: int) -> int:
    return kind | arguments << 26 | direction << 30


_CTL_PAGE_SIZE = ctl(1, 1, 1)
_CTL_USE_EXITS = ctl(4, 1, 1)
_CTL_CPU_MODEL = ctl(7, 1, 1)
_CTL_REMOVE_CACHE = ctl(9, 2, 1)
CTL_TLB_FLUSH = ctl(11, 0, 1)
"""uc_ctl request for native callbacks."""
_CTL_TLB_MODE = ctl(12, 1, 1)

_ptr, _u32, _u64 = ctypes.c_void_p, ctypes.c_uint32, ctypes.c_uint64

FillCallback = ctypes.CFUNCTYPE(ctypes.c_bool, _ptr, _u64, ctypes.c_int, ctypes.POINTER(_u32), _ptr)
"""(engine, virtual page, READ|WRITE|FETCH, result: {physical, protection}, data) -> translated"""
InterruptCallback = ctypes.CFUNCTYPE(None, _ptr, _u32, _ptr)
SystemCallback = ctypes.CFUNCTYPE(_u32, _ptr, _u32, ctypes.POINTER(_u32), _ptr)
"""(engine, register id of Rt, {crn, crm, op0, op1, op2, -, value:64}, data) -> skip the instruction"""
StoreCallback = ctypes.CFUNCTYPE(None, _ptr, _u64, _u32, _u64, _ptr)
"""(engine, offset in the window, size, value, data)"""
X64Callback = ctypes.CFUNCTYPE(ctypes.c_int, _ptr, _ptr)
"""(engine, data) -> skip the instruction: SYSCALL (the answer is ignored), CPUID, RDTSC, RDTSCP"""
X64PortCallback = ctypes.CFUNCTYPE(_u32, _ptr, _u32, ctypes.c_int, _u64, _u64)
"""(engine, port, size, ...) -> value: IN and OUT (which have different arguments after these)"""
X64BlockCallback = ctypes.CFUNCTYPE(None, _ptr, ctypes.POINTER(_u64), _ptr, _ptr)
"""(engine, {pc:64, instructions:16, size:16}, the block before, data): the block was translated, and will be executed"""
X64UndefinedCallback = ctypes.CFUNCTYPE(ctypes.c_bool, _ptr, _ptr)
"""(engine, data) -> handled, go on at PC"""


class EngineError(FetchSanError):
    """Unicorn reported an error we did not expect; `code` is its uc_err."""

    def __init__(self, call: str, code: int) -> None:
        super().__init__(f"engine: {call} failed: {_strerror(code)} ({code})")
        self.code = code


_CP_REG = 290


class _CpReg(ctypes.Structure):
    _fields_ = (
        ("crn", _u32),
        ("crm", _u32),
        ("op0", _u32),
        ("op1", _u32),
        ("op2", _u32),
        ("val", _u64),
    )


def _load() -> ctypes.CDLL:
    found = importlib.util.find_spec("unicorn")
    if found is None or not found.submodule_search_locations:
        raise InternalError("the unicorn package is not installed; `pip install unicorn`")
    folder = Path(next(iter(found.submodule_search_locations))) / "lib"
    for name in ("libunicorn.so.2", "libunicorn.so"):
        if (folder / name).exists():
            return ctypes.CDLL(str(folder / name))
    raise InternalError(f"no libunicorn in {folder}; `pip install --force-reinstall unicorn`")


lib = _load()
for _name, _arguments in {
    "uc_open": (_u32, _u32, ctypes.POINTER(_ptr)),
    "uc_close": (_ptr,),
    "uc_emu_start": (_ptr, _u64, _u64, _u64, ctypes.c_size_t),
    "uc_emu_stop": (_ptr,),
    "uc_mem_map_ptr": (_ptr, _u64, _u64, _u32, _ptr),
    "uc_mmio_map": (_ptr, _u64, _u64, _ptr, _ptr, _ptr, _ptr),
    "uc_hook_add": (_ptr, ctypes.POINTER(ctypes.c_size_t), ctypes.c_int, _ptr, _ptr, _u64, _u64),
    "uc_reg_read": (_ptr, ctypes.c_int, _ptr),
    "uc_reg_write": (_ptr, ctypes.c_int, _ptr),
    "uc_reg_read_batch": (_ptr, _ptr, _ptr, ctypes.c_int),
    "uc_context_alloc": (_ptr, ctypes.POINTER(_ptr)),
    "uc_context_save": (_ptr, _ptr),
    "uc_context_restore": (_ptr, _ptr),
    "uc_context_free": (_ptr,),
    "uc_context_size": (_ptr,),
    "uc_vmem_translate": (_ptr, _u64, ctypes.c_int, ctypes.POINTER(_u64)),
    "uc_version": (_ptr, _ptr),
}.items():
    getattr(lib, _name).argtypes = _arguments
lib.uc_context_size.restype = ctypes.c_size_t
lib.uc_ctl.argtypes = (_ptr, ctypes.c_uint32)
lib.uc_strerror.restype = ctypes.c_char_p


def _strerror(code: int) -> str:
    text = lib.uc_strerror(code)
    return str(text.decode()) if text else "unknown error"


def address_of(function: str) -> int:
    """Address of a C API function, for native callbacks."""
    return ctypes.cast(getattr(lib, function), _ptr).value or 0


_AbortHandler = ctypes.CFUNCTYPE(None, ctypes.c_int)
_abort_handlers: list[Any] = []  # C keeps no reference


def on_abort(callback: Callable[[], None]) -> None:
    """Call `callback`, which must end the process, where the engine would end it: by abort(3), in the middle of its work.

    Its translator does that with what its authors did not think of, and nothing comes back from there. On x86-64 it is
    LOCK before BT, BTS, BTR or BTC of a register, which a processor finds undefined; every other opcode with every prefix
    was tried.
    """
    handler = _AbortHandler(lambda _number: callback())
    _abort_handlers.append(handler)
    ctypes.CDLL(None).signal(int(signal.SIGABRT), handler)


class Engine:
    """One Unicorn instance: page size 4096, virtual TLB, no exits. `registers` is the architecture's table."""

    registers: ClassVar[RegisterTable]
    _arch: ClassVar[int]
    _mode: ClassVar[int]
    _small_granule: ClassVar[bool] = False
    _models: ClassVar[dict[str, int]]
    _instructions: ClassVar[dict[str, int]]  # those that can be hooked

    def __init__(self, model: str) -> None:
        handle = _ptr()
        self.check("uc_open", lib.uc_open(self._arch, self._mode, ctypes.byref(handle)))
        self.handle = handle
        if self._small_granule:
            # Before anything else: the default is 1 KiB, and the fill callback would be asked per 1 KiB.
            self.control(_CTL_PAGE_SIZE, ctypes.c_uint32(4096))
        self.control(_CTL_CPU_MODEL, ctypes.c_int(self._models[model]))
        self.control(_CTL_TLB_MODE, ctypes.c_int(1))
        # With exits enabled and none given, no address ends a run (until=0 would make PC 0 an exit).
        self.control(_CTL_USE_EXITS, ctypes.c_int(1))
        self._keep: list[Any] = []
        self._value = _u64()
        self._value_ref = ctypes.byref(self._value)
        self._ids = self.registers.ids
        self._wide = self.registers.wide
        self._pc = self._ids["pc"]
        self._batches: dict[tuple[str, ...], tuple[Any, Any, Any]] = {}
        self.removing = _u64()
        """Not 0 while `remove_code` runs: only then do MAGIC addresses translate."""

    def close(self) -> None:
        """Free the engine; it must not be used afterwards."""
        if self.handle:
            lib.uc_close(self.handle)
            self.handle = _ptr()

    # --- memory ------------------------------------------------------------------------------------------------------

    def map_host(self, physical: int, size: int, protection: int, host: int) -> None:
        """Make `size` bytes of host memory appear at engine-physical `physical`."""
        self.check("uc_mem_map_ptr", lib.uc_mem_map_ptr(self.handle, physical, size, protection, host))

    def map_window(self, physical: int, size: int, store: int, data: int) -> None:
        """A write-only window: `store` is the address of a StoreCallback."""
        self.check("uc_mmio_map", lib.uc_mmio_map(self.handle, physical, size, None, None, store, data))

    def flush_tlb(self) -> None:
        """Forget every translation address -> page (not translated code)."""
        lib.uc_ctl(self.handle, CTL_TLB_FLUSH)

    def remove_code(self, physical: int, size: int) -> None:
        """Forget translated code in [physical, +size), engine-physical, within one page. Cuts chained jumps."""
        start = MAGIC | physical
        self.removing.value = 1
        lib.uc_ctl(self.handle, _CTL_REMOVE_CACHE, _u64(start), _u64(start + size))
        self.removing.value = 0

    # --- hooks -------------------------------------------------------------------------------------------------------

    def hook(self, kind: str, callback: Any, data: int = 0) -> None:
        """Install a callback: `kind` is interrupt, fill, undefined, translated or an instruction; an int is a native address.

        All hooks must be there before the first run: code translated earlier would not call them. There is no memory hook,
        and must not be: any of them, the one for unmapped addresses too, sends every load and store down the slow path.
        """
        hook = ctypes.c_size_t()
        pointer = callback if isinstance(callback, int) else ctypes.cast(callback, _ptr)
        self._keep.append(callback)
        number = self._instructions.get(kind)
        hook_type = _HOOK_TYPES[kind] if number is None else _HOOK_INSN
        which = () if number is None else (ctypes.c_int(number),)
        code = lib.uc_hook_add(
            self.handle, ctypes.byref(hook), hook_type, pointer, _ptr(data), _u64(1), _u64(0), *which
        )
        self.check(f"uc_hook_add({kind})", code)

    # --- registers ---------------------------------------------------------------------------------------------------

    def get(self, register: str) -> int:
        """One register by name."""
        number = self._ids.get(register)
        if number is None:
            number, size = self._wide[register]
            wide = ctypes.create_string_buffer(size)
            lib.uc_reg_read(self.handle, number, wide)
            return int.from_bytes(wide.raw, "little")
        self._value.value = 0
        lib.uc_reg_read(self.handle, number, self._value_ref)
        return self._value.value

    def pc(self) -> int:
        """The program counter: what callbacks ask for most."""
        lib.uc_reg_read(self.handle, self._pc, self._value_ref)
        return self._value.value

    def set(self, register: str, value: int) -> None:
        """Write one register by name. PSTATE takes effect with the next `write_system` (Unicorn caches its flags)."""
        number = self._ids.get(register)
        if number is None:
            number, size = self._wide[register]
            lib.uc_reg_write(self.handle, number, value.to_bytes(size, "little"))
            return
        self._value.value = value
        lib.uc_reg_write(self.handle, number, self._value_ref)

    def get_many(self, registers: Sequence[str]) -> list[int]:
        """Several general registers in one call."""
        key = tuple(registers)
        batch = self._batches.get(key)
        if batch is None:
            count = len(key)
            ids = (ctypes.c_int * count)(*(self._ids[name] for name in key))
            values = (ctypes.c_uint64 * count)()
            base = ctypes.addressof(values)
            pointers = (ctypes.c_void_p * count)(*(base + 8 * index for index in range(count)))
            batch = self._batches[key] = (ids, values, pointers)
        ids, values, pointers = batch
        lib.uc_reg_read_batch(self.handle, ids, pointers, len(key))
        return list(values)

    def save(self) -> Any:
        """All registers, to give to `restore` (of this engine)."""
        context = _ptr()
        self.check("uc_context_alloc", lib.uc_context_alloc(self.handle, ctypes.byref(context)))
        self.check("uc_context_save", lib.uc_context_save(self.handle, context))
        return context

    def restore(self, context: Any) -> None:
        """Put back what `save` gave."""
        self.check("uc_context_restore", lib.uc_context_restore(self.handle, context))

    def free(self, context: Any) -> None:
        """Release what `save` gave."""
        lib.uc_context_free(context)

    # --- running -----------------------------------------------------------------------------------------------------

    def start(self, pc: int) -> int:
        """Run from `pc` until stopped; returns the uc_err code (0: stopped)."""
        return int(lib.uc_emu_start(self.handle, pc, 0, 0, 0))

    def stop(self) -> None:
        """End the run at the next chance (in a system-instruction callback: the end of the block)."""
        lib.uc_emu_stop(self.handle)

    # --- inside ------------------------------------------------------------------------------------------------------

    def control(self, code: int, *arguments: Any) -> None:
        """uc_ctl."""
        self.check("uc_ctl", lib.uc_ctl(self.handle, code, *arguments))

    @staticmethod
    def check(call: str, code: int) -> None:
        """Raise what a uc_err means."""
        if code:
            raise EngineError(call, code)


class Aarch64Engine(Engine):
    """An AArch64 PE in split-TLB use."""

    registers = AARCH64
    _arch, _mode = 2, 0
    _small_granule = True
    _models: ClassVar[dict[str, int]] = {"cortex-a57": 0, "cortex-a53": 1, "cortex-a72": 2, "max": 3}
    _instructions: ClassVar[dict[str, int]] = {"mrs": 1, "msr": 2, "sys": 3, "sysl": 4}

    def __init__(self, model: str) -> None:
        super().__init__(model)
        # Without RW=1 below EL3 and EL2, every ERET from EL1 to EL1 is an illegal exception return.
        self.write_system(3, 6, 1, 1, 0, 0x30501)  # SCR_EL3
        self.write_system(3, 4, 1, 1, 0, (1 << 31) | (1 << 40) | (1 << 41) if model == "max" else 1 << 31)  # HCR_EL2

    def get_id(self, number: int) -> int:
        """One general register by the engine's own number (what a system-instruction callback is given)."""
        if number == XZR:
            return 0
        self._value.value = 0
        lib.uc_reg_read(self.handle, number, self._value_ref)
        return self._value.value

    def set_id(self, number: int, value: int) -> None:
        """Write one general register by the engine's own number."""
        if number != XZR:
            self._value.value = value
            lib.uc_reg_write(self.handle, number, self._value_ref)

    def write_system(self, op0: int, op1: int, crn: int, crm: int, op2: int, value: int) -> None:
        """Write a system register by encoding (and make Unicorn recompute what it derived from PSTATE)."""
        register = _CpReg(crn, crm, op0, op1, op2, value)
        lib.uc_reg_write(self.handle, _CP_REG, ctypes.byref(register))

    def read_system(self, op0: int, op1: int, crn: int, crm: int, op2: int) -> int:
        """Read a system register by encoding."""
        register = _CpReg(crn, crm, op0, op1, op2, 0)
        lib.uc_reg_read(self.handle, _CP_REG, ctypes.byref(register))
        return int(register.val)
