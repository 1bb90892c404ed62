# SPDX-License-Identifier: GPL-2.0-or-later
"""Moving bytes between open files and the guest's memory: bounded, partial at a fault, in step with mapped pages.

Mapped pages of a file and read(2)/write(2) of it show the same bytes (mmap(2), MAP_SHARED): reads go through the page
cache, and what was written or cut is told to it.
"""

from __future__ import annotations

import errno
import struct
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from fetchsan.kernel.errors import LinuxError
from fetchsan.kernel.signal_delivery import send_signal
from fetchsan.kernel.signals import Signal, SignalCode, SignalInfo
from fetchsan.kernel.vfs.conditions import BrokenPipe, WouldBlock
from fetchsan.kernel.vfs.flags import O_APPEND
from fetchsan.kernel.vfs.inode import Inode
from fetchsan.kernel.vfs.open_file import MAX_OFFSET, OpenFile, RegularFile

if TYPE_CHECKING:
    from fetchsan.kernel.task import Task

__all__ = [
    "Segments", "check_offset", "fetch", "put", "read_into", "read_segments", "readable_file", "truncate",
    "until_ready", "writable_file", "write_from",
]  # fmt: skip

_MOST = 0x7FFF_F000  # what one call transfers at most (read(2), "On Linux")
_CHUNK = 1 << 20  # what of it is in our memory at a time
_MOST_SEGMENTS = 1024  # IOV_MAX
_IOVEC = struct.Struct("<QQ")

Segments = list[tuple[int, int]]  # (address, size)


def readable_file(task: Task, fd: int) -> OpenFile:
    """The description of a descriptor open for reading; EBADF otherwise."""
    file = task.files.get(fd)
    if not file.readable:
        raise LinuxError(errno.EBADF)
    return file


def writable_file(task: Task, fd: int) -> OpenFile:
    """The description of a descriptor open for writing; EBADF otherwise."""
    file = task.files.get(fd)
    if not file.writable:
        raise LinuxError(errno.EBADF)
    return file


def check_offset(offset: int) -> int:
    """A file offset as pread64 takes it."""
    if not 0 <= offset <= MAX_OFFSET:
        raise LinuxError(errno.EINVAL)
    return offset


def until_ready(task: Task, operation: Callable[[], int]) -> int:
    """Make `operation` again each time that what it waits for has come about. A signal ends the wait with EINTR."""
    while True:
        try:
            return operation()
        except WouldBlock as wait:
            task.kernel.wait(task, wait.waiting_for, wait.ready, None)


def fetch(task: Task, file: OpenFile, size: int, offset: int | None = None) -> bytes:
    """Up to `size` bytes of the file, at its own offset (which moves) or at `offset`."""
    if not isinstance(file, RegularFile):
        return file.read(size) if offset is None else file.pread(size, offset)
    data = task.kernel.page_cache.read(file.inode, file.offset if offset is None else offset, size)
    if offset is None:
        file.offset += len(data)
    return data


def put(task: Task, file: OpenFile, data: bytes, offset: int | None = None) -> int:
    """Write to the file, at its own offset (which moves) or at `offset`; returns how much."""
    if isinstance(file, RegularFile):
        task.kernel.page_cache.file_growing(file.inode, task.pe.index)
    try:
        written = file.write(data) if offset is None else file.pwrite(data, offset)
    except BrokenPipe:
        send_signal(task, SignalInfo(Signal.SIGPIPE, SignalCode.SI_USER, pid=task.pid))
        raise
    if isinstance(file, RegularFile):
        at = file.offset - written if offset is None else offset
        task.kernel.page_cache.file_written(file.inode, at, data[:written], task.pe.index, task.memory.origin)
    return written


def truncate(task: Task, inode: Inode, size: int) -> None:
    """Cut or extend a file, and the pages that map it."""
    task.kernel.page_cache.file_growing(inode, task.pe.index)
    inode.truncate(size)
    task.kernel.page_cache.file_truncated(inode, size, task.pe.index)


def read_segments(task: Task, address: int, count: int) -> Segments:
    """An array of struct iovec; EINVAL as readv(2) says, and no more in total than one call transfers."""
    if count > _MOST_SEGMENTS:
        raise LinuxError(errno.EINVAL)
    segments: Segments = []
    total = 0
    for base, size in _IOVEC.iter_unpack(task.memory.read(address, count * _IOVEC.size)) if count else ():
        if size > MAX_OFFSET:
            raise LinuxError(errno.EINVAL)
        segments.append((base, min(size, _MOST - total)))
        total += segments[-1][1]
    return segments


def read_into(task: Task, file: OpenFile, segments: Segments, offset: int | None = None) -> int:
    """read(2) and its kin, into as much of `segments` as can be stored to; what came before an error counts."""
    if isinstance(file, RegularFile) and (file.offset if offset is None else offset) >= file.end():
        limit = task.space.layout.limit
        if all(address + size <= limit for address, size in segments):
            return 0  # nothing is stored: what could not be does not matter
    segments, total = _accessible(segments, task.memory.writable)
    done = 0
    while True:
        asked = min(total - done, _CHUNK)
        try:
            data = fetch(task, file, asked, None if offset is None else offset + done)
        except LinuxError:
            if done:
                return done
            raise
        _scatter(task, segments, data)
        done += len(data)
        if not isinstance(file, RegularFile) or len(data) < asked or done == total:
            return done


def write_from(task: Task, file: OpenFile, segments: Segments, offset: int | None = None) -> int:
    """write(2) and its kin, of as much of `segments` as can be loaded; what was written before an error counts."""
    segments, total = _accessible(segments, task.memory.readable)
    if offset is not None and isinstance(file, RegularFile) and file.flags & O_APPEND:
        offset = file.end()  # whatever was asked: pwrite(2), "BUGS"
    if not total:
        return put(task, file, b"", offset)
    done = 0
    for data in _gather(task, segments):
        try:
            written = put(task, file, data, None if offset is None else offset + done)
        except LinuxError:
            if done:
                return done
            raise
        done += written
        if written < len(data):
            break
    return done


def _accessible(segments: Segments, reach: Callable[[int, int], int]) -> tuple[Segments, int]:
    """The part of `segments` before the first byte that the program could not access itself; EFAULT if that is none.

    Asked first: bytes taken out of a pipe for an address that cannot take them would be lost, and no more of a file is
    brought into our memory than the program has room for.
    """
    reachable: Segments = []
    total = 0
    for address, size in segments:
        size = min(size, _MOST - total)
        if not size:
            continue
        reached = reach(address, size)
        if not reached and not total:
            raise LinuxError(errno.EFAULT)
        reachable.append((address, reached))
        total += reached
        if reached < size:
            break
    return reachable, total


def _scatter(task: Task, segments: Segments, data: bytes) -> None:
    """Store `data` at the front of `segments`, and take that off them."""
    at = 0
    while at < len(data):
        address, size = segments[0]
        piece = data[at : at + size]
        task.memory.write(address, piece)
        at += len(piece)
        if len(piece) == size:
            del segments[0]
        else:
            segments[0] = address + len(piece), size - len(piece)


def _gather(task: Task, segments: Segments) -> Iterable[bytes]:
    """The segments' bytes, small ones joined: a writev of a line is one write of the host's."""
    pending = bytearray()
    for address, size in segments:
        for start in range(0, size, _CHUNK):
            length = min(_CHUNK, size - start)
            if pending and len(pending) + length > _CHUNK:
                yield bytes(pending)
                pending.clear()
            pending += task.memory.read(address + start, length)
    if pending:
        yield bytes(pending)
