# SPDX-License-Identifier: GPL-2.0-or-later
"""execve(2) as Linux's binfmt_elf does it: segments, interpreter, stack and heap of a new program.

The address space must be fresh. Every byte the loader writes is a store through the data side.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fetchsan.arch.page_table import EXECUTE, READ, WRITE
from fetchsan.errors import NotExecutableError
from fetchsan.kernel.auxv import AuxiliaryType, build_stack
from fetchsan.kernel.errors import GuestFault, LinuxError
from fetchsan.kernel.linker.elf_file import PF_R, PF_W, PF_X, ElfFile, Segment, read_elf
from fetchsan.kernel.linker.program_file import ProgramFile, follow_scripts, open_executable
from fetchsan.kernel.mmu.vma import MMAP_FIXED, MMAP_STACK
from fetchsan.kernel.task import USER_ID
from fetchsan.kernel.vfs.dentry import Dentry
from fetchsan.kernel.vfs.inode import Inode
from fetchsan.machine.hardware import Origin
from fetchsan.machine.memory import FRAME_SIZE

if TYPE_CHECKING:
    from fetchsan.kernel.task import Process

__all__ = ["EntryState", "load_program"]

LOADER = Origin(None, "ELF loader")

_STACK_SIZE = 8 << 20
# What fetches the usual interpreters.
_FETCHED = {
    "/lib/ld-linux-aarch64.so.1": "fetchsan sysroot add libc6",
    "/lib/ld-musl-aarch64.so.1": "fetchsan sysroot add musl",
    "/lib64/ld-linux-x86-64.so.2": "fetchsan sysroot add --arch amd64 libc6",
    "/lib/ld-musl-x86_64.so.1": "fetchsan sysroot add --arch amd64 musl",
}


@dataclass(frozen=True, slots=True)
class EntryState:
    """Where the program starts; all other registers are zero."""

    pc: int
    sp: int


def load_program(process: Process, program: Dentry, argv: Sequence[bytes], envp: Sequence[bytes]) -> EntryState:
    """Map the program and build its stack. Raises NotExecutableError, or LinuxError(E2BIG)."""
    file = follow_scripts(process.fs, program, argv)
    process.executable = file.dentry
    return _load_elf(process, file, envp)


def _load_elf(process: Process, file: ProgramFile, envp: Sequence[bytes]) -> EntryState:
    abi, inode, shown = process.kernel.abi, file.inode, file.shown
    elf = read_elf(inode, shown, abi.elf_machine)
    layout = process.space.layout
    process.memory.origin = LOADER
    bias = 0
    if elf.position_independent:
        bias = layout.image_base // elf.alignment * elf.alignment - elf.start
    _map_image(process, elf, inode, bias, shown)
    heap = elf.end + bias + layout.brk_gap
    process.space.start_brk(heap)
    entry, interpreter_base = elf.entry + bias, 0
    if elf.interpreter is not None:
        interpreter_inode, interpreter = _read_interpreter(process, elf.interpreter, shown)
        try:
            interpreter_base = _place(process, interpreter)
        except LinuxError:
            raise NotExecutableError(shown, f"leaves no room for its interpreter {elf.interpreter}") from None
        _map_image(process, interpreter, interpreter_inode, interpreter_base, elf.interpreter)
        entry = interpreter.entry + interpreter_base
    auxiliary = [
        (AuxiliaryType.HWCAP, abi.hwcap),
        (AuxiliaryType.PAGESZ, FRAME_SIZE),
        (AuxiliaryType.CLKTCK, 100),
        (AuxiliaryType.PHDR, elf.program_headers_address + bias),
        (AuxiliaryType.PHENT, elf.program_header_size),
        (AuxiliaryType.PHNUM, elf.program_header_count),
        (AuxiliaryType.BASE, interpreter_base),
        (AuxiliaryType.FLAGS, 0),
        (AuxiliaryType.ENTRY, elf.entry + bias),
        (AuxiliaryType.UID, USER_ID),
        (AuxiliaryType.EUID, USER_ID),
        (AuxiliaryType.GID, USER_ID),
        (AuxiliaryType.EGID, USER_ID),
        (AuxiliaryType.SECURE, 0),
        (AuxiliaryType.HWCAP2, 0),
        (AuxiliaryType.MINSIGSTKSZ, abi.signal_frame_size),
    ]
    random = process.kernel.random.randbytes(16)
    image = build_stack(
        layout.stack_top, file.argv, envp, auxiliary, platform=abi.platform.encode(), execfn=file.execfn, random=random
    )
    perm = READ | WRITE | (EXECUTE if elf.executable_stack else 0)
    process.space.map_anon(layout.stack_top - _STACK_SIZE, _STACK_SIZE, MMAP_FIXED | MMAP_STACK, perm, name="[stack]")
    process.memory.write(image.pointer, image.data)
    process.argv, process.envp, process.auxv = tuple(file.argv), tuple(envp), image.auxv
    return EntryState(entry, image.pointer)


def _read_interpreter(process: Process, name: str, shown: str) -> tuple[Inode, ElfFile]:
    try:
        dentry = process.fs.vfs.lookup(process.fs.cwd, os.fsencode(name))
    except LinuxError:
        command = _FETCHED.get(name)
        fetch = f"`{command}` fetches it, or -L DIR" if command else "-L DIR says where it is"
        raise NotExecutableError(shown, f"needs {name}, not found in the sysroot; {fetch}") from None
    inode = open_executable(process.fs, dentry, name)
    elf = read_elf(inode, name, process.kernel.abi.elf_machine)
    if not elf.position_independent:
        raise NotExecutableError(shown, f"its interpreter {name} is not position-independent")
    return inode, elf


def _place(process: Process, elf: ElfFile) -> int:
    """A bias that puts the whole image into a hole of the mmap area."""
    room = elf.alignment - FRAME_SIZE
    hole = process.space.allocate(0, elf.end - elf.start + room, 0)
    return -(-hole // elf.alignment) * elf.alignment - elf.start


def _map_image(process: Process, elf: ElfFile, inode: Inode, bias: int, shown: str) -> None:
    try:
        for segment in elf.segments:
            _map_segment(process, segment, inode, bias)
    except LinuxError as error:
        raise NotExecutableError(shown, f"cannot be mapped: {os.strerror(error.errno).lower()}") from None


def _map_segment(process: Process, segment: Segment, inode: Inode, bias: int) -> None:
    space = process.space
    perm = sum(right for flag, right in ((PF_R, READ), (PF_W, WRITE), (PF_X, EXECUTE)) if segment.flags & flag)
    address = segment.address + bias
    page = address // FRAME_SIZE * FRAME_SIZE
    file_end = address + segment.file_size
    mapped_end = page
    if segment.file_size:
        mapped_end = -(-file_end // FRAME_SIZE) * FRAME_SIZE
        offset = segment.offset - (address - page)
        space.map_file(page, mapped_end - page, MMAP_FIXED, perm, inode, offset, may_write=False)
    if segment.memory_size > segment.file_size:
        if segment.file_size and file_end < mapped_end:
            # To the end of the page, not of the segment: ld.so's first allocations lie right behind its .bss.
            # A read-only segment keeps the file's bytes there, as on Linux (padzero's failure is ignored).
            with suppress(GuestFault):
                process.memory.write(file_end, bytes(mapped_end - file_end))
        end = -(-(address + segment.memory_size) // FRAME_SIZE) * FRAME_SIZE
        if end > mapped_end:
            space.map_anon(mapped_end, end - mapped_end, MMAP_FIXED, perm)
