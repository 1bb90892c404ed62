# SPDX-License-Identifier: GPL-2.0-or-later
"""Owns what the memory manager asks of a file, and the nameless file behind MAP_SHARED|MAP_ANONYMOUS."""

from __future__ import annotations

import errno
from typing import Protocol

from fetchsan.kernel.errors import LinuxError

__all__ = ["MappableInode", "SharedMemory"]


class MappableInode(Protocol):
    """A file that can be mapped. `identity` names it among all that are: the page cache's key is (identity, page index)."""

    path: str
    dev: int
    ino: int

    @property
    def identity(self) -> tuple[object, ...]:
        """Equal for two objects that are the same file."""

    @property
    def size(self) -> int:
        """Bytes in the file now."""

    @property
    def version(self) -> object | None:
        """Differs whenever somebody else may have changed the file; None: nobody can tell, so keep nothing of it."""

    @property
    def has_page_cache(self) -> bool:
        """Whether its file system has one (OSv: defines `vop_cache`)."""

    def next_data(self, offset: int) -> int:
        """Where the first byte at or after `offset` is that lies in no hole. LinuxError(ENXIO): nowhere."""

    def read_at(self, offset: int, size: int) -> bytes:
        """Up to `size` bytes; shorter only at the end of the file. Raises LinuxError."""

    def write_at(self, offset: int, data: bytes) -> int:
        """Write within the file; how much was written. Raises LinuxError."""


class SharedMemory:
    """Shared memory of no file: its bytes live in the page cache only, which therefore never evicts them."""

    path = "/dev/zero (deleted)"
    dev = 1
    version = None
    has_page_cache = True

    def __init__(self, size: int, ino: int) -> None:
        self.size = size
        self.ino = ino

    @property
    def identity(self) -> tuple[object, ...]:
        return ("shared memory", id(self))

    def next_data(self, offset: int) -> int:
        """All of it is a hole."""
        raise LinuxError(errno.ENXIO)

    def read_at(self, offset: int, size: int) -> bytes:
        """Zeros until somebody stores."""
        return b""

    def write_at(self, offset: int, data: bytes) -> int:
        """There is nothing behind the pages."""
        return len(data)
