# SPDX-License-Identifier: GPL-2.0-or-later
"""Owns files by descriptor as OSv's applications call them: open, close, read, write, their positions and sizes.

Mapped pages of a file and read or write of it show the same bytes: reads go through the page cache, and what was written
or cut is told to it.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from fetchsan.kernel.errors import LinuxError
from fetchsan.kernel.osv.calls import call
from fetchsan.kernel.syscalls.table import s32, s64
from fetchsan.kernel.vfs.flags import O_ACCMODE, O_APPEND, O_CREAT, O_DIRECTORY, O_EXCL, O_NOFOLLOW, O_TRUNC
from fetchsan.kernel.vfs.open_file import MAX_OFFSET, OpenFile, RegularFile

if TYPE_CHECKING:
    from fetchsan.kernel.osv.thread import Thread

__all__: list[str] = []

_KNOWN_FLAGS = O_ACCMODE | O_APPEND | O_CREAT | O_DIRECTORY | O_EXCL | O_NOFOLLOW | O_TRUNC
_AT_FDCWD = -100
_MOST = 1 << 20  # what one call transfers at most


@call
def sys_openat(thread: Thread, directory: int, path: int, flags: int, mode: int) -> int:
    fs = thread.kernel.image.fs
    file = fs.vfs.open(fs.cwd, _path(thread, directory, path), flags & _KNOWN_FLAGS, mode & 0o7777)
    fd = thread.files.add(file)
    if flags & O_TRUNC and isinstance(file, RegularFile):
        _truncate(thread, file, 0)
    return fd


@call
def sys_close(thread: Thread, fd: int) -> int:
    thread.files.close(s32(fd))
    return 0


@call
def sys_read(thread: Thread, fd: int, address: int, size: int) -> int:
    file = _readable(thread, fd)
    data = _fetch(thread, file, address, size, file.offset)
    file.offset += len(data)
    return len(data)


@call
def sys_pread64(thread: Thread, fd: int, address: int, size: int, offset: int) -> int:
    return len(_fetch(thread, _readable(thread, fd), address, size, _offset(offset)))


@call
def sys_write(thread: Thread, fd: int, address: int, size: int) -> int:
    file = _writable(thread, fd)
    if isinstance(file, RegularFile) and file.flags & O_APPEND:
        file.offset = file.end()
    written = _put(thread, file, address, size, file.offset)
    file.offset += written
    return written


@call
def sys_pwrite64(thread: Thread, fd: int, address: int, size: int, offset: int) -> int:
    return _put(thread, _writable(thread, fd), address, size, _offset(offset))


@call
def sys_lseek(thread: Thread, fd: int, offset: int, whence: int) -> int:
    return thread.files.get(s32(fd)).seek(s64(offset), s32(whence))


@call
def sys_ftruncate(thread: Thread, fd: int, size: int) -> int:
    file = thread.files.get(s32(fd))
    if not file.writable or not isinstance(file, RegularFile):
        raise LinuxError(errno.EINVAL)
    _truncate(thread, file, _offset(size))
    return 0


@call
def sys_fsync(thread: Thread, fd: int) -> int:
    file = thread.files.get(s32(fd))
    if isinstance(file, RegularFile):
        failures = thread.space.page_cache.write_back(file.inode)
        if failures:
            raise LinuxError(failures[0].errno)
    return 0


@call
def sys_unlinkat(thread: Thread, directory: int, path: int, flags: int) -> int:
    if flags:
        raise LinuxError(errno.EINVAL)
    fs = thread.kernel.image.fs
    fs.vfs.unlink(fs.cwd, _path(thread, directory, path))
    return 0


def _path(thread: Thread, directory: int, path: int) -> bytes:
    """A path from the current directory; nobody has a descriptor of another one."""
    text = thread.memory.read_cstring(path)
    if not text.startswith(b"/") and s32(directory) != _AT_FDCWD:
        thread.files.get(s32(directory))
        raise LinuxError(errno.ENOTDIR)
    return text


def _readable(thread: Thread, fd: int) -> OpenFile:
    file = thread.files.get(s32(fd))
    if not file.readable:
        raise LinuxError(errno.EBADF)
    return file


def _writable(thread: Thread, fd: int) -> OpenFile:
    file = thread.files.get(s32(fd))
    if not file.writable:
        raise LinuxError(errno.EBADF)
    return file


def _offset(offset: int) -> int:
    if offset > MAX_OFFSET:
        raise LinuxError(errno.EINVAL)
    return offset


def _fetch(thread: Thread, file: OpenFile, address: int, size: int, offset: int) -> bytes:
    """What the file has at `offset`, stored at `address`: no more than can be stored there."""
    memory = thread.memory
    room = memory.writable(address, min(size, _MOST)) if size else 0
    if size and not room:
        raise LinuxError(errno.EFAULT)
    if isinstance(file, RegularFile):
        data = thread.space.page_cache.read(file.inode, offset, room)
    else:
        data = file.read(room) if not file.seekable else file.pread(room, offset)
    if data:
        memory.write(address, data)
    return data


def _put(thread: Thread, file: OpenFile, address: int, size: int, offset: int) -> int:
    """As much as can be loaded from `address` goes to the file at `offset`, and to the pages that map it."""
    memory = thread.memory
    there = memory.readable(address, min(size, _MOST)) if size else 0
    if size and not there:
        raise LinuxError(errno.EFAULT)
    data = memory.read(address, there) if there else b""
    if not isinstance(file, RegularFile):
        return file.write(data)
    thread.space.page_cache.file_growing(file.inode, thread.pe.index)
    written = file.pwrite(data, offset)
    thread.space.page_cache.file_written(file.inode, offset, data[:written], thread.pe.index, memory.origin)
    return written


def _truncate(thread: Thread, file: RegularFile, size: int) -> None:
    thread.space.page_cache.file_growing(file.inode, thread.pe.index)
    file.inode.truncate(size)
    thread.space.page_cache.file_truncated(file.inode, size, thread.pe.index)
