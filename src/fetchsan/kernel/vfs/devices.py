# SPDX-License-Identifier: GPL-2.0-or-later
"""/dev: the six character devices and the links to descriptors. None of the host's devices is ever opened."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from typing import TYPE_CHECKING

from fetchsan.kernel.errors import LinuxError
from fetchsan.kernel.host import Host
from fetchsan.kernel.vfs.inode import Inode
from fetchsan.kernel.vfs.open_file import OpenFile
from fetchsan.kernel.vfs.streams import open_terminal
from fetchsan.kernel.vfs.synthetic import Link, SyntheticDirectory, SyntheticFileSystem, SyntheticInode

if TYPE_CHECKING:
    from fetchsan.kernel.vfs.dentry import Dentry

__all__ = ["CharacterDevice", "device_tree"]

_LARGEST_TRANSFER = 1 << 20  # of an endless device at a time; the caller comes back for more


class DeviceFile(OpenFile):
    """An open character device without a position: lseek does nothing (null_lseek), pread is read."""

    inode: CharacterDevice
    seekable = True

    def read(self, size: int) -> bytes:
        return self.inode.produce(min(size, _LARGEST_TRANSFER))

    def write(self, data: bytes) -> int:
        return self.inode.consume(data)

    def pread(self, size: int, offset: int) -> bytes:
        return self.read(size)

    def pwrite(self, data: bytes, offset: int) -> int:
        return self.write(data)

    def seek(self, offset: int, whence: int) -> int:
        return 0


class CharacterDevice(SyntheticInode):
    """One device: what a read of n bytes produces, and the errno of a write (0: it swallows everything)."""

    def __init__(
        self,
        file_system: SyntheticFileSystem,
        name: str,
        number: tuple[int, int],
        produce: Callable[[int], bytes],
        write_errno: int = 0,
        *,
        mappable: bool = False,
    ) -> None:
        super().__init__(file_system, name, stat.S_IFCHR | 0o666)
        self.path = f"/dev/{name}"
        self.device = os.makedev(*number)
        self.produce = produce
        self.mappable = mappable
        self._write_errno = write_errno

    @property
    def size(self) -> int:
        return 1 << 62 if self.mappable else 0  # a mapping of /dev/zero has no end (no SIGBUS)

    def consume(self, data: bytes) -> int:
        if self._write_errno:
            raise LinuxError(self._write_errno)
        return len(data)

    def open(self, dentry: Dentry | None, flags: int) -> OpenFile:
        return DeviceFile(self, dentry, flags)

    def read_at(self, offset: int, size: int) -> bytes:
        return self.produce(size)

    def write_at(self, offset: int, data: bytes) -> int:
        return self.consume(data)


class TerminalDevice(SyntheticInode):
    """/dev/tty: the host's terminal, if one of the standard streams is it; ENXIO otherwise (tty(4))."""

    device = os.makedev(5, 0)

    def __init__(self, file_system: SyntheticFileSystem, host: Host) -> None:
        super().__init__(file_system, "tty", stat.S_IFCHR | 0o666)
        self._host = host

    def open(self, dentry: Dentry | None, flags: int) -> OpenFile:
        return open_terminal(self._host, self, dentry, flags)


def device_tree(
    file_system: SyntheticFileSystem, host: Host, random_bytes: Callable[[int], bytes]
) -> SyntheticDirectory:
    """/dev, without the mount point of shm."""
    devices: dict[str, Inode] = {
        device.path.removeprefix("/dev/"): device
        for device in (
            CharacterDevice(file_system, "null", (1, 3), lambda size: b""),
            CharacterDevice(file_system, "zero", (1, 5), bytes, mappable=True),
            CharacterDevice(file_system, "full", (1, 7), bytes, errno.ENOSPC),
            CharacterDevice(file_system, "random", (1, 8), random_bytes),
            CharacterDevice(file_system, "urandom", (1, 9), random_bytes),
        )
    }
    devices["tty"] = TerminalDevice(file_system, host)
    for name, target in (
        ("fd", b"/proc/self/fd"),
        ("stdin", b"/proc/self/fd/0"),
        ("stdout", b"/proc/self/fd/1"),
        ("stderr", b"/proc/self/fd/2"),
    ):
        devices[name] = Link(file_system, name, lambda target=target: target)  # type: ignore[misc]
    return SyntheticDirectory(file_system, "dev", {name.encode(): inode for name, inode in sorted(devices.items())}, 0o755)
