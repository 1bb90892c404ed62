# SPDX-License-Identifier: GPL-2.0-or-later
"""Sysroots: directories of Debian packages that a guest sees as `/`. Fetched with the host's apt, never run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fetchsan.sysroot.architectures import ARCHITECTURES
from fetchsan.sysroot.errors import SysrootError, UnknownPackageError
from fetchsan.sysroot.root import default_root

if TYPE_CHECKING:
    from fetchsan.sysroot.fetch import Package, SysrootReport, add

__all__ = ["ARCHITECTURES", "Package", "SysrootError", "SysrootReport", "UnknownPackageError", "add", "default_root"]


def __getattr__(name: str) -> Any:
    # A run asks only where the root is; subprocess, tarfile and the rest are for those who fetch.
    if name in ("Package", "SysrootReport", "add"):
        from fetchsan.sysroot import fetch

        return getattr(fetch, name)
    raise AttributeError(f"module 'fetchsan.sysroot' has no attribute {name!r}")
