# SPDX-License-Identifier: GPL-2.0-or-later
"""Owns where an object is looked for: a path as it stands, else RUNPATH or RPATH of who needs it, else the system's."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Sequence

__all__ = ["SEARCH_PATH", "TRIPLETS", "candidates"]

SEARCH_PATH = ("/", "/usr/lib")
"""OSv's."""
TRIPLETS = {
    name: (f"/usr/lib/{triplet}", f"/lib/{triplet}")
    for name, triplet in (("aarch64", "aarch64-linux-gnu"), ("x64", "x86_64-linux-gnu"))
}
"""Where Debian keeps libraries, by port: what a sysroot adds to an image."""


def candidates(name: str, run_path: Sequence[str], origin: str, system: Sequence[str] = SEARCH_PATH) -> Iterator[str]:
    """Paths to try for `name`, in order; `run_path` is that of the object at the path `origin`."""
    if "/" in name:
        yield posixpath.normpath(posixpath.join("/", name))
        return
    here = posixpath.dirname(origin) or "/"
    for directory in run_path:
        expanded = directory.replace("${ORIGIN}", here).replace("$ORIGIN", here)
        yield posixpath.normpath(posixpath.join("/", expanded, name))
    for directory in system:
        yield posixpath.join(directory, name)
