# SPDX-License-Identifier: GPL-2.0-or-later
"""What a caller decides about one run: the program, what of the host it sees, and the knobs of the run."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

__all__ = ["DirectoryGrant", "KernelOptions", "KernelSync", "Linker", "SyncPolicy"]

SyncPolicy = Literal["osv", "linux", "none", "complete"]
KernelSync = Literal["auto", "osv", "linux", "none"]
Linker = Literal["guest", "osv"]


@dataclass(frozen=True, slots=True)
class DirectoryGrant:
    """`--dir HOST[:GUEST][:ro]`: a directory of the host that the guest sees at `guest`."""

    host: Path
    guest: str
    read_only: bool = False


@dataclass(frozen=True, slots=True)
class KernelOptions:
    """One run. Nothing of the host is read from anywhere else: the same options give the same run."""

    argv: tuple[str, ...]  # argv[0] is the program as the person typed it
    env: tuple[tuple[str, str], ...] = ()  # the whole environment of the guest, in order
    cwd: Path = field(default_factory=Path.cwd)
    sysroot: Path | None = None
    directories: tuple[DirectoryGrant, ...] = ()
    linker: Linker = "guest"
    kernel_sync: KernelSync = "auto"
    seed: int = 0
    strace: bool = False
    dump_maps: bool = False
    capture_stdout: bool = False

    @property
    def sync_policy(self) -> SyncPolicy:
        """`--kernel-sync` with `auto` resolved: Linux's rule under the Linux ABI, OSv's under OSv's linker."""
        if self.kernel_sync == "auto":
            return "osv" if self.linker == "osv" else "linux"
        return self.kernel_sync
