# SPDX-License-Identifier: GPL-2.0-or-later
"""The two platforms that programs run on; a program's ELF header decides which, before a machine is built."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from fetchsan.errors import NotExecutableError, ProgramNotFoundError, UsageError
from fetchsan.kernel.host import Host
from fetchsan.kernel.linker.elf_file import EM_AARCH64, EM_X86_64
from fetchsan.kernel.linker.probe import program_machine
from fetchsan.machine.hardware import Hardware
from fetchsan.machine.memory import PhysicalMemory
from fetchsan.settings import X86_64_CPU, RunSettings
from fetchsan.sysroot import default_root

if TYPE_CHECKING:
    from fetchsan.kernel.abi.abi import Abi
    from fetchsan.machine.engine_pe import EnginePE
    from fetchsan.machine.guest_side import Statistics
    from fetchsan.machine.hits import Hit
    from fetchsan.machine.traps import TrapHandler

__all__ = ["PLATFORMS", "Platform", "RunnableMachine", "choose_platform"]


class RunnableMachine(Hardware, Protocol):
    """A machine as whoever runs it sees it; kernels see `Hardware`."""

    on_hit: Callable[[Hit], None]
    counter: Callable[[], int]
    frequency: int
    statistics: Statistics

    @property
    def pes(self) -> Sequence[EnginePE]: ...
    def add_pe(self, handler: TrapHandler) -> EnginePE: ...
    def finish(self) -> None: ...
    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Platform:
    """`build(settings, tracked)` makes the machine and the ABI of its programs."""

    name: str
    packages: str  # Debian's name of the architecture
    default_cpu: str
    has_findings: bool
    refuse: Callable[[RunSettings, str], None]
    build: Callable[[RunSettings, frozenset[int]], tuple[RunnableMachine, Abi]]


def choose_platform(
    program: Sequence[str], settings: RunSettings, environ: Mapping[str, str]
) -> tuple[Platform, RunSettings]:
    """The platform of `program`, and the settings with everything that depends on it filled in.

    Raises ProgramNotFoundError, NotExecutableError, and UsageError for settings that the platform cannot have.
    """
    likely = sorted(PLATFORMS.values(), key=lambda platform: platform.default_cpu != settings.cpu)
    roots = [settings.sysroot] if settings.sysroot is not None else [_root(platform) for platform in likely]
    machine = _find_machine(program, settings, environ, list(dict.fromkeys(roots)))
    platform = PLATFORMS.get(machine or EM_AARCH64, PLATFORMS[EM_AARCH64])  # loading says what else is wrong with it
    platform.refuse(settings, program[0])
    return platform, dataclasses.replace(
        settings,
        cpu=settings.cpu if settings.cpu != "auto" else platform.default_cpu,
        sysroot=settings.sysroot or _root(platform),
    )


def _root(platform: Platform) -> Path | None:
    root = default_root(platform.packages)
    return root if root.is_dir() else None


def _find_machine(
    program: Sequence[str], settings: RunSettings, environ: Mapping[str, str], roots: Sequence[Path | None]
) -> int | None:
    """A program or an interpreter that the first root has not may be in another."""
    failure: ProgramNotFoundError | NotExecutableError | None = None
    options = settings.kernel_options(tuple(program), environ)
    host = Host()
    for root in roots:
        if root is None and failure is not None:
            continue
        try:
            return program_machine(dataclasses.replace(options, sysroot=root), host)
        except (ProgramNotFoundError, NotExecutableError) as error:
            failure = failure or error
    assert failure is not None
    raise failure


def _aarch64(settings: RunSettings, tracked: frozenset[int]) -> tuple[RunnableMachine, Abi]:
    from fetchsan.arch.aarch64.cpus import get_cpu
    from fetchsan.kernel.abi.aarch64 import Aarch64Abi
    from fetchsan.machine.machine import Machine

    profile = get_cpu(settings.cpu)
    machine = Machine(
        profile,
        memory=PhysicalMemory(settings.memory),
        mode=settings.mode,
        ignore_maintenance=settings.ignore_maintenance,
        strict=settings.strict,
        tracked=tracked,
        user=settings.linker != "osv",
    )
    return machine, Aarch64Abi(profile)


def _x86_64(settings: RunSettings, tracked: frozenset[int]) -> tuple[RunnableMachine, Abi]:
    from fetchsan.kernel.abi.x64 import X64Abi
    from fetchsan.machine.x64_machine import X64Machine

    return X64Machine(memory=PhysicalMemory(settings.memory), mode=settings.mode), X64Abi()


def _refuse_on_aarch64(settings: RunSettings, program: str) -> None:
    if settings.cpu == X86_64_CPU:
        raise UsageError(f"cpu {settings.cpu}: {program} is an AArch64 program; `fetchsan cpus` lists its CPUs")


def _refuse_on_x86_64(settings: RunSettings, program: str) -> None:
    if settings.cpu not in ("auto", X86_64_CPU):
        raise UsageError(f"cpu {settings.cpu}: {program} is an x86-64 program, and there is one CPU for those: {X86_64_CPU}")
    if settings.ignore_maintenance is not None:
        raise UsageError(f"ignore-maintenance: {program} is an x86-64 program, which has no cache maintenance to ignore")


PLATFORMS: dict[int, Platform] = {
    EM_AARCH64: Platform("aarch64", "arm64", "cortex-a72", True, _refuse_on_aarch64, _aarch64),
    EM_X86_64: Platform("x86-64", "amd64", X86_64_CPU, False, _refuse_on_x86_64, _x86_64),
}
"""By the ELF header's e_machine."""
