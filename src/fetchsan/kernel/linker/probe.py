# SPDX-License-Identifier: GPL-2.0-or-later
"""Which architecture a program is of, asked before there is a machine to run it on."""

from __future__ import annotations

import os
import random
import stat
import struct

from fetchsan.kernel.clock import Clock
from fetchsan.kernel.host import Host
from fetchsan.kernel.linker.program_file import find_program, follow_scripts
from fetchsan.kernel.options import KernelOptions
from fetchsan.kernel.vfs.proc_system import SystemFacts
from fetchsan.kernel.vfs.tree import build_tree

__all__ = ["elf_machine", "program_machine"]

_IDENTIFICATION = struct.Struct("<4s14xH")
_MAGIC = b"\x7fELF"


def program_machine(options: KernelOptions, host: Host) -> int | None:
    """EM_* of what `options.argv[0]` leads to through PATH and #! lines; None if that is no ELF file.

    Raises what loading it would: ProgramNotFoundError, NotExecutableError, UsageError.
    """
    name = options.argv[0]
    if "/" in name:
        head = _head_on_host(os.path.join(options.cwd, name))
        if head.startswith(_MAGIC):  # the program's own file is on top of everything that the guest sees there
            return _machine(head)
    clock = Clock()
    tree = build_tree(
        host,
        cwd=options.cwd,
        now=clock.realtime_ns,
        facts=SystemFacts(memory=lambda: (0, 0), uptime_ns=clock.monotonic_ns, random=random.Random(0)),
        random_source=random.Random(0),
        sysroot=options.sysroot,
        program=options.cwd / name if "/" in name else None,
        grants=options.directories,
    )
    program = find_program(tree.start, name, dict(options.env).get("PATH"), options.sysroot)
    file = follow_scripts(tree.start, program, [os.fsencode(argument) for argument in options.argv])
    return _machine(file.inode.read_at(0, _IDENTIFICATION.size))


def elf_machine(path: str) -> int | None:
    """EM_* of a file of the host's; None if that is no ELF file, or none at all."""
    return _machine(_head_on_host(path))


def _machine(head: bytes) -> int | None:
    if len(head) < _IDENTIFICATION.size or not head.startswith(_MAGIC):
        return None
    return int(_IDENTIFICATION.unpack(head)[1])


def _head_on_host(path: str) -> bytes:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except (OSError, ValueError):  # ValueError: a NUL in the name
        return b""
    try:
        return os.pread(fd, _IDENTIFICATION.size, 0) if stat.S_ISREG(os.fstat(fd).st_mode) else b""
    except OSError:
        return b""
    finally:
        os.close(fd)
