# SPDX-License-Identifier: GPL-2.0-or-later
"""Opening, reading, writing and positioning files: open(2), read(2), lseek(2), ftruncate(2), sendfile(2) and kin."""

from __future__ import annotations

import errno
import struct
from collections.abc import Sequence
from typing import TYPE_CHECKING

from fetchsan.kernel.errors import LinuxError
from fetchsan.kernel.mmu.operate import PAGE_SIZE
from fetchsan.kernel.mmu.write_back import WriteBackFailure
from fetchsan.kernel.syscalls.paths import directory_at, locate, path_argument
from fetchsan.kernel.syscalls.table import s32, s64, syscall, u32
from fetchsan.kernel.syscalls.transfer import (
    Segments,
    check_offset,
    fetch,
    put,
    read_into,
    read_segments,
    readable_file,
    truncate,
    until_ready,
    writable_file,
    write_from,
)
from fetchsan.kernel.vfs.flags import (
    O_ACCMODE,
    O_APPEND,
    O_ASYNC,
    O_CLOEXEC,
    O_CREAT,
    O_DIRECT,
    O_DIRECTORY,
    O_EXCL,
    O_LARGEFILE,
    O_NOATIME,
    O_NOCTTY,
    O_NOFOLLOW,
    O_NONBLOCK,
    O_PATH,
    O_SYNC,
    O_TMPFILE,
    O_TRUNC,
    RESOLVE_ALL,
    RESOLVE_BENEATH,
    RESOLVE_CACHED,
    RESOLVE_IN_ROOT,
    SEEK_DATA,
    SEEK_HOLE,
)
from fetchsan.kernel.vfs.inode import RegularInode
from fetchsan.kernel.vfs.open_file import MAX_OFFSET, OpenFile, RegularFile

if TYPE_CHECKING:
    from fetchsan.kernel.task import Task

__all__ = ["open_file"]

_KNOWN_FLAGS = (
    O_ACCMODE | O_CREAT | O_EXCL | O_NOCTTY | O_TRUNC | O_APPEND | O_NONBLOCK | O_SYNC | O_ASYNC | O_DIRECTORY
    | O_NOFOLLOW | O_DIRECT | O_LARGEFILE | O_NOATIME | O_CLOEXEC | O_PATH | O_TMPFILE
)  # fmt: skip
_OPEN_HOW = struct.Struct("<QQQ")
_COPY_CHUNK = 1 << 20
_FALLOC_KEEP_SIZE, _FALLOC_PUNCH_HOLE = 1, 2
_RWF_KNOWN = 0x1F


@syscall
def sys_openat(task: Task, dirfd: int, path: int, flags: int, mode: int) -> int:
    return open_file(task, dirfd, path, task.kernel.abi.open_flags.to_vfs(flags), mode)


def open_file(task: Task, dirfd: int, path: int, flags: int, mode: int) -> int:
    """open(2) and openat(2), with the VFS's flags; unknown ones are ignored."""
    return _open(task, dirfd, path_argument(task, path), flags & _KNOWN_FLAGS, mode & 0o7777, 0)


@syscall
def sys_openat2(task: Task, dirfd: int, path: int, how: int, size: int) -> int:
    if size < _OPEN_HOW.size:
        raise LinuxError(errno.EINVAL)
    if size > 4096 or any(task.memory.read(how + _OPEN_HOW.size, size - _OPEN_HOW.size)):
        raise LinuxError(errno.E2BIG)
    flags, mode, rules = _OPEN_HOW.unpack(task.memory.read(how, _OPEN_HOW.size))
    flags = task.kernel.abi.open_flags.to_vfs(flags)
    makes = flags & O_CREAT or flags & O_TMPFILE == O_TMPFILE
    both = RESOLVE_BENEATH | RESOLVE_IN_ROOT
    if flags & ~_KNOWN_FLAGS or mode & ~0o7777 or (mode and not makes) or rules & ~RESOLVE_ALL or rules & both == both:
        raise LinuxError(errno.EINVAL)
    if rules & RESOLVE_CACHED:
        raise LinuxError(errno.EAGAIN)  # allowed at any time, and there is no cache to answer from
    return _open(task, dirfd, path_argument(task, path), flags, mode, rules)


def _open(task: Task, dirfd: int, path: bytes, flags: int, mode: int, rules: int) -> int:
    fs = task.fs
    start = directory_at(task, dirfd, b"" if rules & RESOLVE_IN_ROOT else path)
    file = fs.vfs.open(start, path, flags & ~O_CLOEXEC, mode, umask=fs.umask, rules=rules)
    fd = task.files.add(file, close_on_exec=bool(flags & O_CLOEXEC))
    if flags & O_TRUNC and isinstance(file, RegularFile) and not flags & O_PATH:
        truncate(task, file.inode, 0)
    return fd


@syscall
def sys_close(task: Task, fd: int) -> int:
    task.files.close(s32(fd))
    return 0


@syscall
def sys_read(task: Task, fd: int, address: int, size: int) -> int:
    return _read(task, fd, [(address, size)])


@syscall
def sys_readv(task: Task, fd: int, vector: int, count: int) -> int:
    return _read(task, fd, read_segments(task, vector, count))


@syscall
def sys_pread64(task: Task, fd: int, address: int, size: int, offset: int) -> int:
    return _read(task, fd, [(address, size)], check_offset(s64(offset)))


@syscall
def sys_preadv(task: Task, fd: int, vector: int, count: int, offset: int) -> int:
    return _read(task, fd, read_segments(task, vector, count), check_offset(s64(offset)))


@syscall
def sys_preadv2(task: Task, fd: int, vector: int, count: int, offset: int, _: int, flags: int) -> int:
    return _read(task, fd, read_segments(task, vector, count), _offset_or_own(offset, flags))


@syscall
def sys_write(task: Task, fd: int, address: int, size: int) -> int:
    return _write(task, fd, [(address, size)])


@syscall
def sys_writev(task: Task, fd: int, vector: int, count: int) -> int:
    return _write(task, fd, read_segments(task, vector, count))


@syscall
def sys_pwrite64(task: Task, fd: int, address: int, size: int, offset: int) -> int:
    return _write(task, fd, [(address, size)], check_offset(s64(offset)))


@syscall
def sys_pwritev(task: Task, fd: int, vector: int, count: int, offset: int) -> int:
    return _write(task, fd, read_segments(task, vector, count), check_offset(s64(offset)))


@syscall
def sys_pwritev2(task: Task, fd: int, vector: int, count: int, offset: int, _: int, flags: int) -> int:
    return _write(task, fd, read_segments(task, vector, count), _offset_or_own(offset, flags))


def _read(task: Task, fd: int, segments: Segments, offset: int | None = None) -> int:
    file = readable_file(task, s32(fd))
    return until_ready(task, lambda: read_into(task, file, segments, offset))


def _write(task: Task, fd: int, segments: Segments, offset: int | None = None) -> int:
    file = writable_file(task, s32(fd))
    return until_ready(task, lambda: write_from(task, file, segments, offset))


def _offset_or_own(offset: int, flags: int) -> int | None:
    """preadv2(2): -1 is the file's own offset."""
    if u32(flags) & ~_RWF_KNOWN:
        raise LinuxError(errno.EOPNOTSUPP)
    return None if s64(offset) == -1 else check_offset(s64(offset))


@syscall
def sys_lseek(task: Task, fd: int, offset: int, whence: int) -> int:
    file = task.files.get(s32(fd))
    if not (file.readable or file.writable):
        raise LinuxError(errno.EBADF)  # O_PATH
    if s32(whence) in (SEEK_DATA, SEEK_HOLE):
        task.kernel.page_cache.write_back(file.inode)  # where a mapping was stored to is no hole
    return file.seek(s64(offset), s32(whence))


@syscall
def sys_ftruncate(task: Task, fd: int, size: int) -> int:
    _check_size(s64(size))
    file = task.files.get(s32(fd))
    if not file.writable or not file.inode.mappable:
        raise LinuxError(errno.EINVAL)
    truncate(task, file.inode, size)
    return 0


@syscall
def sys_truncate(task: Task, path: int, size: int) -> int:
    _check_size(s64(size))
    dentry = locate(task, -100, path_argument(task, path))
    truncate(task, task.fs.vfs.check_truncate(dentry), size)
    return 0


def _check_size(size: int) -> None:
    if size < 0:
        raise LinuxError(errno.EINVAL)


@syscall
def sys_fallocate(task: Task, fd: int, mode: int, offset: int, size: int) -> int:
    file = writable_file(task, s32(fd))
    if s64(offset) < 0 or s64(size) <= 0:
        raise LinuxError(errno.EINVAL)
    if offset + size > MAX_OFFSET:
        raise LinuxError(errno.EFBIG)
    if not isinstance(file.inode, RegularInode):
        raise LinuxError(errno.ESPIPE if not file.seekable else errno.ENODEV)
    mode = u32(mode)
    if mode == _FALLOC_KEEP_SIZE | _FALLOC_PUNCH_HOLE:
        return _punch_hole(task, file, offset, size)
    if mode & ~_FALLOC_KEEP_SIZE:
        raise LinuxError(errno.EOPNOTSUPP)
    if mode & _FALLOC_KEEP_SIZE:
        return 0  # storage beyond the end is a promise that nothing here could break
    file.inode.allocate(offset, size)
    return 0


def _punch_hole(task: Task, file: OpenFile, offset: int, size: int) -> int:
    """FALLOC_FL_PUNCH_HOLE: the range within the file reads as zeros."""
    end = min(offset + size, file.inode.size)
    while offset < end:
        offset += put(task, file, bytes(min(_COPY_CHUNK, end - offset)), offset)
    return 0


@syscall
def sys_sendfile(task: Task, out_fd: int, in_fd: int, offset: int, size: int) -> int:
    source, target = readable_file(task, s32(in_fd)), writable_file(task, s32(out_fd))
    if not isinstance(source.inode, RegularInode) or target.flags & O_APPEND:
        raise LinuxError(errno.EINVAL)
    return _copy_with_offsets(task, source, offset, target, 0, size)


@syscall
def sys_copy_file_range(task: Task, in_fd: int, in_at: int, out_fd: int, out_at: int, size: int, flags: int) -> int:
    source, target = readable_file(task, s32(in_fd)), writable_file(task, s32(out_fd))
    if target.flags & O_APPEND:
        raise LinuxError(errno.EBADF)
    if u32(flags) or not isinstance(source.inode, RegularInode) or not isinstance(target.inode, RegularInode):
        raise LinuxError(errno.EINVAL)
    return _copy_with_offsets(task, source, in_at, target, out_at, size)


def _copy_with_offsets(task: Task, source: OpenFile, in_at: int, target: OpenFile, out_at: int, size: int) -> int:
    """Copy between files; each offset is in guest memory if its address is given, else the file's own."""
    read_at = check_offset(s64(task.memory.read_u64(in_at))) if in_at else None
    write_at = check_offset(s64(task.memory.read_u64(out_at))) if out_at else None
    done = until_ready(task, lambda: _copy(task, source, read_at, target, write_at, size))
    if in_at and read_at is not None:
        task.memory.write_u64(in_at, read_at + done)
    if out_at and write_at is not None:
        task.memory.write_u64(out_at, write_at + done)
    return done


def _copy(task: Task, source: OpenFile, read_at: int | None, target: OpenFile, write_at: int | None, size: int) -> int:
    done = 0
    while done < min(size, 0x7FFF_F000):
        at = source.offset if read_at is None else read_at + done
        data = fetch(task, source, min(_COPY_CHUNK, size - done), at)
        if not data:
            break
        try:
            written = put(task, target, data, None if write_at is None else write_at + done)
        except LinuxError:
            if done:
                break
            raise
        done += written
        if read_at is None:
            source.offset += written
    return done


@syscall
def sys_splice(task: Task, in_fd: int, in_at: int, out_fd: int, out_at: int, size: int, flags: int) -> int:
    raise LinuxError(errno.EINVAL)  # "target file system does not support splicing" (splice(2)): callers fall back


def _written_back(failures: Sequence[WriteBackFailure]) -> None:
    if failures:
        raise LinuxError(failures[0].errno)


@syscall
def sys_fsync(task: Task, fd: int) -> int:
    file = task.files.get(s32(fd))
    if file.flags & O_PATH:
        raise LinuxError(errno.EBADF)
    _written_back(task.kernel.page_cache.write_back(file.inode))
    file.inode.sync()
    return 0


@syscall
def sys_fdatasync(task: Task, fd: int) -> int:
    return sys_fsync(task, fd)


@syscall
def sys_sync(task: Task) -> int:
    """What write(2) wrote is with the host already; stores through mappings are not. Failures are told later (sync(2))."""
    task.kernel.page_cache.write_back_all()
    return 0


@syscall
def sys_syncfs(task: Task, fd: int) -> int:
    task.files.get(s32(fd))
    _written_back(task.kernel.page_cache.write_back_all())
    return 0


@syscall
def sys_sync_file_range(task: Task, fd: int, offset: int, size: int, flags: int) -> int:
    file = task.files.get(s32(fd))
    if s64(offset) < 0 or s64(size) < 0:
        raise LinuxError(errno.EINVAL)
    last = -(-(offset + size) // PAGE_SIZE) if size else None
    _written_back(task.kernel.page_cache.write_back(file.inode, offset // PAGE_SIZE, last))
    return 0


@syscall
def sys_fadvise64(task: Task, fd: int, offset: int, size: int, advice: int) -> int:
    file = task.files.get(s32(fd))
    if not file.seekable:
        raise LinuxError(errno.ESPIPE)
    if s64(size) < 0 or not 0 <= s32(advice) <= 5:
        raise LinuxError(errno.EINVAL)
    return 0


@syscall
def sys_readahead(task: Task, fd: int, offset: int, size: int) -> int:
    if not isinstance(readable_file(task, s32(fd)), RegularFile):
        raise LinuxError(errno.EINVAL)
    return 0
