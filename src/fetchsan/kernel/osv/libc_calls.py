# SPDX-License-Identifier: GPL-2.0-or-later
"""Owns the system calls that the kernel's C library makes and applications without one do not: vectors, stat, identity."""

from __future__ import annotations

import errno
import struct
from typing import TYPE_CHECKING

from fetchsan.kernel.errors import LinuxError
from fetchsan.kernel.mmu.ports import AARCH64, X64
from fetchsan.kernel.osv.calls import call, declare
from fetchsan.kernel.osv.file_calls import sys_read, sys_write
from fetchsan.kernel.osv.image import OSV_PID
from fetchsan.kernel.syscalls.layouts import pack_stat, pack_stat_x86_64
from fetchsan.kernel.syscalls.table import s32
from fetchsan.kernel.vfs.inode import DirectoryInode

if TYPE_CHECKING:
    from collections.abc import Callable

    from fetchsan.kernel.osv.thread import Thread

__all__: list[str] = []

_SEGMENT = struct.Struct("<QQ")
_IOV_MAX, _MOST_RANDOM = 1024, 1 << 20
_AT_EMPTY_PATH, _AT_FDCWD = 0x1000, -100
_F_GETFD, _F_SETFD, _F_GETFL = 1, 2, 3
_PACK_STAT = {AARCH64.name: pack_stat, X64.name: pack_stat_x86_64}
_UTSNAME = ("Linux", "osv.local", "5.0.0", "#1 SMP FetchSan")


@call
def sys_writev(thread: Thread, fd: int, vector: int, count: int) -> int:
    return _each(thread, sys_write, fd, vector, count)


@call
def sys_readv(thread: Thread, fd: int, vector: int, count: int) -> int:
    return _each(thread, sys_read, fd, vector, count)


@call
def sys_ioctl(thread: Thread, fd: int, request: int, argument: int) -> int:
    """Nothing here is a terminal."""
    thread.files.get(s32(fd))
    raise LinuxError(errno.ENOTTY)


@call
def sys_fcntl(thread: Thread, fd: int, command: int, argument: int) -> int:
    file = thread.files.get(s32(fd))
    if command == _F_GETFL:
        return file.flags
    if command in (_F_GETFD, _F_SETFD):
        return 0
    raise LinuxError(errno.EINVAL)


@call
def sys_fstat(thread: Thread, fd: int, address: int) -> int:
    thread.memory.write(address, _PACK_STAT[thread.space.port.name](thread.files.get(s32(fd)).inode.stat()))
    return 0


@call
def sys_newfstatat(thread: Thread, directory: int, path: int, address: int, flags: int) -> int:
    name = thread.memory.read_cstring(path)
    if not name and flags & _AT_EMPTY_PATH:
        return sys_fstat(thread, directory, address)
    if not name.startswith(b"/") and s32(directory) != _AT_FDCWD:
        raise LinuxError(errno.ENOTDIR)
    fs = thread.kernel.image.fs
    thread.memory.write(address, _PACK_STAT[thread.space.port.name](fs.vfs.lookup(fs.cwd, name).inode.stat()))
    return 0


@call
def sys_faccessat(thread: Thread, directory: int, path: int, mode: int) -> int:
    name = thread.memory.read_cstring(path)
    if not name.startswith(b"/") and s32(directory) != _AT_FDCWD:
        raise LinuxError(errno.ENOTDIR)
    fs = thread.kernel.image.fs
    fs.vfs.lookup(fs.cwd, name)
    return 0


@call
def sys_getrandom(thread: Thread, address: int, size: int, flags: int) -> int:
    """The same bytes in every run."""
    size = min(size, _MOST_RANDOM)
    thread.memory.write(address, thread.kernel.random.randbytes(size))
    return size


@call
def sys_set_tid_address(thread: Thread, address: int) -> int:
    """Nobody waits for a thread by it."""
    return OSV_PID + thread.pe.index


@call
def sys_uname(thread: Thread, address: int) -> int:
    fields = (*_UTSNAME, thread.space.port.name, "")
    thread.memory.write(address, b"".join(field.encode().ljust(65, b"\0") for field in fields))
    return 0


@call
def sys_getcwd(thread: Thread, address: int, size: int) -> int:
    path = thread.kernel.image.fs.cwd.path() + b"\0"
    if size < len(path):
        raise LinuxError(errno.ERANGE)
    thread.memory.write(address, path)
    return len(path)


@call
def sys_chdir(thread: Thread, path: int) -> int:
    fs = thread.kernel.image.fs
    found = fs.vfs.lookup(fs.cwd, thread.memory.read_cstring(path))
    if not isinstance(found.inode, DirectoryInode):
        raise LinuxError(errno.ENOTDIR)
    fs.cwd = found
    return 0


def _constant(value: int) -> Callable[[Thread], int]:
    def answer(thread: Thread) -> int:
        return value

    return answer


for _name in ("getuid", "geteuid", "getgid", "getegid", "sched_yield"):
    declare(_name, _constant(0))
declare("getppid", _constant(1))


def _each(thread: Thread, one: Callable[..., int], fd: int, vector: int, count: int) -> int:
    if count > _IOV_MAX:
        raise LinuxError(errno.EINVAL)
    done = 0
    for address, size in _SEGMENT.iter_unpack(thread.memory.read(vector, _SEGMENT.size * count) if count else b""):
        if not size:
            continue
        try:
            moved = one(thread, fd, address, size)
        except LinuxError:
            if not done:
                raise
            break
        done += moved
        if moved < size:
            break
    return done
