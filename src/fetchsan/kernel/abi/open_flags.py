# SPDX-License-Identifier: GPL-2.0-or-later
"""The O_* bits on which the ports disagree: the VFS has arm64's (`vfs/flags.py`), a program has its own."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["OpenFlags"]


@dataclass(frozen=True, slots=True)
class OpenFlags:
    """`differing`: pairs of the program's bit and the VFS's for the same flag. The same bits appear on both sides."""

    differing: tuple[tuple[int, int], ...] = ()

    def to_vfs(self, flags: int) -> int:
        """A program's flags as the VFS has them."""
        return self._translated(flags, self.differing)

    def to_program(self, flags: int) -> int:
        """And back."""
        return self._translated(flags, tuple((vfs, program) for program, vfs in self.differing))

    @staticmethod
    def _translated(flags: int, pairs: tuple[tuple[int, int], ...]) -> int:
        result = flags & ~sum(before for before, _ in pairs)
        return result | sum(after for before, after in pairs if flags & before)
