# SPDX-License-Identifier: GPL-2.0-or-later
"""A machine that only remembers what the kernel asked of it, over real guest RAM: stores and page tables really happen."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from fetchsan.arch.aarch64.page_table import ACCESSED, PAGE_OR_TABLE
from fetchsan.kernel.errors import LinuxError
from fetchsan.kernel.mmu import AddressSpace, Frames, LinuxSpace, OsvSpace, PageCache, UserMemory, linux_layout
from fetchsan.kernel.mmu.cache_policy import LINUX_CACHE, OSV_CACHE, CachePolicy
from fetchsan.kernel.mmu.ports import AARCH64, Port
from fetchsan.machine.hardware import Origin, Translation
from fetchsan.machine.memory import PhysicalMemory
from fetchsan.machine.walk import walk
from fetchsan.machine.walk_x64 import walk as walk_x64

PAGE = 4096
ADDRESS = 0x0000_FFFF_FFFF_F000

WALKS = {"aarch64": walk, "x64": walk_x64}


class RecordingHardware:
    """Implements `Hardware`. `calls` holds (name, *arguments), `translations` what PTE announcements add up to."""

    def __init__(self, size: int = 64 << 20) -> None:
        self.memory = PhysicalMemory(size)
        self.calls: list[tuple[object, ...]] = []
        self.root: int | None = None
        self.port = AARCH64
        self.translations: dict[int, Translation] = {}

    def named(self, *names: str) -> list[tuple[object, ...]]:
        return [call for call in self.calls if call[0] in names]

    def store(self, pe: int, physical: int, data: bytes, origin: Origin) -> None:
        self.memory.write(physical, data)
        self.calls.append(("store", physical, len(data), origin.agent))

    def clean_line(self, pe: int, physical: int) -> None:
        self.calls.append(("clean_line", physical))

    def invalidate_line(self, pe: int, physical: int, virtual: int) -> None:
        self.calls.append(("invalidate_line", physical, virtual))

    def invalidate_all(self, pe: int) -> None:
        self.calls.append(("invalidate_all",))

    def dsb(self, pe: int) -> None:
        self.calls.append(("dsb",))

    def context_synchronise(self, pe: int) -> None:
        self.calls.append(("context_synchronise",))

    def synchronise(self, pe: int, physical: int, virtual: int, size: int, *, context: bool = True) -> None:
        self.calls.append(("synchronise", physical, virtual, size, context))

    def kernel_synchronise(self, pe: int, frames: Sequence[int]) -> None:
        self.calls.extend(("kernel_synchronise", frame) for frame in frames)

    def pte_changed(
        self, pe: int, virtual: int, size: int, executable: Sequence[tuple[int, int]], *, replaced: bool
    ) -> None:
        self.calls.append(("pte_changed", virtual, size))
        if self.root is None:
            return
        newly = []
        was_there = False
        for page in range(virtual, virtual + size, PAGE):
            old = self.translations.pop(page, None)
            new = WALKS[self.port.name](self.memory, self.root, page)[0]
            was_there |= old is not None
            if new is not None:
                self.translations[page] = new
                if new.executable and not (old is not None and old.executable and old.physical == new.physical):
                    newly.append((new.physical, page))
        assert list(executable) == newly, "the machine is told of what became executable, and of nothing else"
        assert replaced or not was_there, "the machine is told to forget what it may have cached"

    def flush_tlb_all(self, pe: int) -> None:
        self.calls.append(("flush_tlb_all",))

    def flush_tlb_linux(self, pe: int) -> None:
        self.calls.append(("flush_tlb_linux",))

    def frames_freed(self, frames: Sequence[int]) -> None:
        self.calls.extend(("frame_freed", physical) for physical in frames)


class MemoryFile:
    """A file whose bytes are in `content`."""

    dev = 0xFE01
    path = "/usr/bin/program"
    mappable = True
    has_page_cache = True
    version: object | None = None

    def __init__(self, content: bytes, ino: int = 42) -> None:
        self.content = bytearray(content)
        self.ino = ino
        self.broken = False
        self.broken_writes = 0

    @property
    def identity(self) -> tuple[object, ...]:
        return ("memory", id(self))

    @property
    def size(self) -> int:
        return len(self.content)

    def next_data(self, offset: int) -> int:
        """Whole pages of zeros are holes."""
        for start in range(offset & -PAGE, self.size, PAGE):
            if any(self.content[start : start + PAGE]):
                return max(start, offset)
        raise LinuxError(6)

    def read_at(self, offset: int, size: int) -> bytes:
        if self.broken:
            raise LinuxError(5)
        return bytes(self.content[offset : offset + size])

    def write_at(self, offset: int, data: bytes) -> int:
        if self.broken or self.broken_writes:
            raise LinuxError(self.broken_writes or 5)
        self.content[offset : offset + len(data)] = data
        return len(data)


class World:
    """One address space on its machine."""

    def __init__(
        self,
        *,
        user: bool = True,
        sync: str = "linux",
        size: int = 64 << 20,
        port: Port = AARCH64,
        policy: CachePolicy | None = None,
        hardware: RecordingHardware | None = None,
    ) -> None:
        self.hardware = hardware or RecordingHardware(size)
        self.frames = Frames(self.hardware)
        self.cache = PageCache(self.frames, policy or (LINUX_CACHE if user else OSV_CACHE))
        self.space: Any = self.another_space(user=user, sync=sync, port=port)
        self.hardware.root = self.space.root
        self.hardware.port = port
        self.memory = UserMemory(self.space)

    def another_space(self, *, user: bool = True, sync: str = "linux", port: Port = AARCH64) -> AddressSpace:
        """A space of the same kernel."""
        if user:
            return LinuxSpace(self.hardware, sync=sync, layout=linux_layout(1), page_cache=self.cache, port=port)
        return OsvSpace(self.hardware, sync=sync, page_cache=self.cache, port=port)

    def walk(self, virtual: int) -> Translation | None:
        return WALKS[self.hardware.port.name](self.hardware.memory, self.space.root, virtual)[0]

    def touch(self, virtual: int, access: str = "write") -> int:
        """Fault `virtual` in; its frame."""
        self.space.fault(0, virtual, access)  # type: ignore[arg-type]
        translation = self.walk(virtual)
        assert translation is not None
        return translation.physical

    def maps(self) -> list[tuple[int, int, int]]:
        return [(vma.start, vma.end, vma.perm) for vma in self.space.vmas.mapped()]


def leaves(memory: PhysicalMemory, root: int) -> Iterator[tuple[int, int]]:
    """(virtual, entry) of every leaf, read from the tables with no help from the memory manager."""
    yield from _leaves(memory, root, 39, 0)


def tables(memory: PhysicalMemory, root: int) -> list[int]:
    """Every frame that holds a table."""
    found = [root]
    level = [root]
    for _ in range(3):
        level = [e & ADDRESS for t in level for e in _entries(memory, t) if e & PAGE_OR_TABLE]
        found += level
    return found


def _entries(memory: PhysicalMemory, table: int) -> list[int]:
    return [memory.read_u64(table + 8 * i) for i in range(512)]


def _leaves(memory: PhysicalMemory, table: int, shift: int, base: int) -> Iterator[tuple[int, int]]:
    for index, entry in enumerate(_entries(memory, table)):
        virtual = base + (index << shift)
        if not entry:
            continue
        if shift == 12:
            assert entry & ACCESSED
            yield virtual, entry
        else:
            yield from _leaves(memory, entry & ADDRESS, shift - 9, virtual)


__all__ = ["ADDRESS", "PAGE", "MemoryFile", "RecordingHardware", "World", "leaves", "tables"]
