# SPDX-License-Identifier: GPL-2.0-or-later
"""Owns the constants of Linux's sys/mman.h that the memory manager understands (asm-generic, which arm64 uses)."""

from __future__ import annotations

from enum import IntEnum, IntFlag

__all__ = ["MAP_TYPE", "Madvise", "Map", "Mremap", "Msync", "Prot"]


class Prot(IntFlag):
    """PROT_*: the low three are also the bits of `Vma.perm`."""

    READ = 1
    WRITE = 2
    EXEC = 4
    GROWSDOWN = 0x0100_0000
    GROWSUP = 0x0200_0000


class Map(IntFlag):
    """MAP_*. The low four bits are a type, not flags."""

    SHARED = 1
    PRIVATE = 2
    SHARED_VALIDATE = 3
    FIXED = 0x10
    ANONYMOUS = 0x20
    GROWSDOWN = 0x100
    DENYWRITE = 0x800
    EXECUTABLE = 0x1000
    LOCKED = 0x2000
    NORESERVE = 0x4000
    POPULATE = 0x8000
    NONBLOCK = 0x1_0000
    STACK = 0x2_0000
    HUGETLB = 0x4_0000
    SYNC = 0x8_0000
    FIXED_NOREPLACE = 0x10_0000


MAP_TYPE = 0xF


class Mremap(IntFlag):
    """MREMAP_*."""

    MAYMOVE = 1
    FIXED = 2
    DONTUNMAP = 4


class Msync(IntFlag):
    """MS_*."""

    ASYNC = 1
    INVALIDATE = 2
    SYNC = 4


class Madvise(IntEnum):
    """MADV_*."""

    NORMAL = 0
    RANDOM = 1
    SEQUENTIAL = 2
    WILLNEED = 3
    DONTNEED = 4
    FREE = 8
    REMOVE = 9
    DONTFORK = 10
    DOFORK = 11
    MERGEABLE = 12
    UNMERGEABLE = 13
    HUGEPAGE = 14
    NOHUGEPAGE = 15
    DONTDUMP = 16
    DODUMP = 17
    WIPEONFORK = 18
    KEEPONFORK = 19
    COLD = 20
    PAGEOUT = 21
    POPULATE_READ = 22
    POPULATE_WRITE = 23
    DONTNEED_LOCKED = 24
