# SPDX-License-Identifier: GPL-2.0-or-later
"""Owns the virtual memory areas: `AnonVma`, `FileVma`, their flags and how they split and merge.

Names and bits are OSv's (include/osv/mmu.hh, mmu-defs.hh); the bits of `perm` are also those of PROT_*.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from fetchsan.arch.page_table import EXECUTE, READ, WRITE
from fetchsan.kernel.mmu.page_tables import HUGE_PAGE_SIZE

if TYPE_CHECKING:
    from fetchsan.kernel.mmu.file_pages import FilePages
    from fetchsan.kernel.mmu.mappable import MappableInode
    from fetchsan.kernel.mmu.providers import PageProvider

__all__ = [
    "MMAP_FILE",
    "MMAP_FIXED",
    "MMAP_LOCKED",
    "MMAP_LOCK_ON_FAULT",
    "MMAP_POPULATE",
    "MMAP_SHARED",
    "MMAP_SMALL",
    "MMAP_STACK",
    "PERM_EXEC",
    "PERM_READ",
    "PERM_WRITE",
    "AnonVma",
    "FileVma",
    "Vma",
]

PERM_READ = READ
PERM_WRITE = WRITE
PERM_EXEC = EXECUTE

PAGE_SIZE = 4096

MMAP_FIXED = 1 << 0
MMAP_POPULATE = 1 << 1
MMAP_SHARED = 1 << 2
MMAP_SMALL = 1 << 5  # no 2 MiB pages
MMAP_FILE = 1 << 7
MMAP_STACK = 1 << 8  # grows down, in Linux's terms: PROT_GROWSDOWN applies to all of it
MMAP_LOCKED = 1 << 10  # Linux's VM_LOCKED: its pages may not be dropped by madvise
MMAP_LOCK_ON_FAULT = 1 << 11  # VM_LOCKONFAULT: and no page comes before it is touched


class Vma(ABC):
    """[start, end) with one set of rights; `page_ops` provides and takes back its pages."""

    def __init__(self, start: int, end: int, perm: int, flags: int, page_ops: PageProvider, name: str = "") -> None:
        self.start = start
        self.end = end
        self.perm = perm
        self.flags = flags
        self.page_ops = page_ops
        self.name = name

    @property
    def size(self) -> int:
        """Length in bytes."""
        return self.end - self.start

    @property
    def shared(self) -> bool:
        """Whether stores reach whoever else maps the same object."""
        return bool(self.flags & MMAP_SHARED)

    @property
    def map_dirty(self) -> bool:
        """Whether pages are dirty from the start: true of all but shared files, whose stores must be written back."""
        return True

    def fault_window(self, page: int) -> tuple[int, int]:
        """(start, size) of what a fault on `page` populates: the 2 MiB around it, where such a page fits (`vma::fault`)."""
        start = page & -HUGE_PAGE_SIZE
        if not self.flags & MMAP_SMALL and self.start <= start and start + HUGE_PAGE_SIZE <= self.end:
            return start, HUGE_PAGE_SIZE
        return page, PAGE_SIZE

    def may_have(self, perm: int) -> bool:
        """Whether mprotect may grant `perm` (OSv's `validate_perm`)."""
        return True

    @abstractmethod
    def part(self, start: int, end: int) -> Vma:
        """A VMA like this one over [start, end), which lies within it."""

    def continues(self, left: Vma) -> bool:
        """Whether `left`, which ends where this starts, could as well have been one VMA with this."""
        return (
            type(left) is type(self)
            and left.perm == self.perm
            and (left.flags ^ self.flags) & ~MMAP_POPULATE == 0
            and left.name == self.name
            and left.page_ops is self.page_ops
        )

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.start:#x}-{self.end:#x} perm={self.perm} flags={self.flags:#x} {self.name}>"


class AnonVma(Vma):
    """Private memory of no file."""

    def part(self, start: int, end: int) -> AnonVma:
        return AnonVma(start, end, self.perm, self.flags, self.page_ops, self.name)


class FileVma(Vma):
    """A file's bytes from `offset`, private (copy-on-write) or shared. Always 4 KiB pages."""

    page_ops: FilePages

    def __init__(
        self,
        start: int,
        end: int,
        perm: int,
        flags: int,
        page_ops: FilePages,
        inode: MappableInode,
        offset: int,
        *,
        may_write: bool,
        name: str = "",
    ) -> None:
        super().__init__(start, end, perm, flags | MMAP_SMALL | MMAP_FILE, page_ops, name)
        self.inode = inode
        self.offset = offset
        self.may_write = may_write  # the file was open for writing: a shared mapping may become writable

    @property
    def map_dirty(self) -> bool:
        return not self.shared

    def may_have(self, perm: int) -> bool:
        return not (self.shared and perm & PERM_WRITE and not self.may_write)

    def file_offset(self, virtual: int) -> int:
        """The offset in the file of the byte at `virtual`."""
        return virtual - self.start + self.offset

    def part(self, start: int, end: int) -> FileVma:
        return FileVma(
            start,
            end,
            self.perm,
            self.flags,
            self.page_ops,
            self.inode,
            self.file_offset(start),
            may_write=self.may_write,
            name=self.name,
        )

    def continues(self, left: Vma) -> bool:
        return (
            super().continues(left)
            and isinstance(left, FileVma)
            and left.inode is self.inode
            and left.may_write == self.may_write
            and left.file_offset(left.end) == self.offset
        )
