# SPDX-License-Identifier: GPL-2.0-or-later
"""Files in memory: /tmp, /dev/shm, memfd_create(2). Sparse, and bounded in what they take of the host."""

from __future__ import annotations

import errno
import itertools
import stat
from collections.abc import Callable, Iterable

from fetchsan.kernel.errors import LinuxError
from fetchsan.kernel.host import FileStat
from fetchsan.kernel.vfs.flags import entry_kind
from fetchsan.kernel.vfs.inode import (
    DirectoryEntry,
    DirectoryInode,
    FileSystem,
    FileSystemStat,
    Inode,
    RegularInode,
    SymlinkInode,
)

__all__ = ["F_SEAL_SEAL", "MemoryDirectory", "MemoryFile", "MemoryFileSystem", "MemorySymlink"]

F_SEAL_SEAL, F_SEAL_SHRINK, F_SEAL_GROW, F_SEAL_WRITE, F_SEAL_FUTURE_WRITE = 1, 2, 4, 8, 16

_TMPFS_MAGIC = 0x0102_1994
_CHUNK = 1 << 16  # storage is taken in chunks; a hole costs nothing
_LARGEST = 1 << 50  # EFBIG above: the chunk table of a file must stay a table of what was written
_NAME_COST = 4096  # what a name and its inode take of the budget: empty files end in ENOSPC too


class MemoryFileSystem(FileSystem):
    """A tmpfs. `now` gives the (virtual) time in nanoseconds; `limit` bounds contents and names together, in bytes."""

    name = "tmpfs"
    magic = _TMPFS_MAGIC

    def __init__(self, dev: int, now: Callable[[], int], owner: tuple[int, int], limit: int = 1 << 30) -> None:
        self.dev = dev
        self.now = now
        self.owner = owner
        self.limit = limit
        self.used = 0
        self._inos = itertools.count(1)

    def next_ino(self) -> int:
        return next(self._inos)

    def charge(self, size: int) -> None:
        """Take storage (or give it back, negative); ENOSPC past the limit."""
        if size > 0 and self.used + size > self.limit:
            raise LinuxError(errno.ENOSPC)
        self.used += size

    def statistics(self) -> FileSystemStat:
        blocks, free = self.limit // 4096, max(0, self.limit - self.used) // 4096
        return FileSystemStat(self.magic, 4096, 4096, blocks, free, free, blocks, free)


class MemoryInode(Inode):
    """What files, directories and links in memory share: a mode, an owner and three times."""

    file_system: MemoryFileSystem
    links = 1

    def __init__(self, file_system: MemoryFileSystem, mode: int) -> None:
        super().__init__(file_system, file_system.next_ino())
        self._mode = mode
        self.atime = self.mtime = self.ctime = file_system.now()

    @property
    def identity(self) -> tuple[object, ...]:
        return ("memory", self.dev, self.ino)

    @property
    def mode(self) -> int:
        return self._mode

    def stored(self) -> int:
        """Bytes of storage taken."""
        return 0

    def stat(self) -> FileStat:
        uid, gid = self.file_system.owner
        return FileStat(
            self._mode, self.ino, self.dev, self.links, uid, gid, 0, self.size, 4096, self.stored() // 512,
            self.atime, self.mtime, self.ctime,
        )  # fmt: skip

    @property
    def size(self) -> int:
        return 0

    def change_mode(self, mode: int) -> None:
        self._mode = stat.S_IFMT(self._mode) | mode & 0o7777
        self.ctime = self.file_system.now()

    def change_times(self, atime: int | None, mtime: int | None) -> None:
        self.atime = self.atime if atime is None else atime
        self.mtime = self.mtime if mtime is None else mtime
        self.ctime = self.file_system.now()

    def modified(self) -> None:
        self.mtime = self.ctime = self.file_system.now()


class MemoryFile(MemoryInode, RegularInode):
    """A sparse file: 64 KiB chunks by number; what is in none reads as zeros. `seals` are F_SEAL_* (memfd_create(2))."""

    seals = F_SEAL_SEAL

    def __init__(self, file_system: MemoryFileSystem, mode: int) -> None:
        super().__init__(file_system, stat.S_IFREG | mode & 0o7777)
        self._size = 0
        self._chunks: dict[int, bytearray] = {}

    def __del__(self) -> None:
        self.file_system.charge(-self.stored())

    @property
    def size(self) -> int:
        return self._size

    @property
    def version(self) -> object:
        """Only the program can change it, and that the page cache is told."""
        return self.ino

    def stored(self) -> int:
        return len(self._chunks) * _CHUNK

    def read_at(self, offset: int, size: int) -> bytes:
        end = min(offset + size, self._size)
        pieces = []
        while offset < end:
            number, start = divmod(offset, _CHUNK)
            take = min(_CHUNK - start, end - offset)
            chunk = self._chunks.get(number)
            pieces.append(bytes(take) if chunk is None else chunk[start : start + take])
            offset += take
        return b"".join(pieces)

    def write_at(self, offset: int, data: bytes) -> int:
        if offset >= _LARGEST:
            raise LinuxError(errno.EFBIG)
        if self.seals & (F_SEAL_WRITE | F_SEAL_FUTURE_WRITE):
            raise LinuxError(errno.EPERM)
        if not data:
            return 0  # and the file does not grow to `offset`
        self._check_size(max(self._size, offset + len(data)))
        written = 0
        while written < len(data):
            number, start = divmod(offset + written, _CHUNK)
            piece = data[written : written + _CHUNK - start]
            try:
                self._chunk(number)[start : start + len(piece)] = piece
            except LinuxError:
                if written:
                    break  # a partial write, then ENOSPC: write(2)
                raise
            written += len(piece)
        self._size = max(self._size, offset + written)
        self.modified()
        return written

    def truncate(self, size: int) -> None:
        if size > _LARGEST:
            raise LinuxError(errno.EFBIG)
        self._check_size(size)
        if size < self._size:
            last, used = divmod(size, _CHUNK)
            for number in [number for number in self._chunks if number > last or (number == last and not used)]:
                del self._chunks[number]
                self.file_system.charge(-_CHUNK)
            if last in self._chunks:
                self._chunks[last][used:] = bytes(_CHUNK - used)
        self._size = size
        self.modified()

    def allocate(self, offset: int, size: int) -> None:
        if offset + size > _LARGEST:
            raise LinuxError(errno.EFBIG)
        wanted = range(offset // _CHUNK, -(-(offset + size) // _CHUNK))
        if len(wanted) > self.file_system.limit // _CHUNK:
            raise LinuxError(errno.ENOSPC)
        self._check_size(max(self._size, offset + size))
        for number in wanted:
            self._chunk(number)
        self._size = max(self._size, offset + size)
        self.modified()

    def next_data(self, offset: int) -> int:
        numbers = [number for number in self._chunks if number >= offset // _CHUNK]
        data = max(offset, min(numbers) * _CHUNK) if numbers else self._size
        if data >= self._size:
            raise LinuxError(errno.ENXIO)
        return data

    def next_hole(self, offset: int) -> int:
        number = offset // _CHUNK
        while number in self._chunks:
            number += 1
        return min(max(offset, number * _CHUNK), self._size)

    def _check_size(self, size: int) -> None:
        if (size > self._size and self.seals & F_SEAL_GROW) or (size < self._size and self.seals & F_SEAL_SHRINK):
            raise LinuxError(errno.EPERM)

    def _chunk(self, number: int) -> bytearray:
        chunk = self._chunks.get(number)
        if chunk is None:
            self.file_system.charge(_CHUNK)
            chunk = self._chunks[number] = bytearray(_CHUNK)
        return chunk


class MemorySymlink(MemoryInode, SymlinkInode):
    """A symbolic link in memory."""

    def __init__(self, file_system: MemoryFileSystem, target: bytes) -> None:
        super().__init__(file_system, stat.S_IFLNK | 0o777)
        self._target = target

    @property
    def size(self) -> int:
        return len(self._target)

    def target(self) -> bytes:
        return self._target


class MemoryDirectory(MemoryInode, DirectoryInode):
    """A directory in memory. The root of a tree has no names yet; `mode` is its permission bits."""

    def __init__(self, file_system: MemoryFileSystem, mode: int) -> None:
        super().__init__(file_system, stat.S_IFDIR | mode & 0o7777)
        self._names: dict[bytes, MemoryInode] = {}
        self._removed = False
        self.links = 2

    @property
    def size(self) -> int:
        return 4096

    def lookup(self, name: bytes) -> Inode:
        inode = self._names.get(name)
        if inode is None:
            raise LinuxError(errno.ENOENT)
        return inode

    def entries(self) -> Iterable[DirectoryEntry]:
        return [DirectoryEntry(name, inode.ino, entry_kind(inode.mode)) for name, inode in sorted(self._names.items())]

    def create(self, name: bytes, mode: int) -> Inode:
        return self._add(name, MemoryFile(self.file_system, mode))

    def anonymous(self, mode: int) -> Inode:
        inode = MemoryFile(self.file_system, mode)
        inode.links = 0
        return inode

    def make_directory(self, name: bytes, mode: int) -> None:
        self._add(name, MemoryDirectory(self.file_system, mode))
        self.links += 1

    def make_symlink(self, name: bytes, target: bytes) -> None:
        self._add(name, MemorySymlink(self.file_system, target))

    def make_link(self, name: bytes, source: DirectoryInode, source_name: bytes) -> None:
        inode = source.lookup(source_name)
        assert isinstance(inode, MemoryInode)
        if isinstance(inode, MemoryDirectory):
            raise LinuxError(errno.EPERM)
        self._add(name, inode)
        inode.links += 1

    def unlink(self, name: bytes) -> None:
        inode = self.lookup(name)
        if isinstance(inode, MemoryDirectory):
            raise LinuxError(errno.EISDIR)
        self._drop(name)

    def remove_directory(self, name: bytes) -> None:
        inode = self.lookup(name)
        if not isinstance(inode, MemoryDirectory):
            raise LinuxError(errno.ENOTDIR)
        if inode._names:
            raise LinuxError(errno.ENOTEMPTY)
        self._drop(name)

    def rename(self, name: bytes, target: DirectoryInode, new_name: bytes) -> None:
        assert isinstance(target, MemoryDirectory)
        inode = self.lookup(name)
        replaced = target._names.get(new_name)
        if replaced is inode:
            return  # two names of one file: nothing happens (rename(2))
        if target._removed:
            raise LinuxError(errno.ENOENT)
        if replaced is not None:
            if isinstance(inode, MemoryDirectory) and not isinstance(replaced, MemoryDirectory):
                raise LinuxError(errno.ENOTDIR)
            if isinstance(inode, MemoryDirectory):
                target.remove_directory(new_name)
            else:
                target.unlink(new_name)
        target._names[new_name] = self._names.pop(name)
        if isinstance(inode, MemoryDirectory):
            self.links -= 1
            target.links += 1
        self.modified()
        target.modified()

    def _add(self, name: bytes, inode: MemoryInode) -> MemoryInode:
        if name in self._names:
            raise LinuxError(errno.EEXIST)
        if self._removed:
            raise LinuxError(errno.ENOENT)
        self.file_system.charge(_NAME_COST)
        self._names[name] = inode
        self.modified()
        return inode

    def _drop(self, name: bytes) -> None:
        inode = self._names.pop(name)
        self.file_system.charge(-_NAME_COST)
        if isinstance(inode, MemoryDirectory):
            inode._removed, inode.links = True, 0
            self.links -= 1
        else:
            inode.links -= 1
        inode.ctime = self.file_system.now()
        self.modified()
