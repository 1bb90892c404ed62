# SPDX-License-Identifier: GPL-2.0-or-later
"""The memory manager: VMAs, page faults and `populate_vma` over real page tables, with OSv's names."""

from __future__ import annotations

from fetchsan.kernel.mmu.address_space import AddressSpace
from fetchsan.kernel.mmu.frames import Frames
from fetchsan.kernel.mmu.layout import Layout, linux_layout, osv_layout
from fetchsan.kernel.mmu.linux_space import LinuxSpace
from fetchsan.kernel.mmu.mappable import MappableInode
from fetchsan.kernel.mmu.maps import linux_maps, procfs_maps
from fetchsan.kernel.mmu.osv_space import OsvSpace
from fetchsan.kernel.mmu.page_cache import PageCache
from fetchsan.kernel.mmu.populate import populate_vma, vma_invalidate_cache
from fetchsan.kernel.mmu.user_memory import UserMemory

__all__ = [
    "AddressSpace",
    "Frames",
    "Layout",
    "LinuxSpace",
    "MappableInode",
    "OsvSpace",
    "PageCache",
    "UserMemory",
    "linux_layout",
    "linux_maps",
    "osv_layout",
    "populate_vma",
    "procfs_maps",
    "vma_invalidate_cache",
]
