# SPDX-License-Identifier: GPL-2.0-or-later
"""Writes the smallest ELF64 file that has load segments, sections and a symbol table, from what a test declares."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass

STT_NOTYPE, STT_OBJECT, STT_FUNC, STT_FILE = 0, 1, 2, 4
PT_LOAD = 1
SHT_PROGBITS, SHT_SYMTAB, SHT_STRTAB, SHT_NOBITS, SHT_DYNSYM = 1, 2, 3, 8, 11


@dataclass(frozen=True)
class Section:
    name: str
    address: int
    size: int
    kind: int = SHT_PROGBITS


@dataclass(frozen=True)
class Segment:
    virtual: int
    offset: int
    size: int
    bss: int = 0


@dataclass(frozen=True)
class Symbol:
    name: str
    value: int
    size: int = 0
    kind: int = STT_FUNC
    section: int = 1
    binding: int = 1


def elf(
    sections: Sequence[Section], symbols: Sequence[Symbol], segments: Sequence[Segment], table: str = ".symtab"
) -> bytes:
    """The file's bytes. `Symbol.section` counts `sections` from 1."""
    names, symbol_data = b"\0", b"\0" * 24
    for symbol in symbols:
        info = symbol.binding << 4 | symbol.kind
        symbol_data += struct.pack("<IBBHQQ", len(names), info, 0, symbol.section, symbol.value, symbol.size)
        names += symbol.name.encode() + b"\0"
    kind = SHT_DYNSYM if table == ".dynsym" else SHT_SYMTAB
    tail = [(table, kind, symbol_data), (".strtab", SHT_STRTAB, names)]
    section_names, headers, data = b"\0", [b"\0" * 64], b""
    start = 64 + 56 * len(segments)
    everything = [(s.name, s.kind, s.address, b"", s.size) for s in sections]
    everything += [(name, kind, 0, content, len(content)) for name, kind, content in tail]
    everything.append((".shstrtab", SHT_STRTAB, 0, b"", 0))
    strtab = len(everything) - 1
    for name, _, _, _, _ in everything:
        section_names += name.encode() + b"\0"
    at = 1
    for name, kind, address, content, size in everything:
        if name == ".shstrtab":
            content, size = section_names, len(section_names)
        link = strtab if name == table else 0
        entry = 24 if name == table else 0
        headers.append(struct.pack("<IIQQQQIIQQ", at, kind, 0, address, start + len(data), size, link, 0, 8, entry))
        data += content
        at += len(name) + 1
    header = b"\x7fELF\x02\x01\x01" + b"\0" * 9 + struct.pack(
        "<HHIQQQIHHHHHH", 3, 183, 1, 0, 64, start + len(data), 0, 64, 56, len(segments), 64, len(headers), len(headers) - 1
    )
    programs = b"".join(
        struct.pack("<IIQQQQQQ", PT_LOAD, 5, s.offset, s.virtual, s.virtual, s.size, s.size + s.bss, 4096) for s in segments
    )
    return header + programs + data + b"".join(headers)
