# SPDX-License-Identifier: GPL-2.0-or-later
"""Owns System V shared memory as OSv has it (libc/shm.cc): a segment's number is a file descriptor of its `shm_file`."""

from __future__ import annotations

import errno
import stat
import struct
from typing import TYPE_CHECKING, Final

from fetchsan.kernel.errors import LinuxError
from fetchsan.kernel.mmu.operate import PAGE_SIZE, page_up
from fetchsan.kernel.mmu.shm_file import ShmFile
from fetchsan.kernel.mmu.vma import MMAP_FIXED, MMAP_SHARED, PERM_EXEC, PERM_READ, PERM_WRITE, FileVma
from fetchsan.kernel.osv.calls import call
from fetchsan.kernel.syscalls.table import s32
from fetchsan.kernel.vfs.flags import O_RDWR
from fetchsan.kernel.vfs.open_file import OpenFile
from fetchsan.kernel.vfs.pipes import AnonymousInode

if TYPE_CHECKING:
    from fetchsan.kernel.osv.thread import Thread

__all__: list[str] = []

_IPC_PRIVATE: Final = 0
_IPC_CREAT, _IPC_EXCL = 0o1000, 0o2000
_SHM_RDONLY, _SHM_RND, _SHM_EXEC = 0o10000, 0o20000, 0o100000
# struct shmid_ds: shm_perm (48 bytes, of which key, mode), shm_segsz, three times, two pids, shm_nattch.
_SHMID_DS = struct.Struct("<i16xI24xQ24x8xQ16x")


class _Segment(OpenFile):
    """The descriptor of a segment: it can be attached, and nothing else."""

    def __init__(self, shared: ShmFile) -> None:
        super().__init__(AnonymousInode(f"shm:[{shared.ino}]", stat.S_IFREG | 0o600, shared.ino), None, O_RDWR)
        self.shared = shared

    def release(self) -> None:
        self.shared.release()


@call
def sys_shmget(thread: Thread, key: int, size: int, flags: int) -> int:
    segments = thread.application.segments
    number = s32(key)
    known = segments.get(number) if number != _IPC_PRIVATE else None
    if known is not None:
        if flags & _IPC_CREAT and flags & _IPC_EXCL:
            raise LinuxError(errno.EEXIST)
        if size > _segment(thread, known).shared.size:
            raise LinuxError(errno.EINVAL)
        return known
    if number != _IPC_PRIVATE and not flags & _IPC_CREAT:
        raise LinuxError(errno.ENOENT)
    if not size:
        raise LinuxError(errno.EINVAL)
    if size > thread.space.hardware.memory.size:
        raise LinuxError(errno.ENOMEM)
    segment = _Segment(ShmFile(thread.space.frames, size, len(segments) + 1))
    fd = thread.files.add(segment)
    if number != _IPC_PRIVATE:
        segments[number] = fd
    return fd


@call
def sys_shmat(thread: Thread, segment: int, address: int, flags: int) -> int:
    shared = _segment(thread, segment).shared
    if flags & _SHM_RND:
        address -= address % PAGE_SIZE
    if address % PAGE_SIZE:
        raise LinuxError(errno.EINVAL)
    perm = PERM_READ | (0 if flags & _SHM_RDONLY else PERM_WRITE) | (PERM_EXEC if flags & _SHM_EXEC else 0)
    native = MMAP_SHARED | (MMAP_FIXED if address else 0)
    start = thread.space.map_file(address, shared.size, native, perm, shared, 0)
    thread.application.attached[start] = shared
    return start


@call
def sys_shmdt(thread: Thread, address: int) -> int:
    shared = thread.application.attached.pop(address, None)
    if shared is None:
        raise LinuxError(errno.EINVAL)
    space = thread.space
    for vma in space.vmas.find_intersecting_vmas(address, address + page_up(shared.size)):
        if isinstance(vma, FileVma) and vma.inode is shared:  # the application may have put something else over it
            space.evacuate(vma.start, vma.end)
    return 0


@call
def sys_shmctl(thread: Thread, segment: int, command: int, buffer: int) -> int:
    shared = _segment(thread, segment).shared
    segments = thread.application.segments
    key = next((key for key, fd in segments.items() if fd == s32(segment)), _IPC_PRIVATE)
    match s32(command):
        case 0:  # IPC_RMID: what is attached stays until it is detached
            segments.pop(key, None)
            thread.files.close(s32(segment))
        case 2:  # IPC_STAT
            attached = sum(other is shared for other in thread.application.attached.values())
            thread.memory.write(buffer, _SHMID_DS.pack(key, 0o600, shared.size, attached))
        case _:
            raise LinuxError(errno.EINVAL)
    return 0


def _segment(thread: Thread, fd: int) -> _Segment:
    try:
        file = thread.files.get(s32(fd))
    except LinuxError:
        raise LinuxError(errno.EINVAL) from None
    if not isinstance(file, _Segment):
        raise LinuxError(errno.EINVAL)
    return file
