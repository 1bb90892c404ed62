# SPDX-License-Identifier: GPL-2.0-or-later
"""A switched-on machine whose system calls are made from Python: the registers of a real PE, and no code."""

from __future__ import annotations

from fetchsan.arch.aarch64.cpus import get_cpu
from fetchsan.kernel.mmu.ports import AARCH64, Port
from fetchsan.kernel.osv import OsvKernel, RofsFile
from fetchsan.machine.machine import Machine
from fetchsan.machine.memory import PhysicalMemory
from fetchsan.machine.x64_machine import X64Machine

AT_FDCWD = (1 << 64) - 100


class Caller:
    """One machine with one kernel. `call` gives the result as C would, `-errno` if it failed."""

    def __init__(self, port: Port = AARCH64) -> None:
        memory = PhysicalMemory(64 << 20)
        self.machine: Machine | X64Machine = (
            Machine(get_cpu("cortex-a72"), memory=memory, mode="check", user=False)
            if port is AARCH64
            else X64Machine(memory=memory, user=False)
        )
        motd = RofsFile("/etc/motd", b"hello " * 1000, ino=7)
        self.kernel = OsvKernel(self.machine, sync="osv", port=port, files=[motd])
        self.calling = self.kernel.port.abi.calling
        self.numbers = {name: number for number, name in self.calling.names.items()}
        self.pe = self.machine.add_pe(self.kernel)
        self.kernel.boot(self.pe)
        self.buffer = self.kernel.space.map_anon(0, 1 << 16, 0, 3)
        """Memory for what calls take and give."""

    def call(self, name: str, *arguments: int) -> int:
        passed = [argument & (1 << 64) - 1 for argument in (*arguments, *[0] * (6 - len(arguments)))]
        registers = {self.calling.number: self.numbers[name], "pc": 0x1000}
        for register, value in (registers | dict(zip(self.calling.arguments, passed, strict=True))).items():
            self.pe.set(register, value)
        self.kernel.system_call(self.pe)
        result = self.pe.get(self.calling.result)
        return result - (1 << 64) if result >> 63 else result

    def put(self, data: bytes) -> int:
        """`data` in the buffer; returns its address."""
        self.kernel.memory.write(self.buffer, data)
        return self.buffer

    def open(self, path: str, flags: int = 0) -> int:
        return self.call("openat", AT_FDCWD, self.put(path.encode() + b"\0"), flags, 0o644)
