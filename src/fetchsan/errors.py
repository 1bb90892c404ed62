# SPDX-License-Identifier: GPL-2.0-or-later
"""The one tree of errors that FetchSan raises for a person to read.

Every error is one clear line (what, where, what to do) and knows the exit status that the command gives it
(docs/cli.md, "Exit status"). Fields carry the values, so that a caller of the Python API can act on them.
"""

from __future__ import annotations

__all__ = [
    "FetchSanError",
    "InternalError",
    "NotExecutableError",
    "ProgramNotFoundError",
    "UsageError",
]


class FetchSanError(Exception):
    """Base of all errors; `exit_status` is what `fetchsan` exits with (125: FetchSan itself failed)."""

    exit_status: int = 125


class UsageError(FetchSanError):
    """A bad option or argument; exit status 2."""

    exit_status = 2


class NotExecutableError(FetchSanError):
    """The file exists but cannot be run here (not ELF, wrong architecture, truncated ...); exit status 126."""

    exit_status = 126

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.path = path
        self.reason = reason


class ProgramNotFoundError(FetchSanError):
    """No such program; exit status 127."""

    exit_status = 127

    def __init__(self, path: str, reason: str = "no such file") -> None:
        super().__init__(f"{path}: {reason}")
        self.path = path
        self.reason = reason


class InternalError(FetchSanError):
    """FetchSan itself failed: a bug of ours, to be reported; exit status 125."""
