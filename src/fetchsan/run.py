# SPDX-License-Identifier: GPL-2.0-or-later
"""Run: one machine with one kernel and one program on it, and names for its addresses."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from fetchsan.errors import FetchSanError
from fetchsan.findings.guest_view import GuestView
from fetchsan.findings.outcome import GuestEnd
from fetchsan.findings.symbols import Symboliser
from fetchsan.kernel.host import Host
from fetchsan.kernel.kernel import Kernel
from fetchsan.kernel.options import KernelOptions
from fetchsan.kernel.task import Signaled
from fetchsan.machine.engine_pe import EnginePE
from fetchsan.machine.hits import Hit
from fetchsan.machine.interruption import stopping_on_signals
from fetchsan.platforms import Platform, RunnableMachine
from fetchsan.settings import RunSettings

if TYPE_CHECKING:
    from fetchsan.kernel.osv.runner import OsvRunner

__all__ = ["HaltedError", "Run"]


@dataclass
class Run:
    """One machine with one kernel and one program on it."""

    platform: Platform
    settings: RunSettings
    options: KernelOptions
    host: Host
    message: Callable[[str], None]
    tracked: frozenset[int] = frozenset()
    first: Symboliser | None = None  # of the run that this one repeats: a replay has no files to read symbols from
    kernel_class: type[Kernel] | type[OsvRunner] | None = None  # if not what the settings' linker wants
    kernel: Kernel | OsvRunner = field(init=False)
    hardware: RunnableMachine = field(init=False)
    symboliser: Symboliser = field(init=False)

    def __post_init__(self) -> None:
        settings = self.settings
        try:
            self.hardware, abi = self.platform.build(settings, self.tracked)
        except OSError as error:  # under `ulimit -v`, most often: all that goes with guest RAM is reserved here
            reason = f"no room for {settings.memory >> 20} MiB of guest RAM"
            raise FetchSanError(f"{reason} ({error.strerror or error}); --memory takes less") from None
        build: type[Kernel] | type[OsvRunner] = self.kernel_class or Kernel
        if self.settings.linker == "osv" and self.kernel_class is None:
            from fetchsan.kernel.osv.runner import OsvRunner  # other runs need not wait for it

            build = OsvRunner
        self.kernel = build(
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

    def begin(self, on_hit: Callable[[Hit], None]) -> EnginePE:
        """Load the program onto a PE, ready to run; hits are reported as they happen."""
        hardware, kernel = self.hardware, self.kernel
        hardware.on_hit = on_hit
        hardware.counter = lambda: kernel.clock.monotonic_ns() * hardware.frequency // 1_000_000_000
        pe = hardware.add_pe(kernel)
        kernel.start(pe)
        return pe

    def execute(self, on_hit: Callable[[Hit], None]) -> GuestEnd:
        """Load the program and run it to its end, reporting hits as they happen."""
        hardware, kernel = self.hardware, self.kernel
        pe = self.begin(on_hit)
        try:
            with stopping_on_signals(pe.interrupt):
                end = kernel.run()
        except KeyboardInterrupt:
            return GuestEnd(interrupted=True)
        except HaltedError:
            return GuestEnd(halted=True)
        finally:
            hardware.finish()
        if isinstance(end, Signaled):
            return GuestEnd(signal=int(end.signal), cause=self.kernel.abi.cause(end.exception) if end.exception else {})
        return GuestEnd(exit=end.code)

    def halt(self) -> None:
        """--halt-on-error: end the run here."""
        for pe in self.hardware.pes:
            pe.fail(HaltedError())

    def statistics(self) -> dict[str, int | float]:
        """Counters of the machine, by name."""
        return dict(dataclasses.asdict(self.hardware.statistics))

    def close(self) -> None:
        """Give everything back."""
        self.hardware.close()

    def _symbolise(self, address: int) -> str:
        return self.symboliser.locate(address).label


class HaltedError(Exception):
    """--halt-on-error stopped the guest."""
