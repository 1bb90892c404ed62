# SPDX-License-Identifier: GPL-2.0-or-later
"""A switched-on machine whose system calls are made from Python: the registers of a real PE, and no code."""

from __future__ import annotations

from fetchsan.arch.aarch64.cpus import get_cpu
from fetchsan.kernel.abi.aarch64_calling import CALLING
from fetchsan.kernel.osv import OsvKernel, RofsFile
from fetchsan.machine.machine import Machine
from fetchsan.machine.memory import PhysicalMemory

NUMBERS = {name: number for number, name in CALLING.names.items()}
AT_FDCWD = (1 << 64) - 100


class Caller:
    """One machine with one kernel. `call` gives the result as C would, `-errno` if it failed."""

    def __init__(self) -> None:
        self.machine = Machine(get_cpu("cortex-a72"), memory=PhysicalMemory(64 << 20), mode="check", user=False)
        self.kernel = OsvKernel(self.machine, sync="osv", files=[RofsFile("/etc/motd", b"hello " * 1000, ino=7)])
        self.pe = self.machine.add_pe(self.kernel)
        self.kernel.boot(self.pe)
        self.buffer = self.kernel.space.map_anon(0, 1 << 16, 0, 3)
        """Memory for what calls take and give."""

    def call(self, name: str, *arguments: int) -> int:
        registers = {"x8": NUMBERS[name], "pc": 0x1000, **{f"x{n}": 0 for n in range(6)}}
        registers |= {f"x{n}": argument & (1 << 64) - 1 for n, argument in enumerate(arguments)}
        for register, value in registers.items():
            self.pe.set(register, value)
        self.kernel.system_call(self.pe)
        result = self.pe.get("x0")
        return result - (1 << 64) if result >> 63 else result

    def put(self, data: bytes) -> int:
        """`data` in the buffer; returns its address."""
        self.kernel.memory.write(self.buffer, data)
        return self.buffer

    def open(self, path: str, flags: int = 0) -> int:
        return self.call("openat", AT_FDCWD, self.put(path.encode() + b"\0"), flags, 0o644)
