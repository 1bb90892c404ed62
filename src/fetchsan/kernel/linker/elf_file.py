# SPDX-License-Identifier: GPL-2.0-or-later
"""The part of an ELF file that loading needs: header and program headers, checked before anything is mapped.

The headers are two fixed structures, so they are unpacked here rather than through pyelftools, whose import costs more
than a whole start-up. Every way a file can be wrong has its own sentence; sizes are checked before they are believed.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Protocol

from fetchsan.errors import NotExecutableError

__all__ = [
    "EM_AARCH64", "EM_X86_64", "PF_R", "PF_W", "PF_X", "ByteSource", "ElfFile", "MemoryRange", "Segment", "TlsSegment",
    "read_elf",
]  # fmt: skip

PF_X, PF_W, PF_R = 1, 2, 4

_PT_LOAD, _PT_DYNAMIC, _PT_INTERP, _PT_PHDR, _PT_TLS, _PT_GNU_STACK, _PT_GNU_RELRO = 1, 2, 3, 6, 7, 0x6474E551, 0x6474E552
_ET_EXEC, _ET_DYN = 2, 3
EM_X86_64, EM_AARCH64 = 62, 183
_HEADER = struct.Struct("<16sHHIQQQIHHHHHH")
_PROGRAM_HEADER = struct.Struct("<IIQQQQQQ")
_PAGE = 4096
_USER_START = 0x1_0000  # vm.mmap_min_addr
_PATH_MAX = 4096

_TYPES = {
    0: "no file type",
    1: "a relocatable object (ET_REL); link it first",
    4: "a core dump (ET_CORE), not a program",
}
_MACHINES = {
    2: "SPARC",
    3: "i386",
    8: "MIPS",
    20: "PowerPC",
    21: "PowerPC64",
    22: "IBM Z",
    40: "32-bit Arm",
    243: "RISC-V",
    258: "LoongArch",
}


@dataclass(frozen=True, slots=True)
class _Machine:
    name: str
    address_bits: int  # of the program's half


_RUNS = {EM_X86_64: _Machine("x86-64", 47), EM_AARCH64: _Machine("AArch64", 48)}


class ByteSource(Protocol):
    """What is read from: an inode of the VFS."""

    @property
    def size(self) -> int:
        """Bytes in the file."""

    def read_at(self, offset: int, count: int, /) -> bytes:
        """Up to `count` bytes at `offset`."""


@dataclass(frozen=True, slots=True)
class Segment:
    """One PT_LOAD."""

    offset: int
    address: int
    file_size: int
    memory_size: int
    flags: int
    alignment: int

    @property
    def end(self) -> int:
        """First address after the segment in memory."""
        return self.address + self.memory_size


@dataclass(frozen=True, slots=True)
class MemoryRange:
    """Where a header says that something lies once loaded (as linked). Unchecked: Linux loads the file whatever it says."""

    address: int
    size: int


@dataclass(frozen=True, slots=True)
class TlsSegment:
    """PT_TLS: what each thread gets a copy of. Unchecked, like `MemoryRange`."""

    address: int
    file_size: int
    memory_size: int
    alignment: int


@dataclass(frozen=True, slots=True)
class ElfFile:
    """A program or shared object that can be mapped."""

    machine: int  # EM_*
    position_independent: bool
    entry: int
    program_headers_address: int  # as linked; what AT_PHDR is made of
    program_header_size: int
    program_header_count: int
    segments: tuple[Segment, ...]
    interpreter: str | None
    executable_stack: bool
    dynamic: MemoryRange | None = None  # PT_DYNAMIC
    relro: MemoryRange | None = None  # PT_GNU_RELRO: read-only once relocated
    tls: TlsSegment | None = None

    @property
    def start(self) -> int:
        """The page of the first segment."""
        return self.segments[0].address // _PAGE * _PAGE

    @property
    def end(self) -> int:
        """First page after the last segment."""
        return -(-self.segments[-1].end // _PAGE) * _PAGE

    @property
    def alignment(self) -> int:
        """What a load address must be a multiple of."""
        return max(_PAGE, *(segment.alignment for segment in self.segments))


def read_elf(source: ByteSource, path: str, machine: int | None = None) -> ElfFile:
    """Parse and check; `machine` is the only one that will do. Raises NotExecutableError, naming what is wrong."""
    header = source.read_at(0, _HEADER.size)
    _check_identification(header, path)
    (_, kind, built_for, _, entry, table, _, _, _, entry_size, count, *_) = _HEADER.unpack(header)
    if built_for not in _RUNS:
        name = _MACHINES.get(built_for, f"machine number {built_for}")
        raise NotExecutableError(path, f"built for {name}; FetchSan runs AArch64 and x86-64 programs")
    if machine is not None and built_for != machine:
        raise NotExecutableError(path, f"built for {_RUNS[built_for].name}, not for {_RUNS[machine].name}")
    if kind not in (_ET_EXEC, _ET_DYN):
        raise NotExecutableError(path, f"not a program: {_TYPES.get(kind, f'ELF file type {kind:#x}')}")
    if entry_size != _PROGRAM_HEADER.size:
        raise NotExecutableError(path, f"corrupt ELF: program headers of {entry_size} bytes (must be 56)")
    size = count * entry_size
    if not 0 < size <= _PAGE * 16:  # Linux refuses tables over 64 KiB too (load_elf_phdrs)
        raise NotExecutableError(path, f"corrupt ELF: {count} program headers")
    if table + size > source.size:
        raise NotExecutableError(path, "truncated ELF: its program headers lie outside the file")
    rows = list(_PROGRAM_HEADER.iter_unpack(source.read_at(table, size)))
    segments = tuple(
        Segment(offset, address, file_size, memory_size, flags, alignment)
        for type_, flags, offset, address, _, file_size, memory_size, alignment in rows
        if type_ == _PT_LOAD and memory_size
    )
    _check_segments(segments, source.size, _RUNS[built_for].address_bits, path)
    if kind == _ET_EXEC and segments[0].address < _USER_START:
        raise NotExecutableError(path, f"linked at {segments[0].address:#x}, below {_USER_START:#x}: Linux maps nothing there")
    return ElfFile(
        machine=built_for,
        position_independent=kind == _ET_DYN,
        entry=entry,
        program_headers_address=_program_headers_address(rows, segments, table),
        program_header_size=entry_size,
        program_header_count=count,
        segments=segments,
        interpreter=_interpreter(rows, source, path),
        executable_stack=any(type_ == _PT_GNU_STACK and flags & PF_X for type_, flags, *_ in rows),
        dynamic=_range(rows, _PT_DYNAMIC),
        relro=_range(rows, _PT_GNU_RELRO),
        tls=_tls(rows),
    )


def _check_identification(header: bytes, path: str) -> None:
    if not header:
        raise NotExecutableError(path, "empty file")
    if not header.startswith(b"\x7fELF"):
        raise NotExecutableError(path, "not an ELF program (nor a script with #!)")
    if len(header) < _HEADER.size:
        raise NotExecutableError(path, f"truncated ELF: the header ends after {len(header)} of {_HEADER.size} bytes")
    if header[4] != 2:
        what = "32-bit" if header[4] == 1 else f"of unknown class {header[4]}"
        raise NotExecutableError(path, f"{what} ELF; FetchSan runs 64-bit programs")
    if header[5] != 1:
        raise NotExecutableError(path, "big-endian ELF; FetchSan runs little-endian programs")


def _check_segments(segments: tuple[Segment, ...], file_size: int, address_bits: int, path: str) -> None:
    if not segments:
        raise NotExecutableError(path, "corrupt ELF: nothing to load (no PT_LOAD segment)")
    previous_end = 0
    for number, segment in enumerate(segments):
        where = f"loadable segment {number} at {segment.address:#x}"
        if segment.end > 1 << address_bits:
            raise NotExecutableError(path, f"corrupt ELF: {where} ends beyond the {address_bits}-bit address space")
        if segment.offset + segment.file_size > file_size:
            raise NotExecutableError(path, f"truncated ELF: {where} lies outside the file")
        if segment.file_size > segment.memory_size:
            raise NotExecutableError(path, f"corrupt ELF: {where} is larger in the file than in memory")
        if segment.alignment & (segment.alignment - 1) or segment.alignment > 1 << 30:
            raise NotExecutableError(path, f"corrupt ELF: {where} is aligned to {segment.alignment:#x}")
        if segment.address % _PAGE != segment.offset % _PAGE:
            raise NotExecutableError(path, f"corrupt ELF: address and file offset of {where} disagree within a page")
        if segment.address < previous_end:
            raise NotExecutableError(path, f"corrupt ELF: {where} overlaps the one before, or is out of order")
        previous_end = segment.end


def _program_headers_address(rows: list[tuple[int, ...]], segments: tuple[Segment, ...], table: int) -> int:
    """PT_PHDR if there is one, else where the segment that contains the table puts it (as load_elf_binary does)."""
    for row in rows:
        if row[0] == _PT_PHDR:
            return row[3]
    for segment in segments:
        if segment.offset <= table < segment.offset + segment.file_size:
            return table - segment.offset + segment.address
    return 0


def _range(rows: list[tuple[int, ...]], wanted: int) -> MemoryRange | None:
    for type_, _, _, address, _, _, size, _ in rows:
        if type_ == wanted and size:
            return MemoryRange(address, size)
    return None


def _tls(rows: list[tuple[int, ...]]) -> TlsSegment | None:
    for type_, _, _, address, _, file_size, memory_size, alignment in rows:
        if type_ == _PT_TLS and memory_size:
            return TlsSegment(address, file_size, memory_size, alignment)
    return None


def _interpreter(rows: list[tuple[int, ...]], source: ByteSource, path: str) -> str | None:
    for type_, _, offset, _, _, size, *_ in rows:
        if type_ == _PT_INTERP:
            if not 2 <= size <= _PATH_MAX or offset + size > source.size:
                raise NotExecutableError(path, "corrupt ELF: the name of its interpreter lies outside the file")
            name = source.read_at(offset, size)
            if not name.endswith(b"\0"):
                raise NotExecutableError(path, "corrupt ELF: the name of its interpreter does not end")
            return name.split(b"\0", 1)[0].decode("utf-8", "surrogateescape")
    return None
