# SPDX-License-Identifier: GPL-2.0-or-later
"""Path resolution, component by component, by us (path_resolution(7)): `..`, links, mounts, magic links, RESOLVE_*.

The host never sees a path of the guest's, only single names beside a directory handle; so an absolute link leads to
the guest's root, `..` stops there, and a loop ends in ELOOP.
"""

from __future__ import annotations

import errno
from dataclasses import dataclass

from fetchsan.kernel.errors import LinuxError
from fetchsan.kernel.vfs.dentry import Dentry
from fetchsan.kernel.vfs.flags import (
    NAME_MAX,
    PATH_MAX,
    RESOLVE_BENEATH,
    RESOLVE_IN_ROOT,
    RESOLVE_NO_MAGICLINKS,
    RESOLVE_NO_SYMLINKS,
    RESOLVE_NO_XDEV,
)
from fetchsan.kernel.vfs.inode import SymlinkInode

__all__ = ["Walk", "walk"]

_MOST_LINKS = 40  # path_resolution(7)


@dataclass(slots=True)
class Walk:
    """Where a path leads: `name` in `directory`, and its dentry if it exists.

    `name` is empty where the path ends in no name that could be made or removed: the root, a magic link's target.
    `slash` says that the path ended in a slash: what it names must be a directory.
    """

    directory: Dentry
    name: bytes
    dentry: Dentry | None
    slash: bool

    def existing(self) -> Dentry:
        """The dentry; ENOENT if there is none, ENOTDIR if a slash asked for a directory."""
        if self.dentry is None:
            raise LinuxError(errno.ENOENT)
        if self.slash:
            _ = self.dentry.directory
        return self.dentry


def walk(root: Dentry, start: Dentry, path: bytes, *, follow: bool = True, rules: int = 0) -> Walk:
    """Resolve `path` from `start` (an absolute one from `root`), following a link at its end if `follow`.

    `rules` are RESOLVE_* bits (openat2(2)). All but the last name must exist. Raises LinuxError.
    """
    if not path:
        raise LinuxError(errno.ENOENT)
    if len(path) >= PATH_MAX:
        raise LinuxError(errno.ENAMETOOLONG)
    if rules & RESOLVE_IN_ROOT:
        root = start
    return _Resolution(root, start, rules).run(path, follow)


class _Resolution:
    def __init__(self, root: Dentry, start: Dentry, rules: int) -> None:
        self.root = root
        self.start = start
        self.at = start
        self.rules = rules
        self.links = 0

    def run(self, path: bytes, follow: bool) -> Walk:
        pending = self.begin(path)
        slash = path.endswith((b"/", b"/."))
        name = b""
        while pending:
            name = pending.pop()
            last = not pending
            if len(name) > NAME_MAX:
                raise LinuxError(errno.ENAMETOOLONG)
            directory = self.at
            if not directory.directory.searchable:
                raise LinuxError(errno.EACCES)
            if name == b"..":
                self.enter(self.above(), crossing=directory)
                continue
            try:
                found = directory.child(name)
            except LinuxError as error:
                if last and error.errno == errno.ENOENT and not path.endswith(b"/."):
                    return Walk(directory, name, None, slash)
                raise
            if isinstance(found.inode, SymlinkInode) and (not last or follow or slash):
                text = self.link(found.inode, directory)
                if text is None:
                    name = b""
                    continue
                more = self.begin(text)
                if last and not slash:
                    slash = text.endswith(b"/")
                if not more:
                    name = b""
                pending += more
                continue
            self.enter(found, crossing=directory)
        if name in (b"", b".."):
            return Walk(self.at, name, self.at, slash)
        return Walk(self.at.parent, name, self.at, slash)

    def begin(self, path: bytes) -> list[bytes]:
        """The names of `path`, last first; an absolute one starts at the root."""
        if path.startswith(b"/"):
            if self.rules & RESOLVE_BENEATH:
                raise LinuxError(errno.EXDEV)
            self.enter(self.root, crossing=self.at)
        return [name for name in reversed(path.split(b"/")) if name not in (b"", b".")]

    def link(self, inode: SymlinkInode, directory: Dentry) -> bytes | None:
        """The text of a link to go on with; None after a magic link, which was followed."""
        self.links += 1
        if self.links > _MOST_LINKS or self.rules & RESOLVE_NO_SYMLINKS:
            raise LinuxError(errno.ELOOP)
        target = inode.jump()
        if target is not None:
            if self.rules & RESOLVE_NO_MAGICLINKS:
                raise LinuxError(errno.ELOOP)
            if self.rules & (RESOLVE_BENEATH | RESOLVE_IN_ROOT):
                raise LinuxError(errno.EXDEV)
            self.enter(target, crossing=directory)
            return None
        text = inode.target()
        if not text:
            raise LinuxError(errno.ENOENT)
        return text

    def above(self) -> Dentry:
        """The parent; that of the root is the root, and with RESOLVE_BENEATH nothing is above the start."""
        if self.at is self.root:
            return self.at
        if self.at is self.start and self.rules & RESOLVE_BENEATH:
            raise LinuxError(errno.EXDEV)
        return self.at.parent

    def enter(self, dentry: Dentry, *, crossing: Dentry) -> None:
        if self.rules & RESOLVE_NO_XDEV and dentry.mount is not crossing.mount:
            raise LinuxError(errno.EXDEV)
        self.at = dentry
