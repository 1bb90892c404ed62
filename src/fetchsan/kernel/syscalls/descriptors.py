# SPDX-License-Identifier: GPL-2.0-or-later
"""Descriptors themselves, and those without a path: dup(2), fcntl(2), close_range(2), pipe(2), eventfd(2), memfd_create(2)."""

from __future__ import annotations

import errno
import struct
from collections.abc import Callable
from typing import TYPE_CHECKING

from fetchsan.kernel.errors import LinuxError
from fetchsan.kernel.syscalls.table import refuse, s32, syscall, u32
from fetchsan.kernel.vfs.flags import O_CLOEXEC, O_DIRECT, O_LARGEFILE, O_NONBLOCK, O_PATH, O_RDWR, O_SETTABLE
from fetchsan.kernel.vfs.memory_tree import F_SEAL_SEAL, MemoryFile
from fetchsan.kernel.vfs.open_file import OpenFile
from fetchsan.kernel.vfs.pipes import AnonymousInode, EventFile, PipeFile, make_pipe

if TYPE_CHECKING:
    from fetchsan.kernel.task import Task

__all__: list[str] = []

_FD_CLOEXEC = 1
_CLOSE_RANGE_UNSHARE, _CLOSE_RANGE_CLOEXEC = 2, 4
_FLOCK = struct.Struct("<hh4xqqi4x")
_F_RDLCK, _F_WRLCK, _F_UNLCK = 0, 1, 2
_MFD_CLOEXEC, _MFD_ALLOW_SEALING, _MFD_EXEC_BITS = 1, 2, 0x18
_MFD_NAME_MAX = 249
_EFD_SEMAPHORE = 1
_ALL_SEALS = 0x1F


@syscall
def sys_dup(task: Task, fd: int) -> int:
    return task.files.add(task.files.get(s32(fd)))


@syscall
def sys_dup3(task: Task, fd: int, new: int, flags: int) -> int:
    file = task.files.get(s32(fd))
    if u32(flags) & ~O_CLOEXEC or s32(fd) == s32(new):
        raise LinuxError(errno.EINVAL)
    task.files.place(s32(new), file, close_on_exec=bool(flags & O_CLOEXEC))
    return s32(new)


@syscall
def sys_close_range(task: Task, first: int, last: int, flags: int) -> int:
    first, last = u32(first), u32(last)
    if first > last or u32(flags) & ~(_CLOSE_RANGE_UNSHARE | _CLOSE_RANGE_CLOEXEC):
        raise LinuxError(errno.EINVAL)
    for fd in [fd for fd in task.files if first <= fd <= last]:
        if flags & _CLOSE_RANGE_CLOEXEC:
            task.files.set_close_on_exec(fd, True)
        else:
            task.files.close(fd)
    return 0


# fcntl(2) --------------------------------------------------------------------------------------------------------


def _duplicate(task: Task, fd: int, file: OpenFile, minimum: int, *, close_on_exec: bool) -> int:
    if not 0 <= s32(minimum) < task.files.limit:
        raise LinuxError(errno.EINVAL)
    return task.files.add(file, close_on_exec=close_on_exec, minimum=s32(minimum))


def _dupfd(task: Task, fd: int, file: OpenFile, minimum: int) -> int:
    return _duplicate(task, fd, file, minimum, close_on_exec=False)


def _dupfd_cloexec(task: Task, fd: int, file: OpenFile, minimum: int) -> int:
    return _duplicate(task, fd, file, minimum, close_on_exec=True)


def _getfd(task: Task, fd: int, file: OpenFile, argument: int) -> int:
    return _FD_CLOEXEC if task.files.closes_on_exec(fd) else 0


def _setfd(task: Task, fd: int, file: OpenFile, argument: int) -> int:
    task.files.set_close_on_exec(fd, bool(argument & _FD_CLOEXEC))
    return 0


def _getfl(task: Task, fd: int, file: OpenFile, argument: int) -> int:
    return task.kernel.abi.open_flags.to_program(file.flags | (0 if file.flags & O_PATH else O_LARGEFILE))


def _setfl(task: Task, fd: int, file: OpenFile, argument: int) -> int:
    wanted = task.kernel.abi.open_flags.to_vfs(argument)
    file.flags = file.flags & ~O_SETTABLE | wanted & O_SETTABLE
    return 0


def _getlk(task: Task, fd: int, file: OpenFile, address: int) -> int:
    """Nobody else holds a lock on anything of the guest's: any lock could be placed."""
    kind, whence, start, length, pid = _FLOCK.unpack(task.memory.read(address, _FLOCK.size))
    if kind not in (_F_RDLCK, _F_WRLCK):
        raise LinuxError(errno.EINVAL)
    task.memory.write(address, _FLOCK.pack(_F_UNLCK, whence, start, length, pid))
    return 0


def _setlk(task: Task, fd: int, file: OpenFile, address: int) -> int:
    kind = _FLOCK.unpack(task.memory.read(address, _FLOCK.size))[0]
    allowed = {_F_RDLCK: file.readable, _F_WRLCK: file.writable, _F_UNLCK: True}.get(kind)
    if allowed is None:
        raise LinuxError(errno.EINVAL)
    if not allowed:
        raise LinuxError(errno.EBADF)
    return 0


def _nothing(task: Task, fd: int, file: OpenFile, argument: int) -> int:
    return 0


def _setpipe_sz(task: Task, fd: int, file: OpenFile, size: int) -> int:
    return _pipe(file).resize(s32(size))


def _getpipe_sz(task: Task, fd: int, file: OpenFile, argument: int) -> int:
    return _pipe(file).inode.capacity


def _pipe(file: OpenFile) -> PipeFile:
    if not isinstance(file, PipeFile):
        raise LinuxError(errno.EBADF)
    return file


def _add_seals(task: Task, fd: int, file: OpenFile, seals: int) -> int:
    inode = _sealable(file)
    if u32(seals) & ~_ALL_SEALS:
        raise LinuxError(errno.EINVAL)
    if not file.writable or inode.seals & F_SEAL_SEAL:
        raise LinuxError(errno.EPERM)
    inode.seals |= seals
    return 0


def _get_seals(task: Task, fd: int, file: OpenFile, argument: int) -> int:
    return _sealable(file).seals


def _sealable(file: OpenFile) -> MemoryFile:
    if not isinstance(file.inode, MemoryFile):
        raise LinuxError(errno.EINVAL)
    return file.inode


_FCNTL: dict[int, Callable[[Task, int, OpenFile, int], int]] = {
    0: _dupfd, 1: _getfd, 2: _setfd, 3: _getfl, 4: _setfl, 5: _getlk, 6: _setlk, 7: _setlk,
    8: _nothing, 9: _nothing,  # F_SETOWN, F_GETOWN
    36: _getlk, 37: _setlk, 38: _setlk,  # F_OFD_GETLK, SETLK, SETLKW
    1030: _dupfd_cloexec, 1031: _setpipe_sz, 1032: _getpipe_sz, 1033: _add_seals, 1034: _get_seals,
}  # fmt: skip
_ON_O_PATH = frozenset({0, 1, 2, 3, 1030})  # what fcntl does on an O_PATH descriptor (open(2))


@syscall
def sys_fcntl(task: Task, fd: int, command: int, argument: int) -> int:
    file = task.files.get(s32(fd))
    operation = _FCNTL.get(u32(command))
    if file.flags & O_PATH and u32(command) not in _ON_O_PATH:
        raise LinuxError(errno.EBADF)
    if operation is None:
        raise LinuxError(errno.EINVAL)
    return operation(task, s32(fd), file, argument)


@syscall
def sys_flock(task: Task, fd: int, operation: int) -> int:
    task.files.get(s32(fd))
    if u32(operation) & ~4 not in (1, 2, 8):
        raise LinuxError(errno.EINVAL)
    return 0


# Descriptors without a path ---------------------------------------------------------------------------------------


@syscall
def sys_pipe2(task: Task, address: int, flags: int) -> int:
    flags = task.kernel.abi.open_flags.to_vfs(flags)
    if u32(flags) & ~(O_CLOEXEC | O_NONBLOCK | O_DIRECT):
        raise LinuxError(errno.EINVAL)
    ends = make_pipe(task.fs.vfs.next_anonymous(), flags & O_NONBLOCK)
    numbers: list[int] = []
    try:
        for end in ends:
            numbers.append(task.files.add(end, close_on_exec=bool(flags & O_CLOEXEC)))
        task.memory.write(address, struct.pack("<ii", *numbers))
    except BaseException:
        for number in numbers:
            task.files.close(number)
        raise
    return 0


@syscall
def sys_eventfd2(task: Task, count: int, flags: int) -> int:
    if u32(flags) & ~(O_CLOEXEC | O_NONBLOCK | _EFD_SEMAPHORE):
        raise LinuxError(errno.EINVAL)
    inode = AnonymousInode("anon_inode:[eventfd]", 0o600, task.fs.vfs.next_anonymous())
    file = EventFile(inode, flags & O_NONBLOCK, u32(count), semaphore=bool(flags & _EFD_SEMAPHORE))
    return task.files.add(file, close_on_exec=bool(flags & O_CLOEXEC))


@syscall
def sys_memfd_create(task: Task, name: int, flags: int) -> int:
    # MFD_EXEC and MFD_NOEXEC_SEAL change nothing: a memfd here is never executed by path.
    if u32(flags) & ~(_MFD_CLOEXEC | _MFD_ALLOW_SEALING | _MFD_EXEC_BITS):
        raise LinuxError(errno.EINVAL)
    text = task.memory.read_cstring(name, _MFD_NAME_MAX + 1)
    vfs = task.fs.vfs
    inode = MemoryFile(vfs.memory, 0o777)
    inode.links = 0
    if flags & _MFD_ALLOW_SEALING:
        inode.seals = 0
    file = inode.open(vfs.detached(b"memfd:" + text, inode), O_RDWR | O_LARGEFILE)
    return task.files.add(file, close_on_exec=bool(flags & _MFD_CLOEXEC))


@syscall
def sys_socket(task: Task, family: int, kind: int, protocol: int) -> int:
    raise LinuxError(errno.EAFNOSUPPORT)  # no network: libraries that look for a name service go on without


# inotify(7): programs that watch files fall back to asking.
refuse(errno.ENOSYS, ("inotify_init", "inotify_init1", "inotify_add_watch", "inotify_rm_watch"))
