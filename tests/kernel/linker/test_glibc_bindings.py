# SPDX-License-Identifier: GPL-2.0-or-later
"""The host's programs: each reference is bound to the object that glibc's own ld.so binds it to (LD_DEBUG=bindings)."""

from __future__ import annotations

import os
import platform
import re
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from fetchsan.errors import NotExecutableError
from fetchsan.kernel.linker.dynamic import Tag
from fetchsan.kernel.linker.file import File
from fetchsan.kernel.linker.object import InGuest
from fetchsan.kernel.linker.program import Loaded, Program
from fetchsan.kernel.mmu.osv_space import OsvSpace
from fetchsan.kernel.mmu.ports import X64
from fetchsan.kernel.mmu.user_memory import UserMemory
from fetchsan.kernel.osv import RofsFile
from fetchsan.machine.memory import PhysicalMemory
from fetchsan.machine.x64_machine import X64Machine

PROGRAMS = ["ls", "bash", "tar", "sed", "grep", "perl", "git"]
LIBRARIES = ("/lib/x86_64-linux-gnu", "/usr/lib/x86_64-linux-gnu", "/lib64")
BINDING = re.compile(r"binding file (\S+) \[0\] to (\S+) \[0\]: normal symbol `([^']+)'(?: \[([^\]]+)\])?")
PROGRAM_BASE = 0x1000_0000_0000

pytestmark = pytest.mark.skipif(
    platform.machine() != "x86_64" or not Path("/lib64/ld-linux-x86-64.so.2").exists(), reason="not an x86-64 host with glibc"
)

Reference = tuple[str, str, str | None]  # the object, the name, the version


def glibc_bindings(program: str) -> dict[Reference, str]:
    """What ld.so binds when the program starts."""
    environment = {"LD_DEBUG": "bindings", "LD_BIND_NOW": "1", "PATH": "/usr/bin", "LC_ALL": "C"}
    told = subprocess.run(
        [program, "--version"], env=environment, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False
    ).stderr
    return {
        (os.path.realpath(seeker), name, version or None): os.path.realpath(provider)
        for seeker, provider, name, version in BINDING.findall(told)
    }


def load(path: str) -> Program:
    memory = PhysicalMemory(128 << 20)
    space = OsvSpace(X64Machine(memory=memory, user=False), sync="osv", port=X64)
    opened: dict[str, RofsFile] = {}

    def open_file(name: str) -> RofsFile | None:
        real = os.path.realpath(name)
        if real not in opened and os.path.isfile(real):
            opened[real] = RofsFile(real, Path(real).read_bytes(), ino=len(opened) + 1)
        return opened.get(real)

    program = Program(space, UserMemory(space), open_file, at=PROGRAM_BASE, search_path=LIBRARIES)
    answer_resolvers(program.load(path))
    return program


def answer_resolvers(steps: InGuest[Loaded]) -> None:
    try:
        next(steps)
        while True:
            steps.send(0)
    except StopIteration:
        pass


def references(file: File) -> Iterator[int]:
    """The symbols that its relocations name."""
    found = set()
    for table, size in ((Tag.RELA, Tag.RELASZ), (Tag.JMPREL, Tag.PLTRELSZ)):
        count = file.dynamic.get(size) // 24
        data = file.memory.read(file.base + file.dynamic.get(table), 24 * count) if count else b""
        found |= {information >> 32 for _, information, _ in struct.iter_unpack("<QQq", data)}
    return iter(sorted(found - {0}))


@pytest.mark.parametrize("name", PROGRAMS)
def test_every_reference_is_bound_as_glibc_binds_it(name: str) -> None:
    path = os.path.realpath(f"/usr/bin/{name}")
    if not os.path.isfile(path):
        pytest.skip(f"no {name} here")
    theirs = glibc_bindings(path)
    try:
        program = load(path)
    except NotExecutableError as error:
        pytest.skip(str(error))  # at a fixed address
    compared = 0
    for file in program.modules:
        for index in references(file):
            symbol = file.symbols[index]
            version = file.symbols.versions.wanted(index)
            key = (file.path, file.symbols.name(symbol).decode(), version.name.decode() if version is not None else None)
            provider = theirs.get(key)
            if provider is None:
                continue  # a local symbol, or a weak one that nobody has
            # A variable that was copied has two bindings, and ld.so tells that of the copy.
            found = program.resolve(file, symbol, index, other=symbol.section != 0 and provider != file.path)
            assert found is not None and found.object.path == provider, key
            compared += 1
    assert compared > 50
