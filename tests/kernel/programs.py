# SPDX-License-Identifier: GPL-2.0-or-later
"""Programs of a few instructions, run by the real kernel on the real machine."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from assembler import assemble
from fetchsan.arch.aarch64.cpus import get_cpu
from fetchsan.kernel.abi.aarch64 import Aarch64Abi
from fetchsan.kernel.host import Host
from fetchsan.kernel.kernel import Kernel
from fetchsan.kernel.options import KernelOptions, KernelSync
from fetchsan.kernel.task import Exited, Signaled
from fetchsan.machine.machine import Machine
from fetchsan.machine.memory import PhysicalMemory

CODE = 0x40_0000
DATA = 0x50_0000  # a page of zeros, readable and writable
_HEADERS = 0x1000

EXIT = "MOV X8, #94\nSVC #0\n"


def elf(source: str, words: Sequence[int] = ()) -> bytes:
    """A static program: `source` at CODE + 0x1000, where each `UDF #n` with n >= 0x8000 becomes words[n - 0x8000]."""
    code, _ = assemble(source, CODE + _HEADERS)
    for number, word in enumerate(words):
        code = code.replace(struct.pack("<I", 0x8000 + number), struct.pack("<I", word))
    header = b"\x7fELF\x02\x01\x01" + bytes(9)
    header += struct.pack("<HHIQQQIHHHHHH", 2, 183, 1, CODE + _HEADERS, 64, 0, 0, 64, 56, 2, 64, 0, 0)
    header += struct.pack("<IIQQQQQQ", 1, 5, 0, CODE, CODE, _HEADERS + len(code), _HEADERS + len(code), 0x1000)
    header += struct.pack("<IIQQQQQQ", 1, 6, 0, DATA, DATA, 0, 0x1000, 0x1000)
    return header.ljust(_HEADERS, b"\0") + code


@dataclass
class Run:
    """How a program ended, and what the kernel said."""

    end: Exited | Signaled
    messages: list[str]
    stdout: bytes


def run(
    directory: Path,
    source: str,
    *,
    words: Sequence[int] = (),
    kernel_sync: KernelSync = "auto",
    strace: bool = False,
    cpu: str = "cortex-a72",
) -> Run:
    """Run `source` in `directory`."""
    path = directory / "prog"
    path.write_bytes(elf(source, words))
    path.chmod(0o755)
    messages: list[str] = []
    profile = get_cpu(cpu)
    machine = Machine(profile, memory=PhysicalMemory(64 << 20))
    options = KernelOptions(argv=("./prog",), cwd=directory, kernel_sync=kernel_sync, strace=strace, capture_stdout=True)
    kernel = Kernel(machine, options, host=Host(), abi=Aarch64Abi(profile), message=messages.append)
    try:
        kernel.start(machine.add_pe(kernel))
        end = kernel.run()
        return Run(end, messages, bytes(kernel.captured[1]))
    finally:
        machine.close()
