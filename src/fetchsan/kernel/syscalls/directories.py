# SPDX-License-Identifier: GPL-2.0-or-later
"""Names: directories, links, renames, the current directory (mkdir(2), unlink(2), rename(2), getdents64(2), chdir(2))."""

from __future__ import annotations

import errno
import stat
from collections.abc import Callable
from typing import TYPE_CHECKING

from fetchsan.kernel.errors import LinuxError
from fetchsan.kernel.syscalls.layouts import pack_dirent
from fetchsan.kernel.syscalls.paths import directory_at, locate, path_argument, write_path
from fetchsan.kernel.syscalls.table import refuse, s32, syscall, u32
from fetchsan.kernel.vfs.dentry import Dentry
from fetchsan.kernel.vfs.flags import (
    AT_EMPTY_PATH,
    AT_FDCWD,
    AT_REMOVEDIR,
    AT_SYMLINK_FOLLOW,
    O_CREAT,
    O_EXCL,
    O_PATH,
    O_WRONLY,
)
from fetchsan.kernel.vfs.inode import DirectoryEntry
from fetchsan.kernel.vfs.open_file import DirectoryFile
from fetchsan.kernel.vfs.resolve import Walk

if TYPE_CHECKING:
    from fetchsan.kernel.task import Task

__all__ = ["list_directory"]

_RENAME_NOREPLACE = 1


@syscall
def sys_mkdirat(task: Task, dirfd: int, path: int, mode: int) -> int:
    name = path_argument(task, path)
    task.fs.vfs.make_directory(directory_at(task, dirfd, name), name, mode & ~task.fs.umask)
    return 0


@syscall
def sys_mknodat(task: Task, dirfd: int, path: int, mode: int, device: int) -> int:
    """A regular file is the one kind that an unprivileged program may make here."""
    if stat.S_IFMT(mode & 0xFFFF) not in (0, stat.S_IFREG):
        raise LinuxError(errno.EPERM)
    name = path_argument(task, path)
    fs = task.fs
    fs.vfs.open(directory_at(task, dirfd, name), name, O_CREAT | O_EXCL | O_WRONLY, mode & 0o7777, umask=fs.umask)
    return 0


@syscall
def sys_unlinkat(task: Task, dirfd: int, path: int, flags: int) -> int:
    if u32(flags) & ~AT_REMOVEDIR:
        raise LinuxError(errno.EINVAL)
    name = path_argument(task, path)
    vfs = task.fs.vfs
    (vfs.remove_directory if flags & AT_REMOVEDIR else vfs.unlink)(directory_at(task, dirfd, name), name)
    return 0


@syscall
def sys_symlinkat(task: Task, target: int, dirfd: int, path: int) -> int:
    text, name = path_argument(task, target), path_argument(task, path)
    task.fs.vfs.make_symlink(directory_at(task, dirfd, name), name, text)
    return 0


@syscall
def sys_linkat(task: Task, dirfd: int, path: int, new_dirfd: int, new_path: int, flags: int) -> int:
    if u32(flags) & ~(AT_SYMLINK_FOLLOW | AT_EMPTY_PATH):
        raise LinuxError(errno.EINVAL)
    vfs = task.fs.vfs
    old, new = path_argument(task, path), path_argument(task, new_path)
    if not old and flags & AT_EMPTY_PATH:
        dentry = task.files.get(s32(dirfd)).dentry
        if dentry is None or dentry.deleted:
            raise LinuxError(errno.ENOENT)
        source = Walk(dentry.parent, dentry.name, dentry, slash=False)
    else:
        source = vfs.walk(directory_at(task, dirfd, old), old, follow=bool(flags & AT_SYMLINK_FOLLOW))
    vfs.make_link(source, directory_at(task, new_dirfd, new), new)
    return 0


@syscall
def sys_renameat(task: Task, dirfd: int, path: int, new_dirfd: int, new_path: int) -> int:
    return sys_renameat2(task, dirfd, path, new_dirfd, new_path, 0)


@syscall
def sys_renameat2(task: Task, dirfd: int, path: int, new_dirfd: int, new_path: int, flags: int) -> int:
    if u32(flags) & ~_RENAME_NOREPLACE:
        raise LinuxError(errno.EINVAL)  # RENAME_EXCHANGE and WHITEOUT: "the file system does not support" them
    old, new = path_argument(task, path), path_argument(task, new_path)
    task.fs.vfs.rename(
        directory_at(task, dirfd, old), old, directory_at(task, new_dirfd, new), new,
        replace=not flags & _RENAME_NOREPLACE,
    )  # fmt: skip
    return 0


@syscall
def sys_getdents64(task: Task, fd: int, address: int, size: int) -> int:
    return list_directory(task, fd, address, size, pack_dirent)


def list_directory(
    task: Task, fd: int, address: int, size: int, pack: Callable[[DirectoryEntry, int], bytes]
) -> int:
    """As many entries as fit, each packed with the offset of the next."""
    file = task.files.get(s32(fd))
    if not isinstance(file, DirectoryFile):
        raise LinuxError(errno.EBADF if file.flags & O_PATH else errno.ENOTDIR)
    listing = file.listing()
    packed = bytearray()
    at = file.offset
    while at < len(listing):
        entry = pack(listing[at], at + 1)
        if len(packed) + len(entry) > u32(size):
            break
        packed += entry
        at += 1
    if not packed and at < len(listing):
        raise LinuxError(errno.EINVAL)  # not even one entry fits
    task.memory.write(address, bytes(packed))
    file.offset = at
    return len(packed)


@syscall
def sys_getcwd(task: Task, address: int, size: int) -> int:
    cwd = task.fs.cwd
    if cwd.unreachable:
        raise LinuxError(errno.ENOENT)
    return write_path(task, address, size, cwd.path())


@syscall
def sys_chdir(task: Task, path: int) -> int:
    return _enter(task, locate(task, AT_FDCWD, path_argument(task, path)))


@syscall
def sys_fchdir(task: Task, fd: int) -> int:
    dentry = task.files.get(s32(fd)).dentry
    if dentry is None:
        raise LinuxError(errno.ENOTDIR)
    return _enter(task, dentry)


def _enter(task: Task, dentry: Dentry) -> int:
    if not dentry.directory.allowed(1):
        raise LinuxError(errno.EACCES)
    task.fs.cwd = dentry
    return 0


# What only root may do to the tree (mount(2), chroot(2), pivot_root(2), name_to_handle_at(2) has no handles to give).
refuse(
    errno.EPERM,
    ("mount", "umount2", "pivot_root", "chroot", "open_tree", "move_mount", "fsopen", "fsmount", "fspick", "mount_setattr"),
)
refuse(errno.EOPNOTSUPP, ("name_to_handle_at",))
