# SPDX-License-Identifier: GPL-2.0-or-later
"""What a machine's caches do, as data: which step of which architecture moves which view.

`CacheRules` is the behaviour of one CPU's caches (docs/coherency_model.md, clauses 4 and 5); `PORTS` says for each architecture
which of the four views there are at all and which instruction moves a store from one to the next.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum

__all__ = ["PORTS", "Barrier", "CacheRules", "Domain", "Port"]


class Barrier(Enum):
    """What a DSB or DMB waits for. Only FULL completes maintenance; STORES is enough for the PE's own stores under IDC=1."""

    FULL = "full"
    LOADS = "ld"
    STORES = "st"


class Domain(Enum):
    """Whom a barrier speaks for: SY, ISH and OSH reach every PE here; NSH counts for its own PE only."""

    SHAREABLE = "ish"
    NON_SHAREABLE = "nsh"


def _never(_word: int) -> bool:
    return False


@dataclass(frozen=True, slots=True)
class CacheRules:
    """The caches of one CPU, as they behave (which may differ from what CTR_EL0 says: clause 4).

    `dline` and `iline` are what one DC or IC affects, in bytes; `line` is the granule the views are kept at: the smallest
    of all lines in the machine. `joined` machines (x86-64) have one view: nothing is ever stale.
    """

    dline: int = 64
    iline: int = 64
    line: int = 64
    idc: bool = False
    dic: bool = False
    vipt: bool = False
    joined: bool = False
    exempt: Callable[[int], bool] = field(default=_never)

    def __post_init__(self) -> None:
        for name in ("dline", "iline", "line"):
            size = getattr(self, name)
            if size < 4 or size & (size - 1):
                raise ValueError(f"{name} must be a power of two of at least 4 bytes, not {size}")
        if self.line > min(self.dline, self.iline):
            raise ValueError(f"views must be kept at the smallest line: {self.line} > {min(self.dline, self.iline)}")


@dataclass(frozen=True, slots=True)
class Port:
    """One architecture's row: what moves D to U, U to I and I to F. None: that step is free (the views are one)."""

    name: str
    clean: str | None
    clean_completes: str | None
    invalidate: str | None
    invalidate_completes: str | None
    synchronise: str | None
    reach: str


PORTS: dict[str, Port] = {
    port.name: port
    for port in (
        Port("aarch64", "DC CVAU", "DSB", "IC IVAU", "DSB", "ISB", "IC and DSB reach every PE, ISB its own"),
        # Clause 5: x86-64 joins all four views.
        Port("x64", None, None, None, None, None, "caches snoop; nothing is owed on the storing PE"),
        # Clause 5: RISC-V has one step from D to F, on its own hart only.
        Port("riscv64", None, None, None, None, "FENCE.I", "FENCE.I reaches its own hart only"),
    )
}
