# SPDX-License-Identifier: GPL-2.0-or-later
"""The C structures of the file calls: stat (each port's own), statx, statfs, linux_dirent and linux_dirent64."""

from __future__ import annotations

import os
import struct

from fetchsan.kernel.host import FileStat
from fetchsan.kernel.vfs.inode import DirectoryEntry, FileSystemStat

__all__ = ["STATX_BASIC", "pack_dirent", "pack_old_dirent", "pack_stat", "pack_stat_x86_64", "pack_statfs", "pack_statx"]

_SECOND = 1_000_000_000
_STAT = struct.Struct("<QQIIIIQQqiiqqQqQqQII")
_STAT_X86_64 = struct.Struct("<QQQIIIIQqqqqQqQqQ24x")
_STATX_HEAD = struct.Struct("<IIQIIIHHQQQQ")
_STATX_TIME = struct.Struct("<qII")
_STATX_DEVICES = struct.Struct("<IIII")
_STATX_SIZE = 256
_STATFS = struct.Struct("<QQQQQQQQQQQ32x")
_DIRENT = struct.Struct("<QqHB")
_OLD_DIRENT = struct.Struct("<QqH")

STATX_BASIC = 0x7FF
_ST_RDONLY, _ST_RELATIME = 1, 0x1000


def _times(st: FileStat) -> list[int]:
    return [part for time in (st.atime, st.mtime, st.ctime) for part in divmod(time, _SECOND)]


def pack_stat(st: FileStat) -> bytes:
    """struct stat: 128 bytes (asm-generic/stat.h)."""
    return _STAT.pack(
        st.dev, st.ino, st.mode, st.nlink, st.uid, st.gid, st.rdev, 0, st.size, st.blksize, 0, st.blocks, *_times(st), 0, 0
    )


def pack_stat_x86_64(st: FileStat) -> bytes:
    """struct stat: 144 bytes."""
    return _STAT_X86_64.pack(
        st.dev, st.ino, st.nlink, st.mode, st.uid, st.gid, 0, st.rdev, st.size, st.blksize, st.blocks, *_times(st)
    )


def pack_statx(st: FileStat) -> bytes:
    """struct statx: 256 bytes; everything of STATX_BASIC_STATS, and no time of birth."""
    head = _STATX_HEAD.pack(
        STATX_BASIC, st.blksize, 0, st.nlink, st.uid, st.gid, st.mode, 0, st.ino, st.size, st.blocks, 0
    )
    born = _STATX_TIME.pack(0, 0, 0)
    accessed, modified, changed = (_STATX_TIME.pack(*divmod(t, _SECOND), 0) for t in (st.atime, st.mtime, st.ctime))
    devices = _STATX_DEVICES.pack(os.major(st.rdev), os.minor(st.rdev), os.major(st.dev), os.minor(st.dev))
    return (head + accessed + born + changed + modified + devices).ljust(_STATX_SIZE, b"\0")


def pack_statfs(fs: FileSystemStat, dev: int, *, read_only: bool) -> bytes:
    """struct statfs: 120 bytes."""
    return _STATFS.pack(
        fs.magic, fs.block_size, fs.blocks, fs.free, fs.available, fs.files, fs.free_files, dev & 0xFFFF_FFFF,
        fs.longest_name, fs.fragment_size, _ST_RELATIME | (_ST_RDONLY if read_only else 0),
    )  # fmt: skip


def pack_dirent(entry: DirectoryEntry, next_offset: int) -> bytes:
    """struct linux_dirent64, padded to 8 bytes (getdents64(2))."""
    size = -(-(_DIRENT.size + len(entry.name) + 1) // 8) * 8
    return (_DIRENT.pack(entry.ino, next_offset, size, entry.kind) + entry.name).ljust(size, b"\0")


def pack_old_dirent(entry: DirectoryEntry, next_offset: int) -> bytes:
    """struct linux_dirent, whose type is its last byte (getdents(2))."""
    size = -(-(_OLD_DIRENT.size + len(entry.name) + 2) // 8) * 8
    packed = _OLD_DIRENT.pack(entry.ino, next_offset, size) + entry.name
    return packed.ljust(size - 1, b"\0") + bytes((entry.kind,))
