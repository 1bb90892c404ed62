# SPDX-License-Identifier: GPL-2.0-or-later
"""/proc/<pid> and /proc/self: what a program can read of itself (proc(5))."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Protocol

from fetchsan.kernel.errors import LinuxError
from fetchsan.kernel.vfs.dentry import Dentry
from fetchsan.kernel.vfs.fd_table import FdTable
from fetchsan.kernel.vfs.inode import Inode
from fetchsan.kernel.vfs.synthetic import Link, SyntheticDirectory, SyntheticFileSystem, TextFile

if TYPE_CHECKING:
    from fetchsan.kernel.vfs.context import FileSystemContext

__all__ = ["ProcessTable", "ProcessView", "process_directories"]

_PAGE = 4096
_USER = (1000, 1000)  # the guest's user, as getuid(2) has it


class ProcessView(Protocol):
    """What /proc shows of a process. Texts are bytes as the files have them (`cmdline` is NUL-separated)."""

    @property
    def pid(self) -> int: ...
    @property
    def parent_pid(self) -> int: ...
    @property
    def name(self) -> bytes: ...
    @property
    def cmdline(self) -> bytes: ...
    @property
    def environ(self) -> bytes: ...
    @property
    def auxv(self) -> bytes: ...
    @property
    def executable(self) -> Dentry: ...
    @property
    def fs(self) -> FileSystemContext: ...
    @property
    def files(self) -> FdTable: ...
    def maps(self) -> bytes: ...
    def thread_ids(self) -> Sequence[int]: ...
    def memory_usage(self) -> tuple[int, int]:
        """Bytes mapped, bytes resident."""
    def descriptor_flags(self, fd: int) -> int:
        """O_* as the program has them."""
    def cpu_ns(self) -> int: ...
    def start_ns(self) -> int:
        """When it began, in nanoseconds since boot."""


class ProcessTable:
    """The processes that /proc shows, and which of them is asking."""

    def __init__(self) -> None:
        self.views: dict[int, ProcessView] = {}
        self.current = 0

    def add(self, view: ProcessView) -> None:
        """A process began; the first one is current."""
        self.views[view.pid] = view
        self.current = self.current or view.pid

    def remove(self, pid: int) -> None:
        """A process is gone."""
        del self.views[pid]

    @property
    def asking(self) -> ProcessView:
        """The process whose /proc/self it is; ENOENT before there is one."""
        view = self.views.get(self.current)
        if view is None:
            raise LinuxError(errno.ENOENT)
        return view


def process_directories(
    file_system: SyntheticFileSystem, table: ProcessTable, mounts: Callable[[], bytes], root: Callable[[], Dentry]
) -> Callable[[], Mapping[bytes, Inode]]:
    """The names self, thread-self and <pid> as a table that follows `table`."""
    known: dict[int, Inode] = {}
    fixed = {
        b"self": Link(file_system, "self", lambda: b"%d" % table.asking.pid),
        b"thread-self": Link(file_system, "thread-self", lambda: b"%d/task/%d" % (table.asking.pid, table.asking.pid)),
    }

    def names() -> Mapping[bytes, Inode]:
        for pid in [pid for pid in known if pid not in table.views]:
            del known[pid]
        for pid, view in table.views.items():
            if pid not in known:
                known[pid] = _process(file_system, view, pid, mounts, root)
        return fixed | {b"%d" % pid: inode for pid, inode in known.items()}

    return names


def _process(
    file_system: SyntheticFileSystem,
    view: ProcessView,
    thread: int,
    mounts: Callable[[], bytes],
    root: Callable[[], Dentry],
    *,
    is_thread: bool = False,
) -> Inode:
    key = (view.pid, thread if is_thread else 0)

    def link(name: str, find: Callable[[], Dentry]) -> Link:
        return Link(file_system, (*key, name), lambda: find().path(), find)

    names: dict[bytes, Inode] = {
        name.encode(): _OwnFile(file_system, (*key, name), partial(text, view), 0o400 if name in _PRIVATE else 0o444)
        for name, text in _TEXTS.items()
    }
    names[b"mounts"] = _OwnFile(file_system, (*key, "mounts"), mounts)
    names[b"comm"] = _OwnFile(file_system, (*key, "comm"), lambda: view.name + b"\n", 0o644)
    names[b"exe"] = link("exe", lambda: view.executable)
    names[b"cwd"] = link("cwd", lambda: view.fs.cwd)
    names[b"root"] = link("root", root)
    names[b"fd"] = _Descriptors(file_system, (*key, "fd"), view, _descriptor_link)
    names[b"fdinfo"] = _Descriptors(file_system, (*key, "fdinfo"), view, _descriptor_info)
    if not is_thread:
        threads: dict[int, Inode] = {}

        def tasks() -> Mapping[bytes, Inode]:
            for tid in view.thread_ids():
                if tid not in threads:
                    threads[tid] = _process(file_system, view, tid, mounts, root, is_thread=True)
            return {b"%d" % tid: threads[tid] for tid in view.thread_ids()}

        names[b"task"] = SyntheticDirectory(file_system, (*key, "task"), tasks)
    return _OwnDirectory(file_system, (*key, ""), dict(sorted(names.items())))


class _OwnDirectory(SyntheticDirectory):
    """A directory of the process itself."""

    owner = _USER


class _OwnFile(TextFile):
    """A file of the process itself, whose mode may keep others out."""

    owner = _USER


class _Descriptors(_OwnDirectory):
    """fd/ or fdinfo/: one name a descriptor."""

    def __init__(
        self,
        file_system: SyntheticFileSystem,
        key: object,
        view: ProcessView,
        make: Callable[[SyntheticFileSystem, object, ProcessView, int], Inode],
    ) -> None:
        known: dict[int, Inode] = {}

        def names() -> Mapping[bytes, Inode]:
            return {b"%d" % fd: known.setdefault(fd, make(file_system, (key, fd), view, fd)) for fd in view.files}

        super().__init__(file_system, key, names)

def _descriptor_link(file_system: SyntheticFileSystem, key: object, view: ProcessView, fd: int) -> Inode:
    def description() -> bytes:
        try:
            return view.files.get(fd).description
        except LinuxError:
            raise LinuxError(errno.ENOENT) from None

    def jump() -> Dentry:
        description()
        file = view.files.get(fd)
        if file.dentry is not None:
            return file.dentry
        # No name leads to it: a dentry of its own, in the root's mount only for want of another.
        root = view.fs.root
        anonymous = Dentry(root, file.description, file.inode, root.mount)
        anonymous.deleted = True
        return anonymous

    return Link(file_system, key, description, jump)


def _descriptor_info(file_system: SyntheticFileSystem, key: object, view: ProcessView, fd: int) -> Inode:
    def text() -> bytes:
        file = view.files.get(fd)
        return b"pos:\t%d\nflags:\t0%o\nmnt_id:\t1\nino:\t%d\n" % (file.offset, view.descriptor_flags(fd), file.inode.ino)

    return _OwnFile(file_system, key, text, 0o400)


def _lines(pairs: Iterable[tuple[str, object]]) -> bytes:
    return "".join(f"{name}:\t{value}\n" for name, value in pairs).encode("utf-8", "surrogateescape")


def _kib(size: int) -> str:
    return f"{size // 1024:8d} kB"


def _status(view: ProcessView) -> bytes:
    mapped, resident = view.memory_usage()
    ids = "\t".join([str(_USER[0])] * 4)
    return _lines([
        ("Name", view.name.decode("utf-8", "surrogateescape")),
        ("Umask", f"{view.fs.umask:04o}"),
        ("State", "R (running)"),
        ("Tgid", view.pid),
        ("Ngid", 0),
        ("Pid", view.pid),
        ("PPid", view.parent_pid),
        ("TracerPid", 0),
        ("Uid", ids),
        ("Gid", ids),
        ("FDSize", 256),
        ("Groups", f"{_USER[1]} "),
        ("VmPeak", _kib(mapped)),
        ("VmSize", _kib(mapped)),
        ("VmLck", _kib(0)),
        ("VmPin", _kib(0)),
        ("VmHWM", _kib(resident)),
        ("VmRSS", _kib(resident)),
        ("Threads", len(view.thread_ids())),
        ("SigQ", "0/1024"),
        ("CapEff", f"{0:016x}"),
        ("NoNewPrivs", 0),
        ("Seccomp", 0),
        ("Cpus_allowed", "1"),
        ("Cpus_allowed_list", "0"),
        ("voluntary_ctxt_switches", 0),
        ("nonvoluntary_ctxt_switches", 0),
    ])


def _stat(view: ProcessView) -> bytes:
    """The 52 fields of proc(5); what the kernel has no notion of is 0."""
    mapped, resident = view.memory_usage()
    ticks = view.cpu_ns() // 10_000_000
    fields = [0] * 50
    fields[1:4] = view.parent_pid, view.pid, view.pid  # ppid, pgrp, session
    fields[11] = ticks  # utime
    fields[15:18] = 20, 0, len(view.thread_ids())  # priority, nice, num_threads
    fields[19:23] = view.start_ns() // 10_000_000, mapped, resident // _PAGE, (1 << 64) - 1
    head = b"%d (%s) R" % (view.pid, view.name)
    return head + b"".join(b" %d" % value for value in fields[1:]) + b"\n"


def _statm(view: ProcessView) -> bytes:
    mapped, resident = (size // _PAGE for size in view.memory_usage())
    return b"%d %d 0 0 0 %d 0\n" % (mapped, resident, mapped)


def _limits(view: ProcessView) -> bytes:
    head = f"{'Limit':<26}{'Soft Limit':<21}{'Hard Limit':<21}{'Units':<10}\n"
    return (head + f"{'Max open files':<26}{view.files.limit:<21}{view.files.limit:<21}{'files':<10}\n").encode()


_TEXTS: dict[str, Callable[[ProcessView], bytes]] = {
    "auxv": lambda view: view.auxv,
    "cmdline": lambda view: view.cmdline,
    "environ": lambda view: view.environ,
    "limits": _limits,
    "maps": lambda view: view.maps(),
    "stat": _stat,
    "statm": _statm,
    "status": _status,
}
_PRIVATE = frozenset({"auxv", "environ"})  # mode 0400, proc(5)
