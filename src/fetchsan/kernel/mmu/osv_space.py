# SPDX-License-Identifier: GPL-2.0-or-later
"""Owns OSv's address space as its applications call it (libc/mman.cc over core/mmu.cc)."""

from __future__ import annotations

import errno

from fetchsan.kernel.errors import LinuxError
from fetchsan.kernel.mmu.address_space import AddressSpace
from fetchsan.kernel.mmu.layout import osv_layout
from fetchsan.kernel.mmu.mappable import MappableInode
from fetchsan.kernel.mmu.mman import Map
from fetchsan.kernel.mmu.operate import PAGE_SIZE, page_up
from fetchsan.kernel.mmu.page_cache import PageCache
from fetchsan.kernel.mmu.ports import AARCH64, Port
from fetchsan.kernel.mmu.vma import MMAP_FIXED, MMAP_POPULATE, MMAP_SHARED, PERM_EXEC, PERM_READ, PERM_WRITE
from fetchsan.machine.hardware import Hardware

__all__ = ["OsvSpace"]


class OsvSpace(AddressSpace):
    """The one address space of an OSv kernel: the program's half of it."""

    def __init__(
        self, hardware: Hardware, *, sync: str, page_cache: PageCache | None = None, port: Port = AARCH64
    ) -> None:
        super().__init__(hardware, sync=sync, layout=osv_layout(), page_cache=page_cache, port=port)

    def mmap(
        self,
        address: int,
        length: int,
        prot: int,
        flags: int,
        inode: MappableInode | None = None,
        offset: int = 0,
        *,
        may_write: bool = True,
    ) -> int:
        """mmap, with Linux's PROT_* and MAP_* bits; `inode` is None for MAP_ANONYMOUS."""
        kinds = flags & (Map.SHARED | Map.PRIVATE)
        fixed = bool(flags & Map.FIXED)
        if not length or offset % PAGE_SIZE or kinds not in (Map.SHARED, Map.PRIVATE) or (fixed and address % PAGE_SIZE):
            raise LinuxError(errno.EINVAL)
        native = (
            (MMAP_FIXED if fixed else 0)
            | (MMAP_POPULATE if flags & (Map.POPULATE | Map.STACK) else 0)
            | (MMAP_SHARED if kinds == Map.SHARED else 0)
        )
        perm = prot & (PERM_READ | PERM_WRITE | PERM_EXEC)
        if inode is None:
            return self.map_anon(address, length, native, perm)
        return self.map_file(address, length, native, perm, inode, offset, may_write=may_write)

    def munmap(self, address: int, length: int) -> None:
        """munmap: unlike Linux's, the whole range must be mapped."""
        size = page_up(length)
        if not length or address % PAGE_SIZE or not self.vmas.ismapped(address, address + size):
            raise LinuxError(errno.EINVAL)
        self.evacuate(address, address + size)

    def mprotect(self, address: int, length: int, prot: int) -> None:
        """mprotect: the whole range must be mapped."""
        if address % PAGE_SIZE:
            raise LinuxError(errno.EINVAL)
        end = address + page_up(length)
        if not self.vmas.ismapped(address, end):
            raise LinuxError(errno.ENOMEM)
        self.protect(address, end, prot)
