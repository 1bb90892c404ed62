# SPDX-License-Identifier: GPL-2.0-or-later
"""Owns the constants of Linux's sys/mman.h that the memory manager understands (asm-generic, which arm64 uses).

Flags are plain integers: `~` of an IntFlag forgets the bits that have no name, which are the ones to be refused.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final

__all__ = ["LEGACY_MAP_MASK", "MAP_TYPE", "Madvise", "Map", "Mcl", "Mremap", "Msync", "Prot"]


class Prot:
    """PROT_*: the low three are also the bits of `Vma.perm`."""

    READ: Final = 1
    WRITE: Final = 2
    EXEC: Final = 4
    SEM: Final = 8  # means nothing anywhere, but is no error
    GROWSDOWN: Final = 0x0100_0000
    GROWSUP: Final = 0x0200_0000


class Map:
    """MAP_*. The low four bits are a type, not flags."""

    SHARED: Final = 1
    PRIVATE: Final = 2
    SHARED_VALIDATE: Final = 3
    FIXED: Final = 0x10
    ANONYMOUS: Final = 0x20
    LOW_32BIT: Final = 0x40  # MAP_32BIT, which only x86-64 has
    GROWSDOWN: Final = 0x100
    DENYWRITE: Final = 0x800
    EXECUTABLE: Final = 0x1000
    LOCKED: Final = 0x2000
    NORESERVE: Final = 0x4000
    POPULATE: Final = 0x8000
    NONBLOCK: Final = 0x1_0000
    STACK: Final = 0x2_0000
    HUGETLB: Final = 0x4_0000
    SYNC: Final = 0x8_0000
    FIXED_NOREPLACE: Final = 0x10_0000
    UNINITIALIZED: Final = 0x400_0000


MAP_TYPE = 0xF
# What MAP_SHARED_VALIDATE lets pass (include/linux/mman.h): the flags that were there before it was.
LEGACY_MAP_MASK = (
    Map.SHARED | Map.PRIVATE | Map.FIXED | Map.ANONYMOUS | Map.DENYWRITE | Map.EXECUTABLE | Map.GROWSDOWN | Map.LOCKED
    | Map.NORESERVE | Map.POPULATE | Map.NONBLOCK | Map.STACK | Map.HUGETLB | Map.UNINITIALIZED | 31 << 26
)  # fmt: skip


class Mremap:
    """MREMAP_*."""

    MAYMOVE: Final = 1
    FIXED: Final = 2
    DONTUNMAP: Final = 4


class Mcl:
    """MCL_*."""

    CURRENT: Final = 1
    FUTURE: Final = 2
    ONFAULT: Final = 4


class Msync:
    """MS_*."""

    ASYNC: Final = 1
    INVALIDATE: Final = 2
    SYNC: Final = 4


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
