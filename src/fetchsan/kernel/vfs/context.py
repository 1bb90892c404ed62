# SPDX-License-Identifier: GPL-2.0-or-later
"""What path names mean to a process: its root, its current directory, its umask."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from fetchsan.kernel.vfs.dentry import Dentry

if TYPE_CHECKING:
    from fetchsan.kernel.vfs.vfs import Vfs

__all__ = ["FileSystemContext"]


@dataclass(slots=True)
class FileSystemContext:
    """Shared by threads, copied by fork (CLONE_FS)."""

    vfs: Vfs
    cwd: Dentry
    umask: int = 0o022

    @property
    def root(self) -> Dentry:
        """The guest's root; there is no chroot."""
        return self.vfs.root

    def copy(self) -> FileSystemContext:
        """For a forked child."""
        return replace(self)
