# SPDX-License-Identifier: GPL-2.0-or-later
"""Owns `populate_vma`, which runs on every page fault and eager map, and its last step: OSv issue #1100 and its fix.

The patch of 2020 adds that last step to `populate_vma` in core/mmu.cc, and one function to each port.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fetchsan.kernel.mmu.leaves import CollectLeaves
from fetchsan.kernel.mmu.operate import operate_range
from fetchsan.kernel.mmu.operations import Populate, PopulateSmall
from fetchsan.kernel.mmu.vma import MMAP_SMALL, PERM_EXEC, Vma

if TYPE_CHECKING:
    from fetchsan.kernel.mmu.address_space import AddressSpace

__all__ = ["populate_vma", "vma_invalidate_cache"]


def populate_vma(space: AddressSpace, vma: Vma, v: int, size: int, write: bool = False) -> int:
    """Fill [v, v+size) of `vma` with pages; returns the bytes populated."""
    operation = PopulateSmall if vma.flags & MMAP_SMALL else Populate
    total = operate_range(operation(space, vma, write), v, size)

    # On some architectures it is necessary to invalidate CPU caches after memory is populated with code.
    vma_invalidate_cache(space, vma, v, size)

    return total


def vma_invalidate_cache(space: AddressSpace, vma: Vma, v: int, size: int) -> None:
    """What the port does to its caches, keyed on the VMA's rights and over the virtual range just populated.

    Only the kernel after the patch has this step (`--kernel-sync osv`).
    """
    executable = bool(vma.perm & PERM_EXEC)
    if space.sync.at_populate and executable:
        leaves = CollectLeaves(space)
        operate_range(leaves, v, size)
        space.port.vma_invalidate_cache(space.hardware, space.pe, executable, leaves.runs())
