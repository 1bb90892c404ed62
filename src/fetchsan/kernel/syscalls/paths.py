# SPDX-License-Identifier: GPL-2.0-or-later
"""Path arguments: the (dirfd, path, AT_* flags) triple that most path calls share."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from fetchsan.kernel.errors import LinuxError
from fetchsan.kernel.syscalls.table import s32
from fetchsan.kernel.vfs.dentry import Dentry
from fetchsan.kernel.vfs.flags import AT_EMPTY_PATH, AT_FDCWD, AT_SYMLINK_NOFOLLOW, PATH_MAX
from fetchsan.kernel.vfs.inode import Inode

if TYPE_CHECKING:
    from fetchsan.kernel.task import Task

__all__ = ["directory_at", "locate", "locate_inode", "path_argument", "write_path"]


def path_argument(task: Task, address: int) -> bytes:
    """A path; ENAMETOOLONG without a NUL in its first 4096 bytes."""
    return task.memory.read_cstring(address, PATH_MAX)


def directory_at(task: Task, dirfd: int, path: bytes) -> Dentry:
    """Where `path` starts: an absolute one does not look at `dirfd` (openat(2))."""
    fd = s32(dirfd)
    if fd == AT_FDCWD or path.startswith(b"/"):
        return task.fs.cwd
    dentry = task.files.get(fd).dentry
    if dentry is None:
        raise LinuxError(errno.ENOTDIR)
    _ = dentry.directory
    return dentry


def locate(task: Task, dirfd: int, path: bytes, *, follow: bool = True) -> Dentry:
    """The dentry of a path that exists."""
    return task.fs.vfs.lookup(directory_at(task, dirfd, path), path, follow=follow)


def locate_inode(task: Task, dirfd: int, path: bytes, flags: int) -> tuple[Inode, Dentry | None]:
    """What a path or, with AT_EMPTY_PATH, the descriptor itself names. Files without a name have no dentry."""
    if path or not flags & AT_EMPTY_PATH:
        dentry = locate(task, dirfd, path, follow=not flags & AT_SYMLINK_NOFOLLOW)
        return dentry.inode, dentry
    if s32(dirfd) == AT_FDCWD:
        return task.fs.cwd.inode, task.fs.cwd
    file = task.files.get(s32(dirfd))
    return file.inode, file.dentry


def write_path(task: Task, address: int, size: int, path: bytes) -> int:
    """Give a NUL-terminated path back; ERANGE if it does not fit. Returns its length with the NUL."""
    if len(path) + 1 > size:
        raise LinuxError(errno.ERANGE)
    task.memory.write(address, path + b"\0")
    return len(path) + 1
