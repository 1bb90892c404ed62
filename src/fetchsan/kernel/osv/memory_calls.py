# SPDX-License-Identifier: GPL-2.0-or-later
"""Owns mmap and its relatives as OSv's applications call them (libc/mman.cc)."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from fetchsan.kernel.errors import LinuxError
from fetchsan.kernel.mmu.mman import Map
from fetchsan.kernel.osv.calls import call
from fetchsan.kernel.syscalls.table import s32
from fetchsan.kernel.vfs.inode import RegularInode

if TYPE_CHECKING:
    from fetchsan.kernel.osv.thread import Thread

__all__: list[str] = []


@call
def sys_mmap(thread: Thread, address: int, length: int, prot: int, flags: int, fd: int, offset: int) -> int:
    if flags & Map.ANONYMOUS:
        return thread.space.mmap(address, length, prot, flags, offset=offset)
    file = thread.files.get(s32(fd))
    if not file.readable:
        raise LinuxError(errno.EACCES)
    if not isinstance(file.inode, RegularInode):
        raise LinuxError(errno.ENODEV)
    return thread.space.mmap(address, length, prot, flags, file.inode, offset, may_write=file.writable)


@call
def sys_munmap(thread: Thread, address: int, length: int) -> int:
    thread.space.munmap(address, length)
    return 0


@call
def sys_mprotect(thread: Thread, address: int, length: int, prot: int) -> int:
    thread.space.mprotect(address, length, prot)
    return 0
