# SPDX-License-Identifier: GPL-2.0-or-later
"""Owns the files that applications see: a read-only image (rofs) as `/`, memory at /tmp, /proc/self/maps, the console."""

from __future__ import annotations

import errno
import stat
from collections.abc import Callable
from typing import Protocol

from fetchsan.kernel.errors import LinuxError
from fetchsan.kernel.host import FileStat
from fetchsan.kernel.vfs.context import FileSystemContext
from fetchsan.kernel.vfs.flags import O_RDWR
from fetchsan.kernel.vfs.inode import FileSystem, RegularInode
from fetchsan.kernel.vfs.memory_tree import MemoryDirectory, MemoryFileSystem
from fetchsan.kernel.vfs.open_file import OpenFile
from fetchsan.kernel.vfs.streams import CaptureFile, CaptureInode
from fetchsan.kernel.vfs.synthetic import SyntheticDirectory, SyntheticFileSystem, TextFile
from fetchsan.kernel.vfs.vfs import Vfs

__all__ = ["OSV_PID", "FileTree", "Image", "RofsFile", "open_console"]

OSV_PID = 2
"""getpid(), and /proc's one directory."""

_DEV_ROFS, _DEV_PROC, _DEV_MEMORY = 1, 2, 3
_PROC_MAGIC, _ROFS_MAGIC = 0x9FA0, 0xDEAD_BEAD


class _Rofs(FileSystem):
    name = "rofs"
    magic = _ROFS_MAGIC
    dev = _DEV_ROFS


_ROFS = _Rofs()


class RofsFile(RegularInode):
    """A file of OSv's read-only file system image."""

    def __init__(self, path: str, data: bytes, ino: int = 1) -> None:
        super().__init__(_ROFS, ino)
        self.path = path
        self._data = data

    @property
    def size(self) -> int:
        return len(self._data)

    @property
    def version(self) -> object:
        """It never changes."""
        return self.ino

    def stat(self) -> FileStat:
        size = self.size
        return FileStat(stat.S_IFREG | 0o755, self.ino, self.dev, 1, 0, 0, 0, size, 512, -(-size // 512), 0, 0, 0)

    def read_at(self, offset: int, size: int) -> bytes:
        """Up to `size` bytes."""
        return self._data[offset : offset + size]

    def write_at(self, offset: int, data: bytes) -> int:
        """Refused."""
        raise LinuxError(errno.EROFS)

    def truncate(self, size: int) -> None:
        """Refused."""
        raise LinuxError(errno.EROFS)


class FileTree(Protocol):
    """The files of a machine."""

    @property
    def fs(self) -> FileSystemContext:
        """All of them, and the current directory."""

    def add(self, file: RofsFile) -> None:
        """Make sure that `file` is among them."""


class Image:
    """The mounted tree. `maps` gives the text of /proc/self/maps, `now` the time in nanoseconds."""

    def __init__(self, now: Callable[[], int], maps: Callable[[], bytes]) -> None:
        rofs = SyntheticFileSystem("rofs", _ROFS_MAGIC, _DEV_ROFS, now)
        root = SyntheticDirectory(rofs, "", {}, 0o755)
        self.vfs = Vfs(root, b"/dev/vblk0.1", rofs, MemoryFileSystem(_DEV_MEMORY, now, (0, 0)), read_only=True)
        self.vfs.mount(b"/tmp", MemoryDirectory(self.vfs.memory, 0o1777), b"ramfs", read_only=False)
        proc = SyntheticFileSystem("procfs", _PROC_MAGIC, _DEV_PROC, now)
        process = SyntheticDirectory(proc, "self", {b"maps": TextFile(proc, "maps", maps)})
        self.vfs.mount(
            b"/proc",
            SyntheticDirectory(proc, "", {b"self": process, str(OSV_PID).encode(): process}),
            b"procfs",
            read_only=True,
        )
        self.fs = FileSystemContext(self.vfs, self.vfs.root)
        self._files: set[RofsFile] = set()

    def add(self, file: RofsFile) -> None:
        """Put `file` at its path, in place of what is there."""
        if file not in self._files:
            self._files.add(file)
            self.vfs.mount(file.path.encode("utf-8", "surrogateescape"), file, b"rofs", read_only=True)


class _Console(CaptureFile):
    """The serial console: nobody types."""

    def read(self, size: int) -> bytes:
        return b""


def open_console(sink: bytearray) -> OpenFile:
    """The description behind descriptors 0, 1 and 2."""
    return _Console(CaptureInode(1, sink), None, O_RDWR)
