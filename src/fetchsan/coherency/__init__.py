# SPDX-License-Identifier: GPL-2.0-or-later
"""The coherency model: the heart. Pure Python, no engine, testable by hand (docs/coherency_model.md is its specification)."""

from __future__ import annotations

from fetchsan.coherency.rules import PORTS, Barrier, CacheRules, Domain, Port
from fetchsan.coherency.verdicts import Judgement, Kind, Step
from fetchsan.coherency.views import Views

__all__ = ["PORTS", "Barrier", "CacheRules", "Domain", "Judgement", "Kind", "Port", "Step", "Views"]
