# SPDX-License-Identifier: GPL-2.0-or-later
"""x86-64 programs of a few bytes, run by the real kernel on the real machine: exceptions, signal frames, what they report."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path

import pytest

from fetchsan.kernel.abi.x64 import X64Abi
from fetchsan.kernel.host import Host
from fetchsan.kernel.kernel import Kernel
from fetchsan.kernel.options import KernelOptions
from fetchsan.kernel.task import Exited, Signaled
from fetchsan.machine.memory import PhysicalMemory
from fetchsan.machine.x64_machine import X64Machine

CODE, DATA = 0x40_0000, 0x50_0000  # DATA: a page of zeros, readable and writable
START = CODE + 0x1000
SIGILL, SIGTRAP, SIGBUS, SIGFPE, SIGSEGV = 4, 5, 7, 8, 11

EXIT_WITH_EAX = bytes.fromhex("89c7 b8e7000000 0f05")  # mov edi, eax; mov eax, 231; syscall
UD2 = bytes.fromhex("0f0b")


@dataclass
class Run:
    """How a program ended, and what the kernel said."""

    end: Exited | Signaled
    messages: list[str]


def run(directory: Path, code: bytes, data: bytes = b"") -> Run:
    """Run `code` at START; `data` is what DATA begins with."""
    text = bytes(0x1000) + code
    header = b"\x7fELF\x02\x01\x01" + bytes(9)
    header += struct.pack("<HHIQQQIHHHHHH", 2, 62, 1, START, 64, 0, 0, 64, 56, 2, 64, 0, 0)
    at = -(-len(text) // 4096) * 4096
    header += struct.pack("<IIQQQQQQ", 1, 5, 0, CODE, CODE, len(text), len(text), 0x1000)
    header += struct.pack("<IIQQQQQQ", 1, 6, at, DATA, DATA, len(data), 0x1000, 0x1000)
    path = directory / "prog"
    path.write_bytes((header + text[len(header) :]).ljust(at, b"\0") + data)
    path.chmod(0o755)
    messages: list[str] = []
    machine = X64Machine(memory=PhysicalMemory(64 << 20))
    options = KernelOptions(argv=("./prog",), cwd=directory, capture_stdout=True)
    kernel = Kernel(machine, options, host=Host(), abi=X64Abi(), message=messages.append)
    try:
        kernel.start(machine.add_pe(kernel))
        return Run(kernel.run(), messages)
    finally:
        machine.close()


def with_handler(signal: int, code: bytes, handler: bytes) -> tuple[bytes, bytes]:
    """(code, data) that installs `handler` with SA_SIGINFO and SA_RESTORER, then runs `code`."""
    # mov edi, SIGNAL; mov esi, DATA; xor edx, edx; mov r10d, 8; mov eax, 13; syscall
    install = b"\xbf" + struct.pack("<I", signal) + b"\xbe" + struct.pack("<I", DATA)
    install += bytes.fromhex("31d2 41ba08000000 b80d000000 0f05")
    restorer = bytes.fromhex("b80f000000 0f05")  # mov eax, 15; syscall
    main = install + code
    handler_at = START + len(main)
    data = struct.pack("<QQQQ", handler_at, 0x0400_0004, handler_at + len(handler), 0)
    return main + handler + restorer, data


def test_exit_status(tmp_path: Path) -> None:
    assert run(tmp_path, bytes.fromhex("b803000000") + EXIT_WITH_EAX).end == Exited(3)


@pytest.mark.parametrize(
    ("code", "signal", "vector", "error"),
    [
        (UD2, SIGILL, 6, 0),
        (bytes.fromhex("31c931d2 f7f1"), SIGFPE, 0, 0),  # div ecx, which is 0
        (bytes.fromhex("cc"), SIGTRAP, 3, 0),
        (bytes.fromhex("f4"), SIGSEGV, 13, 0),  # hlt
        (bytes.fromhex("8b042500100000"), SIGSEGV, 14, 4),  # mov eax, [0x1000]
        (bytes.fromhex("89042500100000"), SIGSEGV, 14, 6),  # mov [0x1000], eax
        (bytes.fromhex("890425") + struct.pack("<I", START), SIGSEGV, 14, 7),
        (b"\xb8" + struct.pack("<I", DATA) + bytes.fromhex("8900 ffe0"), SIGSEGV, 14, 0x15),  # mov [rax], eax; jmp rax
        (bytes.fromhex("48b80000000000000080 8b00"), SIGSEGV, 13, 0),  # a non-canonical address
        (bytes.fromhex("48b80000000000f0ffff 8b00"), SIGSEGV, 14, 5),  # the kernel's half
        (bytes.fromhex("cd80"), SIGSEGV, 13, 0x402),  # int 0x80
    ],
    ids=["ud2", "div", "int3", "hlt", "read", "write", "write-to-code", "fetch", "non-canonical", "kernel", "int-0x80"],
)
def test_exceptions_are_linuxs_signals(tmp_path: Path, code: bytes, signal: int, vector: int, error: int) -> None:
    end = run(tmp_path, code).end
    assert isinstance(end, Signaled)
    assert end.exception is not None
    assert (end.signal, end.exception.ec, end.exception.esr) == (signal, vector, error)


def test_the_report_has_osvs_registers(tmp_path: Path) -> None:
    (report,) = run(tmp_path, bytes.fromhex("b8efbeadde") + UD2).messages
    lines = report.splitlines()
    assert lines[:2] == ["unexpected exception, vector: 6", "[registers]"]
    assert lines[2].startswith(f"RIP: 0x{START + 5:016x} <")
    assert lines[4].startswith("RAX: 0x00000000deadbeef  RBX: 0x0000000000000000  RCX: ")
    assert lines[8] == "Aborted: SIGILL, invalid opcode, error code 0x0000"


def test_the_report_of_a_page_fault_names_the_address(tmp_path: Path) -> None:
    (report,) = run(tmp_path, bytes.fromhex("8b042534120000")).messages
    assert report.startswith("page fault outside application, addr: 0x0000000000001234\n[registers]\n")


def test_a_handler_skips_the_instruction_and_everything_comes_back(tmp_path: Path) -> None:
    # mov eax, 7; movd xmm3, eax; fld1; stc; ud2; jnc +2 (ud2); movd eax, xmm3
    code = bytes.fromhex("b807000000 660f6ed8 d9e8 f9 0f0b 7302 eb02 0f0b 660f7ed8") + EXIT_WITH_EAX
    # xorps xmm3, xmm3; add qword [rdx+168], 2 (RIP); ret
    handler = bytes.fromhex("0f57db 488382a800000002 c3")
    assert run(tmp_path, *with_handler(SIGILL, code, handler)).end == Exited(7)


def test_a_handler_is_told_the_fault(tmp_path: Path) -> None:
    # The handler exits with si_code * 64 + gregs[REG_ERR] * 8 + (si_addr == 0x1000).
    handler = bytes.fromhex("8b4608 c1e006 8b8ac0000000 c1e103 01c8 31c9 48817e1000100000 0f94c1 01c8") + EXIT_WITH_EAX
    code, data = with_handler(SIGSEGV, bytes.fromhex("89042500100000"), handler)
    assert run(tmp_path, code, data).end == Exited(1 * 64 + 6 * 8 + 1)


def test_the_red_zone_survives_a_signal(tmp_path: Path) -> None:
    # mov dword [rsp-128], 9; ud2; mov eax, [rsp-128]
    code = bytes.fromhex("c744248009000000 0f0b 8b442480") + EXIT_WITH_EAX
    handler = bytes.fromhex("488382a800000002 c3")
    assert run(tmp_path, *with_handler(SIGILL, code, handler)).end == Exited(9)


def test_a_handler_starts_with_an_aligned_stack_and_no_direction(tmp_path: Path) -> None:
    # std; ud2. Handler: pushfq; pop rax; and eax, 0x400; lea rcx, [rsp+8]; and ecx, 15; or eax, ecx
    code = bytes.fromhex("fd 0f0b")
    handler = bytes.fromhex("9c 58 2500040000 488d4c2408 83e10f 09c8") + EXIT_WITH_EAX
    assert run(tmp_path, *with_handler(SIGILL, code, handler)).end == Exited(0)


def test_a_handler_without_a_restorer_is_sigsegv(tmp_path: Path) -> None:
    code, data = with_handler(SIGILL, UD2, b"\xc3")
    end = run(tmp_path, code, data[:8] + struct.pack("<Q", 4) + data[16:]).end
    assert isinstance(end, Signaled)
    assert end.signal == SIGSEGV


def test_a_forged_frame_is_sigsegv(tmp_path: Path) -> None:
    end = run(tmp_path, bytes.fromhex("bc00100000 b80f000000 0f05")).end  # mov esp, 0x1000; rt_sigreturn
    assert isinstance(end, Signaled)
    assert end.signal == SIGSEGV


def test_a_frame_cannot_choose_system_flags_or_segments(tmp_path: Path) -> None:
    # The handler asks for IOPL 3 and no interrupts, and a code segment of ring 0; then the program reads RFLAGS.
    code = bytes.fromhex("0f0b 9c 58 c1e80c 83e003") + EXIT_WITH_EAX  # ud2; pushfq; pop rax; shr eax, 12; and eax, 3
    handler = bytes.fromhex("488382a800000002 818ab000000000300000 66c782b80000000800 c3")
    assert run(tmp_path, *with_handler(SIGILL, code, handler)).end == Exited(0)
