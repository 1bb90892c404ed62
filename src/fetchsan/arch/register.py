# SPDX-License-Identifier: GPL-2.0-or-later
"""A field of a register or table entry, declared by its lowest bit and its width as the architecture's manuals do."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Field"]


@dataclass(frozen=True, slots=True)
class Field:
    """Bits `low + width - 1 : low` of a register."""

    low: int
    width: int

    def of(self, value: int) -> int:
        """Extract."""
        return value >> self.low & ((1 << self.width) - 1)

    def put(self, value: int) -> int:
        """The field's bits at their place. Raises ValueError if `value` does not fit."""
        if value >> self.width:
            raise ValueError(f"{value:#x} does not fit in {self.width} bits")
        return value << self.low
