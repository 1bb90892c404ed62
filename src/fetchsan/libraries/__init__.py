# SPDX-License-Identifier: GPL-2.0-or-later
"""Shared libraries of another architecture, called from Python: what `fetchsan.Machine.load` gives."""

from fetchsan.libraries.callback import Callback
from fetchsan.libraries.errors import BadAddressError, GuestEndedError, LibraryError, MachineEndedError
from fetchsan.libraries.function import Function
from fetchsan.libraries.library import Library
from fetchsan.libraries.memory import Buffer, Pointer

__all__ = [
    "BadAddressError",
    "Buffer",
    "Callback",
    "Function",
    "GuestEndedError",
    "Library",
    "LibraryError",
    "MachineEndedError",
    "Pointer",
]
