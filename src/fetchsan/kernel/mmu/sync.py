# SPDX-License-Identifier: GPL-2.0-or-later
"""Owns when the kernel synchronises the instruction side by itself: the policies of `--kernel-sync`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fetchsan.kernel.mmu.address_space import AddressSpace

__all__ = ["SYNC_POLICIES", "SyncPolicy", "before_executable_ptes"]


@dataclass(frozen=True, slots=True)
class SyncPolicy:
    """At which places in the life of an executable page the kernel synchronises it."""

    name: str
    at_populate: bool  # OSv since 2020: after populate_vma has written the PTEs (hole f: another PE may fetch between)
    before_pte: bool  # Linux's set_pte_at: before the first executable PTE of a frame not flagged clean
    after_load: bool = False  # the linker, after its own stores into text: what no version of OSv does


SYNC_POLICIES = {
    policy.name: policy
    for policy in (
        SyncPolicy("osv", at_populate=True, before_pte=False),
        SyncPolicy("linux", at_populate=False, before_pte=True),
        SyncPolicy("none", at_populate=False, before_pte=False),
        # OSv without the holes that are the kernel's (`fetchsan repro osv-holes`): Linux's order, and a linker that cleans up.
        SyncPolicy("complete", at_populate=False, before_pte=True, after_load=True),
    )
}


def before_executable_ptes(space: AddressSpace, frames: Sequence[int]) -> None:
    """Linux's `__sync_icache_dcache`: called before PTEs that make `frames` executable are written."""
    if not space.sync.before_pte:
        return
    clean = space.frames.clean
    needed = frames if clean.isdisjoint(frames) else [frame for frame in frames if frame not in clean]
    if needed:
        space.hardware.kernel_synchronise(space.pe, needed)
        clean.update(needed)
