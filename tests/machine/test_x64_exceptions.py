# SPDX-License-Identifier: GPL-2.0-or-later
"""Exceptions on x86-64: vector, error code and the RIP that is pushed; programs at ring 3 may do nothing privileged."""

from __future__ import annotations

import random
import signal
import threading
import time

import pytest

from fetchsan.machine.interruption import stopping_on_signals
from fetchsan.machine.traps import CPUException
from x64_guest import CODE, DATA, EXIT, STACK, Guest, R, W, X

DE, DB, BP, OF, UD, GP, MF = "#0", "#1", "#3", "#4", "#6", "#13", "#16"


@pytest.mark.parametrize(
    ("text", "code", "vector", "rip"),
    [
        ("ud2", "0f0b", UD, 0),
        ("lock nop", "f090", UD, 0),
        ("push es", "06", UD, 0),
        ("into", "ce", UD, 0),
        ("rsm", "0faa", UD, 0),
        ("xgetbv without OSXSAVE", "0f01d0", UD, 0),
        ("xsave", "0fae20", UD, 0),
        ("wrfsbase", "f3480faed0", UD, 0),
        ("rdrand", "0fc7f0", UD, 0),
        ("rdseed", "0fc7f8", UD, 0),
        ("monitor", "0f01c8", UD, 0),
        ("vmcall", "0f01c1", UD, 0),
        ("andn (BMI)", "c4e278f2c0", UD, 0),
        ("movbe", "0f38f000", UD, 0),
        ("vaddps xmm", "c5f058c2", UD, 0),
        ("vaddps ymm", "c5f458c2", UD, 0),
        ("vzeroupper", "c5f877", UD, 0),
        ("vaddsd, three bytes", "c4e17358c2", UD, 0),
        ("vmovups fs:[rax]", "64c5f81000", UD, 0),
        ("int3", "cc", BP, 1),
        ("int 3", "cd03", BP, 2),
        ("int 4", "cd04", OF, 2),
        ("icebp", "f1", DB, 1),
        ("div by zero", "31c9f7f1", DE, 2),
        ("div overflow", "b900000000ffc1ba02000000f7f1", DE, 12),
        ("idiv by zero", "31c948f7f9", DE, 2),
        ("hlt", "f4", GP, 0),
        ("cli", "fa", GP, 0),
        ("sti", "fb", GP, 0),
        ("in al, dx", "ec", GP, 0),
        ("out 0x80, al", "e680", GP, 0),
        ("insb", "6c", GP, 0),
        ("rdmsr", "0f32", GP, 0),
        ("wrmsr", "0f30", GP, 0),
        ("mov rax, cr0", "0f20c0", GP, 0),
        ("mov cr3, rax", "0f22d8", GP, 0),
        ("mov rax, dr7", "0f21f8", GP, 0),
        ("lgdt", "0f0110", GP, 0),
        ("lidt", "0f0118", GP, 0),
        ("ltr", "0f00d8", GP, 0),
        ("invlpg", "0f0138", GP, 0),
        ("invd", "0f08", GP, 0),
        ("wbinvd", "0f09", GP, 0),
        ("clts", "0f06", GP, 0),
        ("swapgs", "0f01f8", GP, 0),
        ("sysret", "480f07", GP, 0),
        ("sysexit", "480f35", GP, 0),
        ("sysenter", "0f34", GP, 0),
        ("a selector without a descriptor", "b82b0000008ed8", GP, 5),
        ("16 bytes", "66" * 15 + "90", GP, 0),
        ("int 0x80", "cd80", GP, 0),
        ("int 6", "cd06", GP, 0),
        ("int 13", "cd0d", GP, 0),
        ("int 0", "cd00", GP, 0),
    ],
)
def test_vector_and_rip(text: str, code: str, vector: str, rip: int) -> None:
    guest = Guest()
    guest.map(DATA, R | W)
    guest.run(code, rax=DATA, rdi=DATA)
    assert [(name, pc - CODE) for name, pc, _error in guest.events] == [(vector, rip)]


@pytest.mark.parametrize("number", [0, 6, 13, 0x80, 0xFF])
def test_int_without_a_gate_names_its_vector(number: int) -> None:
    guest = Guest()
    guest.run(f"cd{number:02x}")
    assert guest.events == [(GP, CODE, number << 3 | 2)]
    assert guest.pe.get("rip") == CODE


def test_the_same_exception_may_come_again_and_again() -> None:
    """The engine would make a double fault of the second, and stop silently at the third."""
    guest = Guest()

    def skip(exception: CPUException) -> None:
        guest.pe.set("rip", exception.pc + (1 if exception.ec == 13 else 2))

    guest.on_exception = skip
    guest.run("f4" * 20 + "31c9" + "f7f1" * 20)
    assert [name for name, _pc, _error in guest.events] == [GP] * 20 + [DE] * 20 + ["syscall"]


def test_a_handler_may_go_on_after_an_undefined_instruction() -> None:
    guest = Guest()
    guest.on_exception = lambda exception: guest.pe.set("rip", exception.pc + 2)
    guest.run("0f0b" + "b807000000")
    assert guest.events == [(UD, CODE, 0), ("syscall", CODE + 9, 7)]


def test_avx_is_undefined_after_everything_before_it_in_the_block_was_done() -> None:
    guest = Guest()
    guest.map(DATA, R | W)
    guest.run("c60705" + "ffc0" + "c5f058c2" + "c60706", rdi=DATA, rax=1)
    assert guest.events == [(UD, CODE + 5, 0)]
    assert guest.read(DATA, 1) == b"\x05"
    assert guest.pe.get("rax") == 2


def test_avx_is_undefined_each_time() -> None:
    guest = Guest()
    guest.on_exception = lambda exception: guest.pe.set("rip", exception.pc + 4)
    guest.run("b903000000" + "90" + "c5f058c2" + "ffc9" + "75f7", rax=0)
    assert [name for name, _pc, _error in guest.events] == [UD] * 3 + ["syscall"]


@pytest.mark.parametrize("code", ["4889c5", "31c4", "4889c4c3", "b8c5f05800", "48b8c5f058c2c4e17358"])
def test_bytes_that_only_look_like_avx_are_none(code: str) -> None:
    guest = Guest()
    guest.map(CODE, R | X)
    guest.write(CODE + 0x800, EXIT)
    guest.memory.write_u64(guest.translation(STACK).physical + 0x800, CODE + 0x800)  # type: ignore[union-attr]
    guest.run(code, rbp=0, rsp=STACK + 0x800, rax=STACK + 0x800)
    assert [name for name, _pc, _error in guest.events] == ["syscall"]


def test_an_io_instruction_leaves_registers_alone() -> None:
    guest = Guest()
    guest.run("ec" + "ffc0" + "ffc1", rax=0x1234, rcx=5)
    assert guest.events == [(GP, CODE, 0)]
    assert guest.pe.get_many(["rax", "rcx", "rip"]) == [0x1234, 5, CODE]


def test_single_stepping_traps_after_each_instruction() -> None:
    guest = Guest()
    guest.on_exception = lambda _exception: None
    # pushfq; or qword [rsp], 0x100; popfq; nop; nop; push rcx (202); popfq; nop
    guest.run("9c" + "48810c2400010000" + "9d" + "90" + "90" + "51" + "9d" + "90", rcx=0x202)
    assert [(name, pc - CODE) for name, pc, _error in guest.events] == [(DB, at) for at in (11, 12, 13, 14)] + [("syscall", 17)]


def test_an_unmasked_x87_error_comes_with_the_next_wait() -> None:
    guest = Guest()
    # fld1; fldz; fdivp; fwait
    guest.run("d9e8" + "d9ee" + "def9" + "9b", fpcw=0x37B)
    assert guest.events == [(MF, CODE + 6, 0)]


def test_popf_cannot_change_the_privileged_flags() -> None:
    guest = Guest()
    guest.run("9d" + "9c58", rsp=STACK + 0x100, rax=0)
    flags = int(guest.events[-1][2])  # type: ignore[call-overload]
    assert flags & 0x3200 == 0x200  # IOPL 0, IF


def test_ring_0_may_do_what_ring_3_may_not() -> None:
    guest = Guest(user=False)
    guest.run("fa" + "fb" + "0f20d8" + "b801000000")
    assert guest.events[-1] == ("syscall", CODE + 12, 1)


def test_hlt_in_ring_0_goes_on_or_gives_the_turn_away() -> None:
    guest = Guest(user=False)
    guest.run("f4" + "b801000000")
    assert guest.events[-1] == ("syscall", CODE + 8, 1)
    guest.events.clear()
    guest.pe.set("rip", CODE)
    guest.pe.run(until_wait=True)
    assert guest.events == [] and guest.pe.get("rip") == CODE + 1


@pytest.mark.parametrize("user", [True, False])
def test_garbage_never_hangs_nor_ends_the_process(user: bool) -> None:
    """Random bytes, entered anew at random after every trap; loops are stopped from outside."""
    generator = random.Random(86)
    trapped = 0
    for _round in range(12):
        guest = Guest(size=1 << 20, user=user)
        guest.map(DATA, R | W | X)
        guest.write(DATA, generator.randbytes(4096))
        left = 100

        def trap(*_what: object, guest: Guest = guest) -> bool:
            nonlocal left, trapped
            left -= 1
            trapped += 1
            guest.pe.set("rip", DATA + generator.randrange(4096))
            guest.pe.set("rsp", STACK + 0x800)
            if left <= 0:
                guest.pe.stop()
            return False

        guest.on_exception = trap
        guest.page_fault = trap  # type: ignore[method-assign]
        stopper = threading.Timer(0.3, guest.pe.stop)
        stopper.start()
        guest.run(at=DATA, rdi=DATA + 0x100, rsi=DATA + 0x200, rax=DATA, rbp=STACK + 0x900, rbx=DATA, rdx=0)
        stopper.cancel()
        guest.machine.close()
    assert trapped > 100


def test_a_signal_ends_a_loop() -> None:
    guest = Guest()
    guest.map(CODE, R | X)
    guest.write(CODE, bytes.fromhex("ebfe"))
    before = signal.signal(signal.SIGUSR1, lambda _number, _frame: None)
    try:
        with stopping_on_signals(guest.pe.engine.stop):
            guest.pe.set("rip", CODE)
            threading.Timer(0.2, lambda: signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGUSR1)).start()
            threading.Timer(0.4, guest.pe.stop).start()
            started = time.monotonic()
            guest.pe.run()
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert time.monotonic() - started < 5
