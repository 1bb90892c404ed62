# SPDX-License-Identifier: GPL-2.0-or-later
"""Trees that the kernel makes up: /proc, /sys, the skeleton of /dev, and the directories that lead to mount points.

A directory's names are a table, or computed at each lookup; a file's text is computed when it is opened.
"""

from __future__ import annotations

import errno
import stat
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING

from fetchsan.kernel.errors import LinuxError
from fetchsan.kernel.host import FileStat
from fetchsan.kernel.vfs.flags import entry_kind
from fetchsan.kernel.vfs.inode import DirectoryEntry, DirectoryInode, FileSystem, Inode, SymlinkInode
from fetchsan.kernel.vfs.open_file import OpenFile, SnapshotFile

if TYPE_CHECKING:
    from fetchsan.kernel.vfs.dentry import Dentry

__all__ = ["Link", "SyntheticDirectory", "SyntheticFileSystem", "SyntheticInode", "TextFile"]


_ROOT = (0, 0)


class SyntheticFileSystem(FileSystem):
    """A tree without storage; its inode numbers come from the paths, so that they are the same in every run."""

    def __init__(self, name: str, magic: int, dev: int, now: Callable[[], int]) -> None:
        self.name = name
        self.magic = magic
        self.dev = dev
        self.born = now()
        self._inos: dict[object, int] = {}

    def ino(self, key: object) -> int:
        """The inode number of whatever `key` names in this tree."""
        return self._inos.setdefault(key, len(self._inos) + 1)


class SyntheticInode(Inode):
    """A made-up file: a fixed mode, no size, owned by root."""

    file_system: SyntheticFileSystem
    device = 0  # st_rdev
    owner = _ROOT

    def __init__(self, file_system: SyntheticFileSystem, key: object, mode: int) -> None:
        super().__init__(file_system, file_system.ino(key))
        self.key = key
        self._mode = mode

    @property
    def identity(self) -> tuple[object, ...]:
        return (self.file_system.name, self.key)

    @property
    def mode(self) -> int:
        return self._mode

    def stat(self) -> FileStat:
        born = self.file_system.born
        links = 2 if stat.S_ISDIR(self._mode) else 1
        return FileStat(
            self._mode, self.ino, self.dev, links, *self.owner, self.device, 0, 4096, 0, born, born, born,
        )  # fmt: skip

    @property
    def size(self) -> int:
        return 0

    def allowed(self, mask: int) -> bool:
        """Of root's files the bits of others count, as the guest's user is not root; of its own the owner's."""
        return self._mode >> (0 if self.owner == _ROOT else 6) & mask == mask


class SyntheticDirectory(SyntheticInode, DirectoryInode):
    """A directory whose names are `table`: fixed, or a function asked at each lookup."""

    def __init__(
        self,
        file_system: SyntheticFileSystem,
        key: object,
        table: Mapping[bytes, Inode] | Callable[[], Mapping[bytes, Inode]],
        mode: int = 0o555,
    ) -> None:
        super().__init__(file_system, key, stat.S_IFDIR | mode)
        self._table = table

    def names(self) -> Mapping[bytes, Inode]:
        return self._table() if callable(self._table) else self._table

    def lookup(self, name: bytes) -> Inode:
        inode = self.names().get(name)
        if inode is None:
            raise LinuxError(errno.ENOENT)
        return inode

    def entries(self) -> Iterable[DirectoryEntry]:
        return [DirectoryEntry(name, inode.ino, entry_kind(inode.mode)) for name, inode in self.names().items()]


class TextFile(SyntheticInode):
    """A file whose text is computed at each open. Writing, where `mode` allows it, is accepted and has no effect."""

    def __init__(
        self, file_system: SyntheticFileSystem, key: object, text: Callable[[], bytes], mode: int = 0o444
    ) -> None:
        super().__init__(file_system, key, stat.S_IFREG | mode)
        self._text = text

    def open(self, dentry: Dentry | None, flags: int) -> OpenFile:
        return SnapshotFile(self, dentry, flags, self._text())


class Link(SyntheticInode, SymlinkInode):
    """A link: by its text alone, or magic (/proc/self/fd/N) when `jump` says where it really leads."""

    def __init__(
        self,
        file_system: SyntheticFileSystem,
        key: object,
        target: Callable[[], bytes],
        jump: Callable[[], Dentry | None] | None = None,
    ) -> None:
        super().__init__(file_system, key, stat.S_IFLNK | 0o777)
        self._target = target
        self._jump = jump

    def target(self) -> bytes:
        return self._target()

    def jump(self) -> Dentry | None:
        return self._jump() if self._jump is not None else None
