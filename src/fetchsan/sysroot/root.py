# SPDX-License-Identifier: GPL-2.0-or-later
"""Where the sysroot is: all that a run needs to know of it."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["default_root"]


def default_root() -> Path:
    """FETCHSAN_SYSROOT, or `fetchsan/sysroot` in the user's cache directory (XDG Base Directory Specification)."""
    if chosen := os.environ.get("FETCHSAN_SYSROOT"):
        return Path(chosen).absolute()
    cache = os.environ.get("XDG_CACHE_HOME", "")
    # The specification: a relative path there is invalid and to be ignored.
    return (Path(cache) if os.path.isabs(cache) else Path.home() / ".cache") / "fetchsan" / "sysroot"
