# SPDX-License-Identifier: GPL-2.0-or-later
"""The architectures that sysroots are made for, by Debian's names, and all that differs between them."""

from __future__ import annotations

from dataclasses import dataclass

from fetchsan.errors import UsageError

__all__ = ["ARCHITECTURES", "Architecture", "architecture_named"]


@dataclass(frozen=True, slots=True)
class Architecture:
    """One row."""

    name: str
    machine: str  # what uname(2) says on it
    variable: str  # names the sysroot, where it is set
    folder: str  # the sysroot's, in FetchSan's part of the user's cache directory, where it is not
    add: str  # the command that fetches packages for it
    merged: tuple[str, ...]  # directories that are links into /usr since the usrmerge
    on_ports: bool  # Ubuntu's main archive carries amd64 and i386 only; every other architecture is on ports


_ROWS = (
    Architecture(
        name="arm64",
        machine="aarch64",
        variable="FETCHSAN_SYSROOT",
        folder="sysroot",
        add="fetchsan sysroot add",
        merged=("bin", "lib", "sbin"),
        on_ports=True,
    ),
    Architecture(
        name="amd64",
        machine="x86_64",
        variable="FETCHSAN_SYSROOT_AMD64",
        folder="sysroot-amd64",
        add="fetchsan sysroot add --arch amd64",
        merged=("bin", "lib", "lib64", "sbin"),
        on_ports=False,
    ),
)
ARCHITECTURES = {row.name: row for row in _ROWS}


def architecture_named(name: str) -> Architecture:
    """The row called `name`. Raises UsageError."""
    try:
        return ARCHITECTURES[name]
    except KeyError:
        raise UsageError(f"no sysroots for the architecture {name!r}; there is {', '.join(ARCHITECTURES)}") from None
