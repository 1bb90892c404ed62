# SPDX-License-Identifier: GPL-2.0-or-later
"""The virtual file system: the tree of mounts, and what the path system calls do to it.

Every operation takes a directory to start at and a path of the guest's, and raises LinuxError with Linux's errno.
"""

from __future__ import annotations

import errno
import itertools
import stat
from collections import OrderedDict

from fetchsan.kernel.errors import LinuxError
from fetchsan.kernel.vfs.dentry import Dentry, Mount
from fetchsan.kernel.vfs.flags import (
    O_ACCMODE,
    O_CREAT,
    O_DIRECTORY,
    O_EXCL,
    O_NOFOLLOW,
    O_PATH,
    O_RDONLY,
    O_TMPFILE,
    O_TRUNC,
    O_WRONLY,
)
from fetchsan.kernel.vfs.inode import DirectoryInode, Inode, RegularInode, SymlinkInode
from fetchsan.kernel.vfs.memory_tree import MemoryFileSystem
from fetchsan.kernel.vfs.open_file import OpenFile, PathFile
from fetchsan.kernel.vfs.resolve import Walk, walk
from fetchsan.kernel.vfs.synthetic import SyntheticDirectory, SyntheticFileSystem

__all__ = ["Vfs"]

_KEPT = 128  # dentries kept alive after use, so that a directory in use is not opened on the host for each path
_ANY_DIRECTORY = O_TMPFILE & ~O_DIRECTORY


class Vfs:
    """The guest's tree. `skeleton` is where directories that only lead to mount points live, `memory` files in memory."""

    def __init__(
        self,
        root: DirectoryInode,
        source: bytes,
        skeleton: SyntheticFileSystem,
        memory: MemoryFileSystem,
        *,
        read_only: bool,
    ) -> None:
        mount = Mount(root.file_system, b"/", source, read_only=read_only)
        self.mounts = [mount]
        self.root = Dentry(None, b"", root, mount)
        self.memory = memory
        self._skeleton = skeleton
        self._anonymous = itertools.count(1)
        self._recent: OrderedDict[Dentry, None] = OrderedDict()

    # The tree --------------------------------------------------------------------------------------------------------

    def mount(self, path: bytes, inode: Inode, source: bytes, *, read_only: bool) -> Dentry:
        """Put `inode` (a tree's root, or a single file) at the absolute `path`, over whatever is there.

        Directories on the way that exist nowhere appear as directories of the tree.
        """
        at = self.root
        names = [name for name in path.split(b"/") if name not in (b"", b".")]
        if not names or b".." in names:
            raise ValueError(f"{path!r} is no place for a mount")
        for name in names[:-1]:
            at = self._way_point(at, name)
        mount = Mount(inode.file_system, at.path().rstrip(b"/") + b"/" + names[-1], source, read_only=read_only)
        root = Dentry(at, names[-1], inode, mount)
        at.pinned[names[-1]] = root
        self.mounts.append(mount)
        return root

    def _way_point(self, at: Dentry, name: bytes) -> Dentry:
        """A directory `name` in `at` on the way to a mount point; links are followed, as paths to it will be."""
        try:
            found = walk(self.root, at, name).existing()
            if isinstance(found.inode, DirectoryInode):
                self._pin(found)
                return found
        except LinuxError:
            pass  # nothing there, or a link that leads nowhere: a directory of our own stands there instead
        inode = SyntheticDirectory(self._skeleton, (at.path(), name), {}, 0o755)
        at.pinned[name] = Dentry(at, name, inode, at.mount)
        return at.pinned[name]

    def _pin(self, dentry: Dentry) -> None:
        """A dentry with mount points below must live as long as the tree, and be found in its parent."""
        while dentry.parent is not dentry and dentry.parent.pinned.get(dentry.name) is not dentry:
            dentry.parent.pinned[dentry.name] = dentry
            dentry = dentry.parent

    def mounts_text(self) -> bytes:
        """/proc/mounts."""
        return b"".join(
            b"%s %s %s %s,relatime 0 0\n"
            % (_escaped(m.source), _escaped(m.point), m.file_system.name.encode(), b"ro" if m.read_only else b"rw")
            for m in self.mounts
        )

    # Lookups ---------------------------------------------------------------------------------------------------------

    def walk(self, start: Dentry, path: bytes, *, follow: bool = True, rules: int = 0) -> Walk:
        """Where `path` leads (resolve.py)."""
        found = walk(self.root, start, path, follow=follow, rules=rules)
        self._keep(found.dentry if found.dentry is not None else found.directory)
        return found

    def lookup(self, start: Dentry, path: bytes, *, follow: bool = True) -> Dentry:
        """The dentry of a path that exists."""
        return self.walk(start, path, follow=follow).existing()

    def _keep(self, dentry: Dentry) -> None:
        self._recent[dentry] = None
        self._recent.move_to_end(dentry)
        if len(self._recent) > _KEPT:
            self._recent.popitem(last=False)

    # Opening ---------------------------------------------------------------------------------------------------------

    def open(self, start: Dentry, path: bytes, flags: int, mode: int = 0, *, umask: int = 0, rules: int = 0) -> OpenFile:
        """open(2): the description, with no descriptor yet. `flags` are the guest's O_*."""
        if flags & O_PATH:
            flags &= O_PATH | O_DIRECTORY | O_NOFOLLOW
        elif flags & _ANY_DIRECTORY:
            return self._open_unnamed(start, path, flags, mode & ~umask, rules)
        if flags & O_CREAT and flags & O_DIRECTORY:
            raise LinuxError(errno.EINVAL)
        exclusive = flags & (O_CREAT | O_EXCL) == O_CREAT | O_EXCL
        found = self.walk(start, path, follow=not flags & O_NOFOLLOW and not exclusive, rules=rules)
        if flags & O_CREAT and found.slash:
            raise LinuxError(errno.EISDIR)
        created = False
        if found.dentry is None and flags & O_CREAT:
            created = self._create(found, mode & 0o7777 & ~umask)
        elif found.dentry is not None and exclusive:
            raise LinuxError(errno.EEXIST)
        return self._open_dentry(found.existing(), flags, created=created)

    def _create(self, found: Walk, mode: int) -> bool:
        """Make the file; whether it was us (another process of the host may be faster)."""
        self._writable(found.directory)
        try:
            found.directory.directory.create(found.name, mode)
        except LinuxError as error:
            if error.errno != errno.EEXIST:
                raise
            return False
        finally:
            found.dentry = self._child_or_none(found.directory, found.name)
        return True

    def _open_dentry(self, dentry: Dentry, flags: int, *, created: bool) -> OpenFile:
        inode = dentry.inode
        if flags & O_DIRECTORY and not isinstance(inode, DirectoryInode):
            raise LinuxError(errno.ENOTDIR)
        if flags & O_PATH:
            return PathFile(inode, dentry, flags)
        if isinstance(inode, SymlinkInode):
            raise LinuxError(errno.ELOOP)
        writes = flags & O_ACCMODE != O_RDONLY or bool(flags & O_TRUNC)
        if isinstance(inode, DirectoryInode) and (writes or flags & O_CREAT):
            raise LinuxError(errno.EISDIR)
        if writes and not isinstance(inode, SyntheticDirectory) and stat.S_ISREG(inode.mode):
            self._check_read_only(dentry)
        if not created:
            # A file just made may be opened for writing whatever its mode (open(2), EACCES).
            wanted = (4 if flags & O_ACCMODE != O_WRONLY else 0) | (2 if writes else 0)
            if not inode.allowed(wanted):
                raise LinuxError(errno.EACCES)
        inode.path = dentry.path().decode("utf-8", "surrogateescape")
        return inode.open(dentry, flags & ~(O_CREAT | O_EXCL | O_TRUNC))

    def _open_unnamed(self, start: Dentry, path: bytes, flags: int, mode: int, rules: int) -> OpenFile:
        """O_TMPFILE."""
        if flags & O_ACCMODE == O_RDONLY or not flags & O_DIRECTORY:
            raise LinuxError(errno.EINVAL)
        directory = self.walk(start, path, rules=rules).existing()
        self._writable(directory)
        inode = directory.directory.anonymous(mode)
        return inode.open(self.detached(b"#%d" % inode.ino, inode), flags & ~(O_TMPFILE | O_EXCL))

    def next_anonymous(self) -> int:
        """An inode number for what has no name: pipes, eventfds."""
        return next(self._anonymous)

    def detached(self, name: bytes, inode: Inode) -> Dentry:
        """The dentry of a file without a place in the tree; its path reads "/name (deleted)", as Linux's does."""
        dentry = Dentry(self.root, name, inode, Mount(inode.file_system, b"/", b"none", read_only=False))
        dentry.deleted = True
        inode.path = dentry.path().decode("utf-8", "surrogateescape")
        return dentry

    # Changing the tree -----------------------------------------------------------------------------------------------

    def make_directory(self, start: Dentry, path: bytes, mode: int) -> None:
        """mkdir(2)."""
        found = self._vacant(start, path, directory=True)
        found.directory.directory.make_directory(found.name, mode & 0o1777)

    def make_symlink(self, start: Dentry, path: bytes, target: bytes) -> None:
        """symlink(2)."""
        if not target:
            raise LinuxError(errno.ENOENT)
        found = self._vacant(start, path)
        found.directory.directory.make_symlink(found.name, target)

    def make_link(self, source: Walk, start: Dentry, path: bytes) -> None:
        """link(2) of what `source` found."""
        dentry = source.existing()
        if isinstance(dentry.inode, DirectoryInode):
            raise LinuxError(errno.EPERM)
        found = self._vacant(start, path)
        self._same_tree(dentry, found.directory)
        if not source.name:
            raise LinuxError(errno.EXDEV)
        found.directory.directory.make_link(found.name, source.directory.directory, source.name)

    def unlink(self, start: Dentry, path: bytes) -> None:
        """unlink(2)."""
        found = self.walk(start, path, follow=False)
        if found.name in (b"", b"..") or found.dentry is None:
            raise LinuxError(errno.EISDIR if found.dentry is not None else errno.ENOENT)
        if isinstance(found.dentry.inode, DirectoryInode):
            raise LinuxError(errno.EISDIR)
        if found.slash:
            raise LinuxError(errno.ENOTDIR)
        self._removable(found)
        found.directory.directory.unlink(found.name)
        found.directory.forget(found.name)
        self._gone(found.dentry)

    def remove_directory(self, start: Dentry, path: bytes) -> None:
        """rmdir(2)."""
        if path.rstrip(b"/").rpartition(b"/")[2] == b".":
            raise LinuxError(errno.EINVAL)
        found = self.walk(start, path, follow=False)
        if found.name in (b"", b".."):
            raise LinuxError(errno.ENOTEMPTY if found.name else errno.EBUSY)
        dentry = found.existing()
        _ = dentry.directory
        self._removable(found)
        found.directory.directory.remove_directory(found.name)
        found.directory.forget(found.name)
        self._gone(dentry)

    def rename(
        self, start: Dentry, path: bytes, new_start: Dentry, new_path: bytes, *, replace: bool = True
    ) -> None:
        """rename(2); with `replace` false EEXIST if the new name is taken (RENAME_NOREPLACE)."""
        old = self.walk(start, path, follow=False)
        new = self.walk(new_start, new_path, follow=False)
        if old.name in (b"", b"..") or new.name in (b"", b".."):
            raise LinuxError(errno.EBUSY)
        moved = old.existing()
        is_directory = isinstance(moved.inode, DirectoryInode)
        if new.slash and not is_directory:
            raise LinuxError(errno.ENOTDIR)
        self._removable(old)
        if new.dentry is not None:
            if not replace:
                raise LinuxError(errno.EEXIST)
            self._removable(new)
        self._writable(new.directory)
        self._same_tree(moved, new.directory)
        if is_directory and new.directory.is_within(moved):
            raise LinuxError(errno.EINVAL)
        if new.dentry is not None and new.dentry.inode is moved.inode:
            return
        if new.dentry is not None and isinstance(new.dentry.inode, DirectoryInode) != is_directory:
            raise LinuxError(errno.ENOTDIR if is_directory else errno.EISDIR)
        old.directory.directory.rename(old.name, new.directory.directory, new.name)
        if new.dentry is not None:
            self._gone(new.dentry)
        old.directory.move(old.name, new.directory, new.name)

    def change_mode(self, dentry: Dentry, mode: int) -> None:
        """chmod(2)."""
        self._check_read_only(dentry)
        dentry.inode.change_mode(mode & 0o7777)

    def change_times(self, dentry: Dentry, atime: int | None, mtime: int | None) -> None:
        """utimensat(2), the times worked out already."""
        self._check_read_only(dentry)
        dentry.inode.change_times(atime, mtime)

    def check_truncate(self, dentry: Dentry) -> RegularInode:
        """The inode of a path that truncate(2) may cut."""
        if isinstance(dentry.inode, DirectoryInode):
            raise LinuxError(errno.EISDIR)
        if not isinstance(dentry.inode, RegularInode):
            raise LinuxError(errno.EINVAL)
        self._check_read_only(dentry)
        if not dentry.inode.allowed(2):
            raise LinuxError(errno.EACCES)
        return dentry.inode

    def check_access(self, dentry: Dentry, mask: int) -> None:
        """access(2)."""
        if mask & 2 and not stat.S_ISCHR(dentry.inode.mode):
            self._check_read_only(dentry)
        if mask and not dentry.inode.allowed(mask):
            raise LinuxError(errno.EACCES)

    # Checks ----------------------------------------------------------------------------------------------------------

    def _vacant(self, start: Dentry, path: bytes, *, directory: bool = False) -> Walk:
        """Where a new name goes; EEXIST if it is there."""
        found = self.walk(start, path, follow=False)
        if found.dentry is not None or not found.name:
            raise LinuxError(errno.EEXIST)
        if found.slash and not directory:
            raise LinuxError(errno.ENOENT)
        self._writable(found.directory)
        return found

    def _removable(self, found: Walk) -> None:
        if found.name in found.directory.pinned:
            raise LinuxError(errno.EBUSY)  # a mount point, or on the way to one
        self._writable(found.directory)

    def _writable(self, directory: Dentry) -> None:
        """Whether names may be made and removed in it."""
        self._check_read_only(directory)
        if not directory.directory.allowed(2 | 1):
            raise LinuxError(errno.EACCES)

    def _same_tree(self, dentry: Dentry, directory: Dentry) -> None:
        """Links and renames stay in one mount."""
        if dentry.mount is not directory.mount or dentry.inode.file_system is not directory.inode.file_system:
            raise LinuxError(errno.EXDEV)

    def _check_read_only(self, dentry: Dentry) -> None:
        if dentry.mount.read_only:
            raise LinuxError(errno.EROFS)

    def _gone(self, dentry: Dentry) -> None:
        """A name was removed: an open file says so in /proc/self/maps, and nothing of it is kept."""
        dentry.deleted = True
        self._recent.pop(dentry, None)
        if dentry.inode.path:
            dentry.inode.path = dentry.path().decode("utf-8", "surrogateescape")

    def _child_or_none(self, directory: Dentry, name: bytes) -> Dentry | None:
        try:
            return directory.child(name)
        except LinuxError:
            return None


def _escaped(text: bytes) -> bytes:
    """As /proc/mounts writes names with white space."""
    for byte in b"\\ \t\n":
        text = text.replace(b"%c" % byte, b"\\%03o" % byte)
    return text
