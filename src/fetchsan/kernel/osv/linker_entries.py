# SPDX-License-Identifier: GPL-2.0-or-later
"""Owns where code that the linker prepared comes back to it: the PLT's first calls, thread-local variables, start and exit.

The PLT and TLS descriptors may change hardly any register; what is not named here is left alone. (ELF for the Arm 64-bit
Architecture, "Procedure linkage table"; System V ABI, AMD64 supplement, 5.2; both supplements on TLS descriptors.)
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from fetchsan.errors import NotExecutableError
from fetchsan.kernel.errors import GuestFault, LinuxError
from fetchsan.kernel.linker.dynamic import Tag
from fetchsan.kernel.linker.file import LINKER, File
from fetchsan.kernel.linker.object import Definition, GuestCall, InGuest
from fetchsan.kernel.linker.program import Entries
from fetchsan.kernel.linker.symbols import printable
from fetchsan.kernel.mmu.ports import AARCH64, X64
from fetchsan.kernel.osv.functions import address_of, function, raw_entry
from fetchsan.kernel.osv.guest_calls import begin, return_address

if TYPE_CHECKING:
    from fetchsan.kernel.osv.thread import Thread

__all__ = ["entries"]

_RELA_SIZE = 24
_TLS_INDEX = struct.Struct("<qq")
_MASK = (1 << 64) - 1


@dataclass(frozen=True, slots=True)
class _PltCall:
    """What the PLT's first stub has left: which object, which entry of its DT_JMPREL, the stack as the caller had it."""

    number: int
    index: int
    registers: dict[str, int]


def _plt_aarch64(thread: Thread) -> _PltCall:
    """x16 is &GOTPLT[2]; the stub has pushed the address of the slot (x16 as it was) and x30."""
    got, sp = thread.pe.get_many(("x16", "sp"))
    slot, link = (thread.memory.read_u64(sp + at) for at in (0, 8))
    return _PltCall(thread.memory.read_u64(got - 8), (slot - got) // 8 - 1, {"sp": sp + 16, "x30": link})


def _plt_x64(thread: Thread) -> _PltCall:
    """The stubs have pushed the index, then GOTPLT[1]."""
    sp = thread.pe.get("sp")
    number, index = (thread.memory.read_u64(sp + at) for at in (0, 8))
    return _PltCall(number, index, {"sp": sp + 16})


_PLT_CALLS: dict[str, Callable[[Thread], _PltCall]] = {AARCH64.name: _plt_aarch64, X64.name: _plt_x64}


@raw_entry
def elf_resolve_pltgot(thread: Thread) -> None:
    """A function is called through the PLT for the first time: bind its slot, go there."""
    call = _PLT_CALLS[thread.space.port.name](thread)
    file = thread.program.module(call.number)
    if file is None:
        raise GuestFault(thread.pe.get("pc"), "execute", 11, 1)
    place, index = _slot(thread, file, call.index)
    symbol = file.symbols[index]
    found = thread.program.resolve(file, symbol, index)
    for register, value in call.registers.items():
        thread.pe.set(register, value)
    if found is None:
        name = printable(file.symbols.name(symbol))
        thread.kernel.abort(thread.pe, f"{file.path}: failed looking up symbol {name}", return_address(thread))
        return
    if found.object is not file:
        file.bound_to.add(found.object)
    begin(thread, _address(thread, found), partial(_bind, thread, place))


def _slot(thread: Thread, file: File, number: int) -> tuple[int, int]:
    if not 0 <= number < file.dynamic.get(Tag.PLTRELSZ) // _RELA_SIZE:
        raise GuestFault(thread.pe.get("pc"), "execute", 11, 1)
    at = file.base + file.dynamic.get(Tag.JMPREL) + _RELA_SIZE * number
    return file.base + thread.memory.read_u64(at), thread.memory.read_u32(at + 12)


def _address(thread: Thread, found: Definition) -> InGuest[int]:
    if found.needs_call:
        return (yield GuestCall(found.address, thread.program.resolver_arguments))
    return found.address


def _bind(thread: Thread, place: int, address: int) -> None:
    thread.memory.write(place, address.to_bytes(8, "little"), LINKER)
    thread.pe.set("pc", address)


def _descriptor(thread: Thread, compute: Callable[[int], int]) -> None:
    """A TLS descriptor's function: its address is in the result register, where the offset from the thread pointer goes."""
    pe, port = thread.pe, thread.port
    argument = thread.memory.read_u64(pe.get(port.result) + 8)
    back = return_address(thread)
    if port.link is None:
        pe.set("sp", pe.get("sp") + 8)
    pe.set(port.result, compute(argument) & _MASK)
    pe.set("pc", back)


@raw_entry
def tls_descriptor(thread: Thread) -> None:
    """Of a variable at a fixed distance."""
    _descriptor(thread, lambda offset: offset)


@raw_entry
def tls_descriptor_on_demand(thread: Thread) -> None:
    """Of one in a block that this thread may not have yet."""

    def compute(argument: int) -> int:
        block = _block(thread, argument >> 48)
        return block + (argument & (1 << 48) - 1) - thread.thread_pointer

    _descriptor(thread, compute)


@function("__tls_get_addr", last=True)
def tls_get_addr(thread: Thread, index: int) -> int:
    """(module, offset) to an address; see `TlsBlock.identity`."""
    module: int
    offset: int
    module, offset = _TLS_INDEX.unpack(thread.memory.read(index, 16))
    return (_block(thread, module >> 1) if module & 1 else thread.thread_pointer + (module >> 1)) + offset


@function("__tls_get_addr_on_demand")
def tls_get_addr_on_demand(thread: Thread, index: int) -> int:
    """What the C library's own __tls_get_addr leaves to the kernel."""
    return tls_get_addr(thread, index)


@function("osv_run_constructors")
def run_constructors(thread: Thread) -> InGuest[int]:
    """The C library is ready: the application's objects may be."""
    application = thread.application
    if application.loaded is not None:
        yield from thread.program.initialise(application.loaded, application.arguments)
    return 0


@function("osv_run_destructors")
def run_destructors(thread: Thread) -> InGuest[int]:
    """exit() is done with its own list."""
    yield from thread.program.finish()
    return 0


def _block(thread: Thread, number: int) -> int:
    file = thread.program.module(number)
    if file is None:
        raise GuestFault(thread.pe.get("pc"), "execute", 11, 1)
    try:
        return thread.program.storage.on_demand(thread.thread_pointer, file)
    except (LinuxError, NotExecutableError):
        raise GuestFault(thread.pe.get("pc"), "read", 11, 1) from None


def entries(base: int) -> Entries:
    """For the linker; `base` is the port's `functions`."""
    names = ("elf_resolve_pltgot", "tls_descriptor", "tls_descriptor_on_demand")
    return Entries(*(address_of(name, base) for name in names))
