# SPDX-License-Identifier: GPL-2.0-or-later
"""Page faults on x86-64: the exact address, the right access, and no half effects."""

from __future__ import annotations

import pytest

from fetchsan.arch.x64.mmu_faults import ErrorCode
from fetchsan.errors import InternalError
from x64_guest import CODE, DATA, EXIT, STACK, Guest, R, W, X

HOLE = 0x70_0000
HOLE_2 = 0x71_0000


def fault_of(code: str, **registers: int) -> tuple[str, int, object]:
    """The only event of a program that faults at once."""
    guest = Guest()
    guest.map(DATA, R | W)
    guest.run(code, **registers)
    assert len(guest.events) == 1
    return guest.events[0]


@pytest.mark.parametrize(
    ("text", "code", "registers", "access", "address"),
    [
        ("mov rax, [rdi]", "488b07", {"rdi": HOLE + 0x123}, "read", HOLE + 0x123),
        ("mov [rdi], al", "8807", {"rdi": HOLE + 0xFFF}, "write", HOLE + 0xFFF),
        ("mov rax, [rdi+rcx*8-16]", "488b44cff0", {"rdi": HOLE, "rcx": 5}, "read", HOLE + 24),
        ("mov eax, [r13d]", "67418b4500", {"r13": 1 << 40 | HOLE}, "read", HOLE),
        ("mov rax, [rip+0x2ffff9]", "488b05f9ff2f00", {}, "read", HOLE),
        ("mov rax, fs:[0x10]", "64488b042510000000", {"fs_base": HOLE + 8}, "read", HOLE + 0x18),
        ("mov gs:[rdi], rax", "65488907", {"gs_base": HOLE, "rdi": 0x20}, "write", HOLE + 0x20),
        ("push rax", "50", {"rsp": HOLE + 0x100}, "write", HOLE + 0xF8),
        ("pop rax", "58", {"rsp": HOLE + 0x100}, "read", HOLE + 0x100),
        ("push qword [rdi]", "ff37", {"rdi": HOLE + 8}, "read", HOLE + 8),
        ("push qword [rdi], stack", "ff37", {"rdi": DATA, "rsp": HOLE + 16}, "write", HOLE + 8),
        ("pop qword [rdi]", "8f07", {"rdi": HOLE + 8}, "write", HOLE + 8),
        ("pop qword [rsp]", "8f0424", {"rsp": STACK + 0xFF0, "rdi": 0}, "none", 0),
        ("call rdi, stack", "ffd7", {"rdi": CODE, "rsp": HOLE + 0x20}, "write", HOLE + 0x18),
        ("call [rdi]", "ff17", {"rdi": HOLE + 0x40}, "read", HOLE + 0x40),
        ("ret", "c3", {"rsp": HOLE + 0x20}, "read", HOLE + 0x20),
        ("leave", "c9", {"rbp": HOLE + 0x28}, "read", HOLE + 0x28),
        ("enter 16, 0", "c8100000", {"rsp": HOLE + 0x28}, "write", HOLE + 0x20),
        ("add [rdi], eax", "0107", {"rdi": HOLE + 4}, "write", HOLE + 4),
        ("lock xadd [rdi], eax", "f00fc107", {"rdi": HOLE + 4}, "write", HOLE + 4),
        ("lock cmpxchg16b [rdi]", "f0480fc70f", {"rdi": HOLE + 0x10}, "write", HOLE + 0x10),
        ("cmp [rdi], eax", "3907", {"rdi": HOLE + 4}, "read", HOLE + 4),
        ("bt [rdi], eax", "0fa307", {"rdi": HOLE, "rax": 0x1000}, "read", HOLE + 0x200),
        ("bts [rdi], rax", "480fab07", {"rdi": HOLE, "rax": 64 * 3 + 1}, "write", HOLE + 24),
        ("bt [rdi], eax, negative", "0fa307", {"rdi": HOLE + 0x100, "rax": 0xFFFF_FFFF}, "read", HOLE + 0xFC),
        ("movdqu [rdi], xmm0", "f30f7f07", {"rdi": HOLE + 3}, "write", HOLE + 3),
        ("movaps xmm0, [rdi]", "0f2807", {"rdi": HOLE + 0x10}, "read", HOLE + 0x10),
        ("maskmovdqu", "660ff7c1", {"rdi": HOLE, "xmm1": (1 << 128) - 1}, "write", HOLE),
        ("fld qword [rdi]", "dd07", {"rdi": HOLE + 8}, "read", HOLE + 8),
        ("fstp tword [rdi]", "db3f", {"rdi": HOLE + 8}, "write", HOLE + 8),
        ("fxsave [rdi]", "0fae07", {"rdi": HOLE}, "write", HOLE),
        ("xlatb", "d7", {"rbx": HOLE, "rax": 0x1234}, "read", HOLE + 0x34),
        ("lodsb", "ac", {"rsi": HOLE + 1}, "read", HOLE + 1),
        ("stosq", "48ab", {"rdi": HOLE + 1}, "write", HOLE + 1),
        ("movsb from", "a4", {"rsi": HOLE + 1, "rdi": DATA}, "read", HOLE + 1),
        ("movsb to", "a4", {"rdi": HOLE + 1, "rsi": DATA}, "write", HOLE + 1),
        ("cmpsb second", "a6", {"rdi": HOLE + 1, "rsi": DATA}, "read", HOLE + 1),
        ("scasd", "af", {"rdi": HOLE + 1}, "read", HOLE + 1),
        ("xchg [rdi], eax", "8707", {"rdi": HOLE + 0x44}, "write", HOLE + 0x44),
        ("mov al, [moffs]", "a0" + HOLE.to_bytes(8, "little").hex(), {}, "read", HOLE),
        ("sgdt [rdi]", "0f0107", {"rdi": HOLE + 4}, "write", HOLE + 4),
        ("jmp [rdi]", "ff27", {"rdi": HOLE + 4}, "read", HOLE + 4),
        ("crosses from below, read", "488b07", {"rdi": HOLE - 3}, "read", HOLE),
        ("kernel half", "488b07", {"rdi": 0xFFFF_8000_0000_0008}, "read", 0xFFFF_8000_0000_0008),
        ("null", "488b07", {"rdi": 0}, "read", 0),
    ],
)
def test_the_address_is_exact(text: str, code: str, registers: dict[str, int], access: str, address: int) -> None:
    guest = Guest()
    guest.map(DATA, R | W)
    guest.map(HOLE - 4096, R | W)
    guest.run(code, **registers)
    if access == "none":
        assert guest.events[0][0] == "syscall"
    else:
        assert guest.events == [(access, CODE, address)]


def test_a_fault_that_is_mapped_executes_the_instruction_again() -> None:
    guest = Guest()

    def demand(virtual: int, _access: str) -> bool:
        guest.map(virtual & -4096, R | W)
        return True

    guest.on_fault = demand
    # mov [rdi], rsi; mov rax, [rdi]
    guest.run("488937" + "488b07", rdi=HOLE + 8, rsi=0x1234)
    assert guest.events == [("syscall", CODE + 8, 0x1234)]


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("push [rdi]", "ff37"),
        ("pop [rdi]", "8f07"),
        ("xchg [rdi], rax", "488707"),
        ("lodsq, stosq", "48ad48ab"),
        ("add [rdi], rax", "480107"),
        ("lock xadd [rdi], rax", "f0480fc107"),
        ("rep movsb", "f3a4"),
        ("call [rdi]", "ff17"),
        ("leave", "c9"),
        ("cmpxchg [rdi], rsi", "480fb137"),
        ("pushfq, popfq", "9c9d"),
        ("fxsave", "0fae07"),
    ],
)
def test_faults_on_the_way_change_nothing(text: str, code: str) -> None:
    """Every page absent at first, against every page present: the same registers and memory."""

    def outcome(*, lazy: bool) -> tuple[list[int], list[bytes]]:
        guest = Guest()
        pages = {page: guest.frame() for page in (HOLE, HOLE + 4096, HOLE_2, HOLE_2 + 4096, STACK - 8192, STACK - 4096)}
        for page, frame in pages.items():
            guest.memory.write(frame, bytes(range(256)) * 16)
            guest.memory.write_u64(frame, CODE + 0x40)
            if not lazy:
                guest.map(page, R | W, frame)

        def demand(virtual: int, _access: str) -> bool:
            guest.map(virtual & -4096, R | W, pages[virtual & -4096])
            return True

        guest.on_fault = demand
        guest.map(CODE, R | X)
        guest.write(CODE + 0x40, EXIT)
        guest.run(code, rdi=HOLE_2, rsi=HOLE + 0xFF0, rcx=64, rax=0x0102, rsp=STACK - 4096, rbp=HOLE_2 + 8)
        assert guest.events[-1][0] == "syscall"
        registers = guest.pe.get_many(["rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rsp", "rbp", "rip"])
        return registers, [guest.memory.read(frame, 4096) for frame in pages.values()]

    assert outcome(lazy=True) == outcome(lazy=False)


def test_rep_movsb_faults_at_the_byte_it_reached() -> None:
    guest = Guest()
    guest.map(DATA, R | W)
    guest.map(HOLE - 4096, R | W)
    guest.run("f3a4", rsi=DATA, rdi=HOLE - 16, rcx=64)
    assert guest.events == [("write", CODE, HOLE)]
    assert guest.pe.get_many(["rcx", "rsi", "rdi"]) == [48, DATA + 16, HOLE]


def test_a_read_only_page_faults_on_write() -> None:
    guest = Guest()
    guest.map(DATA, R)
    guest.run("488b07" + "c60701", rdi=DATA + 5)
    assert guest.events == [("write", CODE + 3, DATA + 5)]


def test_copy_on_write_is_seen_at_once() -> None:
    guest = Guest()
    guest.map(DATA, R)

    def copy(virtual: int, _access: str) -> bool:
        guest.map(DATA, R | W, guest.frame())
        guest.write(DATA, bytes([7] * 16))
        return True

    guest.on_fault = copy
    guest.run("488b07" + "c6470109" + "488b07", rdi=DATA)
    assert guest.events[-1][2] == 0x0707070707070907


def test_a_page_without_execution_faults_at_the_jump_target() -> None:
    guest = Guest()
    guest.map(DATA, R | W)
    guest.run("ffe7", rdi=DATA + 0x321)
    assert guest.events == [("execute", DATA + 0x321, DATA + 0x321)]


def test_a_jump_to_nowhere_faults_there() -> None:
    assert fault_of("ffe7", rdi=HOLE + 5) == ("execute", HOLE + 5, HOLE + 5)


def test_running_into_a_page_that_is_not_there_executes_everything_before() -> None:
    guest = Guest()
    guest.map(DATA, R | X)
    guest.map(HOLE, R | W)
    code = bytes.fromhex("c60701" + "b807000000")  # mov byte [rdi], 1; mov eax, 7
    guest.write(DATA + 4096 - len(code), code)
    guest.run(at=DATA + 4096 - len(code), rdi=HOLE)
    assert guest.events == [("execute", DATA + 4096, DATA + 4096)]
    assert guest.read(HOLE, 1) == b"\x01"
    assert guest.pe.get("rax") == 7


def test_an_instruction_across_two_pages_faults_for_the_second_with_rip_at_itself() -> None:
    guest = Guest()
    guest.map(DATA, R | X)
    guest.map(HOLE, R | W)
    code = bytes.fromhex("c60701" + "b80700")  # mov byte [rdi], 1; the first half of mov eax, imm32
    guest.write(DATA + 4096 - len(code), code)
    guest.run(at=DATA + 4096 - len(code), rdi=HOLE)
    assert guest.events == [("execute", DATA + 4096 - 3, DATA + 4096)]
    assert guest.read(HOLE, 1) == b"\x01"


def test_a_branch_before_the_end_of_the_page_never_needs_the_next() -> None:
    guest = Guest()
    guest.map(DATA, R | X)
    code = bytes.fromhex("85c9" + "7502" + "0f05" + "90" * 2)  # test ecx, ecx; jne +2; syscall
    guest.write(DATA + 4096 - len(code), code)
    guest.run(at=DATA + 4096 - len(code), rcx=0)
    assert guest.events[0][0] == "syscall"


def test_the_second_page_may_be_mapped_on_demand() -> None:
    guest = Guest()
    guest.map(DATA, R | X)
    guest.write(DATA + 4093, bytes.fromhex("b80700"))

    def demand(virtual: int, access: str) -> bool:
        assert (virtual, access) == (DATA + 4096, "execute")
        guest.map(virtual, R | X)
        guest.write(virtual, bytes.fromhex("0000") + EXIT)
        return True

    guest.on_fault = demand
    guest.run(at=DATA + 4093)
    assert guest.events == [("syscall", DATA + 4100, 7)]


@pytest.mark.parametrize(
    ("code", "registers", "vector"),
    [
        ("488b07", {"rdi": 1 << 47}, "#13"),
        ("488907", {"rdi": 0xDEAD_BEEF_DEAD_BEEF}, "#13"),
        ("50", {"rsp": 1 << 63}, "#12"),
        ("488b4508", {"rbp": 1 << 63}, "#12"),
    ],
)
def test_an_address_that_is_not_canonical_is_no_page_fault(
    code: str, registers: dict[str, int], vector: str
) -> None:
    name, pc, error = fault_of(code, **registers)
    assert (name, pc, error) == (vector, CODE, 0)


def test_a_jump_to_an_address_that_is_not_canonical() -> None:
    assert fault_of("ffe0", rax=1 << 62)[0] == "#13"


def test_the_reserved_bit_makes_a_resident_page_unreachable() -> None:
    guest = Guest()
    guest.map(DATA, R | W)
    guest.memory.write_u64(guest.entry(DATA), guest.memory.read_u64(guest.entry(DATA)) | 1 << 51)
    guest.run("488b07", rdi=DATA)
    assert guest.events == [("read", CODE, DATA)]
    error = guest.pe.page_fault_error(DATA, "read")
    assert ErrorCode.RSVD.of(error) and ErrorCode.PROT.of(error) and ErrorCode.USER.of(error)


def test_error_codes_tell_absent_from_forbidden() -> None:
    guest = Guest()
    guest.map(DATA, R)
    assert guest.pe.page_fault_error(HOLE, "write") == 0b110
    assert guest.pe.page_fault_error(DATA + 8, "write") == 0b111
    assert guest.pe.page_fault_error(DATA, "execute") == 0b10101


def test_a_page_of_the_kernel_is_out_of_reach_at_ring_3_and_not_at_ring_0() -> None:
    for user, name in ((True, "read"), (False, "syscall")):
        guest = Guest(user=user)
        guest.map(DATA, R | W)
        guest.memory.write_u64(guest.entry(DATA), guest.memory.read_u64(guest.entry(DATA)) & ~4)
        guest.run("488b07", rdi=DATA)
        assert guest.events[0][0] == name


def test_a_huge_page_translates_whole() -> None:
    guest = Guest(size=64 << 20)
    physical = guest.memory.base + (32 << 20)
    guest.map(1 << 30, R | W)
    directory = guest.memory.read_u64(guest.root + 8 * 0) & ~0xFFF
    level_2 = guest.memory.read_u64(directory + 8 * 1) & 0xF_FFFF_F000
    guest.memory.write_u64(level_2 + 8 * 3, physical | 0x87)
    guest.memory.write(physical + 0x12_3456, b"\x2a")
    guest.run("0fb607", rdi=(1 << 30) + 3 * (2 << 20) + 0x12_3456)
    assert guest.events[0][2] == 0x2A


def test_a_fault_that_comes_back_although_it_was_handled_is_our_error() -> None:
    guest = Guest()
    guest.on_fault = lambda _virtual, _access: True
    with pytest.raises(InternalError, match="comes back"):
        guest.run("488b07", rdi=HOLE)


def test_an_error_in_the_handler_reaches_the_caller() -> None:
    guest = Guest()

    def broken(_virtual: int, _access: str) -> bool:
        raise ZeroDivisionError

    guest.on_fault = broken
    with pytest.raises(ZeroDivisionError):
        guest.run("488b07", rdi=HOLE)


def test_unmapping_is_seen_by_the_next_access() -> None:
    guest = Guest()
    guest.map(DATA, R | W)
    guest.calls = [lambda: guest.unmap(DATA)]
    guest.run("488b07" + "0f05" + "488b07", rdi=DATA)
    assert guest.events == [("read", CODE + 5, DATA)]


def test_where_a_block_was_ended_the_program_goes_on_however_it_comes_there() -> None:
    guest = Guest()
    guest.map(DATA, R | X)
    guest.map(CODE, R | X)
    guest.write(CODE, bytes.fromhex("0f05" + "ffe7"))  # syscall; jmp rdi
    guest.write(DATA + 4092, bytes.fromhex("f7f1" + "9090"))  # div ecx, then over the end of the page

    def second_page() -> None:
        guest.map(DATA + 4096, R | X)
        guest.write(DATA + 4096, bytes.fromhex("b807000000") + EXIT)

    guest.calls = [second_page]
    guest.on_exception = lambda _exception: guest.pe.set("rip", CODE)
    guest.run(at=DATA + 4092, rcx=0, rdi=DATA + 4096)
    assert guest.events[-1] == ("syscall", DATA + 4096 + 7, 7)
