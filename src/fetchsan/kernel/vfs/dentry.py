# SPDX-License-Identifier: GPL-2.0-or-later
"""Names in the tree: dentries with their parents, mounts, and the mount points that no file system holds.

As in Linux a path is a chain of dentries, so `..`, getcwd and a rename above the current directory come out right. A
dentry lives as long as somebody holds it. `pinned` children are mount points and the directories that lead to them:
they are found before what the file system has under that name, and appear in the listing.
"""

from __future__ import annotations

import errno
import weakref
from collections.abc import Iterator

from fetchsan.kernel.errors import LinuxError
from fetchsan.kernel.vfs.flags import DT_DIR, entry_kind
from fetchsan.kernel.vfs.inode import DirectoryEntry, DirectoryInode, FileSystem, Inode

__all__ = ["Dentry", "Mount"]


class Mount:
    """One tree in the tree. `source` and `point` are for /proc/mounts."""

    def __init__(self, file_system: FileSystem, point: bytes, source: bytes, *, read_only: bool) -> None:
        self.file_system = file_system
        self.point = point
        self.source = source
        self.read_only = read_only

    def __repr__(self) -> str:
        return f"<mount of {self.file_system.name} at {self.point!r}{' (read-only)' if self.read_only else ''}>"


class Dentry:
    """`name` in `parent`, naming `inode`. The root is its own parent. A mount's root stands where its mount point stood."""

    __slots__ = ("__weakref__", "_children", "deleted", "inode", "mount", "name", "parent", "pinned")

    def __init__(self, parent: Dentry | None, name: bytes, inode: Inode, mount: Mount) -> None:
        self.parent = parent if parent is not None else self
        self.name = name
        self.inode = inode
        self.mount = mount
        self.deleted = False
        self.pinned: dict[bytes, Dentry] = {}
        self._children: weakref.WeakValueDictionary[bytes, Dentry] = weakref.WeakValueDictionary()

    def __repr__(self) -> str:
        return f"<dentry {self.path()!r}>"

    @property
    def directory(self) -> DirectoryInode:
        """The inode, if it can hold names; ENOTDIR otherwise."""
        if not isinstance(self.inode, DirectoryInode):
            raise LinuxError(errno.ENOTDIR)
        return self.inode

    def child(self, name: bytes) -> Dentry:
        """The dentry of `name` here, mounts included. Raises LinuxError (ENOENT, ENOTDIR, EACCES)."""
        pinned = self.pinned.get(name)
        if pinned is not None:
            return pinned
        inode = self.directory.lookup(name)
        known = self._children.get(name)
        if known is not None and known.inode is inode:
            return known
        if known is not None:
            known.deleted = True  # the host replaced it behind our back
        return self.adopt(Dentry(self, name, inode, self.mount))

    def adopt(self, child: Dentry) -> Dentry:
        """Make `child` the dentry of its name here."""
        self._children[child.name] = child
        return child

    def forget(self, name: bytes, *, deleted: bool = True) -> Dentry | None:
        """`name` is gone from here; whoever still holds its dentry sees "(deleted)"."""
        child = self._children.pop(name, None)
        if child is not None and deleted:
            child.deleted = True
        return child

    def move(self, name: bytes, target: Dentry, new_name: bytes) -> None:
        """`name` was renamed: those who hold the dentry (a current directory, open files) follow it."""
        target.forget(new_name)
        child = self.forget(name, deleted=False)
        if child is not None:
            child.parent, child.name = target, new_name
            target.adopt(child)

    def listing(self) -> list[DirectoryEntry]:
        """Everything that getdents64 gives, in a fixed order."""
        entries = [DirectoryEntry(b".", self.inode.ino, DT_DIR), DirectoryEntry(b"..", self.parent.inode.ino, DT_DIR)]
        entries += [entry for entry in self.directory.entries() if entry.name not in self.pinned]
        entries += [DirectoryEntry(name, child.inode.ino, entry_kind(child.inode.mode)) for name, child in self.pinned.items()]
        return entries

    def path(self) -> bytes:
        """The absolute path, as d_path gives it."""
        names = [dentry.name for dentry in self.ancestry()]
        path = b"/" + b"/".join(reversed(names))
        return path + b" (deleted)" if self.unreachable else path

    @property
    def unreachable(self) -> bool:
        """Whether it or a directory above it was removed."""
        return any(dentry.deleted for dentry in self.ancestry())

    def ancestry(self) -> Iterator[Dentry]:
        """This dentry and those above it, without the root."""
        dentry = self
        while dentry.parent is not dentry:
            yield dentry
            dentry = dentry.parent

    def is_within(self, ancestor: Dentry) -> bool:
        """Whether `ancestor` is this dentry or above it."""
        dentry = self
        while dentry is not ancestor:
            if dentry.parent is dentry:
                return False
            dentry = dentry.parent
        return True
