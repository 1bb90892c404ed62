# SPDX-License-Identifier: GPL-2.0-or-later
"""Which machine a library needs, and starting the guest that it is loaded into."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path

from fetchsan.arch.aarch64.disassembly import disassemble
from fetchsan.kernel.linker.probe import elf_machine
from fetchsan.libraries.convention import CONVENTIONS
from fetchsan.libraries.guest_linker import GuestLinker, KernelLinker
from fetchsan.libraries.session import Session
from fetchsan.platforms import PLATFORMS, choose_platform
from fetchsan.settings import RunSettings

__all__ = ["open_session"]

_LINKERS = {linker.name: linker for linker in (GuestLinker, KernelLinker)}
_HOSTS = Path(__file__).resolve().parent / "host"


def open_session(
    settings: RunSettings,
    library: str,
    environ: Mapping[str, str],
    capture_stdout: bool,
    message: Callable[[str], None],
) -> Session:
    """A guest for `library`: of the architecture of its file, if that is named; else of the CPU that is set.

    Raises what starting a program does: NotExecutableError, UsageError for settings that cannot be had.
    """
    machine = elf_machine(os.path.abspath(library)) if "/" in library else None
    default = next((platform for platform in PLATFORMS.values() if platform.default_cpu == settings.cpu), None)
    wanted = PLATFORMS.get(machine or 0) or default or next(iter(PLATFORMS.values()))
    program = (str(_HOSTS / CONVENTIONS[wanted.name].host),)
    platform, settings = choose_platform(program, settings, environ)
    options = settings.kernel_options(program, environ, capture_stdout=capture_stdout)
    return Session(platform, settings, options, _LINKERS[settings.linker](), message=message, disassemble=disassemble)
