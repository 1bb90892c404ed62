# SPDX-License-Identifier: GPL-2.0-or-later
"""What a kernel sees of the machine: physical memory, cache maintenance, and the duty to announce PTE changes.

`Hardware` is the whole contract between `kernel/` and `machine/`. The machine knows nothing of Linux or OSv; a kernel
written in Python (ours) calls these methods, a guest kernel reaches the same code through its own instructions.
Physical addresses are named `physical`, virtual ones `virtual`; sizes are bytes; a frame is 4096 bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from fetchsan.machine.memory import PhysicalMemory

__all__ = ["Hardware", "Origin", "Translation"]


@dataclass(frozen=True, slots=True)
class Origin:
    """Who made a store: the evidence behind `writer` in a report.

    `pc` is the guest instruction (for a store that the kernel made on the guest's behalf, the system call's PC);
    `agent` is "guest", or the name of what wrote instead: "read(2)", "page-cache fill", "linker", "device virtio-blk".
    """

    pc: int | None
    agent: str = "guest"
    thread: int = 1


class Translation(NamedTuple):
    """One leaf of the page tables as the machine sees it: 4 KiB (or 2 MiB when `size` says so)."""

    # A tuple, because page walks make one each.

    physical: int
    readable: bool
    writable: bool
    executable: bool
    size: int = 4096


class Hardware(Protocol):
    """The machine, seen from a kernel."""

    memory: PhysicalMemory

    def store(self, pe: int, physical: int, data: bytes, origin: Origin) -> None:
        """Write through the data side (a store like any other: it reaches no other view). May cross lines and frames."""

    def clean_line(self, pe: int, physical: int) -> None:
        """DC CVAU of the line that contains `physical`."""

    def invalidate_line(self, pe: int, physical: int, virtual: int) -> None:
        """IC IVAU of the line that contains `physical`, issued by the address `virtual` (which matters on VIPT)."""

    def invalidate_all(self, pe: int) -> None:
        """IC IALLUIS."""

    def dsb(self, pe: int) -> None:
        """DSB ISH."""

    def context_synchronise(self, pe: int) -> None:
        """ISB, exception entry or return: a CSE on `pe`."""

    def synchronise(self, pe: int, physical: int, virtual: int, size: int, *, context: bool = True) -> None:
        """The whole sequence over a physically contiguous range: DC loop, DSB ISH, IC loop, DSB ISH, then ISB if `context`."""

    def kernel_synchronise(self, pe: int, frames: Sequence[int]) -> None:
        """Linux's `__sync_icache_dcache` of frames, before their first executable PTE: the sequence without a CSE.

        Lines that the program wrote and only this made fresh are counted as latent (docs/cli.md, `--kernel-sync`).
        """

    def pte_changed(
        self, pe: int, virtual: int, size: int, executable: Sequence[tuple[int, int]], *, replaced: bool
    ) -> None:
        """`pe` wrote the leaf PTEs of [virtual, +size) (call it after the writes to one table).

        `executable` are the (frame, page) pairs, 4 KiB each, that a fetch may reach now and could not before: the machine
        applies clause 10 of the coherency model to them. `replaced`: some leaf was not empty before, so that the machine
        must drop what it cached of these pages.
        """

    def set_translation_root(self, pe: int, root: int) -> None:
        """TTBR0_EL1 of `pe`: its page walks start from physical `root` from now on."""

    def flush_tlb_all(self, pe: int) -> None:
        """OSv's flush: DSB SY, TLBI VMALLE1IS, DSB SY, ISB."""

    def flush_tlb_linux(self, pe: int) -> None:
        """What Linux's mprotect and munmap do: DSB ISHST, TLBI, DSB ISH (no CSE)."""

    def frames_freed(self, frames: Sequence[int]) -> None:
        """Frames have no owner now: held findings on them become due (clause 6). They keep their views (clause 2)."""
