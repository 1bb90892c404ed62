# SPDX-License-Identifier: GPL-2.0-or-later
"""--strace: system calls as qemu-user prints them. One declared row per call; without a row, arguments are hexadecimal."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from typing import TYPE_CHECKING

from fetchsan.kernel.errors import GuestFault
from fetchsan.kernel.signals import SIGNAL_COUNT, signal_name
from fetchsan.kernel.syscalls.table import Syscall, s32, s64

if TYPE_CHECKING:
    from fetchsan.kernel.task import Task

__all__ = ["result_text", "trace_call"]

_MAX_ERRNO = 4095
_SHOWN = 32  # bytes of a buffer
_AT_FDCWD = -100

_Decoder = Callable[["Task", list[int], int], str]


def _hex(task: Task, arguments: list[int], index: int) -> str:
    return f"{arguments[index]:#x}" if arguments[index] else "NULL"


def _int(task: Task, arguments: list[int], index: int) -> str:
    return str(s32(arguments[index]))


def _size(task: Task, arguments: list[int], index: int) -> str:
    return str(s64(arguments[index]))


def _directory(task: Task, arguments: list[int], index: int) -> str:
    number = s32(arguments[index])
    return "AT_FDCWD" if number == _AT_FDCWD else str(number)


def _path(task: Task, arguments: list[int], index: int) -> str:
    try:
        return _quoted(task.memory.read_cstring(arguments[index]))
    except Exception:  # an address or a length that the call itself will refuse
        return _hex(task, arguments, index)


def _buffer(task: Task, arguments: list[int], index: int) -> str:
    """What a call is about to write: the next argument is its size."""
    size = arguments[index + 1]
    try:
        data = task.memory.read(arguments[index], min(size, _SHOWN))
    except GuestFault:
        return _hex(task, arguments, index)
    return _quoted(data) + ("..." if size > _SHOWN else "")


def _quoted(data: bytes) -> str:
    text = data.decode("latin-1").encode("unicode_escape").decode("ascii").replace('"', '\\"')
    return '"' + re.sub(r"\\x(..)", lambda match: f"\\{int(match[1], 16):03o}", text) + '"'


def _octal(task: Task, arguments: list[int], index: int) -> str:
    return f"0{arguments[index] & 0xFFFF_FFFF:o}"


def _signal(task: Task, arguments: list[int], index: int) -> str:
    number = s32(arguments[index])
    return signal_name(number) if 0 < number <= SIGNAL_COUNT else str(number)


def _flags(zero: str, names: dict[int, str]) -> _Decoder:
    """Names of bits; what has no name is added in hexadecimal."""

    def decode(task: Task, arguments: list[int], index: int) -> str:
        left = arguments[index] & 0xFFFF_FFFF
        words = []
        for mask, name in names.items():
            if left & mask == mask:
                words.append(name)
                left &= ~mask
        if left:
            words.append(f"{left:#x}")
        return "|".join(words) or zero

    return decode


def _one_of(names: dict[int, str]) -> _Decoder:
    def decode(task: Task, arguments: list[int], index: int) -> str:
        return names.get(s32(arguments[index]), str(s32(arguments[index])))

    return decode


_PROT = _flags("PROT_NONE", {1: "PROT_READ", 2: "PROT_WRITE", 4: "PROT_EXEC", 0x0100_0000: "PROT_GROWSDOWN"})
_MAP = _flags(
    "0",
    {
        3: "MAP_SHARED_VALIDATE",
        1: "MAP_SHARED",
        2: "MAP_PRIVATE",
        0x10: "MAP_FIXED",
        0x20: "MAP_ANONYMOUS",
        0x40: "MAP_32BIT",
        0x800: "MAP_DENYWRITE",
        0x4000: "MAP_NORESERVE",
        0x8000: "MAP_POPULATE",
        0x2_0000: "MAP_STACK",
        0x10_0000: "MAP_FIXED_NOREPLACE",
    },
)
# The VFS's values, which are arm64's.
_OPEN_BITS = _flags(
    "",
    {
        0o100: "O_CREAT",
        0o200: "O_EXCL",
        0o400: "O_NOCTTY",
        0o1000: "O_TRUNC",
        0o2000: "O_APPEND",
        0o4000: "O_NONBLOCK",
        0o40000: "O_DIRECTORY",
        0o100000: "O_NOFOLLOW",
        0o200000: "O_DIRECT",
        0o400000: "O_LARGEFILE",
        0o2000000: "O_CLOEXEC",
        0o10000000: "O_PATH",
    },
)


def _open(task: Task, arguments: list[int], index: int) -> str:
    flags = task.kernel.abi.open_flags.to_vfs(arguments[index])
    access = ("O_RDONLY", "O_WRONLY", "O_RDWR", "O_ACCMODE")[flags & 3]
    bits = _OPEN_BITS(task, [flags & ~3], 0)
    return f"{access}|{bits}" if bits else access


_CLOCK = _one_of({0: "CLOCK_REALTIME", 1: "CLOCK_MONOTONIC", 2: "CLOCK_PROCESS_CPUTIME_ID", 3: "CLOCK_THREAD_CPUTIME_ID"})
_ARCH_PRCTL = _one_of({0x1001: "ARCH_SET_GS", 0x1002: "ARCH_SET_FS", 0x1003: "ARCH_GET_FS", 0x1004: "ARCH_GET_GS"})
_WHENCE = _one_of({0: "SEEK_SET", 1: "SEEK_CUR", 2: "SEEK_END", 3: "SEEK_DATA", 4: "SEEK_HOLE"})
_MASK_CHANGE = _one_of({0: "SIG_BLOCK", 1: "SIG_UNBLOCK", 2: "SIG_SETMASK"})

_DECODERS: dict[str, tuple[_Decoder, ...]] = {
    "access": (_path, _int),
    "arch_prctl": (_ARCH_PRCTL, _hex),
    "brk": (_hex,),
    "chdir": (_path,),
    "chmod": (_path, _octal),
    "clock_gettime": (_CLOCK, _hex),
    "close": (_int,),
    "creat": (_path, _octal),
    "dup": (_int,),
    "dup2": (_int, _int),
    "dup3": (_int, _int, _open),
    "exit": (_int,),
    "exit_group": (_int,),
    "faccessat": (_directory, _path, _int),
    "faccessat2": (_directory, _path, _int, _hex),
    "fcntl": (_int, _int, _hex),
    "fstat": (_int, _hex),
    "ftruncate": (_int, _size),
    "getcwd": (_hex, _size),
    "getdents64": (_int, _hex, _size),
    "getrandom": (_hex, _size, _int),
    "ioctl": (_int, _hex, _hex),
    "kill": (_int, _signal),
    "link": (_path, _path),
    "lseek": (_int, _size, _WHENCE),
    "lstat": (_path, _hex),
    "mkdir": (_path, _octal),
    "mkdirat": (_directory, _path, _octal),
    "mmap": (_hex, _size, _PROT, _MAP, _int, _hex),
    "mprotect": (_hex, _size, _PROT),
    "munmap": (_hex, _size),
    "newfstatat": (_directory, _path, _hex, _hex),
    "open": (_path, _open, _octal),
    "openat": (_directory, _path, _open, _octal),
    "pread64": (_int, _hex, _size, _size),
    "prlimit64": (_int, _int, _hex, _hex),
    "pwrite64": (_int, _buffer, _size, _size),
    "read": (_int, _hex, _size),
    "readlink": (_path, _hex, _size),
    "readlinkat": (_directory, _path, _hex, _size),
    "readv": (_int, _hex, _int),
    "rename": (_path, _path),
    "renameat": (_directory, _path, _directory, _path),
    "rmdir": (_path,),
    "rt_sigaction": (_signal, _hex, _hex, _size),
    "rt_sigprocmask": (_MASK_CHANGE, _hex, _hex, _size),
    "stat": (_path, _hex),
    "statx": (_directory, _path, _hex, _hex, _hex),
    "symlink": (_path, _path),
    "tgkill": (_int, _int, _signal),
    "unlink": (_path,),
    "unlinkat": (_directory, _path, _hex),
    "write": (_int, _buffer, _size),
    "writev": (_int, _hex, _int),
}
_ADDRESS_RESULTS = frozenset({"brk", "mmap", "mremap"})


def trace_call(task: Task, row: Syscall, arguments: list[int]) -> str:
    """`openat(AT_FDCWD,"/etc/passwd",O_RDONLY,00)`."""
    decoders = _DECODERS.get(row.name, ()) + (_hex,) * len(arguments)
    words = [decode(task, arguments, index) for index, (decode, _) in enumerate(zip(decoders, arguments, strict=False))]
    return f"{row.name}({','.join(words)})"


def result_text(name: str, result: int) -> str:
    """A number, an address, or `-1 errno=2 (No such file or directory)`."""
    if -_MAX_ERRNO <= result < 0:
        return f"-1 errno={-result} ({os.strerror(-result)})"
    return f"{result:#x}" if name in _ADDRESS_RESULTS else str(result)
