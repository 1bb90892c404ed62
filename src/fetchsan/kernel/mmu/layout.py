# SPDX-License-Identifier: GPL-2.0-or-later
"""Owns where things go in an address space: Linux's top-down layout from a seed, and OSv's fixed one."""

from __future__ import annotations

import random
from dataclasses import dataclass

__all__ = ["ARM64_LAYOUT", "X86_64_LAYOUT", "Layout", "LinuxLayoutRules", "linux_layout", "osv_layout"]

_PAGE = 4096
_MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class Layout:
    """Addresses that an address space starts from; `limit` is the first one past the program's half."""

    limit: int
    lowest: int  # vm.mmap_min_addr
    mmap_base: int
    top_down: bool
    stack_top: int
    image_base: int  # of a position-independent executable
    brk_gap: int  # from the end of the executable to the start of the heap
    low_area: tuple[int, int] | None = None  # where MAP_32BIT maps, on a port that has it


@dataclass(frozen=True, slots=True)
class LinuxLayoutRules:
    """What a port's Linux decides: the end of the program's half (TASK_SIZE), `mmap_rnd_bits`, the same for the stack
    (STACK_RND_MASK), and how far behind the program the heap may begin.
    """

    limit: int
    random_bits: int
    stack_bits: int
    brk_range: int
    low_area: tuple[int, int] | None = None


ARM64_LAYOUT = LinuxLayoutRules(limit=1 << 48, random_bits=18, stack_bits=18, brk_range=1 << 30)
# A page below the hole in the middle stays free: SYSRET to a non-canonical address would fault in the kernel.
X86_64_LAYOUT = LinuxLayoutRules(
    limit=(1 << 47) - _PAGE, random_bits=28, stack_bits=22, brk_range=32 * _MIB, low_area=(1 << 30, 1 << 31)
)


def linux_layout(seed: int, rules: LinuxLayoutRules = ARM64_LAYOUT) -> Layout:
    """Linux with 4 KiB pages, its randomness drawn from `seed`.

    Stack, mmap area and image are placed as `arch_pick_mmap_layout` and `ELF_ET_DYN_BASE` (2/3 of the range) do; the
    8 MiB stack limit and the guard gap stay free below the stack.
    """
    draw = random.Random(seed)
    limit = rules.limit
    stack_top = limit - draw.getrandbits(rules.stack_bits) * _PAGE - _PAGE
    stack_room = 8 * _MIB + 256 * _PAGE + (1 << rules.stack_bits) * _PAGE
    return Layout(
        limit=limit,
        lowest=0x1_0000,
        mmap_base=limit - stack_room - _PAGE - draw.getrandbits(rules.random_bits) * _PAGE,
        top_down=True,
        stack_top=stack_top,
        image_base=(2 * limit // 3 & -_PAGE) + draw.getrandbits(rules.random_bits) * _PAGE,
        brk_gap=draw.randrange(0, rules.brk_range, _PAGE),
        low_area=rules.low_area,
    )


def osv_layout() -> Layout:
    """OSv's map of the low half: objects from `program_base` up, everything else from 0x2000_0000_0000 up."""
    return Layout(
        limit=0x8000_0000_0000,
        lowest=_PAGE,
        mmap_base=0x2000_0000_0000,
        top_down=False,
        stack_top=0x8000_0000_0000,
        image_base=0x1000_0000_0000,
        brk_gap=0,
    )
