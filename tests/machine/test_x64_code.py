# SPDX-License-Identifier: GPL-2.0-or-later
"""Stores to code on x86-64: whoever stores, through whatever mapping, the next fetch sees it."""

from __future__ import annotations

import pytest

from fetchsan.machine.hardware import Origin
from x64_guest import CODE, DATA, EXIT, Guest, R, W, X

ALIAS = 0x60_0000
MOV_1, MOV_2 = "b801000000", "b802000000"  # mov eax, 1; mov eax, 2
RET = "c3"
LOOP = 1000


def stored(guest: Guest) -> object:
    """RAX at the exit."""
    name, _rip, value = guest.events[-1]
    assert name == "syscall", guest.events
    return value


def test_the_next_instruction_in_the_same_block_is_the_new_one() -> None:
    guest = Guest()
    guest.map(CODE, R | W | X)
    # mov byte [rip+1], 2; mov eax, 1
    guest.run("c6050100000002" + MOV_1)
    assert stored(guest) == 2


def test_an_instruction_further_on_in_the_same_block_is_the_new_one_every_time() -> None:
    guest = Guest()
    guest.map(CODE, R | W | X)
    # xor edx, edx; L: inc ecx; mov [rip+3], cl; add edx, imm8 (patched to cl); cmp ecx, 100; jne L; mov eax, edx
    code = "31d2" + "ffc1" + "880d02000000" + "83c200" + "83f964" + "75f0" + "89d0"
    guest.run(code, rcx=0)
    assert stored(guest) == sum(range(1, 101))


def test_a_store_through_another_executable_mapping_is_seen() -> None:
    guest = Guest()
    frame = guest.map(CODE, R | X)
    guest.map(ALIAS, R | W | X, frame)
    guest.run("c60702" + MOV_1, rdi=ALIAS + 4)
    assert stored(guest) == 2


def test_a_store_through_a_mapping_that_is_not_executable_is_seen_in_the_same_block() -> None:
    guest = Guest()
    frame = guest.map(CODE, R | X)
    guest.map(ALIAS, R | W, frame)
    guest.run("c60702" + MOV_1, rdi=ALIAS + 4)
    assert stored(guest) == 2


def test_a_store_through_a_mapping_that_is_not_executable_is_seen_by_a_later_call() -> None:
    guest = Guest()
    frame = guest.map(DATA, R | X)
    guest.map(ALIAS, R | W, frame)
    guest.write(DATA, bytes.fromhex(MOV_1 + RET))
    # xor ebx, ebx; mov ebp, 50; L: call rsi; add ebx, eax; mov byte [rdi], bpl; dec ebp; jne L; mov eax, ebx
    code = "31db" + "bd32000000" + "ffd6" + "01c3" + "40882f" + "ffcd" + "75f5" + "89d8"
    guest.run(code, rsi=DATA, rdi=ALIAS + 1)
    assert stored(guest) == 1 + sum(range(2, 51))


def test_a_chained_loop_is_left_when_it_is_rewritten_through_an_alias() -> None:
    guest = Guest()
    frame = guest.map(CODE, R | X)
    guest.map(ALIAS, R | W, frame)
    # L: dec ecx; jne L2; (fallthrough) mov byte [rdi], 0x90 x2 ...: after LOOP rounds the jump back becomes NOPs
    # mov eax, 7; L: inc edx; cmp edx, LOOP; jne S; mov word [rdi], 0x9090; S: jmp L
    code = "b807000000" + "ffc2" + "81fa" + LOOP.to_bytes(4, "little").hex() + "7505" + "66c7079090" + "ebef"
    jump = CODE + len(code) // 2 - 2
    guest.run(code, rdx=0, rdi=ALIAS + jump - CODE)
    assert stored(guest) == 7
    assert guest.pe.get("rdx") == LOOP


def test_a_store_by_the_kernel_is_seen() -> None:
    guest = Guest()
    guest.calls = [lambda: guest.write(CODE + 3, b"\x02")]
    guest.run("0f05" + MOV_1)
    assert stored(guest) == 2


def test_a_store_by_the_kernel_to_a_warm_block_is_seen() -> None:
    guest = Guest()
    guest.map(DATA, R | X)
    guest.write(DATA, bytes.fromhex(MOV_1 + RET))
    # call rsi; mov ebx, eax; syscall; call rsi
    guest.calls = [lambda: guest.write(DATA + 1, b"\x05")]
    guest.run("ffd6" + "89c3" + "0f05" + "ffd6", rsi=DATA)
    assert stored(guest) == 5
    assert guest.pe.get("rbx") == 1


def test_a_frame_that_is_used_again_holds_none_of_its_old_code() -> None:
    guest = Guest()
    frame = guest.map(DATA, R | X)
    guest.write(DATA, bytes.fromhex(MOV_1 + RET))

    def reuse() -> None:
        guest.unmap(DATA)
        guest.machine.frames_freed([frame])
        guest.memory.write(frame, bytes.fromhex(MOV_2 + RET))  # raw: a new owner may fill a frame before it is mapped
        guest.map(ALIAS, R | X, frame)
        guest.map(DATA, R | X, frame)

    guest.calls = [reuse]
    guest.run("ffd6" + "0f05" + "ffd6", rsi=DATA)
    assert stored(guest) == 2


def test_code_written_while_writable_runs_once_executable() -> None:
    guest = Guest()
    frame = guest.map(DATA, R | X)
    guest.write(DATA, bytes.fromhex(MOV_1 + RET))
    guest.calls = [lambda: guest.map(DATA, R | W, frame) and None, lambda: guest.map(DATA, R | X, frame) and None] * 3
    # ebx = 0; 3 times: syscall (RW); mov [rsi+1], cl; syscall (RX); call rsi; add ebx, eax
    round_ = "0f05" + "40886e01" + "0f05" + "ffd6" + "01c3" + "ffc5"
    guest.run("31db" + "bd0a000000" + "ffd6" + "01c3" + round_ * 3 + "89d8", rsi=DATA)
    assert stored(guest) == 1 + 10 + 11 + 12


def test_code_kept_aside_while_it_is_rewritten_alike_is_not_dropped_and_not_stale() -> None:
    guest = Guest()
    frame = guest.map(DATA, R | X)
    guest.write(DATA, bytes.fromhex(MOV_1 + RET))
    guest.run("ffd6", rsi=DATA)
    guest.map(DATA, R | W, frame)
    guest.run("c6460101" + "c6860008000011", CODE + 0x800, rsi=DATA)  # the same byte, and one far away
    guest.map(DATA, R | X, frame)
    guest.run("ffd6", rsi=DATA)
    assert stored(guest) == 1
    guest.map(DATA, R | W, frame)
    guest.run("c6460109", CODE + 0x800, rsi=DATA)
    guest.map(DATA, R | X, frame)
    guest.run("ffd6", rsi=DATA)
    assert stored(guest) == 9


def test_a_page_that_loses_execution_cannot_be_executed_any_more() -> None:
    guest = Guest()
    frame = guest.map(DATA, R | X)
    guest.write(DATA, bytes.fromhex(MOV_1 + RET))
    guest.calls = [lambda: guest.map(DATA, R | W, frame) and None]
    guest.run("ffd6" + "0f05" + "ffd6", rsi=DATA)
    assert guest.events == [("execute", DATA, DATA)]


def test_a_write_entry_never_lets_a_page_be_executed() -> None:
    guest = Guest()
    frame = guest.map(CODE, R | X)
    guest.map(ALIAS, R | W, frame)
    guest.run("c6470f02" + "ffe7", rdi=ALIAS)
    assert guest.events == [("execute", ALIAS, ALIAS)]


def test_a_page_mapped_to_another_frame_executes_that() -> None:
    guest = Guest()
    guest.map(DATA, R | X)
    guest.write(DATA, bytes.fromhex(MOV_1 + RET))

    def remap() -> None:
        guest.map(DATA, R | X, guest.frame())
        guest.write(DATA, bytes.fromhex(MOV_2 + RET))

    guest.calls = [remap]
    guest.run("ffd6" + "0f05" + "ffd6", rsi=DATA)
    assert stored(guest) == 2


@pytest.mark.parametrize("size", [1, 2, 4, 8, 16])
def test_stores_of_every_size_to_code_are_whole(size: int) -> None:
    store = {1: "4488 07", 2: "664489 07", 4: "448907", 8: "4c8907", 16: "f30f7f07"}[size].replace(" ", "")
    guest = Guest()
    guest.map(DATA, R | W | X)
    new = (bytes.fromhex("b022" + "90" * 13) + bytes.fromhex(RET))[:16]
    guest.write(DATA, bytes.fromhex("b011" + "90" * 13 + RET))
    guest.run("ffd7" + store + "ffd7", rdi=DATA, rax=0, r8=int.from_bytes(new[:8], "little"),
              xmm0=int.from_bytes(new, "little"))  # fmt: skip
    assert stored(guest) == (0x11 if size == 1 else 0x22)
    assert guest.read(DATA, 16)[:size] == new[:size]


def test_string_stores_over_the_running_page_stop_where_they_overwrite_themselves() -> None:
    guest = Guest()
    guest.map(CODE, R | W | X)
    # rep stosb over what follows: NOPs up to the exit
    guest.run("f3aa" + "b863000000" * 4, rdi=CODE + 2, rcx=20, rax=0x90)
    assert stored(guest) == 0x90


def test_code_stored_across_two_pages_is_seen_in_both() -> None:
    guest = Guest()
    guest.map(DATA, R | W | X)
    guest.map(DATA + 4096, R | W | X)
    start = DATA + 4096 - 3
    guest.write(start, bytes.fromhex(MOV_1)[:3])
    guest.write(DATA + 4096, bytes.fromhex(MOV_1 + RET)[3:])
    new = int.from_bytes(bytes.fromhex("b844332211" + RET).ljust(8, b"\x90"), "little")
    guest.run("ffd6" + "89c3" + "4c8906" + "ffd6", rsi=start, r8=new)
    assert guest.pe.get("rbx") == 1
    assert stored(guest) == 0x11223344


def test_the_second_page_of_a_block_may_change_its_frame() -> None:
    guest = Guest()
    guest.map(DATA, R | X)
    guest.map(DATA + 4096, R | X)
    start = DATA + 4096 - 3
    guest.write(start, bytes.fromhex(MOV_1)[:3])
    guest.write(DATA + 4096, bytes.fromhex(MOV_1 + RET)[3:])

    def remap() -> None:
        guest.map(DATA + 4096, R | X, guest.frame())
        guest.write(DATA + 4096, bytes.fromhex("0005" + RET))

    guest.calls = [remap]
    guest.run("ffd6" + "0f05" + "ffd6", rsi=start)
    assert stored(guest) == 0x05000001


def test_two_processors_see_each_others_stores_to_code() -> None:
    guest = Guest(pes=2)
    guest.map(DATA, R | W | X)
    guest.write(DATA, bytes.fromhex(MOV_1 + RET))
    guest.run("ffd6", rsi=DATA, rsp=0x7FFF_0000_0800)
    for pe, value in ((1, 2), (0, 3), (1, 4)):
        guest.run("88 4e 01", CODE + 0x800, pe=pe, rsi=DATA, rcx=value)
        for other in (0, 1):
            guest.events.clear()
            guest.run("ffd6", pe=other, rsi=DATA, rsp=0x7FFF_0000_0800)
            assert guest.events[-1][2] == value


def test_a_raw_engine_translation_address_is_no_way_around_the_page_tables() -> None:
    guest = Guest()
    guest.run("488b07", rdi=0x00FF_0000_0000_0000 | guest.memory.base)
    assert guest.events[0][0] == "#13"  # not canonical


def test_a_kernel_store_may_cross_frames() -> None:
    guest = Guest()
    first = guest.frame()
    assert guest.frame() == first + 4096
    guest.map(DATA, R | X, first)
    guest.map(DATA + 4096, R | X, first + 4096)
    start = DATA + 4096 - 2
    guest.machine.store(0, first + 4094, bytes.fromhex(MOV_1 + RET), Origin(None, "test"))
    guest.run("ffd6", rsi=start)
    guest.machine.store(0, first + 4094, bytes.fromhex(MOV_2 + RET), Origin(None, "test"))
    guest.run("ffd6", rsi=start)
    assert stored(guest) == 2


def test_exit_is_what_the_tests_think() -> None:
    guest = Guest()
    guest.run("")
    assert guest.events == [("syscall", CODE + len(EXIT), 0)]
