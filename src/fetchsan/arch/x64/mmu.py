# SPDX-License-Identifier: GPL-2.0-or-later
"""Owns what the x64 port does to its caches when memory is populated with code (OSv's arch/x64/mmu.cc): nothing."""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ["vma_invalidate_cache"]


def vma_invalidate_cache(caches: object, pe: int, executable: bool, runs: Iterable[tuple[int, int, int]]) -> None:
    """Instruction fetches snoop stores on x86-64: there is nothing to do."""
