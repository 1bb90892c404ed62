# SPDX-License-Identifier: GPL-2.0-or-later
"""Owns thread-local storage in memory: the image that a thread's static block starts as, and blocks that it gets on demand.

The image lies in the program's memory, because the C library copies it for each thread that it makes; to the C library all
modules of the start and the reserve behind them are one PT_TLS.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from fetchsan.errors import NotExecutableError
from fetchsan.kernel.linker.file import LINKER, File
from fetchsan.kernel.linker.tls import MAX_ALIGNMENT, RESERVE, VARIANTS, StaticTls, TlsBlock
from fetchsan.kernel.mmu.operate import page_up
from fetchsan.kernel.mmu.osv_space import OsvSpace
from fetchsan.kernel.mmu.user_memory import UserMemory
from fetchsan.kernel.mmu.vma import PERM_READ, PERM_WRITE

__all__ = ["ThreadStorage"]

_MAX_BLOCK = 64 << 20


class ThreadStorage:
    """Of one program. `threads()` gives the thread pointers of those that run now."""

    def __init__(self, space: OsvSpace, memory: UserMemory, threads: Callable[[], Iterable[int]]) -> None:
        self._space, self._memory, self._threads = space, memory, threads
        self._static = StaticTls(VARIANTS[space.port.name])
        self._mapping = (0, 0)
        self._on_demand: dict[tuple[int, int], tuple[int, int]] = {}  # (thread pointer, module): address, size
        self.image = 0
        """Where the image of the static block is; 0: not made yet."""

    @property
    def alignment(self) -> int:
        """Of the thread pointer."""
        return self._static.alignment

    @property
    def size(self) -> int:
        """Of the image."""
        return self._static.size - self._static.variant.gap

    @property
    def first(self) -> int:
        """Where the image goes, relative to the thread pointer."""
        return self._static.first

    def add(self, file: File) -> None:
        """Give a module its place. Raises NotExecutableError for a PT_TLS that cannot be."""
        tls = file.elf.tls
        if tls is None:
            return
        alignment = max(tls.alignment, 1)
        bad_alignment = alignment & (alignment - 1) or alignment > MAX_ALIGNMENT
        if bad_alignment or tls.file_size > tls.memory_size or tls.memory_size > _MAX_BLOCK:
            raise NotExecutableError(file.path, f"corrupt ELF: PT_TLS of {tls.memory_size:#x} bytes, aligned to {alignment:#x}")
        if file.memory.readable(file.base + tls.address, tls.file_size) < tls.file_size:
            raise NotExecutableError(file.path, "corrupt ELF: PT_TLS lies outside the loadable segments")
        offset = self._static.place(tls.memory_size, alignment, tls.address)
        file.tls = TlsBlock(tls.address, tls.file_size, tls.memory_size, alignment, offset)

    def remove(self, file: File) -> None:
        """Its blocks are nobody's now."""
        tls = file.tls
        if tls is None:
            return
        if tls.offset is not None:
            self._static.release(tls.offset, tls.memory_size)
        for key in [key for key in self._on_demand if key[1] == file.number]:
            address, size = self._on_demand.pop(key)
            self._space.evacuate(address, address + size)
        file.tls = None

    def seal(self, *, wanted: bool) -> None:
        """The modules of the start are there: make the image, as aligned as the block itself will be.

        Without one of their own, and not `wanted` for another reason, threads have no block, and whoever comes later
        gets his on demand.
        """
        wanted = wanted or self._static.used
        self._static.seal(reserve=wanted)
        if not wanted:
            return
        size = page_up(self.size + self.alignment + abs(self.first))
        start = self._space.map_anon(0, size, 0, PERM_READ | PERM_WRITE)
        self._mapping = (start, start + size)
        self.image = start + (self.first - start) % self.alignment

    def initialise(self, files: Iterable[File]) -> None:
        """Their variables get their first values: in the image, and for the threads that run already."""
        for file in files:
            tls = file.tls
            if tls is None or tls.offset is None:
                continue
            # The reserve may have been somebody else's; what is larger lies in memory that is still zeros.
            data = self._initial(file, tls)
            if tls.memory_size <= RESERVE:
                data = data.ljust(tls.memory_size, b"\0")
            for thread in (self.image - self.first, *self._threads()):
                if data:
                    self._memory.write(thread + tls.offset, data, LINKER)

    def initialise_thread(self, thread: int) -> None:
        """Copy the image to where the thread pointer `thread` wants it."""
        for at in range(0, self.size, 4096):
            data = self._memory.read(self.image + at, min(4096, self.size - at))
            if any(data):
                self._memory.write(thread + self.first + at, data, LINKER)

    def on_demand(self, thread: int, file: File) -> int:
        """The block of a module that has no place in the static one, made when it is first asked for."""
        tls = file.tls
        if tls is None:
            raise NotExecutableError(file.path, "corrupt ELF: __tls_get_addr for a module without PT_TLS")
        if tls.offset is not None:
            return thread + tls.offset
        key = (thread, file.number)
        if key not in self._on_demand:
            size = page_up(tls.memory_size + tls.alignment)
            start = self._space.map_anon(0, size, 0, PERM_READ | PERM_WRITE)
            data = self._initial(file, tls)
            if data:
                self._memory.write(start + (tls.address - start) % tls.alignment, data, LINKER)
            self._on_demand[key] = (start, size)
        start, _ = self._on_demand[key]
        return start + (tls.address - start) % tls.alignment

    def close(self) -> None:
        """The program is over."""
        for address, size in self._on_demand.values():
            self._space.evacuate(address, address + size)
        self._space.evacuate(*self._mapping)
        self._on_demand.clear()
        self.image = 0

    def _initial(self, file: File, tls: TlsBlock) -> bytes:
        return self._memory.read(file.base + tls.address, tls.file_size) if tls.file_size else b""
