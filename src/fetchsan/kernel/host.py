# SPDX-License-Identifier: GPL-2.0-or-later
"""Every interaction with the host's files, streams and terminal: one object, a fixed set of operations, recordable.

A second, identical run is fed from the recording of the first: `RecordingHost` notes each result,
`ReplayHost` returns them in order and performs nothing. Handles are plain integers; a replay only compares them.
No operation takes a guest-controlled path of more than one component: `name` arguments are single names, looked up
beside a directory handle without following links, so neither `..`, links nor races lead out of a granted directory.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import select
import termios
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple, ParamSpec, TypeVar

from fetchsan.errors import FetchSanError
from fetchsan.kernel.errors import LinuxError

__all__ = ["FileStat", "Host", "HostEntry", "HostLog", "RecordingHost", "ReplayDivergence", "ReplayHost", "open_above_streams"]

P = ParamSpec("P")
T = TypeVar("T")

_DIRECTORY = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# O_NONBLOCK: should a fifo be swapped in between the lookup and the open, the open must not hang; O_NOCTTY likewise.
_FILE = os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
_DIGEST_ABOVE = 64  # written data longer than this is compared by digest, so that a log of a big writer stays small


class FileStat(NamedTuple):
    """What stat(2) tells of a file; times in nanoseconds."""

    mode: int
    ino: int
    dev: int
    nlink: int
    uid: int
    gid: int
    rdev: int
    size: int
    blksize: int
    blocks: int
    atime: int
    mtime: int
    ctime: int


class HostEntry(NamedTuple):
    """One name of a directory; `kind` is a DT_* value (0: unknown)."""

    name: bytes
    ino: int
    kind: int


class ReplayDivergence(FetchSanError):
    """The second run did not ask what the first one asked: operation `index` was `asked`, the recording has `expected`."""

    def __init__(self, index: int, asked: str, expected: str) -> None:
        super().__init__(f"replay diverged at host operation {index}: asked {asked}, recorded {expected}")
        self.index = index
        self.asked = asked
        self.expected = expected


class Host:
    """The host as the guest's kernel uses it. An OSError of the host is the guest's errno (the numbers are the same)."""

    def _do(self, operation: str, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Perform one operation: the single point that the recording and the replay replace."""
        try:
            return function(*args, **kwargs)
        except OSError as error:
            raise LinuxError(error.errno or errno.EIO) from error

    @contextlib.contextmanager
    def aside(self) -> Iterator[None]:
        """What is done inside is ours, not the guest's (reading a file's symbols): never recorded, so never replayed."""
        yield

    # Handles ---------------------------------------------------------------------------------------------------------

    def open_granted(self, path: bytes) -> int:
        """A directory (or the directory that holds a file) that the *user* named; never a path from the guest."""
        return self._do("open_granted", open_above_streams, path, _DIRECTORY & ~os.O_NOFOLLOW)

    def open_directory(self, directory: int, name: bytes) -> int:
        return self._do("open_directory", open_above_streams, name, _DIRECTORY, 0, directory)

    def open_file(self, directory: int, name: bytes, access: int) -> int:
        """Open a regular file; `access` is O_RDONLY, O_WRONLY or O_RDWR."""
        return self._do("open_file", open_above_streams, name, _FILE | access, 0, directory)

    def create_file(self, directory: int, name: bytes, mode: int) -> int:
        """Create and open for reading and writing; EEXIST if there is one."""
        return self._do("create_file", open_above_streams, name, _FILE | os.O_RDWR | os.O_CREAT | os.O_EXCL, mode, directory)

    def close(self, handle: int) -> None:
        """Not recorded: handles are closed by finalizers, whose moment is no part of the guest's behaviour."""
        os.close(handle)

    # Files -----------------------------------------------------------------------------------------------------------

    def pread(self, handle: int, size: int, offset: int) -> bytes:
        return self._do("pread", os.pread, handle, size, offset)

    def pwrite(self, handle: int, data: bytes, offset: int) -> int:
        return self._do("pwrite", os.pwrite, handle, data, offset)

    def seek_data(self, handle: int, offset: int) -> int:
        """Where data starts, from `offset` on; ENXIO if only a hole follows. Nothing else uses the offset of a handle."""
        return self._do("seek_data", os.lseek, handle, offset, os.SEEK_DATA)

    def seek_hole(self, handle: int, offset: int) -> int:
        """Where a hole starts, from `offset` on; the end of the file is one."""
        return self._do("seek_hole", os.lseek, handle, offset, os.SEEK_HOLE)

    def truncate(self, handle: int, size: int) -> None:
        self._do("truncate", os.ftruncate, handle, size)

    def allocate(self, handle: int, offset: int, size: int) -> None:
        self._do("allocate", os.posix_fallocate, handle, offset, size)

    def sync(self, handle: int) -> None:
        self._do("sync", os.fsync, handle)

    def stat(self, handle: int) -> FileStat:
        return self._do("stat", _stat, handle)

    def change_open_mode(self, handle: int, mode: int) -> None:
        self._do("change_open_mode", os.fchmod, handle, mode)

    def set_times(self, handle: int, atime: int, mtime: int) -> None:
        self._do("set_times", _set_times, handle, atime, mtime)

    def file_system(self, handle: int) -> tuple[int, ...]:
        """statvfs(3): block size, fragment size, blocks, free, available, files, free files, longest name."""
        return self._do("file_system", _file_system, handle)

    # Names in a directory --------------------------------------------------------------------------------------------

    def stat_name(self, directory: int, name: bytes) -> FileStat:
        return self._do("stat_name", _stat_name, directory, name)

    def list(self, directory: int) -> tuple[HostEntry, ...]:
        """All names but `.` and `..`, sorted: the order of a listing must not depend on the host's file system."""
        return self._do("list", _list, directory)

    def read_link(self, directory: int, name: bytes) -> bytes:
        return self._do("read_link", _read_link, directory, name)

    def allowed(self, directory: int, name: bytes, mask: int) -> bool:
        return self._do("allowed", _allowed, directory, name, mask)

    def make_directory(self, directory: int, name: bytes, mode: int) -> None:
        self._do("make_directory", _make_directory, directory, name, mode)

    def make_symlink(self, target: bytes, directory: int, name: bytes) -> None:
        self._do("make_symlink", _make_symlink, target, directory, name)

    def make_link(self, directory: int, name: bytes, new_directory: int, new_name: bytes) -> None:
        self._do("make_link", _make_link, directory, name, new_directory, new_name)

    def unlink(self, directory: int, name: bytes) -> None:
        self._do("unlink", _unlink, directory, name)

    def remove_directory(self, directory: int, name: bytes) -> None:
        self._do("remove_directory", _remove_directory, directory, name)

    def rename(self, directory: int, name: bytes, new_directory: int, new_name: bytes) -> None:
        self._do("rename", _rename, directory, name, new_directory, new_name)

    def change_mode(self, directory: int, name: bytes, mode: int) -> None:
        self._do("change_mode", _change_mode, directory, name, mode)

    def set_name_times(self, directory: int, name: bytes, atime: int, mtime: int) -> None:
        self._do("set_name_times", _set_name_times, directory, name, atime, mtime)

    # Streams (0, 1, 2) and the terminal ------------------------------------------------------------------------------

    def read_stream(self, stream: int, size: int) -> bytes:
        return self._do("read_stream", os.read, stream, size)

    def write_stream(self, stream: int, data: bytes) -> int:
        return self._do("write_stream", os.write, stream, data)

    def seek_stream(self, stream: int, offset: int, whence: int) -> int:
        return self._do("seek_stream", os.lseek, stream, offset, whence)

    def stream_flags(self, stream: int) -> int:
        """O_RDONLY, O_WRONLY or O_RDWR, and O_APPEND, as the host's own numbers."""
        return self._do("stream_flags", fcntl.fcntl, stream, fcntl.F_GETFL)

    def is_terminal(self, stream: int) -> bool:
        return self._do("is_terminal", os.isatty, stream)

    def stream_ioctl(self, stream: int, request: int, argument: bytes) -> bytes:
        """A terminal ioctl that reads or writes the structure `argument`, whose layout all Linux ports share."""
        return self._do("stream_ioctl", _ioctl, stream, request, argument)

    def poll(self, wanted: tuple[tuple[int, int], ...], timeout_ms: int | None) -> tuple[tuple[int, int], ...]:
        """poll(2) on streams: (stream, events) pairs in, those that are ready out. None waits for ever."""
        return self._do("poll", _poll, wanted, timeout_ms)

    def user(self) -> tuple[int, int]:
        """The effective user and group, to tell the user's own files from others'."""
        return self._do("user", lambda: (os.geteuid(), os.getegid()))


@dataclass(slots=True)
class HostLog:
    """What one run asked of the host and what it got. `limit` bounds the bytes kept; past it the log is useless."""

    limit: int = 512 << 20
    entries: list[tuple[str, tuple[object, ...], object]] = field(default_factory=list)
    size: int = 0

    @property
    def overflowed(self) -> bool:
        return self.size > self.limit

    def append(self, operation: str, args: tuple[object, ...], outcome: object) -> None:
        self.size += 64 + (len(outcome) if isinstance(outcome, bytes) else 0)
        if self.overflowed:
            self.entries.clear()
        else:
            self.entries.append((operation, args, outcome))


class RecordingHost(Host):
    """Performs everything and appends each result, or the errno as a LinuxError, to `log`."""

    def __init__(self, log: HostLog | None = None) -> None:
        self.log = log if log is not None else HostLog()
        self._aside = False

    @contextlib.contextmanager
    def aside(self) -> Iterator[None]:
        before, self._aside = self._aside, True
        try:
            yield
        finally:
            self._aside = before

    def _do(self, operation: str, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        if self._aside:
            return super()._do(operation, function, *args, **kwargs)
        try:
            result = super()._do(operation, function, *args, **kwargs)
        except LinuxError as error:
            self.log.append(operation, _fingerprint(args), LinuxError(error.errno))
            raise
        self.log.append(operation, _fingerprint(args), result)
        return result


class ReplayHost(Host):
    """Returns the results of `log` in order, verifies that the same is asked, and touches nothing of the host.

    Raises ReplayDivergence at the first operation that differs, or at once when the recording overflowed.
    """

    def __init__(self, log: HostLog) -> None:
        if log.overflowed:
            raise ReplayDivergence(0, "the first operation", f"nothing: the recording exceeded {log.limit >> 20} MiB")
        self._log = log
        self.position = 0

    def close(self, handle: int) -> None:
        """Nothing was opened."""

    def _do(self, operation: str, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        asked = (operation, _fingerprint(args))
        index = self.position
        if index >= len(self._log.entries):
            raise ReplayDivergence(index, _spell(*asked), "the end")
        expected, expected_args, outcome = self._log.entries[index]
        if asked != (expected, expected_args):
            raise ReplayDivergence(index, _spell(*asked), _spell(expected, expected_args))
        self.position += 1
        if isinstance(outcome, LinuxError):
            raise LinuxError(outcome.errno)
        return outcome  # type: ignore[return-value]  # the recording holds what `function` returned, a T


def _fingerprint(args: tuple[object, ...]) -> tuple[object, ...]:
    if not any(isinstance(argument, (bytes, bytearray, memoryview)) and len(argument) > _DIGEST_ABOVE for argument in args):
        return args
    return tuple(
        ("data", len(argument), hashlib.blake2b(argument, digest_size=16).digest())
        if isinstance(argument, (bytes, bytearray, memoryview)) and len(argument) > _DIGEST_ABOVE
        else argument
        for argument in args
    )


def _spell(operation: str, args: tuple[object, ...]) -> str:
    return f"{operation}({', '.join(map(repr, args))})"


def open_above_streams(path: bytes | str, flags: int, mode: int = 0, directory: int | None = None) -> int:
    """open(2), but never as descriptor 0, 1 or 2.

    Started with a standard stream closed, a file would take its number, and the guest's output would go there.
    """
    handle = os.open(path, flags, mode, dir_fd=directory)
    if handle > 2:
        return handle
    try:
        return fcntl.fcntl(handle, fcntl.F_DUPFD_CLOEXEC, 3)
    finally:
        os.close(handle)


def _from_os(st: os.stat_result) -> FileStat:
    return FileStat(
        st.st_mode, st.st_ino, st.st_dev, st.st_nlink, st.st_uid, st.st_gid, st.st_rdev, st.st_size, st.st_blksize,
        st.st_blocks, st.st_atime_ns, st.st_mtime_ns, st.st_ctime_ns,
    )  # fmt: skip


def _stat(handle: int) -> FileStat:
    return _from_os(os.fstat(handle))


def _stat_name(directory: int, name: bytes) -> FileStat:
    return _from_os(os.stat(name, dir_fd=directory, follow_symlinks=False))


def _list(directory: int) -> tuple[HostEntry, ...]:
    # The handle is O_PATH; "." beside it opens the same directory for reading.
    readable = os.open(b".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=directory)
    try:
        with os.scandir(readable) as entries:
            found = [HostEntry(os.fsencode(entry.name), entry.inode(), _entry_kind(entry)) for entry in entries]
    finally:
        os.close(readable)
    return tuple(sorted(found))


def _entry_kind(entry: os.DirEntry[str]) -> int:
    if entry.is_symlink():
        return 10  # DT_LNK
    if entry.is_dir(follow_symlinks=False):
        return 4  # DT_DIR
    return 8 if entry.is_file(follow_symlinks=False) else 0  # DT_REG, DT_UNKNOWN


def _read_link(directory: int, name: bytes) -> bytes:
    return os.readlink(name, dir_fd=directory)


def _allowed(directory: int, name: bytes, mask: int) -> bool:
    return os.access(name, mask, dir_fd=directory, effective_ids=True, follow_symlinks=False)


def _make_directory(directory: int, name: bytes, mode: int) -> None:
    os.mkdir(name, mode, dir_fd=directory)


def _make_symlink(target: bytes, directory: int, name: bytes) -> None:
    os.symlink(target, name, dir_fd=directory)


def _make_link(directory: int, name: bytes, new_directory: int, new_name: bytes) -> None:
    os.link(name, new_name, src_dir_fd=directory, dst_dir_fd=new_directory, follow_symlinks=False)


def _unlink(directory: int, name: bytes) -> None:
    os.unlink(name, dir_fd=directory)


def _remove_directory(directory: int, name: bytes) -> None:
    os.rmdir(name, dir_fd=directory)


def _rename(directory: int, name: bytes, new_directory: int, new_name: bytes) -> None:
    os.rename(name, new_name, src_dir_fd=directory, dst_dir_fd=new_directory)


def _change_mode(directory: int, name: bytes, mode: int) -> None:
    # Linux before 6.6 has no chmod that does not follow links; /proc/self/fd of an O_PATH handle is the race-free way
    # (open(2), "O_PATH"), and works for a file that we may not read.
    handle = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
    try:
        os.chmod(f"/proc/self/fd/{handle}", mode)
    finally:
        os.close(handle)


def _set_times(handle: int, atime: int, mtime: int) -> None:
    os.utime(handle, ns=(atime, mtime))


def _set_name_times(directory: int, name: bytes, atime: int, mtime: int) -> None:
    os.utime(name, ns=(atime, mtime), dir_fd=directory, follow_symlinks=False)


def _file_system(handle: int) -> tuple[int, ...]:
    v = os.fstatvfs(handle)
    return v.f_bsize, v.f_frsize, v.f_blocks, v.f_bfree, v.f_bavail, v.f_files, v.f_ffree, v.f_namemax


def _ioctl(stream: int, request: int, argument: bytes) -> bytes:
    try:
        return fcntl.ioctl(stream, request, argument)
    except termios.error as error:  # an OSError in all but name
        raise OSError(*error.args) from error


def _poll(wanted: tuple[tuple[int, int], ...], timeout_ms: int | None) -> tuple[tuple[int, int], ...]:
    poller = select.poll()
    for stream, events in wanted:
        poller.register(stream, events)
    return tuple(poller.poll(timeout_ms))
