# SPDX-License-Identifier: GPL-2.0-or-later
"""One life of an OSv-like machine: power-on, applications loaded, run and unloaded one after the other, reports.

The applications ship with the package. Between the filling of a text page and its first fetch, `evicted` says which lines
the caches happened to write back to the point of unification by themselves: none in the worst case that the architecture
allows (the default), nearly all of them on silicon most of the time.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.resources import files
from types import TracebackType

from fetchsan.arch.aarch64.cpus import CpuProfile
from fetchsan.arch.aarch64.disassembly import disassemble
from fetchsan.findings.collector import Collector
from fetchsan.findings.finding import Finding
from fetchsan.findings.location import Location
from fetchsan.findings.symbols import MappedRange, Symboliser
from fetchsan.kernel.mmu.maps import rights
from fetchsan.kernel.mmu.ports import AARCH64, X64
from fetchsan.kernel.mmu.vma import FileVma
from fetchsan.kernel.options import SyncPolicy
from fetchsan.kernel.osv import Aborted, OsvKernel, RofsFile
from fetchsan.kernel.task import Exited
from fetchsan.machine.engine_pe import EnginePE
from fetchsan.machine.hits import Hit
from fetchsan.machine.interruption import stopping_on_signals
from fetchsan.machine.machine import Machine, Mode
from fetchsan.machine.memory import FRAME_SIZE, PhysicalMemory
from fetchsan.machine.x64_machine import X64Machine
from fetchsan.scenarios.turns import Turns

__all__ = ["Eviction", "Life", "always", "never"]

Eviction = Callable[[int], bool]
"""Whether the line at a virtual address reaches the point of unification before it is first fetched."""

_RAM = 16 << 20
_SUFFIXES = {"aarch64": "", "x64": "-x64"}
"""What the names of the package's objects end in, by port."""


def never(line: int) -> bool:
    """The worst machine that the architecture allows."""
    return False


def always(line: int) -> bool:
    """A lucky run."""
    return True


class Life:
    """A context manager: one machine with one kernel, from power-on to the end. `hits` are those of `check` mode so far.

    `cpu` None is an x86-64 machine. `tracked` frames are watched from the start: a second, identical life is told there who
    wrote what the first one executed.
    """

    def __init__(
        self, cpu: CpuProfile | None, mode: Mode, sync: SyncPolicy, *, pes: int = 1, tracked: frozenset[int] = frozenset()
    ) -> None:
        self.hits: list[Hit] = []
        self._files: dict[str, RofsFile] = {}
        self._evicted: Eviction = never
        self._turns: Turns | None = None
        self._symboliser = Symboliser(self._mappings, self._read_object)
        self._collector = Collector(self._symboliser.locate, disassemble)
        memory = PhysicalMemory(_RAM)
        self._machine: Machine | X64Machine
        if cpu is None:
            self._machine, port = X64Machine(memory=memory, mode=mode, pes=pes, user=False), X64
        else:
            self._machine = Machine(cpu, memory=memory, mode=mode, pes=pes, user=False, tracked=tracked, on_hit=self._hit)
            port = AARCH64
        self._suffix = _SUFFIXES[port.name]
        self._kernel = OsvKernel(
            self._machine,
            sync=sync,
            port=port,
            symbolise=lambda address: self.locate(address).label,
            text_arrived=self._text_arrived,
        )
        self._pes: list[EnginePE] = [self._machine.add_pe(self._kernel) for _ in range(pes)]
        for pe in self._pes:
            self._kernel.boot(pe)

    def __enter__(self) -> Life:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._machine.close()

    @property
    def console(self) -> str:
        """What the applications wrote so far."""
        return self._kernel.console.decode("utf-8", "replace")

    def run(
        self,
        application: str,
        *arguments: str,
        evicted: Eviction = never,
        thread: str | None = None,
        at_once: bool = False,
    ) -> Exited | Aborted:
        """Load and run `application` ("tst-hello") to its end; if it exits, its frames are free again, lowest first.

        `thread` is the exported function that the second PE runs meanwhile; `at_once`: see `Turns`.
        """
        self._evicted = evicted
        main = self._pes[0]
        with stopping_on_signals(self._interrupt):
            self._kernel.start_application(main, self.add_file(f"{application}.so"), [f"{application}.so", *arguments])
            if thread is None:
                main.run()
            else:
                self._turns = Turns(self._kernel, main, self._pes[1], thread, at_once=at_once)
                self._turns.run()
            end = self._kernel.finish_application()
        self._machine.finish()
        self._sort_free_frames()
        return end

    def add_file(self, name: str) -> RofsFile:
        """Put one of the package's objects into the image, at `/name`."""
        if name not in self._files:
            built = f"{name.removesuffix('.so')}{self._suffix}.so"
            data = files("fetchsan.scenarios").joinpath("guests", built).read_bytes()
            self._files[name] = RofsFile(f"/{name}", data, ino=len(self._files) + 1)
            self._kernel.image.add(self._files[name])
        return self._files[name]

    def findings(self) -> list[Finding]:
        """What `check` mode found."""
        return self._collector.findings()

    def locate(self, address: int) -> Location:
        """The name of an address of the application that is loaded (after its end: only if it aborted)."""
        return self._symboliser.locate(address)

    def _interrupt(self) -> None:
        for pe in self._pes:
            pe.interrupt()

    def _text_arrived(self, physical: int, virtual: int) -> None:
        self._write_back(physical, virtual)
        if self._turns is not None:
            self._turns.code_is_mapped()

    def _write_back(self, physical: int, virtual: int) -> None:
        """An eviction is what DC CVAU does, uncalled for; nothing of the new page is in the instruction cache yet."""
        if isinstance(self._machine, X64Machine):
            return
        size = self._machine.rules.line
        for offset in range(0, FRAME_SIZE, size):
            if self._evicted(virtual + offset):
                self._machine.synchronise(self._kernel.space.pe, physical + offset, virtual + offset, size)

    def _sort_free_frames(self) -> None:
        """An allocator that gives the lowest free frame: page k of one application becomes page k of the next.

        Any order shows the bug. This one makes what then runs easy to recognise.
        """
        memory = self._machine.memory
        free = [memory.allocate_frame() for _ in range(memory.size // FRAME_SIZE - memory.frames_in_use)]
        for frame in sorted(free, reverse=True):  # the one freed last is given first
            memory.free_frame(frame)

    def _hit(self, hit: Hit) -> None:
        self.hits.append(hit)
        self._collector.add(hit)

    def _mappings(self) -> list[MappedRange]:
        return [
            MappedRange(vma.start, vma.end, vma.inode.path, vma.offset, rights(vma))
            for vma in self._kernel.space.vmas.mapped()
            if isinstance(vma, FileVma)
        ]

    def _read_object(self, path: str) -> bytes | None:
        for vma in self._kernel.space.vmas.mapped():
            if isinstance(vma, FileVma) and vma.inode.path == path:
                return vma.inode.read_at(0, vma.inode.size)
        return None
