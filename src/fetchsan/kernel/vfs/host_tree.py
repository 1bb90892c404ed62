# SPDX-License-Identifier: GPL-2.0-or-later
"""Inodes that stand for files of the host: the sysroot, the program's file, the current directory, `--dir` grants.

Everything is reached from a directory handle and one name at a time, links not followed, so that whatever the guest or
others do to the tree meanwhile, nothing outside a granted directory opens. Device nodes, fifos and sockets are shown
but not opened.
"""

from __future__ import annotations

import errno
import itertools
import os
import stat
import weakref
from collections.abc import Iterable

from fetchsan.kernel.errors import LinuxError
from fetchsan.kernel.host import FileStat, Host
from fetchsan.kernel.vfs.inode import (
    DirectoryEntry,
    DirectoryInode,
    FileSystem,
    FileSystemStat,
    Inode,
    RegularInode,
    SymlinkInode,
)
from fetchsan.kernel.vfs.open_file import OpenFile

__all__ = ["HostDirectory", "HostFile", "HostFileSystem", "HostSymlink"]

_EXT4_MAGIC = 0xEF53  # what programs that look at f_type know best; the host's own is not portable
# No set-user-ID or set-group-ID file is made on the host: the guest's users are not the host's.
_SETTABLE_MODE = 0o1777

# Open errnos of what is shown but refused: a device as on a nodev mount (mount(2)), a socket as open(2) says.
_REFUSAL = {stat.S_IFSOCK: errno.ENXIO}


class HostFileSystem(FileSystem):
    """One granted tree. Files of the host's user belong to `owner` (uid, gid) in the guest; others keep their owner."""

    name = "ext4"
    magic = _EXT4_MAGIC

    def __init__(self, host: Host, owner: tuple[int, int]) -> None:
        self.host = host
        self.owner = owner
        self._user = host.user()
        self._known: weakref.WeakValueDictionary[tuple[int, int], HostInode] = weakref.WeakValueDictionary()
        self._serials = itertools.count(1)

    def tree(self, path: bytes) -> HostDirectory:
        """The inode of a directory that the user granted."""
        handle = self.host.open_granted(path)
        return HostDirectory(self, self.host.stat(handle), handle)

    def single_file(self, path: bytes) -> Inode:
        """The inode of one file that the user granted, without what lies beside it."""
        directory, name = os.path.split(path)
        return self.tree(directory or b".").lookup(name)

    def inode(self, directory: HostDirectory, name: bytes) -> Inode:
        """The inode of `name`: the object that stands for this file already, or a new one."""
        st = self.host.stat_name(directory.handle, name)
        key = (st.dev, st.ino)
        known = self._known.get(key)
        if known is None or stat.S_IFMT(known.seen.mode) != stat.S_IFMT(st.mode):
            known = _KINDS.get(stat.S_IFMT(st.mode), HostRefused).found(self, directory, name, st)
            self._known[key] = known
        known.place, known.seen = (directory, name), st
        return known

    def serial(self) -> int:
        """Distinguishes a file from a later one that got the same inode number."""
        return next(self._serials)

    def present(self, st: FileStat) -> FileStat:
        """The host's answer with the owner as the guest sees it."""
        return st._replace(
            uid=self.owner[0] if st.uid == self._user[0] else st.uid,
            gid=self.owner[1] if st.gid == self._user[1] else st.gid,
        )


class HostInode(Inode):
    """A file of the host. `place` is where it was last found; `seen` what it was then."""

    file_system: HostFileSystem

    def __init__(self, file_system: HostFileSystem, st: FileStat, place: tuple[HostDirectory, bytes] | None) -> None:
        super().__init__(file_system, st.ino)
        self.dev = st.dev
        self.place = place
        self.seen = st
        self._serial = file_system.serial()

    @classmethod
    def found(cls, file_system: HostFileSystem, directory: HostDirectory, name: bytes, st: FileStat) -> HostInode:
        """The inode of a name just looked up."""
        return cls(file_system, st, (directory, name))

    @property
    def identity(self) -> tuple[object, ...]:
        return ("host", self.dev, self.ino, self._serial)

    def stat(self) -> FileStat:
        return self.file_system.present(self.seen)

    def allowed(self, mask: int) -> bool:
        """The host decides: it will be asked again when the file is opened."""
        return self.file_system.host.allowed(*self._named(), mask)

    def change_mode(self, mode: int) -> None:
        self.file_system.host.change_mode(*self._named(), mode & _SETTABLE_MODE)
        self._refresh()

    def change_times(self, atime: int | None, mtime: int | None) -> None:
        now = self.stat()
        times = now.atime if atime is None else atime, now.mtime if mtime is None else mtime
        self.file_system.host.set_name_times(*self._named(), *times)
        self._refresh()

    def file_system_statistics(self) -> FileSystemStat:
        return FileSystemStat(self.file_system.magic, *self.file_system.host.file_system(self._named()[0]))

    def _named(self) -> tuple[int, bytes]:
        """A directory handle and the name beside it."""
        if self.place is None:
            raise LinuxError(errno.ENOENT)
        return self.place[0].handle, self.place[1]

    def _refresh(self) -> None:
        self.seen = self.file_system.host.stat_name(*self._named())


class HostRefused(HostInode):
    """A device node, fifo or socket of the host: visible, never opened."""

    def open(self, dentry: object, flags: int) -> OpenFile:
        raise LinuxError(_REFUSAL.get(stat.S_IFMT(self.seen.mode), errno.EACCES))


class HostSymlink(HostInode, SymlinkInode):
    """A symbolic link; its text is resolved by us, from the guest's root if it is absolute."""

    def target(self) -> bytes:
        return self.file_system.host.read_link(*self._named())


class HostFile(HostInode, RegularInode):
    """A regular file. Its handles are opened when needed and kept as long as the inode: a mapping outlives close(2)."""

    def __init__(self, file_system: HostFileSystem, st: FileStat, place: tuple[HostDirectory, bytes] | None) -> None:
        super().__init__(file_system, st, place)
        self._reader: int | None = None
        self._writer: int | None = None

    def __del__(self) -> None:
        for handle in {self._reader, self._writer}:
            if handle is not None:
                self.file_system.host.close(handle)

    def open(self, dentry: object, flags: int) -> OpenFile:
        opened = super().open(dentry, flags)  # type: ignore[arg-type]  # RegularInode.open, behind HostInode
        if opened.readable:
            self._for_reading()
        if opened.writable:
            self._for_writing()
        return opened

    @property
    def _handle(self) -> int | None:
        """Any handle that is open."""
        return self._reader if self._reader is not None else self._writer

    def stat(self) -> FileStat:
        if self._handle is not None:
            self.seen = self.file_system.host.stat(self._handle)
        return super().stat()

    @property
    def version(self) -> object:
        """Whoever writes to the file on the host moves its times."""
        st = self.stat()
        return st.size, st.mtime, st.ctime

    def next_data(self, offset: int) -> int:
        return self.file_system.host.seek_data(self._for_reading(), offset)

    def next_hole(self, offset: int) -> int:
        return self.file_system.host.seek_hole(self._for_reading(), offset)

    def allowed(self, mask: int) -> bool:
        """A removed file has only its mode to go by."""
        return super().allowed(mask) if self.place is not None else Inode.allowed(self, mask)

    def change_mode(self, mode: int) -> None:
        if self._handle is None:
            super().change_mode(mode)
        else:
            self.file_system.host.change_open_mode(self._handle, mode & _SETTABLE_MODE)

    def read_at(self, offset: int, size: int) -> bytes:
        return self.file_system.host.pread(self._for_reading(), size, offset)

    def write_at(self, offset: int, data: bytes) -> int:
        return self.file_system.host.pwrite(self._for_writing(), data, offset)

    def truncate(self, size: int) -> None:
        self.file_system.host.truncate(self._for_writing(), size)

    def allocate(self, offset: int, size: int) -> None:
        self.file_system.host.allocate(self._for_writing(), offset, size)

    def sync(self) -> None:
        if self._writer is not None:
            self.file_system.host.sync(self._writer)

    def change_times(self, atime: int | None, mtime: int | None) -> None:
        if self._writer is None:
            super().change_times(atime, mtime)
            return
        now = self.stat()
        times = now.atime if atime is None else atime, now.mtime if mtime is None else mtime
        self.file_system.host.set_times(self._writer, *times)

    def created(self, handle: int) -> None:
        """The handle that made the file serves for both directions."""
        self._reader = self._writer = handle

    def _for_reading(self) -> int:
        if self._reader is None:
            self._reader = self._open(os.O_RDONLY)
        return self._reader

    def _for_writing(self) -> int:
        if self._writer is None:
            try:
                self._writer = self._open(os.O_RDWR)
            except LinuxError as error:
                if error.errno != errno.EACCES:
                    raise
                self._writer = self._open(os.O_WRONLY)  # write permission alone is enough for write(2)
        return self._writer

    def _open(self, access: int) -> int:
        host = self.file_system.host
        handle = host.open_file(*self._named(), access)
        st = host.stat(handle)
        if (st.dev, st.ino) != (self.dev, self.ino) or not stat.S_ISREG(st.mode):
            host.close(handle)
            raise LinuxError(errno.ESTALE)  # replaced since it was looked up; the next lookup finds the new file
        return handle


class HostDirectory(HostInode, DirectoryInode):
    """A directory; its handle stays open as long as the inode lives."""

    def __init__(
        self, file_system: HostFileSystem, st: FileStat, handle: int, place: tuple[HostDirectory, bytes] | None = None
    ) -> None:
        super().__init__(file_system, st, place)
        self.handle = handle

    def __del__(self) -> None:
        self.file_system.host.close(self.handle)

    @classmethod
    def found(cls, file_system: HostFileSystem, directory: HostDirectory, name: bytes, st: FileStat) -> HostInode:
        handle = file_system.host.open_directory(directory.handle, name)
        return cls(file_system, file_system.host.stat(handle), handle, (directory, name))

    def stat(self) -> FileStat:
        self.seen = self.file_system.host.stat(self.handle)
        return super().stat()

    @property
    def searchable(self) -> bool:
        """The host says so itself when a name is looked up."""
        return True

    def lookup(self, name: bytes) -> Inode:
        return self.file_system.inode(self, name)

    def entries(self) -> Iterable[DirectoryEntry]:
        return [DirectoryEntry(*entry) for entry in self.file_system.host.list(self.handle)]

    def create(self, name: bytes, mode: int) -> Inode:
        host = self.file_system.host
        # Readable and writable for us whatever the guest's mode says: the descriptor it gets may be both.
        handle = host.create_file(self.handle, name, mode & 0o777 | 0o600)
        try:
            inode = self.lookup(name)
            assert isinstance(inode, HostFile)
            inode.created(handle)
        except BaseException:
            host.close(handle)
            raise
        self._settle(inode, mode)
        return inode

    def make_directory(self, name: bytes, mode: int) -> None:
        self.file_system.host.make_directory(self.handle, name, mode & _SETTABLE_MODE)
        self._settle(self.lookup(name), mode)

    def make_symlink(self, name: bytes, target: bytes) -> None:
        self.file_system.host.make_symlink(target, self.handle, name)

    def make_link(self, name: bytes, source: DirectoryInode, source_name: bytes) -> None:
        assert isinstance(source, HostDirectory)
        self.file_system.host.make_link(source.handle, source_name, self.handle, name)

    def unlink(self, name: bytes) -> None:
        inode = self.lookup(name)
        self.file_system.host.unlink(self.handle, name)
        assert isinstance(inode, HostInode)
        inode.place = None  # until another of its names is looked up

    def remove_directory(self, name: bytes) -> None:
        self.file_system.host.remove_directory(self.handle, name)

    def rename(self, name: bytes, target: DirectoryInode, new_name: bytes) -> None:
        assert isinstance(target, HostDirectory)
        self.file_system.host.rename(self.handle, name, target.handle, new_name)
        target.lookup(new_name)  # so that the inode, if somebody has it open, knows its new place

    def _named(self) -> tuple[int, bytes]:
        return self.handle, b"."

    def _settle(self, inode: Inode, mode: int) -> None:
        """The mode that the guest asked for, which the umask of our own process may have narrowed."""
        if inode.mode & 0o777 != mode & 0o777:
            inode.change_mode(mode)


_KINDS: dict[int, type[HostInode]] = {stat.S_IFREG: HostFile, stat.S_IFDIR: HostDirectory, stat.S_IFLNK: HostSymlink}
