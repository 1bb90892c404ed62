# SPDX-License-Identifier: GPL-2.0-or-later
"""RunSettings: everything a person may choose about one run, validated; shared by the command and the Python API."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal, get_args

from fetchsan.errors import UsageError
from fetchsan.kernel.options import DirectoryGrant, KernelOptions, KernelSync, Linker, SyncPolicy

__all__ = [
    "FINDINGS_EXIT_STATUS",
    "MEMORY_LIMIT",
    "X86_64_CPU",
    "IgnoredMaintenance",
    "Mode",
    "RunSettings",
    "directory_grant",
    "environment_entry",
    "memory_size",
]

Mode = Literal["check", "stale", "coherent"]
IgnoredMaintenance = Literal["dc", "ic", "all"]

X86_64_CPU = "x86-64"  # the one CPU of x86-64 programs
FINDINGS_EXIT_STATUS = 66  # ThreadSanitizer's
_MIB = 1 << 20
MEMORY_LEAST = 16 * _MIB
MEMORY_LIMIT = 64 << 30  # what the engine was seen to map without cost
_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSettings:
    """One run's choices. The constructor raises UsageError (exit status 2) for whatever cannot be had."""

    cpu: str = "auto"  # the default one of the program's architecture
    mode: Mode = "check"
    linker: Linker = "guest"
    kernel_sync: KernelSync = "auto"
    ignore_maintenance: IgnoredMaintenance | None = None
    smp: int = 1
    seed: int = 0
    sysroot: Path | None = None  # None: the default one, where `fetchsan sysroot add` puts packages
    directories: tuple[DirectoryGrant, ...] = ()
    environment: tuple[tuple[str, str], ...] = ()
    clean_environment: bool = False
    memory: int = 4 << 30
    strace: bool = False
    dump_maps: bool = False
    halt_on_error: bool = False
    error_exitcode: int = FINDINGS_EXIT_STATUS
    strict: bool = False
    replay: bool = True

    def __post_init__(self) -> None:
        from fetchsan.arch.aarch64.cpus import get_cpu

        if self.cpu not in ("auto", X86_64_CPU):
            get_cpu(self.cpu)
        for name, choices in _CHOICES.items():
            value = getattr(self, name)
            if value not in choices and not (name == "ignore_maintenance" and value is None):
                raise UsageError(f"{name.replace('_', '-')} {value!r} is not one of {', '.join(choices)}")
        for name, (least, most) in _RANGES.items():
            value = getattr(self, name)
            if not least <= value <= most:
                raise UsageError(f"{name.replace('_', '-')} {value} is not between {least} and {most}")
        if self.memory % 4096:
            raise UsageError(f"memory {self.memory} is not a multiple of 4096")
        if self.sysroot is not None and not self.sysroot.is_dir():
            raise UsageError(f"sysroot {self.sysroot}: no such directory")
        for grant in self.directories:
            if not grant.host.is_dir():
                raise UsageError(f"dir {grant.host}: no such directory")
        # Refused, never ignored: a run that silently lacks what was asked for would be believed.
        if self.smp > 1:
            raise UsageError(f"smp {self.smp}: more than one processor is not built yet")
        if self.linker == "osv" and self.strace:
            raise UsageError("strace: not built yet for linker osv")

    @property
    def sync_policy(self) -> SyncPolicy:
        """`kernel_sync` with `auto` resolved."""
        return self.kernel_options((), {}).sync_policy

    def kernel_options(
        self, argv: tuple[str, ...], environ: Mapping[str, str], *, capture_stdout: bool = False
    ) -> KernelOptions:
        """The kernel's part of these choices; `environ` is the host's environment, which the guest gets unless clean."""
        inherited = {} if self.clean_environment else dict(environ)
        return KernelOptions(
            argv=argv,
            env=tuple((inherited | dict(self.environment)).items()),
            sysroot=self.sysroot,
            directories=self.directories,
            linker=self.linker,
            kernel_sync=self.kernel_sync,
            seed=self.seed,
            strace=self.strace,
            dump_maps=self.dump_maps,
            capture_stdout=capture_stdout,
        )

    def keywords(self) -> dict[str, Any]:
        """The settings by name: `Machine(**settings.keywords())`."""
        return {field.name: getattr(self, field.name) for field in fields(self)}


_CHOICES: dict[str, tuple[str, ...]] = {
    "mode": get_args(Mode),
    "linker": get_args(Linker),
    "kernel_sync": get_args(KernelSync),
    "ignore_maintenance": get_args(IgnoredMaintenance),
}
_RANGES: dict[str, tuple[int, int]] = {
    "smp": (1, 64),
    "seed": (0, (1 << 64) - 1),
    "error_exitcode": (0, 255),
    "memory": (MEMORY_LEAST, MEMORY_LIMIT),
}


def directory_grant(text: str) -> DirectoryGrant:
    """`HOST[:GUEST][:ro]`. Without GUEST the directory keeps its own (absolute) path. Raises UsageError."""
    host, *rest = text.split(":")
    read_only = bool(rest) and rest[-1] == "ro"
    if read_only:
        rest.pop()
    if not host or len(rest) > 1:
        raise UsageError(f"'{text}' is not HOST[:GUEST][:ro]")
    path = Path(host).absolute()
    guest = rest[0] if rest else str(path)
    if not guest.startswith("/"):
        raise UsageError(f"'{text}': the guest's path must be absolute")
    return DirectoryGrant(path, guest, read_only)


def environment_entry(text: str) -> tuple[str, str]:
    """`VAR=VALUE`. Raises UsageError."""
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise UsageError(f"'{text}' is not VAR=VALUE")
    return name, value


def memory_size(text: str) -> int:
    """A number of bytes, with K, M or G after it if you like. Raises UsageError."""
    digits = text.rstrip("kKmMgG")
    unit = text[len(digits) :].upper()
    if not (digits.isascii() and digits.isdigit()) or unit not in _UNITS:
        raise UsageError(f"'{text}' is not a size such as 512M or 4G")
    return int(digits) * _UNITS[unit]
