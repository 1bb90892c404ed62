# SPDX-License-Identifier: GPL-2.0-or-later
"""The guest's files: the tree it sees, path resolution, open files, descriptors."""

from __future__ import annotations

from fetchsan.kernel.vfs.conditions import BrokenPipe, WouldBlock
from fetchsan.kernel.vfs.context import FileSystemContext
from fetchsan.kernel.vfs.dentry import Dentry, Mount
from fetchsan.kernel.vfs.fd_table import FdTable
from fetchsan.kernel.vfs.inode import DirectoryInode, Inode, RegularInode, SymlinkInode
from fetchsan.kernel.vfs.open_file import OpenFile
from fetchsan.kernel.vfs.proc import ProcessTable, ProcessView
from fetchsan.kernel.vfs.proc_system import SystemFacts
from fetchsan.kernel.vfs.streams import open_standard_streams
from fetchsan.kernel.vfs.tree import GuestTree, build_tree
from fetchsan.kernel.vfs.vfs import Vfs

__all__ = [
    "BrokenPipe",
    "Dentry",
    "DirectoryInode",
    "FdTable",
    "FileSystemContext",
    "GuestTree",
    "Inode",
    "Mount",
    "OpenFile",
    "ProcessTable",
    "ProcessView",
    "RegularInode",
    "SymlinkInode",
    "SystemFacts",
    "Vfs",
    "WouldBlock",
    "build_tree",
    "open_standard_streams",
]
