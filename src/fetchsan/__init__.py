# SPDX-License-Identifier: GPL-2.0-or-later
"""FetchSan: finds stale instruction fetches."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fetchsan.api import Machine, Result

__all__ = ["Machine", "Result", "__version__"]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    # Loaded when asked for: `fetchsan --help` must not wait for the engine.
    if name in ("Machine", "Result"):
        from fetchsan import api

        return getattr(api, name)
    raise AttributeError(f"module 'fetchsan' has no attribute {name!r}")
