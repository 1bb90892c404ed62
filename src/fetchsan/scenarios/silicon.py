# SPDX-License-Identifier: GPL-2.0-or-later
"""A seeded *model* of how often silicon fails where the worst case always does. It is not a measurement.

A line that was filled through the data side and never cleaned is stale at its first fetch if

* it is still dirty in the L1 data cache, which instruction refills (from the point of unification) do not see; or
* in a recycled frame: the old line is still in the L1 instruction cache, whatever memory holds.

Both caches are taken to replace lines at random, so a line outlives the traffic of `t` lines through a cache of `n` lines
with probability (1 - 1/n)^t, independently of all others. The caches' sizes are those of the CPU profile; the traffic
between filling and first fetch, and between the end of one application and the start of the next, are the two parameters.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass

from fetchsan.arch.aarch64.cpus import CacheGeometry, CpuProfile

__all__ = ["DEFAULT_TRAFFIC", "Sampled", "Silicon", "Traffic", "sample"]


@dataclass(frozen=True, slots=True)
class Traffic:
    """What passes through the caches, in KiB."""

    data: int
    """Through L1D between the filling of a page and its first fetch."""
    instructions: int
    """Through L1I between the last fetch of an old application and the first of the new one."""


DEFAULT_TRAFFIC = Traffic(data=256, instructions=384)
"""Eight times each cache of a Cortex-A72. A file system that reads ahead 32 KiB at a time, checks, copies, relocates."""


@dataclass(frozen=True, slots=True)
class Silicon:
    """The two probabilities, per line."""

    evicted: float
    """That a filled line has reached the point of unification when it is first fetched."""
    survives: float
    """That a line of the frame's last owner is still in the instruction cache then."""

    @classmethod
    def of(cls, cpu: CpuProfile, traffic: Traffic = DEFAULT_TRAFFIC) -> Silicon:
        """For the caches of `cpu`."""
        return cls(1 - _outlives(cpu.l1d, traffic.data), _outlives(cpu.l1i, traffic.instructions))

    def stale(self, *, recycled: bool) -> float:
        """That a line is stale at its first fetch."""
        dirty = 1 - self.evicted
        return self.survives + (1 - self.survives) * dirty if recycled else dirty


@dataclass(frozen=True, slots=True)
class Sampled:
    """So many runs, of which so many failed, at how many different lines first."""

    runs: int
    failures: int
    places: int

    @property
    def rate(self) -> float:
        """The share of runs that failed."""
        return self.failures / self.runs


def sample(runs: int, lines: int, stale: float, seed: str) -> Sampled:
    """Model `runs` runs that each fetch `lines` lines which may be stale, in order; the first that is ends the run.

    The number of good lines before the first stale one is geometric, so a run costs one draw however long it is.
    """
    if not lines or stale <= 0:
        return Sampled(runs, 0, 0)
    if stale >= 1:
        return Sampled(runs, runs, 1)
    draw = random.Random(seed).random
    good = math.log1p(-stale)
    firsts = [first for _ in range(runs) if (first := math.log(1 - draw()) / good) < lines]
    return Sampled(runs, len(firsts), len({int(first) for first in firsts}))


def _outlives(cache: CacheGeometry, traffic_kib: int) -> float:
    lines = cache.kib * 1024 // cache.line
    return float((1 - 1 / lines) ** (traffic_kib * 1024 // cache.line))
