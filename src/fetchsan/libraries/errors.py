# SPDX-License-Identifier: GPL-2.0-or-later
"""What can go wrong with a library in a machine; mistakes of the caller are Python's own TypeError and ValueError."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from fetchsan.errors import FetchSanError

if TYPE_CHECKING:
    from fetchsan.findings.location import Location

__all__ = ["BadAddressError", "GuestEndedError", "LibraryError", "MachineEndedError"]


class LibraryError(FetchSanError):
    """A library cannot be loaded; `reason` is the linker's."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(f"{name}: {reason}")
        self.name = name
        self.reason = reason


class BadAddressError(FetchSanError, ValueError):
    """Python asked for guest memory that is not there."""

    def __init__(self, address: int, size: int, access: str) -> None:
        super().__init__(f"the guest has no {size} bytes at {address:#x} that can be {access}")
        self.address = address
        self.size = size


class GuestEndedError(FetchSanError):
    """The guest died in a call (`signal`, with `address` and `cause` if an exception of the CPU raised it), or left (`exit`).

    `backtrace` has the innermost place first; it follows frame pointers, so code without them is missing.
    """

    def __init__(
        self,
        what: str,
        *,
        signal: int | None = None,
        exit: int | None = None,
        address: int | None = None,
        cause: Mapping[str, int] | None = None,
        backtrace: tuple[Location, ...] = (),
        report: str = "",
    ) -> None:
        super().__init__("\n".join((what, *(f"    #{depth} {place.frame}" for depth, place in enumerate(backtrace)))))
        self.signal = signal
        self.exit = exit
        self.address = address
        self.cause = dict(cause or {})
        self.backtrace = backtrace
        self.report = report


class MachineEndedError(FetchSanError):
    """A call into a machine whose guest is no more."""
