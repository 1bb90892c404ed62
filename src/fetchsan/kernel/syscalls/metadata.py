# SPDX-License-Identifier: GPL-2.0-or-later
"""What files are, without their contents: stat(2), statx(2), access(2), chmod(2), chown(2), utimensat(2), statfs(2)."""

from __future__ import annotations

import errno
import struct
from typing import TYPE_CHECKING

from fetchsan.kernel.errors import LinuxError
from fetchsan.kernel.syscalls.layouts import pack_statfs, pack_statx
from fetchsan.kernel.syscalls.paths import locate, locate_inode, path_argument
from fetchsan.kernel.syscalls.structs import NANOSECONDS
from fetchsan.kernel.syscalls.table import refuse, s32, syscall, u32
from fetchsan.kernel.vfs.dentry import Dentry
from fetchsan.kernel.vfs.flags import (
    AT_EACCESS,
    AT_EMPTY_PATH,
    AT_FDCWD,
    AT_NO_AUTOMOUNT,
    AT_STATX_SYNC_TYPE,
    AT_SYMLINK_NOFOLLOW,
    O_PATH,
)
from fetchsan.kernel.vfs.inode import Inode, SymlinkInode

if TYPE_CHECKING:
    from fetchsan.kernel.task import Task

__all__: list[str] = []

_STAT_FLAGS = AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH | AT_NO_AUTOMOUNT
_STATX_RESERVED = 0x8000_0000
_UTIME_NOW, _UTIME_OMIT = (1 << 30) - 1, (1 << 30) - 2
_TIMESPECS = struct.Struct("<qqqq")
_UNCHANGED = 0xFFFF_FFFF  # chown(2): -1 leaves an owner as it is


@syscall
def sys_fstat(task: Task, fd: int, address: int) -> int:
    task.memory.write(address, task.kernel.abi.pack_stat(task.files.get(s32(fd)).inode.stat()))
    return 0


@syscall
def sys_newfstatat(task: Task, dirfd: int, path: int, address: int, flags: int) -> int:
    inode, _ = locate_inode(task, dirfd, path_argument(task, path), _checked(flags, _STAT_FLAGS))
    task.memory.write(address, task.kernel.abi.pack_stat(inode.stat()))
    return 0


@syscall
def sys_statx(task: Task, dirfd: int, path: int, flags: int, mask: int, address: int) -> int:
    if u32(mask) & _STATX_RESERVED or flags & AT_STATX_SYNC_TYPE == AT_STATX_SYNC_TYPE:
        raise LinuxError(errno.EINVAL)
    # Linux 6.11 and later take NULL for the empty path.
    name = path_argument(task, path) if path or not flags & AT_EMPTY_PATH else b""
    inode, _ = locate_inode(task, dirfd, name, _checked(flags, _STAT_FLAGS | AT_STATX_SYNC_TYPE))
    task.memory.write(address, pack_statx(inode.stat()))
    return 0


@syscall
def sys_faccessat(task: Task, dirfd: int, path: int, mode: int) -> int:
    return sys_faccessat2(task, dirfd, path, mode, 0)


@syscall
def sys_faccessat2(task: Task, dirfd: int, path: int, mode: int, flags: int) -> int:
    if u32(mode) & ~7:
        raise LinuxError(errno.EINVAL)
    known = AT_EACCESS | AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH
    inode, dentry = locate_inode(task, dirfd, path_argument(task, path), _checked(flags, known))
    if dentry is not None:
        task.fs.vfs.check_access(dentry, mode)
    elif not inode.allowed(mode):
        raise LinuxError(errno.EACCES)
    return 0


@syscall
def sys_readlinkat(task: Task, dirfd: int, path: int, address: int, size: int) -> int:
    if s32(size) <= 0:
        raise LinuxError(errno.EINVAL)
    name = path_argument(task, path)
    # The empty path means the link that dirfd was opened on with O_PATH|O_NOFOLLOW (readlinkat(2)).
    inode = locate_inode(task, dirfd, name, AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH)[0]
    if not isinstance(inode, SymlinkInode):
        raise LinuxError(errno.EINVAL if name else errno.ENOENT)
    target = inode.target()[: s32(size)]
    task.memory.write(address, target)
    return len(target)


@syscall
def sys_fchmod(task: Task, fd: int, mode: int) -> int:
    dentry = _opened(task, fd)
    if dentry is not None:
        task.fs.vfs.change_mode(dentry, mode)
    return 0


@syscall
def sys_fchmodat(task: Task, dirfd: int, path: int, mode: int) -> int:
    task.fs.vfs.change_mode(locate(task, dirfd, path_argument(task, path)), mode)
    return 0


@syscall
def sys_fchmodat2(task: Task, dirfd: int, path: int, mode: int, flags: int) -> int:
    inode, dentry = locate_inode(
        task, dirfd, path_argument(task, path), _checked(flags, AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH)
    )
    if isinstance(inode, SymlinkInode) or dentry is None:
        raise LinuxError(errno.EOPNOTSUPP)
    task.fs.vfs.change_mode(dentry, mode)
    return 0


@syscall
def sys_fchown(task: Task, fd: int, uid: int, gid: int) -> int:
    _opened(task, fd)
    return _change_owner(task.files.get(s32(fd)).inode, uid, gid)


@syscall
def sys_fchownat(task: Task, dirfd: int, path: int, uid: int, gid: int, flags: int) -> int:
    inode, dentry = locate_inode(
        task, dirfd, path_argument(task, path), _checked(flags, AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH)
    )
    if dentry is not None and dentry.mount.read_only:
        raise LinuxError(errno.EROFS)
    return _change_owner(inode, uid, gid)


def _change_owner(inode: Inode, uid: int, gid: int) -> int:
    """The guest's user is not privileged: giving a file to whom it belongs is all it may do (chown(2), EPERM)."""
    st = inode.stat()
    if u32(uid) not in (_UNCHANGED, st.uid) or u32(gid) not in (_UNCHANGED, st.gid):
        raise LinuxError(errno.EPERM)
    return 0


@syscall
def sys_utimensat(task: Task, dirfd: int, path: int, times: int, flags: int) -> int:
    name = path_argument(task, path) if path else b""
    _checked(flags, AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH)
    # NULL for the path is how futimens(3) names the descriptor itself.
    _, dentry = locate_inode(task, dirfd, name, flags if path else AT_EMPTY_PATH)
    now = task.kernel.clock.realtime_ns()
    atime: int | None = now
    mtime: int | None = now
    if times:
        seconds_a, nanoseconds_a, seconds_m, nanoseconds_m = _TIMESPECS.unpack(task.memory.read(times, _TIMESPECS.size))
        atime, mtime = _time(seconds_a, nanoseconds_a, now), _time(seconds_m, nanoseconds_m, now)
    if dentry is not None and (atime, mtime) != (None, None):
        task.fs.vfs.change_times(dentry, atime, mtime)
    return 0


def _time(seconds: int, nanoseconds: int, now: int) -> int | None:
    if nanoseconds == _UTIME_OMIT:
        return None
    if nanoseconds == _UTIME_NOW:
        return now
    if not 0 <= nanoseconds < NANOSECONDS:
        raise LinuxError(errno.EINVAL)
    # What a file system can store: timestamps are clamped to 64 bits of nanoseconds, as the host takes them.
    return max(-(1 << 63), min(seconds * NANOSECONDS + nanoseconds, (1 << 63) - 1))


@syscall
def sys_umask(task: Task, mask: int) -> int:
    old, task.fs.umask = task.fs.umask, mask & 0o777
    return old


@syscall
def sys_statfs(task: Task, path: int, address: int) -> int:
    dentry = locate(task, AT_FDCWD, path_argument(task, path))
    return _statfs(task, dentry.inode, dentry, address)


@syscall
def sys_fstatfs(task: Task, fd: int, address: int) -> int:
    file = task.files.get(s32(fd))
    return _statfs(task, file.inode, file.dentry, address)


def _statfs(task: Task, inode: Inode, dentry: Dentry | None, address: int) -> int:
    read_only = dentry is not None and dentry.mount.read_only
    task.memory.write(address, pack_statfs(inode.file_system_statistics(), inode.dev, read_only=read_only))
    return 0


# Extended attributes: no file has any, and none can be given one (xattr(7): "not supported by the file system").
refuse(
    errno.EOPNOTSUPP,
    [f"{which}{call}" for call in ("setxattr", "getxattr", "listxattr", "removexattr") for which in ("", "l", "f")],
)


def _checked(flags: int, known: int) -> int:
    """AT_* flags; EINVAL for one that the call does not have."""
    if u32(flags) & ~known:
        raise LinuxError(errno.EINVAL)
    return flags


def _opened(task: Task, fd: int) -> Dentry | None:
    """The place of an open file; EBADF if it is only a place (O_PATH)."""
    file = task.files.get(s32(fd))
    if file.flags & O_PATH:
        raise LinuxError(errno.EBADF)
    return file.dentry
