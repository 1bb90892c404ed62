# SPDX-License-Identifier: GPL-2.0-or-later
"""What can go wrong while a sysroot is made."""

from __future__ import annotations

from collections.abc import Sequence

from fetchsan.errors import FetchSanError, UsageError

__all__ = ["SysrootError", "UnknownPackageError"]


class SysrootError(FetchSanError):
    """The sysroot could not be made; exit status 125. `command` and `output` are those of the tool that failed, if one did."""

    def __init__(self, message: str, *, command: Sequence[str] = (), output: str = "") -> None:
        super().__init__(message)
        self.command = tuple(command)
        self.output = output


class UnknownPackageError(UsageError):
    """The lists have no such package of `architecture`; exit status 2. `suggestions` are names that may have been meant."""

    def __init__(self, package: str, architecture: str, suggestions: Sequence[str]) -> None:
        hint = f"; did you mean {', '.join(suggestions)}?" if suggestions else ""
        super().__init__(f"no {architecture} package is called {package!r}{hint}")
        self.package = package
        self.architecture = architecture
        self.suggestions = tuple(suggestions)
