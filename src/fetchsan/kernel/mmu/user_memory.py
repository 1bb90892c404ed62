# SPDX-License-Identifier: GPL-2.0-or-later
"""Owns the kernel's own reads and writes of the program's memory: pointers in system calls, relocation, loading.

Every pointer is the guest's and may be anything: the kernel's half, past the end of the range, a length of exabytes.
Ranges are checked against the mappings before anything as long as them is read or populated.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from typing import Final

from fetchsan.kernel.errors import Access, LinuxError
from fetchsan.kernel.mmu.address_space import AddressSpace
from fetchsan.kernel.mmu.operate import PAGE_SIZE
from fetchsan.machine.hardware import Origin

__all__ = ["UserMemory"]

_OFFSET: Final = PAGE_SIZE - 1


class UserMemory:
    """Loads and stores of the program's memory on its behalf; bad pointers raise GuestFault.

    `origin` says who stores: the dispatcher sets it for each system call. Faults are served as for the program itself.
    """

    def __init__(self, space: AddressSpace) -> None:
        self.space = space
        self.origin = Origin(pc=None, agent="kernel")
        self._store = space.hardware.store
        memory = space.hardware.memory
        self._view = memory.view
        self._base = memory.base
        # These two are the address space's own, and exact: it forgets a page whenever its PTE changes.
        self._reads = space.tables.reads
        self._writes = space.tables.writes

    def read(self, virtual: int, size: int) -> bytes:
        """`size` bytes from `virtual`."""
        offset = virtual & _OFFSET
        if 0 < size <= PAGE_SIZE - offset:
            physical = self._reads.get(virtual >> 12)
            if physical is None:
                physical = self._translate(virtual, "read")
            start = physical - self._base + offset
            return bytes(self._view[start : start + size])
        if size > self.space.hardware.memory.size:
            raise LinuxError(errno.ENOMEM)  # mapped, it may be; but it cannot be resident at once
        self._check(virtual, size, "read")
        return b"".join(self.read(at, length) for at, length in _pieces(virtual, size))

    def write(self, virtual: int, data: bytes, agent: str | None = None) -> None:
        """Store `data` at `virtual`, through the data side; `agent` names the writer if it is not `origin`'s."""
        origin = self.origin
        if agent is not None and agent != origin.agent:
            origin = Origin(origin.pc, agent, origin.thread)
        size = len(data)
        offset = virtual & _OFFSET
        if 0 < size <= PAGE_SIZE - offset:
            physical = self._writes.get(virtual >> 12)
            if physical is None:
                physical = self._translate(virtual, "write")
            self._store(self.space.pe, physical + offset, bytes(data), origin)
            return
        self._check(virtual, size, "write")
        done = 0
        for at, length in _pieces(virtual, size):
            physical = self._writes.get(at >> 12)
            if physical is None:
                physical = self._translate(at, "write")
            self._store(self.space.pe, physical + (at & _OFFSET), bytes(data[done : done + length]), origin)
            done += length

    def read_cstring(self, virtual: int, limit: int = 4096) -> bytes:
        """The bytes before the first NUL; ENAMETOOLONG if none of the first `limit` bytes is one."""
        parts = []
        for at, length in _pieces(virtual, limit):
            part = self.read(at, length)
            end = part.find(0)
            if end >= 0:
                parts.append(part[:end])
                return b"".join(parts)
            parts.append(part)
        raise LinuxError(errno.ENAMETOOLONG)

    def read_u32(self, virtual: int) -> int:
        """One little-endian word."""
        return int.from_bytes(self.read(virtual, 4), "little")

    def read_u64(self, virtual: int) -> int:
        """One little-endian doubleword."""
        return int.from_bytes(self.read(virtual, 8), "little")

    def write_u32(self, virtual: int, value: int) -> None:
        """Store a word (its low 32 bits)."""
        self.write(virtual, (value & 0xFFFF_FFFF).to_bytes(4, "little"))

    def write_u64(self, virtual: int, value: int) -> None:
        """Store a doubleword (its low 64 bits)."""
        self.write(virtual, (value & 0xFFFF_FFFF_FFFF_FFFF).to_bytes(8, "little"))

    def readable(self, virtual: int, size: int) -> int:
        """How many of `size` bytes from `virtual` could be read, before the first that could not. Populates nothing."""
        return self.space.accessible_until(virtual, virtual + size, "read") - virtual

    def writable(self, virtual: int, size: int) -> int:
        """How many of `size` bytes from `virtual` could be written, before the first that could not. Populates nothing."""
        return self.space.accessible_until(virtual, virtual + size, "write") - virtual

    def physical(self, virtual: int, access: Access = "read") -> int:
        """The physical address behind `virtual`, after serving the fault that the access would take."""
        return self._translate(virtual, access) + (virtual & _OFFSET)

    def _check(self, virtual: int, size: int, access: Access) -> None:
        reached = self.space.accessible_until(virtual, virtual + size, access)
        if reached < virtual + size:
            self.space.fault(self.space.pe, reached, access)
            raise AssertionError("an address that no mapping allows must fault")

    def _translate(self, virtual: int, access: Access) -> int:
        """The frame behind `virtual`, remembered for the next time."""
        space = self.space
        tables = space.tables
        needed = 2 if access == "write" else 1
        # An address past the half has no VMA: `fault` says so before any table is asked.
        if virtual >> 48 or not tables.perm(tables.lookup(virtual)) & needed:
            space.fault(space.pe, virtual, access)
        entry = tables.lookup(virtual)
        physical = entry & tables.format.address_mask
        page = virtual >> 12
        self._reads[page] = physical
        if access == "write":
            self._writes[page] = physical
        return physical


def _pieces(virtual: int, size: int) -> Iterator[tuple[int, int]]:
    """(address, length) of the parts of a range that each lie in one page."""
    end = virtual + size
    while virtual < end:
        length = min(PAGE_SIZE - (virtual & _OFFSET), end - virtual)
        yield virtual, length
        virtual += length
