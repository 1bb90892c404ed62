# SPDX-License-Identifier: GPL-2.0-or-later
"""The Python API, which is also what the command uses: a machine, a program, a result.

>>> import fetchsan
>>> result = fetchsan.Machine(cpu="cortex-a72").run(["./jit"], capture_stdout=True)
>>> result.exit_status, [str(finding.kind) for finding in result.findings]
(66, ['missing-dc-clean'])
"""

from __future__ import annotations

import dataclasses
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from fetchsan.arch.aarch64.disassembly import disassemble
from fetchsan.errors import FetchSanError
from fetchsan.findings.collector import Collector
from fetchsan.findings.finding import Finding
from fetchsan.findings.guest_view import GuestView
from fetchsan.findings.outcome import GuestEnd, exit_status
from fetchsan.findings.symbols import Symboliser
from fetchsan.kernel.host import Host, RecordingHost, ReplayDivergence, ReplayHost
from fetchsan.kernel.kernel import Kernel
from fetchsan.kernel.options import KernelOptions
from fetchsan.kernel.task import Signaled
from fetchsan.machine.hardware import Origin
from fetchsan.machine.hits import Hit
from fetchsan.machine.interruption import stopping_on_signals
from fetchsan.platforms import Platform, RunnableMachine, choose_platform
from fetchsan.settings import RunSettings

if TYPE_CHECKING:
    from fetchsan.findings.location import Location

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
        first = _Run(platform, settings, options, host, message=message or _to_stderr)
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


@dataclass
class _Run:
    """One machine with one kernel and one program on it."""

    platform: Platform
    settings: RunSettings
    options: KernelOptions
    host: Host
    message: Callable[[str], None]
    tracked: frozenset[int] = frozenset()
    first: Symboliser | None = None  # of the run that this one repeats: a replay has no files to read symbols from
    kernel: Kernel = field(init=False)
    hardware: RunnableMachine = field(init=False)
    symboliser: Symboliser = field(init=False)

    def __post_init__(self) -> None:
        settings = self.settings
        try:
            self.hardware, abi = self.platform.build(settings, self.tracked)
        except OSError as error:  # under `ulimit -v`, most often: all that goes with guest RAM is reserved here
            reason = f"no room for {settings.memory >> 20} MiB of guest RAM"
            raise FetchSanError(f"{reason} ({error.strerror or error}); --memory takes less") from None
        self.kernel = Kernel(
            self.hardware,
            self.options,
            host=self.host,
            abi=abi,
            symbolise=self._symbolise,
            message=self.message,
        )
        guest = GuestView(self.kernel)
        self.symboliser = (
            self.first.over(guest.mapped_ranges, guest.perf_map)
            if self.first is not None
            else Symboliser(guest.mapped_ranges, guest.read_object, guest.perf_map)
        )

    def execute(self, on_hit: Callable[[Hit], None]) -> GuestEnd:
        """Load the program and run it to its end, reporting hits as they happen."""
        hardware, kernel = self.hardware, self.kernel
        hardware.on_hit = on_hit
        hardware.counter = lambda: kernel.clock.monotonic_ns() * hardware.frequency // 1_000_000_000
        pe = hardware.add_pe(kernel)
        kernel.start(pe)
        try:
            with stopping_on_signals(pe.interrupt):
                end = kernel.run()
        except KeyboardInterrupt:
            return GuestEnd(interrupted=True)
        except _HaltedError:
            return GuestEnd(halted=True)
        finally:
            hardware.finish()
        if isinstance(end, Signaled):
            return GuestEnd(signal=int(end.signal), cause=self.kernel.abi.cause(end.exception) if end.exception else {})
        return GuestEnd(exit=end.code)

    def halt(self) -> None:
        """--halt-on-error: end the run here."""
        for pe in self.hardware.pes:
            pe.fail(_HaltedError())

    def statistics(self) -> dict[str, int | float]:
        """Counters of the machine, by name."""
        return dict(dataclasses.asdict(self.hardware.statistics))

    def close(self) -> None:
        """Give everything back."""
        self.hardware.close()

    def _symbolise(self, address: int) -> str:
        return self.symboliser.locate(address).label


class _HaltedError(Exception):
    """--halt-on-error stopped the guest."""


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
        second = _Run(
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
