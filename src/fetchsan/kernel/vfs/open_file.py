# SPDX-License-Identifier: GPL-2.0-or-later
"""Open file descriptions: what open(2) makes and dup(2) shares, with the offset and the status flags.

The base class refuses what a kind of file lacks, with Linux's errno. No operation blocks: one that would raises
`WouldBlock` (conditions.py), before it changed anything.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

from fetchsan.kernel.errors import LinuxError
from fetchsan.kernel.vfs.flags import (
    O_ACCMODE,
    O_APPEND,
    O_NONBLOCK,
    O_PATH,
    O_RDONLY,
    O_WRONLY,
    POLLIN,
    POLLOUT,
    SEEK_CUR,
    SEEK_DATA,
    SEEK_END,
    SEEK_HOLE,
    SEEK_SET,
)

if TYPE_CHECKING:
    from fetchsan.kernel.vfs.dentry import Dentry
    from fetchsan.kernel.vfs.inode import DirectoryEntry, DirectoryInode, Inode, RegularInode

__all__ = ["MAX_OFFSET", "DirectoryFile", "OpenFile", "PathFile", "RegularFile", "SnapshotFile"]

MAX_OFFSET = (1 << 63) - 1


class OpenFile:
    """An open file description; `references` counts the descriptors (and whoever else holds it) that share it."""

    seekable = False
    activity = 0  # counts arrivals of data or space, for edge-triggered epoll (epoll(7))

    def __init__(self, inode: Inode, dentry: Dentry | None, flags: int) -> None:
        self.inode = inode
        self.dentry = dentry
        self.flags = flags
        self.offset = 0
        self.references = 0

    @property
    def readable(self) -> bool:
        return self.flags & O_ACCMODE != O_WRONLY and not self.flags & O_PATH

    @property
    def writable(self) -> bool:
        return self.flags & O_ACCMODE != O_RDONLY and not self.flags & O_PATH

    @property
    def nonblocking(self) -> bool:
        return bool(self.flags & O_NONBLOCK)

    @property
    def description(self) -> bytes:
        """What readlink of /proc/self/fd/N gives."""
        return self.dentry.path() if self.dentry is not None else os.fsencode(self.inode.path)

    def read(self, size: int) -> bytes:
        raise LinuxError(errno.EINVAL)

    def write(self, data: bytes) -> int:
        raise LinuxError(errno.EINVAL)

    def pread(self, size: int, offset: int) -> bytes:
        raise LinuxError(errno.ESPIPE)

    def pwrite(self, data: bytes, offset: int) -> int:
        raise LinuxError(errno.ESPIPE)

    def seek(self, offset: int, whence: int) -> int:
        raise LinuxError(errno.ESPIPE)

    def poll(self) -> int:
        """POLL* bits that hold now. Files and devices are always ready."""
        return (POLLIN if self.readable else 0) | (POLLOUT if self.writable else 0)

    def available(self) -> int:
        """FIONREAD: bytes that a read would give at once."""
        raise LinuxError(errno.ENOTTY)

    def terminal(self, request: int, argument: bytes) -> bytes:
        """A terminal's ioctl; ENOTTY for everything that is none."""
        raise LinuxError(errno.ENOTTY)

    def release(self) -> None:
        """The last reference is gone."""


class SeekableFile(OpenFile):
    """A description with an offset."""

    seekable = True

    def read(self, size: int) -> bytes:
        data = self.pread(size, self.offset)
        self.offset += len(data)
        return data

    def write(self, data: bytes) -> int:
        if self.flags & O_APPEND:
            self.offset = self.end()
        written = self.pwrite(data, self.offset)
        self.offset += written
        return written

    def end(self) -> int:
        """What SEEK_END counts from."""
        return self.inode.size

    def seek(self, offset: int, whence: int) -> int:
        self.offset = self._target(offset, whence)
        return self.offset

    def _target(self, offset: int, whence: int) -> int:
        start = {SEEK_SET: lambda: 0, SEEK_CUR: lambda: self.offset, SEEK_END: self.end}.get(whence)
        if start is None:
            raise LinuxError(errno.EINVAL)
        target = start() + offset
        if target < 0:
            raise LinuxError(errno.EINVAL)
        if target > MAX_OFFSET:
            raise LinuxError(errno.EOVERFLOW)
        return target


class RegularFile(SeekableFile):
    """A regular file: reads and writes go to the inode."""

    inode: RegularInode

    def pread(self, size: int, offset: int) -> bytes:
        return self.inode.read_at(offset, size)

    def pwrite(self, data: bytes, offset: int) -> int:
        if offset + len(data) > MAX_OFFSET:
            raise LinuxError(errno.EFBIG)
        return self.inode.write_at(offset, data)

    def available(self) -> int:
        return max(0, self.inode.size - self.offset)

    def _target(self, offset: int, whence: int) -> int:
        if whence not in (SEEK_DATA, SEEK_HOLE):
            return super()._target(offset, whence)
        if not 0 <= offset < self.inode.size:
            raise LinuxError(errno.ENXIO)
        return self.inode.next_data(offset) if whence == SEEK_DATA else self.inode.next_hole(offset)


class SnapshotFile(SeekableFile):
    """A file of /proc: the text as it was when opened, so that reading it in pieces gives one consistent text."""

    def __init__(self, inode: Inode, dentry: Dentry | None, flags: int, data: bytes) -> None:
        super().__init__(inode, dentry, flags)
        self._data = data

    def pread(self, size: int, offset: int) -> bytes:
        return self._data[offset : offset + size]

    def end(self) -> int:
        return len(self._data)


class DirectoryFile(SeekableFile):
    """A directory open for listing. The offset counts entries; the listing is taken at offset 0 and then stays."""

    inode: DirectoryInode

    def __init__(self, inode: Inode, dentry: Dentry | None, flags: int) -> None:
        super().__init__(inode, dentry, flags)
        self._listing: Sequence[DirectoryEntry] | None = None

    def pread(self, size: int, offset: int) -> bytes:
        raise LinuxError(errno.EISDIR)

    def listing(self) -> Sequence[DirectoryEntry]:
        """All entries, `.` and `..` first; getdents64 goes on at `offset`."""
        if self._listing is None or self.offset == 0:
            assert self.dentry is not None, "a directory is opened by a path"
            self._listing = self.dentry.listing()
        return self._listing

    def end(self) -> int:
        return MAX_OFFSET


class PathFile(OpenFile):
    """O_PATH: a place in the tree and nothing more; every operation on its contents is EBADF (open(2))."""

    def poll(self) -> int:
        raise LinuxError(errno.EBADF)


