# SPDX-License-Identifier: GPL-2.0-or-later
"""Owns what a page-table format is made of: bit fields, and the leaf attributes a kernel asks of them.

A port declares one `PageTableFormat`; nothing here knows an architecture. Permissions are OSv's bits
(read 1, write 2, execute 4: also the values of PROT_READ, PROT_WRITE, PROT_EXEC).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["EXECUTE", "READ", "WRITE", "Field", "PageTableFormat"]

READ = 1
WRITE = 2
EXECUTE = 4


@dataclass(frozen=True, slots=True)
class Field:
    """`width` bits from bit `low`. An inverted field says yes with 0 (AP[2] is "read-only", NX "no execute")."""

    low: int
    width: int = 1
    inverted: bool = False

    @property
    def mask(self) -> int:
        """The bits of this field in an entry."""
        return ((1 << self.width) - 1) << self.low

    def allows(self, entry: int) -> bool:
        """Whether a one-bit field says yes."""
        return bool(entry & self.mask) is not self.inverted

    def put(self, entry: int, value: bool) -> int:
        """`entry` with a one-bit field saying `value`."""
        return entry | self.mask if value is not self.inverted else entry & ~self.mask


class PageTableFormat:
    """The descriptors of one port, as OSv's `pt_element` has them, and what an unprivileged page adds.

    A *clean* leaf (dirty bit clear) is never writable: neither port's software can rely on a hardware dirty bit, so the
    first write to a clean page must fault to be seen (OSv on AArch64 misses it). A copy-on-write leaf is not either.
    """

    def __init__(
        self, name: str, fields: Mapping[str, Field], *, leaf: int, table: int, no_access: int, large: bool
    ) -> None:
        self.name = name
        self.fields = fields  # by OSv's word for each
        self.leaf = leaf  # the bits that every 4 KiB leaf has
        self.table = table  # the bits that every table descriptor has
        self.no_access = no_access  # the bits that a resident page without rights has beside its address
        # A 2 MiB leaf differs from a 4 KiB one in one bit: AArch64 clears "page", x64 sets "large".
        self.large_mask = fields["large"].mask
        self.large_value = fields["large"].mask if large else 0
        # Asked for every page touched, so kept as masks and values.
        self.address_mask = fields["address"].mask
        self.cow_mask = fields["cow"].mask
        self.dirty_mask = fields["dirty"].mask
        self.valid_mask = fields["valid"].mask | fields["no_access"].mask
        self.valid_value = fields["valid"].mask
        self._attributes = tuple(
            self._compose(index & 7, user=bool(index & 8), cow=bool(index & 16), dirty=bool(index & 32))
            for index in range(64)
        )

    def _compose(self, perm: int, *, user: bool, cow: bool, dirty: bool) -> int:
        fields = self.fields
        entry = self.leaf if perm else self.no_access
        entry = fields["dirty"].put(entry, dirty)
        entry = fields["cow"].put(entry, cow)
        entry = fields["writable"].put(entry, bool(perm & WRITE) and dirty and not cow)
        executable = bool(perm & EXECUTE)
        if user and "user_executable" in fields:
            entry = fields["user"].put(entry, True)
            entry = fields["user_executable"].put(entry, executable)
            # Linux never lets EL1 execute a user page (PXN), whatever the process asked for.
            return fields["executable"].put(entry, False)
        return fields["executable"].put(entry, executable)

    def make_leaf(self, physical: int, perm: int, *, user: bool, cow: bool, dirty: bool) -> int:
        """A 4 KiB leaf. `user`: for EL0 (the Linux ABI), where the format tells the levels apart."""
        return physical | self._attributes[perm | user << 3 | cow << 4 | dirty << 5]

    def is_large(self, entry: int) -> bool:
        """Whether an entry is a 2 MiB leaf (of level 1): neither empty, nor a table, nor a 4 KiB leaf."""
        return entry != 0 and entry & self.large_mask == self.large_value

    def make_large(self, leaf: int) -> int:
        """The 2 MiB leaf with the attributes and the (2 MiB-aligned) address of a 4 KiB one."""
        return leaf & ~self.large_mask | self.large_value

    def make_small(self, large: int, index: int) -> int:
        """The 4 KiB leaf for page `index` of a 2 MiB one: the same attributes."""
        return (large & ~self.large_mask | self.large_mask ^ self.large_value) + (index << 12)

    def change_perm(self, entry: int, perm: int, *, user: bool) -> int:
        """`entry` with other rights; copy-on-write and dirty are kept (OSv's `change_perm`)."""
        cow = bool(entry & self.cow_mask)
        dirty = bool(entry & self.dirty_mask)
        leaf = self.make_leaf(entry & self.address_mask, perm, user=user, cow=cow, dirty=dirty)
        return self.make_large(leaf) if self.is_large(entry) else leaf

    def is_writable(self, entry: int) -> bool:
        """Whether a store through this leaf would not fault."""
        return entry & self.valid_mask == self.valid_value and self.fields["writable"].allows(entry)

    def perm(self, entry: int) -> int:
        """The rights that the level this leaf is made for has through it; 0 for an empty entry or a resident PROT_NONE page."""
        if entry & self.valid_mask != self.valid_value:
            return 0
        fields = self.fields
        executable = fields["executable"]
        if "user_executable" in fields and fields["user"].allows(entry):
            executable = fields["user_executable"]
        return READ | WRITE * fields["writable"].allows(entry) | EXECUTE * executable.allows(entry)
