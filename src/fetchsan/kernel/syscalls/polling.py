# SPDX-License-Identifier: GPL-2.0-or-later
"""Waiting for descriptors: ppoll(2), pselect6(2), epoll(7). Time is virtual, except when the world outside is waited for."""

from __future__ import annotations

import errno
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from fetchsan.kernel.errors import LinuxError
from fetchsan.kernel.syscalls.structs import read_sigset, read_timespec
from fetchsan.kernel.syscalls.table import s32, syscall, u32
from fetchsan.kernel.vfs.epoll import EPOLL_CTL_DEL, EpollFile
from fetchsan.kernel.vfs.flags import O_CLOEXEC, O_PATH, POLLERR, POLLHUP, POLLIN, POLLNVAL, POLLOUT
from fetchsan.kernel.vfs.open_file import OpenFile
from fetchsan.kernel.vfs.pipes import AnonymousInode
from fetchsan.kernel.vfs.streams import HostStream

if TYPE_CHECKING:
    from fetchsan.kernel.task import Task

__all__ = ["poll_descriptors", "select_descriptors"]

_POLLFD = struct.Struct("<ihh")
_PAIR = struct.Struct("<QQ")
_POLLPRI, _POLLRDNORM, _POLLWRNORM = 0x2, 0x40, 0x100
# pselect6's three sets: what makes a descriptor count in each (select(2), "Correspondence between ...")
_SELECT = ((POLLIN, POLLIN | POLLHUP | POLLERR), (POLLOUT, POLLOUT | POLLERR), (_POLLPRI, _POLLPRI))
_FOREVER_MS = 0x7FFF_FFFF

Watched = list[tuple[OpenFile, int]]  # with the events that are waited for


def _events(file: OpenFile) -> int:
    """poll's view of a file, the *NORM synonyms with the basic bits."""
    if file.flags & O_PATH:
        return POLLNVAL
    found = file.poll()
    return found | (_POLLRDNORM if found & POLLIN else 0) | (_POLLWRNORM if found & POLLOUT else 0)


@contextmanager
def _signal_mask(task: Task, address: int, size: int) -> Iterator[None]:
    """The mask that holds while a call waits; a signal that it lets through is delivered before the old one returns."""
    if not address:
        yield
        return
    before = task.signal_mask
    task.signal_mask = read_sigset(task, address, size)
    try:
        yield
    except LinuxError as error:
        if error.errno == errno.EINTR:
            task.restored_mask = before
            raise
        task.signal_mask = before
        raise
    else:
        task.signal_mask = before


def _wait(task: Task, watched: Watched, ready: Callable[[], bool], duration: int | None) -> None:
    """Wait until `ready` or until `duration` (nanoseconds, None: for ever) is over."""
    if ready() or duration == 0:
        return
    streams: dict[int, int] = {}
    for file, events in watched:
        if isinstance(file, HostStream):
            for stream, wanted in file.watched(events).items():
                streams[stream] = streams.get(stream, 0) | wanted
    if streams:
        # The person at the terminal lives in real time, whatever the guest's clock does.
        timeout = None if duration is None else min(-(-duration // 1_000_000), _FOREVER_MS)
        task.kernel.host.poll(tuple(streams.items()), timeout)
        if duration is None or ready():
            return
    task.kernel.wait(task, "a descriptor to become ready", ready, duration)


@syscall
def sys_ppoll(task: Task, address: int, count: int, timeout: int, mask: int, mask_size: int) -> int:
    duration = read_timespec(task, timeout) if timeout else None
    return poll_descriptors(task, address, count, duration, (mask, mask_size))


def poll_descriptors(task: Task, address: int, count: int, duration: int | None, mask: tuple[int, int] = (0, 0)) -> int:
    """poll(2) and ppoll(2); `mask` is the address and size of a signal mask for the time of the wait."""
    count = u32(count)
    if count > task.files.limit:
        raise LinuxError(errno.EINVAL)
    table = task.memory.read(address, count * _POLLFD.size) if count else b""
    wanted = [(fd, events & 0xFFFF) for fd, events, _ in _POLLFD.iter_unpack(table)]
    opened = {fd: task.files.get(fd) for fd in task.files}

    def found() -> list[int]:
        return [_found(opened.get(fd), events) if fd >= 0 else 0 for fd, events in wanted]

    with _signal_mask(task, *mask):
        watched = [(opened[fd], events) for fd, events in wanted if fd in opened]
        _wait(task, watched, lambda: any(found()), duration)
    results = found()
    for index, result in enumerate(results):
        task.memory.write(address + index * _POLLFD.size + 6, result.to_bytes(2, "little"))
    return sum(1 for result in results if result)


def _found(file: OpenFile | None, events: int) -> int:
    """A pollfd's revents."""
    return POLLNVAL if file is None else _events(file) & (events | POLLERR | POLLHUP | POLLNVAL)


@syscall
def sys_pselect6(task: Task, count: int, read: int, write: int, exceptional: int, timeout: int, mask: int) -> int:
    duration = read_timespec(task, timeout) if timeout else None
    sigset = _PAIR.unpack(task.memory.read(mask, _PAIR.size)) if mask else (0, 0)
    return select_descriptors(task, count, (read, write, exceptional), duration, sigset)


def select_descriptors(
    task: Task, count: int, addresses: tuple[int, int, int], duration: int | None, mask: tuple[int, int] = (0, 0)
) -> int:
    """select(2) and pselect6(2): the three sets are at `addresses`, 0 for one that is not given."""
    if s32(count) < 0:
        raise LinuxError(errno.EINVAL)
    count = min(s32(count), max(task.files, default=-1) + 1)  # nothing above is open; the sets may be shorter
    length = -(-count // 64) * 8
    sets = [(address, *bits) for address, bits in zip(addresses, _SELECT, strict=True) if address]
    asked = [_members(task.memory.read(address, length), count) if length else [] for address, _, _ in sets]
    files = {fd: task.files.get(fd) for members in asked for fd in members}  # EBADF for one that is not open

    def found() -> list[list[int]]:
        return [
            [fd for fd in members if files[fd].poll() & counts]
            for (_, _, counts), members in zip(sets, asked, strict=True)
        ]

    with _signal_mask(task, *mask):
        watched = [(files[fd], events) for (_, events, _), members in zip(sets, asked, strict=True) for fd in members]
        _wait(task, watched, lambda: any(found()), duration)
    results = found()
    for (address, _, _), members in zip(sets, results, strict=True):
        if length:
            task.memory.write(address, sum(1 << fd for fd in members).to_bytes(length, "little"))
    return sum(map(len, results))


def _members(bits: bytes, count: int) -> list[int]:
    """The descriptors of an fd_set."""
    value = int.from_bytes(bits, "little")
    return [fd for fd in range(count) if value >> fd & 1]


@syscall
def sys_epoll_create1(task: Task, flags: int) -> int:
    if u32(flags) & ~O_CLOEXEC:
        raise LinuxError(errno.EINVAL)
    file = EpollFile(AnonymousInode("anon_inode:[eventpoll]", 0o600, task.fs.vfs.next_anonymous()))
    return task.files.add(file, close_on_exec=bool(flags & O_CLOEXEC))


@syscall
def sys_epoll_ctl(task: Task, epfd: int, operation: int, fd: int, event: int) -> int:
    events, data = 0, 0
    if s32(operation) != EPOLL_CTL_DEL:
        layout = task.kernel.abi.epoll_event
        events, data = layout.unpack(task.memory.read(event, layout.size))
    epoll, file = task.files.get(s32(epfd)), task.files.get(s32(fd))
    if not isinstance(epoll, EpollFile):
        raise LinuxError(errno.EINVAL)
    epoll.control(s32(operation), s32(fd), file, events, data)
    return 0


@syscall
def sys_epoll_pwait(task: Task, epfd: int, events: int, most: int, timeout_ms: int, mask: int, mask_size: int) -> int:
    duration = None if s32(timeout_ms) < 0 else s32(timeout_ms) * 1_000_000
    return _epoll_wait(task, epfd, events, most, duration, (mask, mask_size))


@syscall
def sys_epoll_pwait2(task: Task, epfd: int, events: int, most: int, timeout: int, mask: int, mask_size: int) -> int:
    duration = read_timespec(task, timeout) if timeout else None
    return _epoll_wait(task, epfd, events, most, duration, (mask, mask_size))


def _epoll_wait(
    task: Task, epfd: int, address: int, most: int, duration: int | None, mask: tuple[int, int]
) -> int:
    epoll = task.files.get(s32(epfd))
    if not isinstance(epoll, EpollFile) or s32(most) <= 0:
        raise LinuxError(errno.EINVAL)
    layout = task.kernel.abi.epoll_event
    room = task.memory.writable(address, s32(most) * layout.size) // layout.size
    if not room:
        raise LinuxError(errno.EFAULT)
    with _signal_mask(task, *mask):
        _wait(task, epoll.watched(), lambda: bool(epoll.poll()), duration)
    ready = epoll.take(room)
    task.memory.write(address, b"".join(layout.pack(events, data) for events, data in ready))
    return len(ready)
