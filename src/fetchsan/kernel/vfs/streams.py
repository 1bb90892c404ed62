# SPDX-License-Identifier: GPL-2.0-or-later
"""The guest's standard streams: the host's own descriptors 0, 1 and 2, or a buffer that captures the output."""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING

from fetchsan.kernel.errors import LinuxError
from fetchsan.kernel.host import FileStat, Host
from fetchsan.kernel.vfs.conditions import BrokenPipe
from fetchsan.kernel.vfs.flags import O_ACCMODE, O_APPEND, O_LARGEFILE, O_RDWR, O_WRONLY, POLLIN, POLLOUT
from fetchsan.kernel.vfs.inode import FileSystem, Inode
from fetchsan.kernel.vfs.open_file import OpenFile

if TYPE_CHECKING:
    from fetchsan.kernel.vfs.dentry import Dentry

__all__ = ["CaptureFile", "CaptureInode", "HostStream", "open_standard_streams", "open_terminal"]

_LARGEST_TRANSFER = 1 << 20
_LARGEST_CAPTURE = 1 << 28  # a guest that prints for ever must not take all memory of the caller
# What only reports the terminal's state, for which nothing needs restoring (ioctl_tty(2)); all else is refused.
_TERMINAL_READS = frozenset({0x5401, 0x5405, 0x540F, 0x5410, 0x5413, 0x5429, 0x802C_542A})
# TCSETS(W|F), TCSETA(W|F), TCSETS2(W|F), TIOCSWINSZ, TCSBRK, TCXONC, TCFLSH
_TERMINAL_WRITES = frozenset(
    {0x5402, 0x5403, 0x5404, 0x5406, 0x5407, 0x5408, 0x5414, 0x402C_542B, 0x402C_542C, 0x402C_542D}
)
_FIONREAD = 0x541B


class StreamInode(Inode):
    """What a standard stream is to fstat: the host's answer, with which programs choose how to buffer."""

    def __init__(self, host: Host, stream: int) -> None:
        self._host = host
        self._stream = stream
        st = host.stat(stream)
        super().__init__(FileSystem(), st.ino)
        self.dev = st.dev
        self.kind = stat.S_IFMT(st.mode)
        self.mappable = self.kind == stat.S_IFREG
        self.path = f"/dev/fd/{stream}"

    @property
    def identity(self) -> tuple[object, ...]:
        return ("stream", self.dev, self.ino)

    def stat(self) -> FileStat:
        return self._host.stat(self._stream)

    def read_at(self, offset: int, size: int) -> bytes:
        return self._host.pread(self._stream, size, offset)

    def write_at(self, offset: int, data: bytes) -> int:
        return self._host.pwrite(self._stream, data, offset)

    def truncate(self, size: int) -> None:
        self._host.truncate(self._stream, size)

    def sync(self) -> None:
        self._host.sync(self._stream)

    def open(self, dentry: Dentry | None, flags: int) -> OpenFile:
        """By /proc/self/fd/N or /dev/stdin: the stream again, sharing the host's offset."""
        return HostStream(self._host, self, flags, reads=self._stream, writes=self._stream)


class HostStream(OpenFile):
    """A host descriptor under a guest one. Closing it never closes the host's, whose offset and flags are the host's."""

    def __init__(self, host: Host, inode: Inode, flags: int, *, reads: int, writes: int) -> None:
        super().__init__(inode, None, flags)
        self._host = host
        self._reads = reads
        self._writes = writes
        self._saved: bytes | None = None
        self.seekable = stat.S_ISREG(inode.mode)

    @property
    def description(self) -> bytes:
        mode = self.inode.mode
        if stat.S_ISCHR(mode):
            return b"/dev/tty" if self._host.is_terminal(self._reads) else b"/dev/null"
        if stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode):
            return b"%s:[%d]" % (b"pipe" if stat.S_ISFIFO(mode) else b"socket", self.inode.ino)
        return os.fsencode(self.inode.path)

    def read(self, size: int) -> bytes:
        if self.nonblocking and not self.poll() & POLLIN:
            raise LinuxError(errno.EAGAIN)  # our own descriptor stays blocking: other processes share its flags
        return self._host.read_stream(self._reads, min(size, _LARGEST_TRANSFER))

    def write(self, data: bytes) -> int:
        try:
            return self._host.write_stream(self._writes, data)
        except LinuxError as error:
            raise (BrokenPipe() if error.errno == errno.EPIPE else error) from error

    def pread(self, size: int, offset: int) -> bytes:
        return self._host.pread(self._reads, size, offset)

    def pwrite(self, data: bytes, offset: int) -> int:
        return self._host.pwrite(self._writes, data, offset)

    def seek(self, offset: int, whence: int) -> int:
        if not 0 <= whence <= 2:
            raise LinuxError(errno.EINVAL)
        return self._host.seek_stream(self._reads, offset, whence)

    def poll(self) -> int:
        found = 0
        for _, events in self._host.poll(tuple(self.watched(POLLIN | POLLOUT).items()), 0):
            found |= events
        return found

    def watched(self, events: int) -> dict[int, int]:
        """Host descriptors and what poll(2) is to wait for on each: what the world outside can bring about."""
        wanted: dict[int, int] = {}
        if self.readable:
            wanted[self._reads] = events & POLLIN
        if self.writable:
            wanted[self._writes] = wanted.get(self._writes, 0) | events & POLLOUT
        return wanted

    def available(self) -> int:
        return int.from_bytes(self._host.stream_ioctl(self._reads, _FIONREAD, bytes(4)), "little")

    def terminal(self, request: int, argument: bytes) -> bytes:
        if request not in _TERMINAL_READS | _TERMINAL_WRITES or not self._host.is_terminal(self._reads):
            raise LinuxError(errno.ENOTTY)
        if request in _TERMINAL_WRITES and self._saved is None:
            self._saved = self._host.stream_ioctl(self._reads, 0x5401, bytes(36))  # TCGETS
        return self._host.stream_ioctl(self._reads, request, argument)

    def release(self) -> None:
        """Give the terminal back as it was: a guest that dies in raw mode must not leave the person's shell in it."""
        if self._saved is not None:
            self._host.stream_ioctl(self._reads, 0x5404, self._saved)  # TCSETSF
            self._saved = None


class CaptureInode(Inode):
    """A captured stream, kept in memory for the caller of the Python API; it looks like a pipe, as under any harness."""

    def __init__(self, stream: int, sink: bytearray) -> None:
        super().__init__(FileSystem(), stream)
        self.path = f"pipe:[{stream}]"
        self.sink = sink

    def stat(self) -> FileStat:
        return FileStat(stat.S_IFIFO | 0o600, self.ino, self.dev, 1, 0, 0, 0, 0, 4096, 0, 0, 0, 0)

    def open(self, dentry: Dentry | None, flags: int) -> OpenFile:
        return CaptureFile(self, None, flags)


class CaptureFile(OpenFile):
    """stdout or stderr, captured."""

    inode: CaptureInode

    def write(self, data: bytes) -> int:
        if len(self.inode.sink) + len(data) > _LARGEST_CAPTURE:
            raise LinuxError(errno.ENOSPC)
        self.inode.sink += data
        return len(data)


def open_standard_streams(host: Host, captured: dict[int, bytearray]) -> dict[int, OpenFile]:
    """Descriptors 0, 1 and 2 as the guest starts with them; a stream that the host has closed is closed for it too."""
    streams: dict[int, OpenFile] = {}
    for stream in range(3):
        if stream in captured:
            streams[stream] = CaptureInode(stream, captured[stream]).open(None, O_WRONLY)
            continue
        try:
            flags = host.stream_flags(stream)
        except LinuxError:
            continue
        append = O_APPEND if flags & os.O_APPEND else 0
        streams[stream] = HostStream(
            host, StreamInode(host, stream), flags & O_ACCMODE | append | O_LARGEFILE, reads=stream, writes=stream
        )
    return streams


def open_terminal(host: Host, inode: Inode, dentry: Dentry | None, flags: int) -> OpenFile:
    """/dev/tty through whichever standard streams are the terminal."""
    terminals = [stream for stream in range(3) if host.is_terminal(stream)]
    if not terminals:
        raise LinuxError(errno.ENXIO)
    opened = HostStream(host, inode, flags & ~O_ACCMODE | O_RDWR, reads=terminals[0], writes=terminals[-1])
    opened.dentry = dentry
    return opened
