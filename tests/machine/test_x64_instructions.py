# SPDX-License-Identifier: GPL-2.0-or-later
"""What x86-64 programs find in the processor: CPUID, the time stamp counter, segment bases, SSE and x87 state, SYSCALL."""

from __future__ import annotations

import struct

import pytest

from fetchsan.machine.traps import CPUException
from x64_guest import CODE, DATA, STACK, Guest, R, W, X

UD2 = "0f0b"  # ends a run without changing a register
GENERAL = ["rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rbp", *(f"r{n}" for n in range(8, 16))]


def test_cpuid_names_its_vendor_and_no_avx() -> None:
    guest = Guest()
    guest.run("0fa2" + UD2, rax=0, rcx=0)
    ebx, edx, ecx = guest.pe.get_many(["rbx", "rdx", "rcx"])
    assert struct.pack("<III", ebx, edx, ecx) == b"GenuineIntel"
    guest.run("0fa2" + UD2, rax=1, rcx=0)
    avx, osxsave, xsave, rdrand, sse42 = (guest.pe.get("rcx") >> bit & 1 for bit in (28, 27, 26, 30, 20))
    assert (avx, osxsave, xsave, rdrand, sse42) == (0, 0, 0, 0, 1)


def test_cpuid_takes_the_low_halves_and_clears_the_high_ones() -> None:
    guest = Guest()
    guest.run("0fa2" + UD2, rax=0xFFFF_FFFF_0000_0007, rcx=0xFFFF_FFFF_0000_0000, rbx=-1 & (1 << 64) - 1)
    assert guest.pe.get_many(["rax", "rbx", "rcx", "rdx"]) == [0, 0, 0, 0]


def test_the_time_stamp_counter_is_the_machines() -> None:
    guest = Guest()
    guest.machine.counter = lambda: 0x1_2345_6789_ABCD
    guest.run("0f31", rax=0, rdx=0)
    assert guest.pe.get_many(["rax", "rdx"]) == [0x6789ABCD, 0x12345]
    guest.run("0f01f9" + UD2, rax=0, rdx=0, rcx=99)
    assert guest.pe.get_many(["rax", "rdx", "rcx"]) == [0x6789ABCD, 0x12345, 0]


def test_segment_bases_are_registers() -> None:
    guest = Guest()
    guest.map(DATA, R | W)
    guest.write(DATA, struct.pack("<QQ", 11, 22))
    guest.run("64488b042500000000" + "65488b1c2508000000", fs_base=DATA, gs_base=DATA)
    assert guest.pe.get_many(["rax", "rbx", "fs_base", "gs_base"]) == [11, 22, DATA, DATA]


def test_a_null_selector_leaves_the_program_running_with_what_the_kernel_set() -> None:
    guest = Guest()
    guest.map(DATA, R | W)
    # mov ds, eax; mov es, eax with 0: what start-up code of some programs does
    guest.run("8ed8" + "8ec0" + "488b07", rax=0, rdi=DATA)
    assert guest.events[-1][0] == "syscall"


def test_syscall_clobbers_rcx_and_r11_as_the_hardware_does() -> None:
    guest = Guest()
    guest.run("f9", rcx=1, r11=2)  # stc
    assert guest.events == [("syscall", CODE + 3, 0)]
    assert guest.pe.get("rcx") == CODE + 3
    assert guest.pe.get("r11") == guest.pe.get("rflags")
    assert guest.pe.get("r11") & 0x201 == 0x201


def test_a_system_call_may_go_on_anywhere() -> None:
    guest = Guest()
    guest.map(DATA, R | X)
    guest.write(DATA, bytes.fromhex("b807000000" + "0f05"))
    guest.calls = [lambda: guest.pe.set("rip", DATA)]
    guest.run("0f05")
    assert guest.events == [("syscall", DATA + 7, 7)]


def test_a_system_call_may_change_every_register() -> None:
    guest = Guest()

    def change() -> None:
        for index, register in enumerate(GENERAL):
            guest.pe.set(register, index << 32 | 5)
        guest.pe.set("rflags", 0x246)

    guest.calls = [change]
    guest.run("0f05" + "9c" + "415f")  # syscall; pushfq; pop r15
    values = guest.pe.get_many(GENERAL)
    expected = [index << 32 | 5 for index in range(len(GENERAL))]
    assert values[-1] & 0xFFF == 0x246
    skip = {GENERAL.index("rcx"), GENERAL.index("r11"), GENERAL.index("r15")}  # the last SYSCALL and the POP
    assert [v for i, v in enumerate(values) if i not in skip] == [v for i, v in enumerate(expected) if i not in skip]


@pytest.mark.parametrize("register", [*GENERAL, "rsp", "rip", "fs_base", "gs_base"])
def test_64_bit_registers_keep_what_is_written(register: str) -> None:
    guest = Guest()
    guest.pe.set(register, 0x1122_3344_5566_7788)
    assert guest.pe.get(register) == 0x1122_3344_5566_7788


@pytest.mark.parametrize(
    ("register", "value"),
    [("mxcsr", 0x9FC0), ("fpcw", 0x27F), ("fpsw", 0x3801), ("fptag", 0xFFFC), ("rflags", 0xAD7)]
    + [(f"xmm{n}", 0x0F0E0D0C0B0A09080706050403020100 + n) for n in range(16)]
    + [(f"st{n}", 0x4000_C90F_DAA2_2168_C235 + n) for n in range(8)],
)  # fmt: skip
def test_other_registers_keep_what_is_written(register: str, value: int) -> None:
    guest = Guest()
    if register == "fptag":
        guest.pe.set("st0", 0x3FFF << 64 | 1 << 63)
    guest.pe.set(register, value)
    assert guest.pe.get(register) == value


def test_pc_and_sp_are_other_names() -> None:
    guest = Guest()
    guest.pe.set("pc", 0x1234)
    guest.pe.set("sp", 0x5678)
    assert guest.pe.get_many(["rip", "rsp"]) == [0x1234, 0x5678]


def test_fxsave_holds_the_registers_and_fxrstor_brings_them_back() -> None:
    guest = Guest()
    guest.map(DATA, R | W)
    # fxsave [rdi]; fninit; pxor xmm1, xmm1; fxrstor [rdi]
    guest.run("480fae07" + "dbe3" + "660fefc9" + "480fae0f", rdi=DATA, xmm1=0x1234 << 64 | 0x5678, mxcsr=0x1FA0,
              fpcw=0x27F, fpsw=0, fptag=0xFFFF)  # fmt: skip
    image = guest.read(DATA, 512)
    assert struct.unpack_from("<H", image, 0)[0] == 0x27F
    assert struct.unpack_from("<I", image, 24)[0] == 0x1FA0
    assert struct.unpack_from("<QQ", image, 160 + 16) == (0x5678, 0x1234)
    assert guest.pe.get("xmm1") == 0x1234 << 64 | 0x5678
    assert guest.pe.get_many(["fpcw", "mxcsr"]) == [0x27F, 0x1FA0]


def test_x87_and_sse_compute() -> None:
    guest = Guest()
    guest.map(DATA, R | W)
    # fldpi; fstp qword [rdi]; cvtsi2sd xmm0, eax; sqrtsd xmm0, xmm0; movq rax, xmm0
    guest.run("d9eb" + "dd1f" + "f20f2ac0" + "f20f51c0" + "66480f7ec0", rdi=DATA, rax=2)
    assert struct.unpack("<d", guest.read(DATA))[0] == pytest.approx(3.141592653589793, abs=0)
    assert struct.unpack("<d", struct.pack("<Q", guest.events[-1][2]))[0] == 2**0.5


def test_what_was_started_with_is_what_linux_gives() -> None:
    guest = Guest()
    assert guest.pe.get_many(["mxcsr", "fpcw", "fptag", "rflags"]) == [0x1F80, 0x37F, 0xFFFF, 0x202]
    assert guest.pe.get_many(GENERAL) == [0] * len(GENERAL)


def test_flags_of_a_faulting_instruction_are_those_before_it() -> None:
    guest = Guest()
    seen: list[int] = []
    guest.on_exception = lambda exception: (seen.append(guest.pe.get("rflags")), guest.pe.set("rip", exception.pc + 2))
    # sub eax, eax (ZF PF); ud2; add al, 0xff; div of 0 by 0 with CF and others as they are
    guest.run("29c0" + "0f0b" + "31c9" + "f9" + "f7f1", rax=5)
    assert seen[0] & 0x45 == 0x44
    assert seen[1] & 0x45 == 0x45


def test_popcnt_and_sse42_work_as_cpuid_says() -> None:
    guest = Guest()
    guest.run("f3480fb8c1" + "f2480f38f1d9", rcx=0xFF00, rbx=0)
    assert guest.pe.get("rax") == 8
    assert guest.pe.get("rbx") == 0x7d113d4f  # CRC-32C


def test_two_runs_are_the_same() -> None:
    def run() -> list[int]:
        guest = Guest()
        ticks = iter(range(1000))
        guest.machine.counter = lambda: next(ticks)
        guest.run("0f31" + "89c3" + "0f31" + "01d8" + "0fa2" + "0f31", rax=0)
        return guest.pe.get_many([*GENERAL, "rflags", "rip"])

    assert run() == run()


def test_an_exception_is_given_as_the_architecture_numbers_it() -> None:
    guest = Guest()
    seen: list[CPUException] = []
    guest.on_exception = lambda exception: (seen.append(exception), guest.pe.stop())
    guest.run("0f0b")
    assert seen == [CPUException(6, 0, 0, CODE)]


def test_the_stack_is_where_it_was_put() -> None:
    guest = Guest()
    guest.run("50" + "5b", rax=0x77)
    assert guest.pe.get_many(["rbx", "rsp"]) == [0x77, STACK + 0x800]
