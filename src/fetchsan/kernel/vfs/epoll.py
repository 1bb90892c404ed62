# SPDX-License-Identifier: GPL-2.0-or-later
"""epoll(7): the interest list, level- and edge-triggered."""

from __future__ import annotations

import errno
import weakref
from dataclasses import dataclass

from fetchsan.kernel.errors import LinuxError
from fetchsan.kernel.vfs.flags import O_RDWR, POLLERR, POLLHUP, POLLIN
from fetchsan.kernel.vfs.inode import DirectoryInode, Inode, RegularInode
from fetchsan.kernel.vfs.open_file import OpenFile

__all__ = ["EPOLL_CTL_ADD", "EPOLL_CTL_DEL", "EPOLL_CTL_MOD", "EpollFile"]

EPOLL_CTL_ADD, EPOLL_CTL_DEL, EPOLL_CTL_MOD = 1, 2, 3
_EPOLLET = 1 << 31
_EPOLLONESHOT = 1 << 30
_EVENT_BITS = 0xFFFF
_DEEPEST = 5  # epoll instances watching each other (epoll_ctl(2), ELOOP)


@dataclass(slots=True)
class _Interest:
    """One watched descriptor. `seen` is the file's activity and readiness when last reported (edge-triggered)."""

    file: OpenFile
    events: int
    data: int
    seen: tuple[int, int] = (-1, 0)


class EpollFile(OpenFile):
    """An epoll instance. An interest ends when its description does (`references` is 0), as epoll(7) Q6 says."""

    def __init__(self, inode: Inode) -> None:
        super().__init__(inode, None, O_RDWR)
        self._interests: dict[tuple[int, int], _Interest] = {}
        self._watchers: weakref.WeakSet[EpollFile] = weakref.WeakSet()  # may name some that stopped: only stricter

    def control(self, operation: int, fd: int, file: OpenFile, events: int, data: int) -> None:
        """epoll_ctl(2)."""
        if file is self:
            raise LinuxError(errno.EINVAL)
        if isinstance(file.inode, (RegularInode, DirectoryInode)):
            raise LinuxError(errno.EPERM)
        if operation not in (EPOLL_CTL_ADD, EPOLL_CTL_DEL, EPOLL_CTL_MOD):
            raise LinuxError(errno.EINVAL)
        self._reap()
        key = (fd, id(file))
        if (operation == EPOLL_CTL_ADD) == (key in self._interests):
            raise LinuxError(errno.EEXIST if operation == EPOLL_CTL_ADD else errno.ENOENT)
        if operation == EPOLL_CTL_DEL:
            del self._interests[key]
        else:
            if isinstance(file, EpollFile):
                if file.depth(self) + self.height() > _DEEPEST:
                    raise LinuxError(errno.ELOOP)
                file._watchers.add(self)
            self._interests[key] = _Interest(file, events, data)

    def depth(self, forbidden: OpenFile) -> int:
        """How many instances hang below this one; too many at once if `forbidden` does."""
        below = [interest.file for interest in self._interests.values() if isinstance(interest.file, EpollFile)]
        return 1 + max((_DEEPEST if file is forbidden else file.depth(forbidden) for file in below), default=0)

    def height(self) -> int:
        """How many instances hang above this one, itself included."""
        return 1 + max((watcher.height() for watcher in self._watchers), default=0)

    def watched(self) -> list[tuple[OpenFile, int]]:
        """What is watched and not disabled, with the events, instances below this one included."""
        self._reap()
        found: list[tuple[OpenFile, int]] = []
        for interest in self._interests.values():
            if isinstance(interest.file, EpollFile):
                found += interest.file.watched()
            elif interest.events & _EVENT_BITS:
                found.append((interest.file, interest.events & _EVENT_BITS))
        return found

    def take(self, limit: int) -> list[tuple[int, int]]:
        """Up to `limit` ready (events, data) pairs; edges and one-shots are used up."""
        self._reap()
        ready: list[tuple[int, int]] = []
        for key, interest in list(self._interests.items()):
            if len(ready) == limit:
                break
            found = self._found(interest)
            if not found:
                continue
            ready.append((found, interest.data))
            interest.seen = (interest.file.activity, found)
            if interest.events & _EPOLLONESHOT:
                interest.events &= ~_EVENT_BITS
            # Reported ones go to the end, so that with a small `limit` none of them starves the others.
            self._interests[key] = self._interests.pop(key)
        return ready

    def poll(self) -> int:
        self._reap()
        return POLLIN if any(self._found(interest) for interest in self._interests.values()) else 0

    def _found(self, interest: _Interest) -> int:
        if not interest.events & _EVENT_BITS:
            return 0  # disabled by EPOLLONESHOT
        found = interest.file.poll() & (interest.events & _EVENT_BITS | POLLERR | POLLHUP)
        if interest.events & _EPOLLET and (interest.file.activity, found) == interest.seen:
            return 0
        return found

    def _reap(self) -> None:
        for key in [key for key, interest in self._interests.items() if not interest.file.references]:
            del self._interests[key]
