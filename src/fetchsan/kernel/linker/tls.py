# SPDX-License-Identifier: GPL-2.0-or-later
"""Owns the layout of thread-local storage: where each module's block lies relative to the thread pointer.

Variant I (AArch64): the thread pointer is followed by 16 bytes of the kernel's (OSv's TCB) and then by blocks, upwards.
Variant II (x86-64): blocks lie below the thread pointer, downwards (Drepper, "ELF Handling For Thread-Local Storage").
Modules that come later get what is left of a reserve, so that nearly all code reaches its variables without a call.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from fetchsan.kernel.mmu.ports import AARCH64, X64

__all__ = ["MAX_ALIGNMENT", "RESERVE", "VARIANTS", "StaticTls", "TlsBlock", "TlsVariant"]

_TCB_SIZE = 16
RESERVE = 4096
MAX_ALIGNMENT = 4096


@dataclass(frozen=True, slots=True)
class TlsVariant:
    """`upwards`: variant I. The first block begins `gap` bytes from the thread pointer."""

    upwards: bool
    gap: int


VARIANTS = {AARCH64.name: TlsVariant(True, _TCB_SIZE), X64.name: TlsVariant(False, 0)}
"""By the port's name."""


@dataclass(frozen=True, slots=True)
class TlsBlock:
    """Of one module: what PT_TLS says, and the distance from the thread pointer; None: each thread has its own place."""

    address: int
    file_size: int
    memory_size: int
    alignment: int
    offset: int | None

    def identity(self, number: int) -> int:
        """What __tls_get_addr goes by: twice the offset, or an odd number that stands for the module.

        (To everybody else it is opaque: it comes from a DTPMOD relocation.)
        """
        return 2 * number + 1 if self.offset is None else 2 * self.offset


@dataclass(slots=True)
class StaticTls:
    """The blocks at a fixed distance from the thread pointer. After `seal` only the reserve is left."""

    variant: TlsVariant
    alignment: int = 16
    limit: int | None = None
    _used: list[tuple[int, int]] = field(default_factory=list)  # [near, far) as distances from the thread pointer, sorted

    def place(self, size: int, alignment: int, address: int) -> int | None:
        """Take room for a block that is linked at `address`; its offset from the thread pointer. None: no room is left."""
        alignment = max(alignment, 1)
        if self.limit is not None and alignment > self.alignment:
            return None  # threads that are there are not aligned so
        near = self.variant.gap
        for at, (taken, until) in enumerate([*self._used, (1 << 62, 1 << 62)]):
            near_end = self._fit(near, size, alignment, address)
            if near_end + size <= taken:
                if self.limit is not None and near_end + size > self.limit:
                    return None
                self._used.insert(at, (near_end, near_end + size))
                if self.limit is None:
                    self.alignment = max(self.alignment, alignment)
                return near_end if self.variant.upwards else -(near_end + size)
            near = until
        return None

    def release(self, offset: int, size: int) -> None:
        """The module has gone."""
        near = offset if self.variant.upwards else -offset - size
        self._used.remove((near, near + size))

    def seal(self, *, reserve: bool) -> None:
        """All modules of the start are there; the size is known."""
        far = max((far for _, far in self._used), default=self.variant.gap)
        self.limit = -(-(far + RESERVE * reserve) // self.alignment) * self.alignment

    @property
    def used(self) -> bool:
        """Whether any block has a place."""
        return bool(self._used)

    @property
    def size(self) -> int:
        """Bytes from the thread pointer to the far end."""
        assert self.limit is not None, "sealed"
        return self.limit

    @property
    def first(self) -> int:
        """The lowest offset of the area that blocks lie in; it is `size - gap` bytes long."""
        return self.variant.gap if self.variant.upwards else -self.size

    def _fit(self, near: int, size: int, alignment: int, address: int) -> int:
        """The first distance from `near` on at which the block is aligned as it was when it was linked."""
        if self.variant.upwards:
            return near + (address - near) % alignment
        return near + (-(near + size) - address) % alignment
