# SPDX-License-Identifier: GPL-2.0-or-later
"""The numbers of the Linux file ABI, as arm64 has them (`kernel/abi/open_flags.py` translates x86-64's).

The host's own `os.O_*` may differ, so nothing here is taken from it: a guest's flags never reach the host as they are.
"""

from __future__ import annotations

import stat
from typing import Final

__all__ = [
    "AT_EACCESS", "AT_EMPTY_PATH", "AT_FDCWD", "AT_NO_AUTOMOUNT", "AT_REMOVEDIR", "AT_STATX_SYNC_TYPE",
    "AT_SYMLINK_FOLLOW", "AT_SYMLINK_NOFOLLOW", "DT_CHR", "DT_DIR", "DT_LNK", "DT_REG", "DT_UNKNOWN", "NAME_MAX",
    "O_ACCMODE", "O_APPEND", "O_ASYNC", "O_CLOEXEC", "O_CREAT", "O_DIRECT", "O_DIRECTORY", "O_DSYNC", "O_EXCL",
    "O_LARGEFILE", "O_NOATIME", "O_NOCTTY", "O_NOFOLLOW", "O_NONBLOCK", "O_PATH", "O_RDONLY", "O_RDWR", "O_SETTABLE", "O_SYNC",
    "O_TMPFILE", "O_TRUNC", "O_WRONLY", "PATH_MAX", "POLLERR", "POLLHUP", "POLLIN", "POLLNVAL", "POLLOUT",
    "RESOLVE_ALL", "RESOLVE_BENEATH", "RESOLVE_CACHED", "RESOLVE_IN_ROOT", "RESOLVE_NO_MAGICLINKS",
    "RESOLVE_NO_SYMLINKS", "RESOLVE_NO_XDEV", "SEEK_CUR", "SEEK_DATA", "SEEK_END", "SEEK_HOLE", "SEEK_SET",
    "entry_kind",
]  # fmt: skip

PATH_MAX: Final = 4096
NAME_MAX: Final = 255

O_RDONLY: Final = 0
O_WRONLY: Final = 1
O_RDWR: Final = 2
O_ACCMODE: Final = 3
O_CREAT: Final = 0o100
O_EXCL: Final = 0o200
O_NOCTTY: Final = 0o400
O_TRUNC: Final = 0o1000
O_APPEND: Final = 0o2000
O_NONBLOCK: Final = 0o4000
O_DSYNC: Final = 0o10000
O_ASYNC: Final = 0o20000
O_DIRECTORY: Final = 0o40000
O_NOFOLLOW: Final = 0o100000
O_DIRECT: Final = 0o200000
O_LARGEFILE: Final = 0o400000
O_NOATIME: Final = 0o1000000
O_CLOEXEC: Final = 0o2000000
O_SYNC: Final = 0o4010000
O_PATH: Final = 0o10000000
O_TMPFILE: Final = 0o20000000 | O_DIRECTORY
O_SETTABLE: Final = O_APPEND | O_NONBLOCK | O_ASYNC | O_DIRECT | O_NOATIME  # by F_SETFL, fcntl(2)

AT_FDCWD: Final = -100
AT_SYMLINK_NOFOLLOW: Final = 0x100
AT_EACCESS: Final = 0x200
AT_REMOVEDIR: Final = 0x200
AT_SYMLINK_FOLLOW: Final = 0x400
AT_NO_AUTOMOUNT: Final = 0x800
AT_EMPTY_PATH: Final = 0x1000
AT_STATX_SYNC_TYPE: Final = 0x6000

RESOLVE_NO_XDEV: Final = 0x01
RESOLVE_NO_MAGICLINKS: Final = 0x02
RESOLVE_NO_SYMLINKS: Final = 0x04
RESOLVE_BENEATH: Final = 0x08
RESOLVE_IN_ROOT: Final = 0x10
RESOLVE_CACHED: Final = 0x20
RESOLVE_ALL: Final = 0x3F

SEEK_SET: Final = 0
SEEK_CUR: Final = 1
SEEK_END: Final = 2
SEEK_DATA: Final = 3
SEEK_HOLE: Final = 4

POLLIN: Final = 0x001
POLLOUT: Final = 0x004
POLLERR: Final = 0x008
POLLHUP: Final = 0x010
POLLNVAL: Final = 0x020

DT_UNKNOWN: Final = 0
DT_CHR: Final = 2
DT_DIR: Final = 4
DT_REG: Final = 8
DT_LNK: Final = 10


def entry_kind(mode: int) -> int:
    """The DT_* value of a file mode (DT_* are the S_IFMT bits shifted down)."""
    return stat.S_IFMT(mode) >> 12
