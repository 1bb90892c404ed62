# SPDX-License-Identifier: GPL-2.0-or-later
"""Inodes: the base class with what every file can be asked, and one class per kind of file.

The base refuses each operation with the errno that Linux gives for a file that lacks it. Names and links are bytes.
"""

from __future__ import annotations

import errno
from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple

from fetchsan.kernel.errors import LinuxError
from fetchsan.kernel.host import FileStat
from fetchsan.kernel.vfs.open_file import DirectoryFile, OpenFile, RegularFile

if TYPE_CHECKING:
    from fetchsan.kernel.vfs.dentry import Dentry

__all__ = ["DirectoryEntry", "DirectoryInode", "FileSystem", "FileSystemStat", "Inode", "RegularInode", "SymlinkInode"]


class DirectoryEntry(NamedTuple):
    """One name in a listing; `kind` is a DT_* value."""

    name: bytes
    ino: int
    kind: int


class FileSystemStat(NamedTuple):
    """What statfs(2) tells; `magic` is the f_type of statfs(2)."""

    magic: int
    block_size: int
    fragment_size: int
    blocks: int
    free: int
    available: int
    files: int
    free_files: int
    longest_name: int = 255


class FileSystem:
    """What inodes of one tree share. `name` is that of /proc/filesystems; `dev` that of stat(2)."""

    name = "none"
    magic = 0
    dev = 0
    has_page_cache = True

    def statistics(self) -> FileSystemStat:
        """A file system without storage of its own."""
        return FileSystemStat(self.magic, 4096, 4096, 0, 0, 0, 0, 0)


class Inode:
    """A file. `path` is the path it was last opened by (for /proc/self/maps)."""

    mappable = False  # whether mmap(2) accepts it: ENODEV otherwise
    path = ""

    def __init__(self, file_system: FileSystem, ino: int) -> None:
        self.file_system = file_system
        self.dev = file_system.dev
        self.ino = ino

    @property
    def identity(self) -> tuple[object, ...]:
        """Names the file while this object lives: the key of its cached pages."""
        return ("inode", id(self))

    @property
    def version(self) -> object | None:
        """Differs whenever the file may have been changed behind the kernel's back; None: that cannot be told."""
        return None

    @property
    def has_page_cache(self) -> bool:
        """Whether mappings of it share pages."""
        return self.file_system.has_page_cache

    @property
    def mode(self) -> int:
        """Kind and permission bits."""
        return self.stat().mode

    @property
    def size(self) -> int:
        return self.stat().size

    def stat(self) -> FileStat:
        raise NotImplementedError

    def allowed(self, mask: int) -> bool:
        """Whether the guest's user may read (4), write (2), execute (1). Files of ours belong to it: the owner's bits."""
        return (self.mode >> 6) & mask == mask

    def open(self, dentry: Dentry | None, flags: int) -> OpenFile:
        """An open file on this inode. ENXIO: what a socket in a directory gives (open(2))."""
        raise LinuxError(errno.ENXIO)

    def next_data(self, offset: int) -> int:
        """SEEK_DATA within the file, lseek(2): without knowledge of holes, all of it is data. ENXIO: only a hole follows."""
        return offset

    def read_at(self, offset: int, size: int) -> bytes:
        raise LinuxError(errno.EINVAL)

    def write_at(self, offset: int, data: bytes) -> int:
        raise LinuxError(errno.EINVAL)

    def truncate(self, size: int) -> None:
        raise LinuxError(errno.EINVAL)

    def allocate(self, offset: int, size: int) -> None:
        raise LinuxError(errno.ENODEV)

    def sync(self) -> None:
        raise LinuxError(errno.EINVAL)

    def file_system_statistics(self) -> FileSystemStat:
        """statfs(2) of where it lives."""
        return self.file_system.statistics()

    def change_mode(self, mode: int) -> None:
        raise LinuxError(errno.EPERM)

    def change_times(self, atime: int | None, mtime: int | None) -> None:
        """Nanoseconds since 1970; None leaves one as it is."""
        raise LinuxError(errno.EPERM)


class RegularInode(Inode):
    """A file with bytes at offsets, which can be mapped."""

    mappable = True

    def open(self, dentry: Dentry | None, flags: int) -> OpenFile:
        return RegularFile(self, dentry, flags)

    def sync(self) -> None:
        """In memory there is nothing to write back."""

    def next_hole(self, offset: int) -> int:
        """SEEK_HOLE: the end of the file is a hole."""
        return self.size


class SymlinkInode(Inode):
    """A symbolic link, or one of /proc's magic ones, which lead to a file without being a path to it."""

    def target(self) -> bytes:
        """What readlink(2) gives."""
        raise NotImplementedError

    def jump(self) -> Dentry | None:
        """Where a magic link leads; None for an ordinary one, which is followed by its text."""
        return None

    def open(self, dentry: Dentry | None, flags: int) -> OpenFile:
        """Reached only with O_NOFOLLOW: ELOOP (open(2))."""
        raise LinuxError(errno.ELOOP)


class DirectoryInode(Inode):
    """A directory. The changing operations refuse; file systems that can be changed override them."""

    def open(self, dentry: Dentry | None, flags: int) -> OpenFile:
        return DirectoryFile(self, dentry, flags)

    def sync(self) -> None:
        """A directory's names are written at once."""

    @property
    def searchable(self) -> bool:
        """Whether the guest's user may look names up in it."""
        return self.allowed(1)

    def lookup(self, name: bytes) -> Inode:
        """The inode of `name`; the same object each time while somebody holds it. LinuxError(ENOENT) if there is none."""
        raise LinuxError(errno.ENOENT)

    def entries(self) -> Iterable[DirectoryEntry]:
        """Every name but `.` and `..`."""
        raise NotImplementedError

    def create(self, name: bytes, mode: int) -> Inode:
        """A new regular file; EEXIST if the name is taken."""
        raise LinuxError(errno.EACCES)

    def make_directory(self, name: bytes, mode: int) -> None:
        raise LinuxError(errno.EPERM)

    def make_symlink(self, name: bytes, target: bytes) -> None:
        raise LinuxError(errno.EPERM)

    def make_link(self, name: bytes, source: DirectoryInode, source_name: bytes) -> None:
        """A further name for `source_name` in `source`, a directory of the same file system."""
        raise LinuxError(errno.EPERM)

    def unlink(self, name: bytes) -> None:
        raise LinuxError(errno.EPERM)

    def remove_directory(self, name: bytes) -> None:
        raise LinuxError(errno.EPERM)

    def rename(self, name: bytes, target: DirectoryInode, new_name: bytes) -> None:
        """Move `name` to `new_name` in `target`, a directory of the same file system, replacing what is there."""
        raise LinuxError(errno.EPERM)

    def anonymous(self, mode: int) -> Inode:
        """A regular file without a name (O_TMPFILE)."""
        raise LinuxError(errno.EOPNOTSUPP)


