# SPDX-License-Identifier: GPL-2.0-or-later
"""Owns mmap and its relatives as OSv's applications call them (libc/mman.cc)."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from fetchsan.kernel.errors import LinuxError
from fetchsan.kernel.mmu.mman import Map
from fetchsan.kernel.mmu.operate import PAGE_SIZE, page_down, page_up
from fetchsan.kernel.osv.calls import call, declare
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


@call
def sys_msync(thread: Thread, address: int, length: int, flags: int) -> int:
    thread.space.msync(address, length)
    return 0


@call
def sys_mincore(thread: Thread, address: int, length: int, vector: int) -> int:
    pages = page_up(length) // PAGE_SIZE
    if not thread.space.vmas.ismapped(page_down(address), address + length):
        raise LinuxError(errno.ENOMEM)
    for done in range(0, pages, PAGE_SIZE):  # a page of the vector at a time: it may be as long as a mapping of nothing
        part = thread.space.mincore(address + done * PAGE_SIZE, min(PAGE_SIZE, pages - done))
        thread.memory.write(vector + done, part)
    return 0


@call
def sys_madvise(thread: Thread, address: int, length: int, advice: int) -> int:
    thread.space.madvise(address, length, s32(advice))
    return 0


@call
def sys_mremap(thread: Thread, address: int, old_length: int, new_length: int, flags: int) -> int:
    return thread.space.mremap(address, old_length, new_length, flags)


@call
def sys_brk(thread: Thread, address: int) -> int:
    return thread.space.brk(address)


def _stub(thread: Thread) -> int:
    """Nothing is ever paged out; OSv does not look at the arguments either."""
    return 0


for _name in ("mlock", "munlock", "mlock2", "mlockall", "munlockall"):
    declare(_name, _stub)
