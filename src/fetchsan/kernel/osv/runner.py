# SPDX-License-Identifier: GPL-2.0-or-later
"""Owns one run of one program under the OSv personality (`fetchsan run --linker osv`), with the host's files and streams.

It has the interface of the Linux ABI's `Kernel`: start, run, close.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib.resources import files
from typing import TYPE_CHECKING

from fetchsan.errors import InternalError, UsageError
from fetchsan.kernel.errors import LinuxError
from fetchsan.kernel.exception_report import Symbolise
from fetchsan.kernel.linker.program_file import find_program
from fetchsan.kernel.linker.search import SEARCH_PATH, TRIPLETS
from fetchsan.kernel.mmu.maps import procfs_maps
from fetchsan.kernel.mmu.ports import AARCH64
from fetchsan.kernel.options import KernelOptions
from fetchsan.kernel.osv.image import OSV_PID, RofsFile
from fetchsan.kernel.osv.kernel import OsvKernel
from fetchsan.kernel.osv.thread import Aborted
from fetchsan.kernel.task import Exited, Signaled
from fetchsan.kernel.vfs.context import FileSystemContext
from fetchsan.kernel.vfs.open_file import OpenFile
from fetchsan.kernel.vfs.proc_system import SystemFacts
from fetchsan.kernel.vfs.streams import open_standard_streams
from fetchsan.kernel.vfs.tree import build_tree
from fetchsan.machine.hardware import Hardware
from fetchsan.machine.traps import ProcessingElement

if TYPE_CHECKING:
    from fetchsan.kernel.abi.abi import Abi
    from fetchsan.kernel.host import Host
    from fetchsan.kernel.mmu.osv_space import OsvSpace
    from fetchsan.kernel.mmu.user_memory import UserMemory

__all__ = ["OsvRunner", "kernel_libc"]


@dataclass(frozen=True, slots=True)
class _Program:
    """What reports look into."""

    space: OsvSpace
    fs: FileSystemContext
    memory: UserMemory
    pid: int = OSV_PID


@dataclass(frozen=True, slots=True)
class _Tree:
    """The files of a run, in place of an image's."""

    fs: FileSystemContext

    def add(self, file: RofsFile) -> None:
        """Every file is there already."""


def _to_stderr(text: str) -> None:
    print(text, file=sys.stderr)


def kernel_libc() -> RofsFile:
    """The kernel's C library (guests/libc)."""
    return RofsFile("/kernel/libc.so", files("fetchsan.kernel.osv").joinpath("libc", "aarch64.so").read_bytes())


class OsvRunner(OsvKernel):
    """`message` gets lines for the person at the terminal (a replay drops them)."""

    def __init__(
        self,
        hardware: Hardware,
        options: KernelOptions,
        *,
        host: Host,
        abi: Abi,
        symbolise: Symbolise = lambda address: "",
        message: Callable[[str], None] = _to_stderr,
    ) -> None:
        if abi.port is not AARCH64:
            raise UsageError("linker osv: the kernel's C library is built for AArch64 only")
        super().__init__(
            hardware,
            sync=options.sync_policy,
            port=abi.port,
            libc=kernel_libc(),
            hwcap=abi.hwcap,
            seed=options.seed,
            symbolise=symbolise,
        )
        self.options, self.host, self.abi, self.message = options, host, abi, message
        self.captured: dict[int, bytearray] = {1: bytearray()} if options.capture_stdout else {}
        self._process: _Program | None = None
        self._streams: dict[int, OpenFile] = {}

    @property
    def process(self) -> _Program:
        """The program."""
        if self._process is None:
            raise InternalError("the kernel was not started")
        return self._process

    def start(self, pe: ProcessingElement) -> None:
        """Load the program onto `pe`. Raises NotExecutableError, ProgramNotFoundError, UsageError."""
        options, memory = self.options, self.hardware.memory
        name = options.argv[0]
        tree = build_tree(
            self.host,
            cwd=options.cwd,
            now=self.clock.realtime_ns,
            facts=SystemFacts(
                memory=lambda: (memory.size, memory.size - memory.frames_in_use * 4096),
                uptime_ns=self.clock.monotonic_ns,
                random=self.random,
            ),
            random_source=self.random,
            sysroot=options.sysroot,
            program=options.cwd / name if "/" in name else None,
            grants=options.directories,
        )
        self.image = _Tree(tree.start)
        self._process = _Program(self.space, tree.start, self.memory)
        self._streams = open_standard_streams(self.host, self.captured)
        self.boot(pe)
        program = find_program(tree.start, name, dict(options.env).get("PATH"), options.sysroot)
        try:
            path = os.fsdecode(program.path())
            # In an image it all lies in /: here that is where the program lies, and what a sysroot has.
            self.search_path = (os.path.dirname(path), *SEARCH_PATH, *TRIPLETS[self.space.port.name])
            environment = [f"{key}={value}" for key, value in options.env]
            self.start_program(pe, path, options.argv, environment)
        except LinuxError as error:
            raise UsageError(f"{name}: {os.strerror(error.errno).lower()}") from None

    def run(self) -> Exited | Signaled:
        """Execute until the program ends. Raises what stopped FetchSan: FetchSanError, KeyboardInterrupt."""
        try:
            next(iter(self._threads.values())).pe.run()
        finally:
            self.finish()
        end = self.ended
        if end is None:
            raise InternalError("the machine stopped, but the program has not ended")
        if isinstance(end, Aborted):
            self.message(end.report.rstrip("\n"))
            return Signaled(end.signal, end.exception)
        return end

    def finish(self) -> None:
        """Close its files, and tell what there is to tell."""
        if self.options.dump_maps:
            self.message(procfs_maps(self.space).rstrip("\n"))
        self.application.files.close_all()
        self._tell()

    def close(self) -> None:
        """Give back all of guest memory."""
        self.space.destroy()
        self.space.page_cache.close()

    def _open_console(self, descriptor: int) -> OpenFile | None:
        return self._streams.get(descriptor)

    def _tell(self) -> None:
        """What the kernel had to say."""
        for line in self.console.decode("utf-8", "replace").splitlines():
            self.message(f"fetchsan: {line}")
        self.console.clear()
