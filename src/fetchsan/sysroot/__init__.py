# SPDX-License-Identifier: GPL-2.0-or-later
"""Sysroots: directories of Debian arm64 packages that a guest sees as `/`. Fetched with the host's apt, never run."""

from __future__ import annotations

from fetchsan.sysroot.add import Package, SysrootReport, add, default_root
from fetchsan.sysroot.errors import SysrootError, UnknownPackageError

__all__ = ["Package", "SysrootError", "SysrootReport", "UnknownPackageError", "add", "default_root"]
