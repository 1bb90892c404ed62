# SPDX-License-Identifier: GPL-2.0-or-later
"""The Python API, which is also what the command uses: a machine, a program, a result.

>>> import fetchsan
>>> result = fetchsan.Machine(cpu="cortex-a72").run(["./jit"], capture_stdout=True)
>>> result.exit_status, [str(finding.kind) for finding in result.findings]
(66, ['missing-dc-clean'])
"""

from __future__ import annotations

import os
import sys
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fetchsan.arch.aarch64.disassembly import disassemble
from fetchsan.findings.collector import Collector
from fetchsan.findings.finding import Finding
from fetchsan.findings.outcome import GuestEnd, exit_status
from fetchsan.findings.symbols import Symboliser
from fetchsan.kernel.host import Host, RecordingHost, ReplayDivergence, ReplayHost
from fetchsan.kernel.options import KernelOptions
from fetchsan.machine.hardware import Origin
from fetchsan.machine.hits import Hit
from fetchsan.platforms import Platform, choose_platform
from fetchsan.run import Run
from fetchsan.settings import RunSettings

if TYPE_CHECKING:
    from fetchsan.findings.location import Location
    from fetchsan.libraries import Buffer, Function, Library, Pointer
    from fetchsan.libraries.session import Session

__all__ = ["Machine", "Result"]

_NO_REPLAY = "the first emission of this code was not watched (--no-replay)"
_INTERRUPTED = "the run was interrupted, and so not repeated to find out"
_DIVERGED = "the second run, which looks for writers, took another course"


@dataclass(frozen=True)
class Result:
    """One finished run. `stdout` is the guest's output when it was captured."""

    program: tuple[str, ...]
    settings: RunSettings
    guest: GuestEnd
    findings: tuple[Finding, ...]
    statistics: Mapping[str, int | float]
    writer_note: str | None = None
    stdout: bytes | None = None

    @property
    def exit_status(self) -> int:
        """What `fetchsan run` exits with."""
        return exit_status(
            self.settings.mode, self.guest, self.findings, self.settings.error_exitcode, self.settings.strict
        )


class Machine:
    """A machine to run programs on; keywords are the fields of `RunSettings` (and the options of `fetchsan run`).

    Raises UsageError for a value that cannot be had.
    """

    def __init__(self, **settings: Any) -> None:
        self.settings = RunSettings(**settings)
        self._session: Session | None = None
        self._end: weakref.finalize[[], Machine] | None = None

    def run(
        self,
        program: Sequence[str],
        *,
        capture_stdout: bool = False,
        on_finding: Callable[[Hit], None] = lambda _hit: None,
        message: Callable[[str], None] | None = None,
    ) -> Result:
        """Run `program` (a path or a name, and its arguments) to its end.

        Raises ProgramNotFoundError, NotExecutableError, UsageError before it starts.
        """
        platform, settings = choose_platform(program, self.settings, os.environ)
        options = settings.kernel_options(tuple(program), os.environ, capture_stdout=capture_stdout)
        watch_again = platform.has_findings and settings.mode == "check" and settings.replay
        host: Host = RecordingHost() if watch_again else Host()
        first = Run(platform, settings, options, host, message=message or _to_stderr)
        started = time.perf_counter()
        try:
            collector = Collector(first.symboliser.locate, disassemble, strict=settings.strict)

            def hit(found: Hit) -> None:
                if collector.add(found):
                    on_finding(found)
                    if settings.halt_on_error:
                        first.halt()

            guest = first.execute(hit)
            elapsed = time.perf_counter() - started
            note = None
            unnamed = [found for found in collector.without_writer if found.writer is None]
            if unnamed:
                note = _NO_REPLAY
                if guest.interrupted:
                    note = _INTERRUPTED  # whoever wanted it to end does not want it again
                elif isinstance(host, RecordingHost):
                    note = _name_writers(platform, settings, options, host, first.symboliser, collector, unnamed)
            statistics = first.statistics() | {"latent_lines": collector.latent_lines, "seconds": round(elapsed, 3)}
            captured = first.kernel.captured.get(1)
            return Result(
                program=tuple(program),
                settings=settings,
                guest=guest,
                findings=tuple(collector.findings()),
                statistics=statistics,
                writer_note=note,
                stdout=bytes(captured) if captured is not None else None,
            )
        finally:
            first.close()

    # --- libraries (docs/api.md, "Libraries") --------------------------------------------------------------------------------

    def load(self, name: str, *, capture_stdout: bool = False, message: Callable[[str], None] | None = None) -> Library:
        """Load a shared library of the sysroot (by its name) or of the host (by a path), to call its functions from Python.

        The first one starts the guest, and decides the architecture and who gets the guest's output. Raises LibraryError.
        """
        from fetchsan.libraries.library import Library

        if self._session is None:
            from fetchsan.libraries.opening import open_session

            session = open_session(self.settings, name, os.environ, capture_stdout, message or _to_stderr)
            self._session = session
            self._end = weakref.finalize(self, session.close)
        elif capture_stdout and self._session.stdout is None:
            raise ValueError("capture_stdout: the first load decides that")
        return Library(self._session, name)

    def buffer(self, content: int | bytes | Any) -> Buffer:
        """Guest memory: so many zero bytes, or a copy of bytes or of a ctypes object; freed with the object."""
        from fetchsan.libraries.memory import Buffer

        return Buffer(self._loaded, content)

    def pointer(self, address: int, target: Any = None) -> Pointer:
        """An address in the guest as something to look behind."""
        from fetchsan.libraries.memory import Pointer

        pointer = Pointer.make(self._loaded, address)
        return pointer.cast(target) if target is not None else pointer

    def callback(self, prototype: Any, function: Callable[..., Any] | None = None) -> Any:
        """`function` as a function pointer of type `prototype` (ctypes.CFUNCTYPE); without a function, a decorator."""
        from fetchsan.libraries.callback import Callback

        session = self._loaded
        if function is None:
            return lambda decorated: Callback(session, prototype, decorated)
        return Callback(session, prototype, function)

    def function(self, address: int, prototype: Any) -> Function:
        """Code in the guest, as a function of type `prototype`."""
        from fetchsan.libraries.function import Function

        return Function.of_prototype(self._loaded, address, prototype)

    @property
    def findings(self) -> tuple[Finding, ...]:
        """What the libraries' calls have brought up to now; none before `load`."""
        return self._session.findings() if self._session is not None else ()

    @property
    def stdout(self) -> bytes | None:
        """What the guest has printed since `load`, if that captures it."""
        return self._session.stdout if self._session is not None else None

    @property
    def errno(self) -> int:
        """The guest's errno."""
        session = self._loaded
        return int.from_bytes(session.read(session.linker.errno(), 4), "little")

    @property
    def time_limit(self) -> float | None:
        """Seconds that one call may take; None: as long as it likes."""
        return self._loaded.time_limit

    @time_limit.setter
    def time_limit(self, seconds: float | None) -> None:
        if seconds is not None and not seconds > 0:
            raise ValueError(f"a time limit of {seconds} seconds")
        self._loaded.time_limit = seconds

    def close(self) -> None:
        """End the guest that the libraries are in. `findings` and `stdout` stay."""
        if self._end is not None:
            self._end()

    def __enter__(self) -> Machine:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    @property
    def _loaded(self) -> Session:
        if self._session is None:
            raise ValueError("there is no guest before the first load()")
        return self._session


def _name_writers(
    platform: Platform,
    settings: RunSettings,
    options: KernelOptions,
    host: RecordingHost,
    symboliser: Symboliser,
    collector: Collector,
    unnamed: Sequence[Hit],
) -> str | None:
    """Run the program again, fed from the recording, watching just the lines of `unnamed` from the start.

    Returns why writers are still missing, or None.
    """
    wanted = {(hit.pe, hit.pc, hit.physical, hit.kind) for hit in unnamed}
    found: dict[tuple[object, ...], tuple[Origin, Location | None]] = {}
    try:
        tracked = frozenset(hit.physical & -4096 for hit in unnamed)
        second = Run(
            platform, settings, options, ReplayHost(host.log), message=lambda _text: None, tracked=tracked, first=symboliser
        )
    except ReplayDivergence as divergence:
        return f"{_DIVERGED} ({divergence})"
    try:

        def hit(again: Hit) -> None:
            key = (again.pe, again.pc, again.physical, again.kind)
            if key in wanted and key not in found and again.writer is not None:
                pc = again.writer.pc
                found[key] = again.writer, second.symboliser.locate(pc) if pc is not None else None
                if len(found) == len(wanted):
                    second.halt()

        try:
            second.execute(hit)
        except ReplayDivergence as divergence:
            reason: str | None = f"{_DIVERGED} ({divergence})"
        else:
            reason = None
        places = {origin.pc: place for origin, place in found.values() if origin.pc is not None}
        collector.name_writers(
            lambda hit: found.get((hit.pe, hit.pc, hit.physical, hit.kind), (None, None))[0],
            lambda pc: places.get(pc) or second.symboliser.locate(pc),
        )
        return reason or (_DIVERGED if collector.without_writer else None)
    finally:
        second.close()


def _to_stderr(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
