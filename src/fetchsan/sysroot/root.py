# SPDX-License-Identifier: GPL-2.0-or-later
"""Where the sysroots are: all that a run needs to know of them."""

from __future__ import annotations

import os
from pathlib import Path

from fetchsan.sysroot.architectures import architecture_named

__all__ = ["default_root"]


def default_root(architecture: str = "arm64") -> Path:
    """What the architecture's variable names (FETCHSAN_SYSROOT, FETCHSAN_SYSROOT_AMD64), else its folder in the user's cache.

    The user's cache directory is the XDG Base Directory Specification's. Raises UsageError for an unknown architecture.
    """
    chosen = architecture_named(architecture)
    if root := os.environ.get(chosen.variable):
        return Path(root).absolute()
    cache = os.environ.get("XDG_CACHE_HOME", "")
    # The specification: a relative path there is invalid and to be ignored.
    return (Path(cache) if os.path.isabs(cache) else Path.home() / ".cache") / "fetchsan" / chosen.folder
