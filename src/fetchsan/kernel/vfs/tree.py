# SPDX-License-Identifier: GPL-2.0-or-later
"""The tree that a program sees, put together from what the user granted: nothing else of the host."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from fetchsan.errors import UsageError
from fetchsan.kernel.errors import LinuxError
from fetchsan.kernel.host import Host
from fetchsan.kernel.options import DirectoryGrant
from fetchsan.kernel.vfs.context import FileSystemContext
from fetchsan.kernel.vfs.dentry import Dentry
from fetchsan.kernel.vfs.devices import device_tree
from fetchsan.kernel.vfs.host_tree import HostFileSystem
from fetchsan.kernel.vfs.inode import DirectoryInode
from fetchsan.kernel.vfs.memory_tree import MemoryDirectory, MemoryFileSystem
from fetchsan.kernel.vfs.proc import ProcessTable, process_directories
from fetchsan.kernel.vfs.proc_system import SystemFacts, system_files, system_tree
from fetchsan.kernel.vfs.synthetic import SyntheticDirectory, SyntheticFileSystem
from fetchsan.kernel.vfs.vfs import Vfs

__all__ = ["GuestTree", "build_tree"]

_PROC_MAGIC, _SYSFS_MAGIC, _TMPFS_MAGIC = 0x9FA0, 0x6265_6572, 0x0102_1994
# Device numbers of what we make up: at the end of the range of unnamed devices, where no host has any.
_DEV_PROC, _DEV_SYS, _DEV_DEVICES, _DEV_SKELETON, _DEV_MEMORY = 0xFFF1, 0xFFF2, 0xFFF3, 0xFFF4, 0xFFF5
_PRIVATE = (b"/proc", b"/sys", b"/dev")  # a current directory in there is not granted: the guest has its own


@dataclass(slots=True)
class GuestTree:
    """The tree, where a process starts in it, and who appears in /proc."""

    vfs: Vfs
    start: FileSystemContext
    processes: ProcessTable


def build_tree(
    host: Host,
    *,
    cwd: Path,
    now: Callable[[], int],
    facts: SystemFacts,
    random_source: random.Random,
    sysroot: Path | None = None,
    program: Path | None = None,
    grants: Sequence[DirectoryGrant] = (),
    owner: tuple[int, int] = (1000, 1000),
) -> GuestTree:
    """Mount the sysroot, the private file systems, the current directory, the grants and the program's own file.

    `owner` is the guest's user; `now` gives the virtual time. Raises UsageError for a grant that cannot be opened.
    """
    skeleton = SyntheticFileSystem("rootfs", _TMPFS_MAGIC, _DEV_SKELETON, now)
    memory = MemoryFileSystem(_DEV_MEMORY, now, owner)
    if sysroot is None:
        empty = SyntheticDirectory(skeleton, "", {}, 0o755)
        vfs = Vfs(empty, b"rootfs", skeleton, memory, read_only=True)
    else:
        top = _granted(HostFileSystem(host, (0, 0)), cwd / sysroot, "sysroot")
        vfs = Vfs(top, b"sysroot", skeleton, memory, read_only=True)
    processes = ProcessTable()
    _mount_private(vfs, host, processes, facts, random_source, now)

    files = HostFileSystem(host, owner)  # one for all grants: a file reached through two of them is one file
    here = os.fsencode(cwd)
    if here != b"/" and not any(here == top or here.startswith(top + b"/") for top in _PRIVATE):
        vfs.mount(here, _granted(files, cwd, "current directory"), here, read_only=False)
    for grant in grants:
        guest = os.path.normpath(os.fsencode(grant.guest))
        if not guest.startswith(b"/") or guest.strip(b"/") == b"":
            raise UsageError(f"--dir {grant.host}:{grant.guest}: the guest's path must be absolute and not /")
        granted = cwd / grant.host
        vfs.mount(guest, _granted(files, granted, "--dir"), os.fsencode(granted), read_only=grant.read_only)
    if program is not None:
        _mount_program(vfs, files, os.path.normpath(os.fsencode(cwd / program)))
    return GuestTree(vfs, FileSystemContext(vfs, _start(vfs, here)), processes)


def _granted(files: HostFileSystem, path: Path, what: str) -> DirectoryInode:
    try:
        return files.tree(os.fsencode(path))
    except LinuxError as error:
        raise UsageError(f"{what} {path}: {os.strerror(error.errno)}") from error


def _mount_private(
    vfs: Vfs,
    host: Host,
    processes: ProcessTable,
    facts: SystemFacts,
    random_source: random.Random,
    now: Callable[[], int],
) -> None:
    proc = SyntheticFileSystem("proc", _PROC_MAGIC, _DEV_PROC, now)
    fixed = system_files(proc, facts, vfs.mounts_text)
    moving = process_directories(proc, processes, vfs.mounts_text, lambda: vfs.root)
    vfs.mount(b"/proc", SyntheticDirectory(proc, "/proc", lambda: {**moving(), **fixed}), b"proc", read_only=False)
    sys = SyntheticFileSystem("sysfs", _SYSFS_MAGIC, _DEV_SYS, now)
    vfs.mount(b"/sys", system_tree(sys, facts), b"sysfs", read_only=True)
    devices = SyntheticFileSystem("devtmpfs", _TMPFS_MAGIC, _DEV_DEVICES, now)
    vfs.mount(b"/dev", device_tree(devices, host, random_source.randbytes), b"devtmpfs", read_only=False)
    for point in (b"/dev/shm", b"/tmp"):
        vfs.mount(point, MemoryDirectory(vfs.memory, 0o1777), b"tmpfs", read_only=False)


def _mount_program(vfs: Vfs, files: HostFileSystem, path: bytes) -> None:
    """The program's own file at its own path, unless that path shows it already."""
    try:
        inode = files.single_file(path)
    except LinuxError:
        return  # not on the host: whoever loads the program reports what is missing
    try:
        shown = vfs.lookup(vfs.root, path).inode.stat()
    except LinuxError:
        shown = None
    if shown is None or (shown.dev, shown.ino) != (inode.dev, inode.ino):
        vfs.mount(path, inode, path, read_only=True)


def _start(vfs: Vfs, path: bytes) -> Dentry:
    try:
        return vfs.lookup(vfs.root, path)
    except LinuxError:
        return vfs.root
