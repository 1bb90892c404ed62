# SPDX-License-Identifier: GPL-2.0-or-later
"""What the symboliser needs of a running program: its mappings, the files behind them, and the perf map it wrote."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fetchsan.findings.symbols import MappedRange
from fetchsan.kernel.errors import LinuxError
from fetchsan.kernel.kernel import Kernel
from fetchsan.kernel.mmu.maps import rights
from fetchsan.kernel.mmu.vma import FileVma

if TYPE_CHECKING:
    from fetchsan.kernel.osv.runner import OsvRunner

__all__ = ["GuestView"]

# A program decides how large its files are, and a sparse one costs it nothing.
_OBJECT_LIMIT = 512 << 20
_PERF_MAP_LIMIT = 64 << 20


class GuestView:
    """The program of `kernel`, as it is at the moment of the call."""

    def __init__(self, kernel: Kernel | OsvRunner) -> None:
        self._kernel = kernel

    def mapped_ranges(self) -> list[MappedRange]:
        """The address space, in ascending order."""
        ranges = []
        for vma in self._kernel.process.space.vmas.mapped():
            path, offset = (vma.inode.path, vma.offset) if isinstance(vma, FileVma) else ("", 0)
            ranges.append(MappedRange(vma.start, vma.end, vma.name or path, offset, rights(vma)))
        return ranges

    def read_object(self, path: str) -> bytes | None:
        """The contents of a file that the program has mapped."""
        for vma in self._kernel.process.space.vmas.mapped():
            if isinstance(vma, FileVma) and vma.inode.path == path:
                with self._kernel.host.aside():
                    return vma.inode.read_at(0, min(vma.inode.size, _OBJECT_LIMIT))
        return None

    def perf_map(self) -> str | None:
        """/tmp/perf-PID.map, where engines name the code they generate."""
        process = self._kernel.process
        try:
            opened = process.fs.vfs.open(process.fs.vfs.root, b"/tmp/perf-%d.map" % process.pid, 0)
        except LinuxError:
            return None
        inode = opened.inode
        return inode.read_at(0, min(inode.size, _PERF_MAP_LIMIT)).decode("utf-8", "replace")
