# SPDX-License-Identifier: GPL-2.0-or-later
"""Owns OSv's address space as its applications call it (libc/mman.cc over core/mmu.cc).

Error codes are OSv's. What OSv does wrong is done right here: docs/memory_manager.md, "Where it differs from OSv".
"""

from __future__ import annotations

import errno
from typing import Final

from fetchsan.kernel.errors import LinuxError
from fetchsan.kernel.mmu.address_space import AddressSpace
from fetchsan.kernel.mmu.file_pages import FilePages
from fetchsan.kernel.mmu.layout import osv_layout
from fetchsan.kernel.mmu.leaves import CollectLeaves
from fetchsan.kernel.mmu.mappable import MappableInode
from fetchsan.kernel.mmu.mman import Madvise, Map, Mremap
from fetchsan.kernel.mmu.operate import PAGE_SIZE, operate_range, page_down, page_up
from fetchsan.kernel.mmu.operations import Unpopulate
from fetchsan.kernel.mmu.page_cache import PageCache
from fetchsan.kernel.mmu.ports import AARCH64, Port
from fetchsan.kernel.mmu.remap import grow, move
from fetchsan.kernel.mmu.shm_file import ShmFile, ShmPages
from fetchsan.kernel.mmu.vma import MMAP_FIXED, MMAP_POPULATE, MMAP_SHARED, PERM_EXEC, PERM_READ, PERM_WRITE, FileVma, Vma
from fetchsan.machine.hardware import Hardware
from fetchsan.machine.memory import OutOfMemoryError

__all__ = ["OsvSpace"]

_ALL_RIGHTS: Final = PERM_READ | PERM_WRITE | PERM_EXEC
_HEAP: Final = 0x3000_0000_0000  # where brk looks for room: out of the way of mmap, which takes the lowest hole
_MAP_32BIT: Final = 0x40
_LOW_HINTS: Final = {"x64": 0x200_0000}
"""Where MAP_32BIT looks from, on the port that has it."""


class OsvSpace(AddressSpace):
    """The one address space of an OSv kernel: the program's half of it."""

    def __init__(
        self, hardware: Hardware, *, sync: str, page_cache: PageCache | None = None, port: Port = AARCH64
    ) -> None:
        super().__init__(hardware, sync=sync, layout=osv_layout(), page_cache=page_cache, port=port)
        self._shm_pages = ShmPages()
        self._brk_start = 0
        self._brk_end = 0

    def file_pages(self, inode: MappableInode) -> FilePages:
        """Those of shared memory come from its blocks."""
        return self._shm_pages if isinstance(inode, ShmFile) else super().file_pages(inode)

    def add_vma(self, vma: Vma) -> None:
        super().add_vma(vma)
        if isinstance(vma, FileVma) and isinstance(vma.inode, ShmFile):
            vma.inode.retain()

    def erase_vma(self, vma: Vma) -> None:
        super().erase_vma(vma)
        if isinstance(vma, FileVma) and isinstance(vma.inode, ShmFile):
            vma.inode.release()

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
        kind = flags & (Map.SHARED | Map.PRIVATE)
        fixed = bool(flags & Map.FIXED)
        if not length or offset % PAGE_SIZE or kind not in (Map.SHARED, Map.PRIVATE) or (fixed and address % PAGE_SIZE):
            raise LinuxError(errno.EINVAL)
        if inode is not None and offset + page_up(length) > 1 << 63:
            raise LinuxError(errno.EOVERFLOW)
        populate = bool(flags & (Map.POPULATE | Map.STACK))
        if populate and length > self.hardware.memory.size:
            raise LinuxError(errno.ENOMEM)
        if flags & _MAP_32BIT and not address:
            address = _LOW_HINTS.get(self.port.name, 0)
        native = MMAP_FIXED * fixed | MMAP_POPULATE * populate | MMAP_SHARED * (kind == Map.SHARED)
        perm = prot & _ALL_RIGHTS
        try:
            if inode is None:
                return self.map_anon(page_down(address), length, native, perm)
            return self.map_file(page_down(address), length, native, perm, inode, offset, may_write=may_write)
        except OutOfMemoryError:
            raise LinuxError(errno.ENOMEM) from None

    def munmap(self, address: int, length: int) -> None:
        """munmap: unlike Linux's, the whole range must be mapped. Shared pages are written back first."""
        end = address + page_up(length)
        if not length or address % PAGE_SIZE or not self.vmas.ismapped(address, end):
            raise LinuxError(errno.EINVAL)
        self.evacuate(address, end)

    def mprotect(self, address: int, length: int, prot: int) -> None:
        """mprotect: the whole range must be mapped, and all of it may have the rights, or nothing changes."""
        if address % PAGE_SIZE:
            raise LinuxError(errno.EINVAL)
        perm = prot & _ALL_RIGHTS
        end = address + page_up(length)
        if not self.vmas.ismapped(address, end):
            raise LinuxError(errno.ENOMEM)
        if not all(vma.may_have(perm) for vma in self.vmas.find_intersecting_vmas(address, end)):
            raise LinuxError(errno.EACCES)
        self.protect(address, end, perm)

    def msync(self, address: int, length: int) -> None:
        """msync, always to the end: ENOMEM for a hole, and for a private mapping of a file; EIO and its like."""
        start, end = page_down(address), page_up(address + length)
        vmas = self.vmas.find_intersecting_vmas(start, end)
        if not vmas or not self.vmas.ismapped(start, end):
            raise LinuxError(errno.ENOMEM)
        for vma in vmas:
            self._sync(vma, max(start, vma.start), min(end, vma.end))

    def mincore(self, address: int, pages: int) -> bytes:
        """One byte a page: 1 if a load from it would succeed without a fault, so 0 for PROT_NONE, resident or not."""
        if address % PAGE_SIZE:
            raise LinuxError(errno.EINVAL)
        end = address + pages * PAGE_SIZE
        if not self.vmas.ismapped(address, end):
            raise LinuxError(errno.ENOMEM)
        residency = bytearray(pages)
        leaves = CollectLeaves(self)
        operate_range(leaves, address, end - address)
        for virtual, entry in leaves.found:
            residency[(virtual - address) // PAGE_SIZE] = bool(self.tables.perm(entry) & PERM_READ)
        return bytes(residency)

    def madvise(self, address: int, length: int, advice: int) -> None:
        """madvise: DONTNEED, HUGEPAGE and NOHUGEPAGE; the others are EINVAL, of what is not mapped ENOMEM."""
        if address % PAGE_SIZE:
            raise LinuxError(errno.EINVAL)
        end = address + page_up(length)
        if not self.vmas.ismapped(address, end):
            raise LinuxError(errno.ENOMEM)
        match advice:
            case Madvise.DONTNEED:
                for vma in self.vmas.find_intersecting_vmas(address, end):
                    start = max(address, vma.start)
                    operate_range(Unpopulate(self, vma), start, min(end, vma.end) - start)
            case Madvise.HUGEPAGE | Madvise.NOHUGEPAGE:
                self.allow_huge_pages(address, end, allow=advice == Madvise.HUGEPAGE)
            case _:
                raise LinuxError(errno.EINVAL)

    def mremap(self, address: int, old_length: int, new_length: int, flags: int) -> int:
        """mremap of one mapping as a whole: cut, grown in place, or (MREMAP_MAYMOVE) moved. Nothing fixed."""
        old_size, new_size = page_up(old_length), page_up(new_length)
        if flags & ~Mremap.MAYMOVE or address % PAGE_SIZE or not old_size or not new_size:
            raise LinuxError(errno.EINVAL)
        vma = self.vmas.find(address)
        if vma is None or (vma.start, vma.end) != (address, address + old_size):
            raise LinuxError(errno.EFAULT)
        if new_size < old_size:
            self.evacuate(address + new_size, vma.end)
        if new_size <= old_size or grow(self, vma, new_size - old_size):
            return address
        if not flags & Mremap.MAYMOVE:
            raise LinuxError(errno.ENOMEM)
        return move(self, vma, address, old_size, new_size, 0, 0)

    def brk(self, address: int) -> int:
        """The end of the heap, moved to `address` if that can be."""
        if not self._brk_start:
            self._brk_start = self._brk_end = self.vmas.find_hole(_HEAP, PAGE_SIZE)
        old, new = page_up(self._brk_end), page_up(address)
        if address < self._brk_start or new >= self.layout.limit:
            return self._brk_end
        if new < old:
            self.evacuate(new, old)
        elif new > old:
            if self.vmas.find_intersecting_vmas(old, new):
                return self._brk_end
            self.map_anon(old, new - old, MMAP_FIXED, PERM_READ | PERM_WRITE)
        self._brk_end = address
        return address

    def _sync(self, vma: Vma, start: int, end: int) -> None:
        if not isinstance(vma, FileVma):
            return
        if not vma.shared:
            raise LinuxError(errno.ENOMEM)
        failures = vma.page_ops.sync(self, vma, start, end)
        if failures:
            raise LinuxError(failures[0].errno)
