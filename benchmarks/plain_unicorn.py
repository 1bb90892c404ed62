# SPDX-License-Identifier: GPL-2.0-or-later
"""Owns the baseline "plain Unicorn": a static AArch64 program on the stock binding, as a user of Unicorn would write it.

Nothing of FetchSan is used: flat memory, Unicorn's own TLB, one interrupt hook, and the few system calls that the
benchmark programs make. `python benchmarks/plain_unicorn.py PROGRAM [ARGS...]`.
"""

from __future__ import annotations

import os
import struct
import sys
from collections.abc import Callable
from pathlib import Path

from elftools.elf.elffile import ELFFile
from unicorn import UC_ARCH_ARM64, UC_HOOK_INTR, UC_MODE_ARM, UC_PROT_ALL, Uc
from unicorn import arm64_const as arm64

__all__ = ["PlainUnicorn"]

PAGE = 4096
HEAP, HEAP_SIZE = 0x2000_0000, 64 << 20
MAPPINGS, MAPPINGS_SIZE = 0x4000_0000, 256 << 20
STACK_TOP, STACK_SIZE = 0x7FFF_0000_0000, 8 << 20
AT_NULL, AT_PHDR, AT_PHENT, AT_PHNUM, AT_PAGESZ, AT_ENTRY, AT_HWCAP, AT_RANDOM = 0, 3, 4, 5, 6, 9, 16, 25
HWCAP_FP_ASIMD = 3
SVC = 2
ENOSYS, EINVAL = 38, 22


class PlainUnicorn:
    """One program, loaded and ready to run."""

    def __init__(self, arguments: list[str]) -> None:
        self.status = 0
        self._uc = Uc(UC_ARCH_ARM64, UC_MODE_ARM)
        self._break = HEAP
        self._next_mapping = MAPPINGS
        for start, size in ((HEAP, HEAP_SIZE), (MAPPINGS, MAPPINGS_SIZE), (STACK_TOP - STACK_SIZE, STACK_SIZE)):
            self._uc.mem_map(start, size, UC_PROT_ALL)
        self._entry = self._load(Path(arguments[0]), arguments)
        self._uc.reg_write(arm64.UC_ARM64_REG_CPACR_EL1, 3 << 20)  # FP and SIMD
        self._uc.hook_add(UC_HOOK_INTR, self._interrupt)

    def run(self) -> int:
        """Execute to the end; the program's exit status."""
        self._uc.emu_start(self._entry, 0)
        return self.status

    def _load(self, path: Path, arguments: list[str]) -> int:
        with path.open("rb") as file:
            elf = ELFFile(file)
            header = elf.header
            segments = [segment for segment in elf.iter_segments() if segment["p_type"] == "PT_LOAD"]
            low = min(segment["p_vaddr"] for segment in segments) & -PAGE
            high = max(segment["p_vaddr"] + segment["p_memsz"] for segment in segments)
            self._uc.mem_map(low, -(-(high - low) // PAGE) * PAGE, UC_PROT_ALL)
            for segment in segments:
                self._uc.mem_write(segment["p_vaddr"], segment.data())
            headers = segments[0]["p_vaddr"] - segments[0]["p_offset"] + header["e_phoff"]
        entry = int(header["e_entry"])
        self._stack(arguments, {
            AT_PHDR: headers, AT_PHENT: header["e_phentsize"], AT_PHNUM: header["e_phnum"], AT_PAGESZ: PAGE,
            AT_ENTRY: entry, AT_HWCAP: HWCAP_FP_ASIMD, AT_RANDOM: STACK_TOP - 16,
        })  # fmt: skip
        return entry

    def _stack(self, arguments: list[str], auxiliary: dict[int, int]) -> None:
        at = STACK_TOP - 16  # AT_RANDOM's sixteen bytes: zeros
        pointers = []
        for argument in arguments:
            text = os.fsencode(argument) + b"\0"
            at -= len(text)
            self._uc.mem_write(at, text)
            pointers.append(at)
        words = [len(arguments), *pointers, 0, 0]  # argc, argv, no environment
        for pair in (*auxiliary.items(), (AT_NULL, 0)):
            words += pair
        sp = (at - 8 * len(words)) & -16
        self._uc.mem_write(sp, struct.pack(f"<{len(words)}Q", *words))
        self._uc.reg_write(arm64.UC_ARM64_REG_SP, sp)

    def _interrupt(self, uc: Uc, number: int, _data: object) -> None:
        if number != SVC:
            raise RuntimeError(f"exception {number} at {uc.reg_read(arm64.UC_ARM64_REG_PC):#x}")
        call = _CALLS.get(uc.reg_read(arm64.UC_ARM64_REG_X8), PlainUnicorn._no_such_call)
        registers = (arm64.UC_ARM64_REG_X0, arm64.UC_ARM64_REG_X1, arm64.UC_ARM64_REG_X2)
        uc.reg_write(arm64.UC_ARM64_REG_X0, call(self, *(uc.reg_read(register) for register in registers)))

    def _no_such_call(self, _a: int, _b: int, _c: int) -> int:
        return -ENOSYS

    def _succeed(self, _a: int, _b: int, _c: int) -> int:
        return 0

    def _write(self, descriptor: int, address: int, size: int) -> int:
        return os.write(descriptor, bytes(self._uc.mem_read(address, size)))

    def _writev(self, descriptor: int, vector: int, count: int) -> int:
        pairs = struct.iter_unpack("<QQ", self._uc.mem_read(vector, 16 * count))
        return sum(self._write(descriptor, address, size) for address, size in pairs)

    def _exit(self, status: int, _b: int, _c: int) -> int:
        self.status = status & 0xFF
        self._uc.emu_stop()
        return 0

    def _brk(self, wanted: int, _b: int, _c: int) -> int:
        if HEAP <= wanted <= HEAP + HEAP_SIZE:
            self._break = wanted
        return self._break

    def _mmap(self, _hint: int, size: int, _protection: int) -> int:
        start = self._next_mapping
        self._next_mapping += -(-size // PAGE) * PAGE
        return start if self._next_mapping <= MAPPINGS + MAPPINGS_SIZE else -EINVAL


# Numbers of the Linux arm64 ABI (include/uapi/asm-generic/unistd.h).
_CALLS: dict[int, Callable[[PlainUnicorn, int, int, int], int]] = {
    64: PlainUnicorn._write,
    66: PlainUnicorn._writev,
    93: PlainUnicorn._exit,
    94: PlainUnicorn._exit,
    96: PlainUnicorn._succeed,  # set_tid_address
    99: PlainUnicorn._succeed,  # set_robust_list
    214: PlainUnicorn._brk,
    215: PlainUnicorn._succeed,  # munmap
    222: PlainUnicorn._mmap,
    226: PlainUnicorn._succeed,  # mprotect: everything is readable, writable and executable
}


if __name__ == "__main__":
    sys.exit(PlainUnicorn(sys.argv[1:]).run())
