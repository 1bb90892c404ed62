# SPDX-License-Identifier: GPL-2.0-or-later
"""Owns the system calls of memory: mmap(2) and its relatives, for the Linux arm64 ABI."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from fetchsan.kernel.errors import LinuxError
from fetchsan.kernel.mmu.advice import madvise, mincore, msync
from fetchsan.kernel.mmu.lock import mlock, mlockall, munlock, munlockall
from fetchsan.kernel.mmu.mman import Map
from fetchsan.kernel.mmu.operate import PAGE_SIZE, page_up
from fetchsan.kernel.mmu.remap import mremap
from fetchsan.kernel.syscalls.table import s32, syscall
from fetchsan.kernel.vfs.flags import O_PATH

if TYPE_CHECKING:
    from fetchsan.kernel.task import Task

__all__: list[str] = []

_U32 = 0xFFFF_FFFF
_MLOCK_ONFAULT = 1
_MPOL_F_NODE, _MPOL_F_ADDR, _MPOL_F_MEMS_ALLOWED = 1, 2, 4
_MAX_NODE_BITS = PAGE_SIZE * 8  # mm/mempolicy.c refuses longer masks


@syscall
def sys_mmap(task: Task, address: int, length: int, prot: int, flags: int, fd: int, offset: int) -> int:
    """mmap(2)."""
    if offset % PAGE_SIZE:
        raise LinuxError(errno.EINVAL)  # before the descriptor is looked at
    if flags & Map.ANONYMOUS:
        return task.space.mmap(address, length, prot, flags, offset=offset)
    file = task.files.get(s32(fd))
    if file.flags & O_PATH:
        raise LinuxError(errno.EBADF)
    denied = errno.EACCES if not file.readable else 0 if file.inode.mappable else errno.ENODEV
    return task.space.mmap(
        address, length, prot, flags, file.inode, offset, may_write=file.writable, denied=denied
    )


@syscall
def sys_munmap(task: Task, address: int, length: int) -> int:
    """munmap(2)."""
    task.space.munmap(address, length)
    return 0


@syscall
def sys_mprotect(task: Task, address: int, length: int, prot: int) -> int:
    """mprotect(2)."""
    task.space.mprotect(address, length, prot)
    return 0


@syscall
def sys_brk(task: Task, address: int) -> int:
    """brk(2), as the kernel has it: returns the end of the heap."""
    return task.space.brk(address)


@syscall
def sys_mremap(task: Task, address: int, old_length: int, new_length: int, flags: int, target: int) -> int:
    """mremap(2)."""
    return mremap(task.space, address, old_length, new_length, flags, target)


@syscall
def sys_madvise(task: Task, address: int, length: int, advice: int) -> int:
    """madvise(2)."""
    madvise(task.space, address, length, s32(advice))
    return 0


@syscall
def sys_msync(task: Task, address: int, length: int, flags: int) -> int:
    """msync(2)."""
    msync(task.space, address, length, flags & _U32)
    return 0


@syscall
def sys_mincore(task: Task, address: int, length: int, vector: int) -> int:
    """mincore(2)."""
    if address % PAGE_SIZE:
        raise LinuxError(errno.EINVAL)
    if address + length > task.space.layout.limit:
        raise LinuxError(errno.ENOMEM)
    pages = page_up(length) // PAGE_SIZE
    for done in range(0, pages, PAGE_SIZE):  # as Linux: one page of the vector at a time
        part = mincore(task.space, address + done * PAGE_SIZE, min(PAGE_SIZE, pages - done))
        task.memory.write(vector + done, part)
    return 0


@syscall
def sys_mlock(task: Task, address: int, length: int) -> int:
    """mlock(2)."""
    mlock(task.space, address, length)
    return 0


@syscall
def sys_munlock(task: Task, address: int, length: int) -> int:
    """munlock(2)."""
    munlock(task.space, address, length)
    return 0


@syscall
def sys_mlock2(task: Task, address: int, length: int, flags: int) -> int:
    """mlock2(2)."""
    if flags & _U32 & ~_MLOCK_ONFAULT:
        raise LinuxError(errno.EINVAL)
    mlock(task.space, address, length, on_fault=bool(flags & _MLOCK_ONFAULT))
    return 0


@syscall
def sys_mlockall(task: Task, flags: int) -> int:
    """mlockall(2)."""
    mlockall(task.space, flags & _U32)
    return 0


@syscall
def sys_munlockall(task: Task) -> int:
    """munlockall(2)."""
    munlockall(task.space)
    return 0


@syscall
def sys_mbind(task: Task, address: int, length: int, mode: int, mask: int, bits: int, flags: int) -> int:
    """mbind(2): there is one node, so every policy places alike."""
    if address % PAGE_SIZE or bits > _MAX_NODE_BITS:
        raise LinuxError(errno.EINVAL)
    if not task.space.vmas.ismapped(address, address + page_up(length)):
        raise LinuxError(errno.EFAULT)
    return 0


@syscall
def sys_get_mempolicy(task: Task, mode: int, mask: int, bits: int, address: int, flags: int) -> int:
    """get_mempolicy(2): the default policy, on node 0."""
    if flags & ~(_MPOL_F_NODE | _MPOL_F_ADDR | _MPOL_F_MEMS_ALLOWED) or (mask and not 0 < bits <= _MAX_NODE_BITS):
        raise LinuxError(errno.EINVAL)
    if flags & _MPOL_F_ADDR and task.space.vmas.find(address) is None:
        raise LinuxError(errno.EFAULT)
    if mode:
        task.memory.write_u32(mode, 0)
    if mask:
        node_zero = bool(flags & _MPOL_F_MEMS_ALLOWED)
        task.memory.write(mask, int(node_zero).to_bytes((bits + 63) // 64 * 8, "little"))
    return 0


@syscall
def sys_set_mempolicy(task: Task, mode: int, mask: int, bits: int) -> int:
    """set_mempolicy(2)."""
    if bits > _MAX_NODE_BITS:
        raise LinuxError(errno.EINVAL)
    return 0
