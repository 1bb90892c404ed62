# SPDX-License-Identifier: GPL-2.0-or-later
"""Owns the text of /proc/self/maps: OSv's format and Linux's."""

from __future__ import annotations

import os

from fetchsan.kernel.mmu.address_space import AddressSpace
from fetchsan.kernel.mmu.vma import PERM_EXEC, PERM_READ, PERM_WRITE, FileVma, Vma

__all__ = ["linux_maps", "procfs_maps", "rights"]

_LINUX_NAME_COLUMN = 73  # fs/proc/task_mmu.c: 25 + 6 * sizeof(void *) - 1, and one space


def procfs_maps(space: AddressSpace) -> str:
    """OSv's `procfs_maps`: one line a VMA, both markers included, always `p`, no labels."""
    lines = []
    for vma in space.vmas:
        line = f"{vma.start:x}-{vma.end:x} {rights(vma)}p "
        if isinstance(vma, FileVma):
            major, minor = os.major(vma.inode.dev), os.minor(vma.inode.dev)
            line += f"{vma.offset & 0xFFFF_FFFF:08x} {major:02x}:{minor:02x} {vma.inode.ino} {vma.inode.path}"
        else:
            line += "00000000 00:00 0"
        lines.append(line + "\n")
    return "".join(lines)


def linux_maps(space: AddressSpace) -> str:
    """proc_pid_maps(5), with the labels ([heap], [stack] ...) that mappings were given."""
    lines = []
    for vma in space.vmas.mapped():
        inode = vma.inode if isinstance(vma, FileVma) else None
        offset = vma.offset if isinstance(vma, FileVma) else 0
        major, minor = (os.major(inode.dev), os.minor(inode.dev)) if inode is not None else (0, 0)
        line = (
            f"{vma.start:08x}-{vma.end:08x} {rights(vma)}{'s' if vma.shared else 'p'} "
            f"{offset:08x} {major:02x}:{minor:02x} {inode.ino if inode is not None else 0} "
        )
        name = vma.name or (inode.path if inode is not None else "")
        lines.append(line.ljust(_LINUX_NAME_COLUMN) + _escape(name) + "\n" if name else line + "\n")
    return "".join(lines)


def rights(vma: Vma) -> str:
    """`rwx`, with a dash for what is not allowed."""
    return "".join(
        letter if vma.perm & bit else "-" for letter, bit in (("r", PERM_READ), ("w", PERM_WRITE), ("x", PERM_EXEC))
    )


def _escape(name: str) -> str:
    return name.replace("\n", "\\012")
