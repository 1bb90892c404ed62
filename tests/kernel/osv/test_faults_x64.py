# SPDX-License-Identifier: GPL-2.0-or-later
"""Exceptions of applications on the x64 port: error codes of page faults, frames, which exceptions are signals, dumps."""

from __future__ import annotations

import struct
from collections.abc import Iterator

import pytest

from fetchsan.arch.x64.mmu_faults import Vector
from fetchsan.kernel.mmu.ports import X64
from fetchsan.kernel.mmu.vma import MMAP_FIXED
from fetchsan.kernel.osv import Aborted
from fetchsan.machine.traps import CPUException

from .caller import Caller

AREA, HANDLER, PC = 0x5000_0000_0000, 0x5000_0000_9000, 0x4F00_0000_0000
READ, WRITE = 1, 2
FPE, SEGV = 8, 11
PROT, W, RSVD, INSN = 1, 2, 8, 16


@pytest.fixture
def x64() -> Iterator[Caller]:
    """A page without rights, resident; a read-only one, resident; and a read-only one that is not."""
    caller = Caller(X64)
    space = caller.kernel.space
    space.map_anon(AREA, 3 * 4096, MMAP_FIXED, READ | WRITE)
    caller.kernel.memory.write(AREA, b"x" * 8192)
    space.mprotect(AREA, 4096, 0)
    space.mprotect(AREA + 4096, 8192, READ)
    caller.pe.set("sp", caller.buffer + (1 << 16))
    caller.pe.set("pc", PC)
    yield caller
    caller.machine.close()


def aborted(osv: Caller) -> Aborted:
    end = osv.kernel.ended
    assert isinstance(end, Aborted)
    return end


def handle(osv: Caller, signal: int, flags: int = 4, restorer: int = 0) -> None:
    assert osv.call("rt_sigaction", signal, osv.put(struct.pack("<QQQQ", HANDLER, flags, restorer, 0)), 0, 8) == 0
    osv.pe.set("pc", PC)


@pytest.mark.parametrize(
    ("address", "access", "error"),
    [
        (AREA + 0x10_0000, "read", 0),
        (AREA + 0x10_0000, "write", W),
        (AREA + 0x10_0000, "execute", INSN),
        (AREA + 8, "read", PROT | RSVD),
        (AREA + 8, "write", PROT | RSVD | W),
        (AREA + 4104, "write", PROT | W),
        (AREA + 4104, "execute", PROT | INSN),
        (AREA + 8200, "write", W),
        (0x9000_0000_0000, "read", 0),
    ],
)
def test_the_error_code_says_what_was_wrong(x64: Caller, address: int, access: str, error: int) -> None:
    if access == "execute":
        x64.pe.set("pc", address)
    assert not x64.kernel.page_fault(x64.pe, address, access)  # type: ignore[arg-type]
    exception = aborted(x64).exception
    assert (exception.ec, exception.esr, exception.far) == (Vector.PAGE_FAULT, error, address)


def test_a_handler_gets_code_and_address_and_the_state_comes_back(x64: Caller) -> None:
    handle(x64, SEGV)
    before = {"rbx": 7, "r12": 12, "xmm3": 1 << 100, "pc": PC, "rsp": x64.buffer + 0x8000}
    for register, value in before.items():
        x64.pe.set(register, value)
    x64.kernel.page_fault(x64.pe, AREA + 4104, "write")
    number, info, sp = x64.pe.get_many(("rdi", "rsi", "sp"))
    assert (number, x64.pe.get("pc")) == (SEGV, HANDLER)
    assert struct.unpack("<iii4xQ", x64.kernel.memory.read(info, 24)) == (SEGV, 0, 2, AREA + 4104)
    back = x64.kernel.memory.read_u64(sp)
    x64.pe.set("sp", sp + 8)  # RET
    x64.pe.set("xmm3", 0)
    assert not x64.kernel.page_fault(x64.pe, back, "execute")
    assert {register: x64.pe.get(register) for register in before} == before


def test_the_red_zone_is_left_alone(x64: Caller) -> None:
    handle(x64, SEGV)
    x64.kernel.memory.write(x64.buffer + 0x8000 - 128, b"r" * 128)
    x64.pe.set("sp", x64.buffer + 0x8000)
    x64.kernel.page_fault(x64.pe, AREA, "read")
    assert x64.kernel.memory.read(x64.buffer + 0x8000 - 128, 128) == b"r" * 128


@pytest.mark.parametrize("vector", [Vector.DIVIDE_ERROR, Vector.SIMD_ERROR])
def test_arithmetic_exceptions_are_sigfpe(x64: Caller, vector: Vector) -> None:
    handle(x64, FPE)
    x64.kernel.exception(x64.pe, CPUException(vector, 0, 0, PC))
    assert (x64.pe.get("pc"), x64.pe.get("rdi")) == (HANDLER, FPE)


def test_an_undefined_instruction_is_fatal_whatever_is_handled(x64: Caller) -> None:
    handle(x64, 4)
    x64.kernel.exception(x64.pe, CPUException(Vector.INVALID_OPCODE, 0, 0, PC))
    assert aborted(x64).report.startswith(f"unexpected exception, vector: 6\n[registers]\nRIP: 0x{PC:016x} ")


def test_a_fault_without_a_handler_dumps_the_registers_of_ring_0(x64: Caller) -> None:
    x64.kernel.page_fault(x64.pe, AREA, "read")
    first, title, rip, flags, *_ = aborted(x64).report.splitlines()
    assert first == f"page fault in application, addr: 0x{AREA:016x}"
    assert (title, rip) == ("[registers]", f"RIP: 0x{PC:016x} <???+{PC}>")
    assert flags.endswith("CS:  0x0000000000000008  SS:  0x0000000000000010")


@pytest.mark.parametrize(
    ("address", "heading"),
    [
        (0, "trying to execute null pointer"),
        (0x4030_0000, "page fault outside application, addr: 0x0000000040300000"),
        (0x4008_0000, "page fault in application, addr: 0x0000000040080000"),
    ],
)
def test_where_the_pc_lies_decides(x64: Caller, address: int, heading: str) -> None:
    x64.pe.set("pc", address)
    assert not x64.kernel.page_fault(x64.pe, address, "execute")
    assert aborted(x64).report.splitlines()[0] == heading


@pytest.mark.parametrize("sp", [0, 8, (1 << 64) - 8, 0x8000_0000_0000_0000])
def test_wild_stack_pointers_are_fatal(x64: Caller, sp: int) -> None:
    handle(x64, SEGV)
    x64.pe.set("sp", sp)
    x64.call("rt_sigreturn")
    assert aborted(x64).report.startswith("return from a signal handler, but no signal frame at SP\n")
