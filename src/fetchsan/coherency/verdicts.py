# SPDX-License-Identifier: GPL-2.0-or-later
"""Which link of the chain is missing: the closed list of finding kinds, and the ledger of steps."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

__all__ = ["Kind", "Step", "StepName", "StepState"]


class Kind(StrEnum):
    """The finding's kind (design section 2, second table). Closed: others' scripts test against these strings."""

    MISSING_DC_CLEAN = "missing-dc-clean"
    MISSING_DSB_AFTER_CLEAN = "missing-dsb-after-clean"
    MISSING_IC_INVALIDATE = "missing-ic-invalidate"
    MISSING_DSB_AFTER_INVALIDATE = "missing-dsb-after-invalidate"
    MISSING_ISB = "missing-isb"
    UNSYNCHRONISED_MODIFICATION = "unsynchronised-modification"


StepName = Literal["dc-clean", "dsb-after-clean", "ic-invalidate", "dsb-after-invalidate", "isb"]
StepState = Literal["done", "missing", "pending", "not-needed"]


@dataclass(frozen=True, slots=True)
class Step:
    """One row of the ledger. `pe` and `pc` say where the step was seen, when it was."""

    step: StepName
    state: StepState
    pe: int | None = None
    pc: int | None = None
