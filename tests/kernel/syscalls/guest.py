# SPDX-License-Identifier: GPL-2.0-or-later
"""A program that exists only as the system calls a test makes: the real kernel, a PE that is just registers."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path

from mmu.recording import RecordingHardware

from fetchsan.arch.aarch64.cpus import get_cpu
from fetchsan.kernel.abi.aarch64 import Aarch64Abi
from fetchsan.kernel.abi.abi import Abi
from fetchsan.kernel.host import Host
from fetchsan.kernel.kernel import Kernel
from fetchsan.kernel.options import DirectoryGrant, KernelOptions

AT_FDCWD = -100
_SCRATCH = 1 << 20


_ALIASES = {"rip": "pc", "rsp": "sp"}


class Registers:
    """A PE that never runs."""

    index = 0

    def __init__(self) -> None:
        self.values: dict[str, int] = {}
        self.failure: BaseException | None = None
        self.stopped = False

    def get(self, register: str) -> int:
        return self.values.get(_ALIASES.get(register, register), 0)

    def set(self, register: str, value: int) -> None:
        self.values[_ALIASES.get(register, register)] = value

    def get_many(self, registers: Sequence[str]) -> list[int]:
        return [self.get(register) for register in registers]

    def run(self) -> None:
        raise NotImplementedError

    def stop(self) -> None:
        self.stopped = True

    def fail(self, error: BaseException) -> None:
        self.failure = error


class Machine(RecordingHardware):
    """Guest RAM and nothing that executes: where the page tables are is of no interest."""

    def set_translation_root(self, pe: int, root: int) -> None:
        self.calls.append(("set_translation_root", pe, root))


def program(machine: int = 183) -> bytes:
    """The smallest ELF file that loads."""
    header = b"\x7fELF\x02\x01\x01" + bytes(9)
    header += struct.pack("<HHIQQQIHHHHHH", 2, machine, 1, 0x40_0078, 64, 0, 0, 64, 56, 1, 64, 0, 0)
    return header + struct.pack("<IIQQQQQQ", 1, 5, 0, 0x40_0000, 0x40_0000, 0x80, 0x80, 0x1000) + bytes(8)


class Guest:
    """One loaded program in `directory`, which is its current directory."""

    def __init__(
        self,
        directory: Path,
        *,
        sysroot: Path | None = None,
        grants: tuple[DirectoryGrant, ...] = (),
        host: Host | None = None,
        argv: tuple[str, ...] = ("./prog",),
        abi: Abi | None = None,
    ) -> None:
        abi = abi or Aarch64Abi(get_cpu("cortex-a72"))
        self._calling = abi.calling
        self._numbers = {name: number for number, name in abi.calling.names.items()}
        if not (directory / "prog").exists():
            (directory / "prog").write_bytes(program(abi.elf_machine))
            (directory / "prog").chmod(0o755)
        self.messages: list[str] = []
        options = KernelOptions(
            argv=argv, cwd=directory, sysroot=sysroot, directories=grants, capture_stdout=True, env=(("A", "b"),)
        )
        self.kernel = Kernel(
            Machine(), options, host=host or Host(), abi=abi, message=self.messages.append
        )
        self.pe = Registers()
        self.task = self.kernel.start(self.pe)
        self._scratch = self.call("mmap", 0, _SCRATCH, 3, 0x22, -1, 0)
        self._next = self._scratch

    def call(self, name: str, *arguments: int | bytes) -> int:
        """The result of a system call as the program sees it: negative for an errno. Bytes go by address, with a NUL."""
        values = [self.put(value + b"\0") if isinstance(value, bytes) else value for value in arguments]
        for register, value in zip(self._calling.arguments, values, strict=False):
            self.pe.values[register] = value & (1 << 64) - 1
        self.pe.values[self._calling.number] = self._numbers[name]
        self.kernel.system_call(self.pe)
        if self.pe.failure is not None:
            raise self.pe.failure
        return (self.pe.get(self._calling.result) ^ 1 << 63) - (1 << 63)

    def room(self, size: int) -> int:
        """The address of `size` fresh bytes."""
        if self._next + size > self._scratch + _SCRATCH:
            self._next = self._scratch
        address, self._next = self._next, self._next + -(-size // 16) * 16
        return address

    def put(self, data: bytes) -> int:
        """The address of `data` in the program's memory."""
        address = self.room(len(data))
        self.task.memory.write(address, data)
        return address

    def peek(self, address: int, size: int) -> bytes:
        return self.task.memory.read(address, size)

    # Calls in the terms of a test -------------------------------------------------------------------------------------

    def open(self, path: str, flags: int = 0, mode: int = 0o644, *, dirfd: int = AT_FDCWD) -> int:
        return self.call("openat", dirfd, path.encode(), flags, mode)

    def read(self, fd: int, size: int) -> bytes | int:
        """The bytes, or the negative errno."""
        address = self.room(size)
        result = self.call("read", fd, address, size)
        return result if result < 0 else self.peek(address, result)

    def write(self, fd: int, data: bytes) -> int:
        return self.call("write", fd, self.put(data), len(data))

    def content(self, path: str) -> bytes | int:
        """Everything in a file, or the errno of opening it."""
        fd = self.open(path)
        if fd < 0:
            return fd
        parts = []
        while isinstance(part := self.read(fd, 65536), bytes) and part:
            parts.append(part)
        self.call("close", fd)
        return b"".join(parts) if not isinstance(part, int) else part

    def stat(self, path: str, flags: int = 0) -> tuple[int, ...] | int:
        """(dev, ino, mode, nlink, uid, gid, rdev, size), or the errno."""
        address = self.room(128)
        result = self.call("newfstatat", AT_FDCWD, path.encode(), address, flags)
        if result < 0:
            return result
        dev, ino, mode, nlink, uid, gid, rdev, _, size = struct.unpack_from("<QQIIIIQQq", self.peek(address, 128))
        return dev, ino, mode, nlink, uid, gid, rdev, size

    def link(self, path: str) -> bytes | int:
        """readlink."""
        address = self.room(4096)
        result = self.call("readlinkat", AT_FDCWD, path.encode(), address, 4096)
        return result if result < 0 else self.peek(address, result)

    def names(self, path: str) -> list[str]:
        """A directory's listing, by getdents64."""
        fd = self.open(path, 0o40000)
        assert fd >= 0, fd
        address, found = self.room(4096), []
        while (size := self.call("getdents64", fd, address, 4096)) > 0:
            data, at = self.peek(address, size), 0
            while at < size:
                length = struct.unpack_from("<H", data, at + 16)[0]
                found.append(data[at + 19 : at + length].split(b"\0")[0].decode())
                at += length
        assert size == 0
        self.call("close", fd)
        return found
