# SPDX-License-Identifier: GPL-2.0-or-later
"""The first bytes of a program's stack: argc, argv, envp and the auxiliary vector, laid out as Linux lays them out.

Pure: strings and numbers in, one image and the stack pointer out (`create_elf_tables` and `copy_strings` in Linux).
"""

from __future__ import annotations

import errno
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

from fetchsan.kernel.errors import LinuxError

__all__ = ["AuxiliaryType", "StackImage", "build_stack"]

_MAX_STRING = 32 * 4096  # MAX_ARG_STRLEN
_MAX_TOTAL = 2 << 20  # a quarter of the 8 MiB stack (execve(2), "Limits on size of arguments and environment")
_RANDOM_SIZE = 16


class AuxiliaryType(IntEnum):
    """The AT_* keys (getauxval(3)). AT_SYSINFO_EHDR is absent: clocks are system calls, and time is virtual."""

    NULL = 0
    PHDR = 3
    PHENT = 4
    PHNUM = 5
    PAGESZ = 6
    BASE = 7
    FLAGS = 8
    ENTRY = 9
    UID = 11
    EUID = 12
    GID = 13
    EGID = 14
    PLATFORM = 15
    HWCAP = 16
    CLKTCK = 17
    SECURE = 23
    RANDOM = 25
    HWCAP2 = 26
    EXECFN = 31
    MINSIGSTKSZ = 51


@dataclass(frozen=True, slots=True)
class StackImage:
    """Bytes to write at `pointer`, which becomes SP; `auxv` is what /proc/self/auxv shows."""

    pointer: int
    data: bytes
    auxv: bytes


def build_stack(
    top: int,
    argv: Sequence[bytes],
    envp: Sequence[bytes],
    auxiliary: Sequence[tuple[AuxiliaryType, int]],
    *,
    platform: bytes,
    execfn: bytes,
    random: bytes,
) -> StackImage:
    """The image that ends at `top` (16-byte aligned). Raises LinuxError(E2BIG) where execve(2) would."""
    if len(random) != _RANDOM_SIZE:
        raise ValueError(f"AT_RANDOM is {_RANDOM_SIZE} bytes, not {len(random)}")
    strings = [execfn, *argv, *envp]
    if any(len(string) >= _MAX_STRING for string in strings):
        raise LinuxError(errno.E2BIG)
    if sum(len(string) + 9 for string in strings) > _MAX_TOTAL:  # 9: the NUL and the pointer
        raise LinuxError(errno.E2BIG)

    # From the top down: a null word, the file name, the environment, the arguments, then what AT_* point to.
    blob = b"".join(string + b"\0" for string in (*argv, *envp, execfn))
    strings_start = top - 8 - len(blob)
    platform_name = (strings_start - len(platform) - 1) & ~15
    random_bytes = platform_name - _RANDOM_SIZE
    pointers: list[int] = []
    cursor = strings_start
    for string in (*argv, *envp):
        pointers.append(cursor)
        cursor += len(string) + 1
    auxv = b"".join(
        struct.pack("<QQ", key, value)
        for key, value in (
            *auxiliary,
            (AuxiliaryType.PLATFORM, platform_name),
            (AuxiliaryType.RANDOM, random_bytes),
            (AuxiliaryType.EXECFN, cursor),
            (AuxiliaryType.NULL, 0),
        )
    )
    words = [len(argv), *pointers[: len(argv)], 0, *pointers[len(argv) :], 0]
    table = struct.pack(f"<{len(words)}Q", *words) + auxv
    pointer = (random_bytes - len(table)) & ~15  # both ABIs: SP is 16-byte aligned at the entry point
    data = table.ljust(random_bytes - pointer, b"\0") + random
    data += platform.ljust(strings_start - platform_name, b"\0") + blob + bytes(8)
    return StackImage(pointer, data, auxv)
