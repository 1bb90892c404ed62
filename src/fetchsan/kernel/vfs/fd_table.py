# SPDX-License-Identifier: GPL-2.0-or-later
"""File descriptors: small numbers for open file descriptions, with close-on-exec and RLIMIT_NOFILE."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from fetchsan.kernel.errors import LinuxError
from fetchsan.kernel.vfs.open_file import OpenFile

__all__ = ["FdTable"]


@dataclass(slots=True)
class _Descriptor:
    file: OpenFile
    close_on_exec: bool


class FdTable:
    """The descriptors of one process. `limit` gives its soft RLIMIT_NOFILE, asked each time: setrlimit(2) changes it."""

    def __init__(self, limit: Callable[[], int] = lambda: 1024) -> None:
        self._limit = limit
        self._descriptors: dict[int, _Descriptor] = {}
        self._lowest = 0  # no free number is below it

    @property
    def limit(self) -> int:
        """No new descriptor has this number or a higher one."""
        return self._limit()

    def __iter__(self) -> Iterator[int]:
        """The open numbers, ascending."""
        return iter(sorted(self._descriptors))

    def get(self, fd: int) -> OpenFile:
        """The description behind `fd`; LinuxError(EBADF)."""
        return self._descriptor(fd).file

    def add(self, file: OpenFile, *, close_on_exec: bool = False, minimum: int = 0) -> int:
        """The lowest free number from `minimum` for `file`; LinuxError(EMFILE)."""
        fd = max(minimum, self._lowest)
        while fd in self._descriptors:
            fd += 1
        if minimum <= self._lowest:
            self._lowest = fd
        if fd >= self.limit:
            raise LinuxError(errno.EMFILE)
        self._install(fd, file, close_on_exec)
        return fd

    def place(self, fd: int, file: OpenFile, *, close_on_exec: bool = False) -> None:
        """`fd` becomes `file`, whatever it was (dup3); LinuxError(EBADF) outside the limit."""
        if not 0 <= fd < self.limit:
            raise LinuxError(errno.EBADF)
        file.references += 1  # first: `fd` may hold the last reference to `file`
        if fd in self._descriptors:
            self.close(fd)
        self._install(fd, file, close_on_exec)
        file.references -= 1

    def close(self, fd: int) -> None:
        """Forget `fd`; the last one of a description releases it."""
        file = self._descriptor(fd).file
        del self._descriptors[fd]
        self._lowest = min(self._lowest, fd)
        file.references -= 1
        if not file.references:
            file.release()

    def close_all(self) -> None:
        """The process ends."""
        for fd in self:
            self.close(fd)

    def close_for_exec(self) -> None:
        """execve(2): what is marked close-on-exec goes."""
        for fd in self:
            if self._descriptors[fd].close_on_exec:
                self.close(fd)

    def copy(self, limit: Callable[[], int]) -> FdTable:
        """The table of a forked child: its own numbers, shared descriptions."""
        child = FdTable(limit)
        child._lowest = self._lowest
        for fd, descriptor in self._descriptors.items():
            child._install(fd, descriptor.file, descriptor.close_on_exec)
        return child

    def closes_on_exec(self, fd: int) -> bool:
        """FD_CLOEXEC of `fd`."""
        return self._descriptor(fd).close_on_exec

    def set_close_on_exec(self, fd: int, value: bool) -> None:
        self._descriptor(fd).close_on_exec = value

    def _install(self, fd: int, file: OpenFile, close_on_exec: bool) -> None:
        self._descriptors[fd] = _Descriptor(file, close_on_exec)
        file.references += 1

    def _descriptor(self, fd: int) -> _Descriptor:
        try:
            return self._descriptors[fd]
        except KeyError:
            raise LinuxError(errno.EBADF) from None
