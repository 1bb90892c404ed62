# SPDX-License-Identifier: GPL-2.0-or-later
"""The kernel under a program: system calls, exceptions as signals, handlers and the way back from them."""

from __future__ import annotations

from pathlib import Path

import pytest
from programs import EXIT, run

from fetchsan.arch.aarch64.cpus import get_cpu
from fetchsan.kernel.options import KernelSync
from fetchsan.kernel.task import Exited, Signaled

SIGILL, SIGTRAP, SIGBUS, SIGSEGV = 4, 5, 7, 11

# rt_sigaction(X0, {handler at X1, flags X2}, NULL, 8): the structure is built at DATA + 0x100.
INSTALL = """
    MOV X9, #0x0100
    MOVK X9, #0x0050, LSL 16
    STR X1, [X9]
    ADD X10, X9, #8
    STR X2, [X10]
    MOV X1, X9
    MOV X2, #0
    MOV X3, #8
    MOV X8, #134
    SVC #0
"""
# A handler that skips the instruction which faulted: the PC is at 440 in the ucontext.
SKIP = """
    handler: ADD X4, X2, #440
    LDR X3, [X4]
    ADD X3, X3, #4
    STR X3, [X4]
    MOV X19, #0
    MOV X0, #0
    RET
"""


def with_handler(signal: int, body: str, flags: int = 4) -> str:
    """`body` under a handler for `signal` (SA_SIGINFO), which is the code at `handler`."""
    return f"""
    BL over
    {SKIP}
    over: MOV X1, X30
    MOV X0, #{signal}
    MOV X2, #{flags}
    {INSTALL}
    {body}
    """


def test_exit_status_is_the_low_byte(tmp_path: Path) -> None:
    assert run(tmp_path, "MOV X0, #0x1ff\n" + EXIT).end == Exited(255)


def test_immediate_of_svc_does_not_matter(tmp_path: Path) -> None:
    assert run(tmp_path, "MOV X0, #3\nMOV X8, #94\nSVC #7").end == Exited(3)


def test_undefined_slot_is_osv_1100s_exception(tmp_path: Path) -> None:
    end = run(tmp_path, "UDF #0").end
    assert isinstance(end, Signaled)
    assert end.exception is not None
    assert (end.signal, end.exception.esr, end.exception.pc, end.exit_status) == (SIGILL, 0x0200_0000, 0x40_1000, 132)


def test_its_report_is_osvs(tmp_path: Path) -> None:
    (report,) = run(tmp_path, "UDF #0").messages
    assert report.startswith("unexpected synchronous exception, EC: 0x0000\n[registers]\nPC: 0x0000000000401000 <")


def test_far_is_left_over_from_the_fault_before(tmp_path: Path) -> None:
    end = run(tmp_path, "MOV X0, #0\nMOVK X0, #0x50, LSL 16\nADD X0, X0, #8\nSTR X0, [X0]\nUDF #0").end
    assert isinstance(end, Signaled)
    assert end.exception is not None
    assert end.exception.far == 0x50_0008


def test_brk_is_sigtrap_with_its_immediate(tmp_path: Path) -> None:
    end = run(tmp_path, "BRK #5").end
    assert isinstance(end, Signaled)
    assert end.exception is not None
    assert (end.signal, end.exception.esr) == (SIGTRAP, 0xF200_0005)


_MISALIGNED = "MOV X0, #0x1002\nMOVK X0, #0x40, LSL 16\nBR X0"


def test_branch_to_a_misaligned_address_is_sigbus(tmp_path: Path) -> None:
    end = run(tmp_path, _MISALIGNED).end
    assert isinstance(end, Signaled)
    assert end.exception is not None
    assert (end.signal, end.exception.esr) == (SIGBUS, 0x8A00_0000)


def test_far_of_a_misaligned_branch_is_its_target(tmp_path: Path) -> None:
    end = run(tmp_path, _MISALIGNED).end
    assert isinstance(end, Signaled)
    assert end.exception is not None
    assert end.exception.far == 0x40_1002


def test_the_kernels_half_looks_unmapped_from_level_0(tmp_path: Path) -> None:
    end = run(tmp_path, "MOV X0, #0\nSUB X0, X0, #4095\nLDR X1, [X0]").end
    assert isinstance(end, Signaled)
    assert end.exception is not None
    assert (end.signal, end.exception.esr) == (SIGSEGV, 0x9200_0004)


def test_handler_skips_the_instruction_and_registers_come_back(tmp_path: Path) -> None:
    program = with_handler(SIGILL, "MOV X19, #7\nUDF #0\nMOV X0, X19\n" + EXIT)
    assert run(tmp_path, program).end == Exited(7)


@pytest.mark.parametrize("sync", ["osv", "linux", "none"])
def test_the_trampoline_is_boot_image_under_every_policy(tmp_path: Path, sync: KernelSync) -> None:
    # Under `none` the program's own text would be stale too, but in check mode it runs all the same.
    program = with_handler(SIGILL, "UDF #0\nMOV X0, #0\n" + EXIT)
    assert run(tmp_path, program, kernel_sync=sync).end == Exited(0)


def test_null_pointer_reaches_the_handler(tmp_path: Path) -> None:
    program = with_handler(SIGSEGV, "MOV X1, #8\nLDR X1, [X1]\nMOV X0, #9\n" + EXIT)
    assert run(tmp_path, program).end == Exited(9)


def test_a_blocked_exception_is_fatal(tmp_path: Path) -> None:
    block = """
    MOV X9, #0x0200
    MOVK X9, #0x0050, LSL 16
    MOV X0, #0
    SUB X0, X0, #1
    STR X0, [X9]
    MOV X0, #0
    MOV X1, X9
    MOV X2, #0
    MOV X3, #8
    MOV X8, #135
    SVC #0
    """
    end = run(tmp_path, with_handler(SIGILL, block + "UDF #0")).end
    assert isinstance(end, Signaled)
    assert end.signal == SIGILL


def test_resethand_makes_the_second_one_fatal(tmp_path: Path) -> None:
    body = "UDF #0\nUDF #0"
    source = with_handler(SIGILL, body).replace("MOV X2, #4\n", "MOV X2, #4\nMOVK X2, #0x8000, LSL 16\n", 1)
    end = run(tmp_path, source).end
    assert isinstance(end, Signaled)
    assert end.signal == SIGILL


def test_a_forged_frame_is_sigsegv(tmp_path: Path) -> None:
    end = run(tmp_path, "MOV X8, #139\nSVC #0").end
    assert isinstance(end, Signaled)
    assert end.signal == SIGSEGV


def test_a_handler_without_a_stack_is_sigsegv(tmp_path: Path) -> None:
    end = run(tmp_path, with_handler(SIGILL, "MOV X0, #16\nADD SP, X0, #0\nUDF #0")).end
    assert isinstance(end, Signaled)
    assert end.signal == SIGSEGV


def test_kill_of_oneself_is_delivered_before_the_call_returns(tmp_path: Path) -> None:
    # SIGUSR1; the handler skips the instruction that would come next, which is the UDF.
    body = "MOV X0, #1000\nMOV X1, #10\nMOV X8, #129\nSVC #0\nUDF #0\nMOV X0, #4\n" + EXIT
    assert run(tmp_path, with_handler(10, body)).end == Exited(4)


def test_uncaught_termination_has_no_report(tmp_path: Path) -> None:
    result = run(tmp_path, "MOV X0, #1000\nMOV X1, #15\nMOV X8, #129\nSVC #0")
    assert (result.end, result.messages) == (Signaled(15), [])


def test_uncaught_abort_is_named(tmp_path: Path) -> None:
    result = run(tmp_path, "MOV X0, #1000\nMOV X1, #6\nMOV X8, #129\nSVC #0")
    assert (result.end, result.messages) == (Signaled(6), ["fetchsan: the program died of SIGABRT"])


def test_identification_registers_are_emulated(tmp_path: Path) -> None:
    # MRS X0, MIDR_EL1; the low byte is revision and part of the CPU profile.
    result = run(tmp_path, "UDF #0x8000\n" + EXIT, words=[0xD538_0000], cpu="neoverse-n1")
    assert result.end == Exited(get_cpu("neoverse-n1").midr & 0xFF)


def test_a_privileged_register_is_not(tmp_path: Path) -> None:
    end = run(tmp_path, "UDF #0x8000", words=[0xD538_1000]).end  # MRS X0, SCTLR_EL1
    assert isinstance(end, Signaled)
    assert end.signal == SIGILL


def test_an_unsupported_call_is_named_once(tmp_path: Path) -> None:
    call = "MOV X8, #200\nSVC #0\n"  # bind
    result = run(tmp_path, call + call + "MOV X1, #256\nADD X0, X0, X1\n" + EXIT)
    assert result.end == Exited(256 - 38)
    assert result.messages == ["fetchsan: unsupported system call bind (number 200): returning ENOSYS; please report it"]


def test_what_programs_only_probe_for_is_refused_in_silence(tmp_path: Path) -> None:
    result = run(tmp_path, "MOV X8, #293\nSVC #0\nMOV X0, #0\n" + EXIT)  # rseq
    assert result.messages == []


def test_strace_shows_calls_as_qemu_does(tmp_path: Path) -> None:
    text = "MOV X9, #0x6968\nMOV X10, #0\nMOVK X10, #0x50, LSL 16\nSTR X9, [X10]\n"
    source = text + "MOV X0, #1\nMOV X1, X10\nMOV X2, #2\nMOV X8, #64\nSVC #0\nMOV X0, #0\n" + EXIT
    result = run(tmp_path, source, strace=True)
    assert result.messages == ['1000 write(1,"hi",2) = 2', "1000 exit_group(0) = ?"]
    assert result.stdout == b"hi"


def test_registers_start_at_zero(tmp_path: Path) -> None:
    total = "".join(f"ADD X0, X0, X{number}\n" for number in range(1, 31) if number != 8)
    assert run(tmp_path, total + "ADD X0, X0, X8\n" + EXIT).end == Exited(0)


def test_two_runs_are_the_same(tmp_path: Path) -> None:
    # getrandom into the stack page, then exit with one of the bytes.
    source = "ADD X0, SP, #0\nSUB X0, X0, #64\nMOV X19, X0\nMOV X1, #8\nMOV X8, #278\nSVC #0\nLDR X0, [X19]\n" + EXIT
    assert run(tmp_path, source).end == run(tmp_path, source).end
