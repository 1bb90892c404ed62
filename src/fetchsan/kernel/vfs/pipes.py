# SPDX-License-Identifier: GPL-2.0-or-later
"""Pipes and eventfds: buffers in memory between descriptors of the guest."""

from __future__ import annotations

import errno
import stat
from typing import TYPE_CHECKING

from fetchsan.kernel.errors import LinuxError
from fetchsan.kernel.host import FileStat
from fetchsan.kernel.vfs.conditions import BrokenPipe, WouldBlock
from fetchsan.kernel.vfs.flags import O_ACCMODE, O_RDONLY, O_RDWR, O_WRONLY, POLLERR, POLLHUP, POLLIN, POLLOUT
from fetchsan.kernel.vfs.inode import FileSystem, Inode
from fetchsan.kernel.vfs.open_file import OpenFile

if TYPE_CHECKING:
    from fetchsan.kernel.vfs.dentry import Dentry

__all__ = ["AnonymousInode", "EventFile", "PipeFile", "make_pipe"]

_PIPE_BUF = 4096  # writes up to this size are atomic (pipe(7))
_SMALLEST, _LARGEST = 4096, 1 << 20  # F_SETPIPE_SZ; the largest is /proc/sys/fs/pipe-max-size
_EVENT_MAX = (1 << 64) - 2


class _AnonymousFileSystem(FileSystem):
    """Where what has no name lives."""

    name = "anon_inodefs"
    magic = 0x0904_1934
    dev = 0xFFF0


_ANONYMOUS = _AnonymousFileSystem()


class AnonymousInode(Inode):
    """The inode behind an eventfd, an epoll instance or a pipe; `text` is what /proc/self/fd shows."""

    def __init__(self, text: str, mode: int, ino: int) -> None:
        super().__init__(_ANONYMOUS, ino)
        self.path = text
        self._mode = mode

    def stat(self) -> FileStat:
        return FileStat(self._mode, self.ino, self.dev, 1, 0, 0, 0, 0, 4096, 0, 0, 0, 0)


class PipeInode(AnonymousInode):
    """A pipe: what was written and not read yet, and how many have either end open."""

    def __init__(self, ino: int) -> None:
        super().__init__(f"pipe:[{ino}]", stat.S_IFIFO | 0o600, ino)
        self.buffer = bytearray()
        self.capacity = 1 << 16
        self.readers = 0
        self.writers = 0
        self.activity = 0

    def open(self, dentry: Dentry | None, flags: int) -> OpenFile:
        """Also by /proc/self/fd/N."""
        return PipeFile(self, flags)


class PipeFile(OpenFile):
    """One end of a pipe, or both (O_RDWR, by /proc/self/fd)."""

    inode: PipeInode

    def __init__(self, inode: PipeInode, flags: int) -> None:
        super().__init__(inode, None, flags)
        inode.readers += self.readable
        inode.writers += self.writable

    @property
    def activity(self) -> int:  # type: ignore[override]  # read-only here: both ends share the pipe's
        return self.inode.activity

    def read(self, size: int) -> bytes:
        pipe = self.inode
        if not pipe.buffer and size:
            if not pipe.writers:
                return b""
            if self.nonblocking:
                raise LinuxError(errno.EAGAIN)
            raise WouldBlock("data in a pipe", lambda: bool(pipe.buffer) or not pipe.writers)
        data = bytes(pipe.buffer[:size])
        del pipe.buffer[:size]
        pipe.activity += 1
        return data

    def write(self, data: bytes) -> int:
        """A long write to a nearly full pipe takes what fits, as it does when a signal interrupts it (pipe(7))."""
        pipe = self.inode
        if not pipe.readers:
            raise BrokenPipe
        needed = len(data) if len(data) <= _PIPE_BUF else 1
        if needed > pipe.capacity - len(pipe.buffer):
            if self.nonblocking:
                raise LinuxError(errno.EAGAIN)
            raise WouldBlock(
                "space in a pipe", lambda: needed <= pipe.capacity - len(pipe.buffer) or not pipe.readers
            )
        taken = data[: pipe.capacity - len(pipe.buffer)]
        pipe.buffer += taken
        pipe.activity += 1
        return len(taken)

    def poll(self) -> int:
        pipe, found = self.inode, 0
        if self.readable:
            found |= (POLLIN if pipe.buffer else 0) | (0 if pipe.writers else POLLHUP)
        if self.writable:
            found |= POLLOUT if pipe.capacity - len(pipe.buffer) >= _PIPE_BUF else 0
            found |= 0 if pipe.readers else POLLERR
        return found

    def available(self) -> int:
        return len(self.inode.buffer)

    def resize(self, size: int) -> int:
        """F_SETPIPE_SZ: a power of two that holds `size`; EBUSY if what is in the pipe would not fit."""
        capacity = max(_SMALLEST, 1 << max(0, size - 1).bit_length())
        if size < 0 or capacity > _LARGEST:
            raise LinuxError(errno.EPERM if size > 0 else errno.EINVAL)
        if capacity < len(self.inode.buffer):
            raise LinuxError(errno.EBUSY)
        self.inode.capacity = capacity
        return capacity

    def release(self) -> None:
        self.inode.readers -= self.readable
        self.inode.writers -= self.writable
        self.inode.activity += 1


def make_pipe(ino: int, flags: int) -> tuple[PipeFile, PipeFile]:
    """The two ends of a new pipe: reading, writing."""
    inode = PipeInode(ino)
    flags &= ~O_ACCMODE
    return PipeFile(inode, flags | O_RDONLY), PipeFile(inode, flags | O_WRONLY)


class EventFile(OpenFile):
    """eventfd(2): a counter; with `semaphore` a read takes one, otherwise all."""

    def __init__(self, inode: Inode, flags: int, count: int, *, semaphore: bool) -> None:
        super().__init__(inode, None, flags & ~O_ACCMODE | O_RDWR)
        self._count = count
        self._semaphore = semaphore

    def read(self, size: int) -> bytes:
        if size < 8:
            raise LinuxError(errno.EINVAL)
        if not self._count:
            if self.nonblocking:
                raise LinuxError(errno.EAGAIN)
            raise WouldBlock("an eventfd to be signalled", lambda: self._count > 0)
        taken = 1 if self._semaphore else self._count
        self._count -= taken
        self.activity += 1
        return taken.to_bytes(8, "little")

    def write(self, data: bytes) -> int:
        if len(data) < 8:
            raise LinuxError(errno.EINVAL)
        added = int.from_bytes(data[:8], "little")
        if added > _EVENT_MAX:
            raise LinuxError(errno.EINVAL)
        if self._count + added > _EVENT_MAX:
            if self.nonblocking:
                raise LinuxError(errno.EAGAIN)
            raise WouldBlock("an eventfd to be read", lambda: self._count + added <= _EVENT_MAX)
        self._count += added
        self.activity += 1
        return 8

    def poll(self) -> int:
        return (POLLIN if self._count else 0) | (POLLOUT if self._count < _EVENT_MAX else 0)
