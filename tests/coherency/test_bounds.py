# SPDX-License-Identifier: GPL-2.0-or-later
"""What the model remembers is bounded by the lines there are, however long the program runs."""

from __future__ import annotations

import pytest

from coherency.bench import CODE, Bench, exempt
from fetchsan.coherency import CacheRules

REWRITES = 10_000
_SETTINGS = [CacheRules(exempt=exempt), CacheRules(idc=True), CacheRules(idc=True, dic=True)]


@pytest.mark.parametrize("rules", _SETTINGS, ids=["00", "10", "11"])
def test_maintained_rewrites_keep_a_short_history(rules: CacheRules) -> None:
    bench = Bench(rules)
    for number in range(1, REWRITES):
        bench.store(CODE + 4 * (number % 16), number)
        bench.synchronise(CODE)
    line = bench.views.line_at(CODE)
    assert line is not None
    assert len(line.history) <= 64
    assert len(line.captures) <= 64
    assert bench.views.stale_slots(0, CODE) == 0


@pytest.mark.parametrize("rules", _SETTINGS, ids=["00", "10", "11"])
def test_so_does_a_pe_that_never_synchronises(rules: CacheRules) -> None:
    bench = Bench(rules, pes=2)
    for number in range(1, REWRITES):
        bench.store(CODE, number)
        bench.synchronise(CODE)
    line = bench.views.line_at(CODE)
    assert line is not None
    assert len(line.history) <= 1024
    assert len(line.side(1, -1).arrivals) <= 64
    assert bench.kind(CODE, pe=1) is not None


def test_maintenance_that_is_never_completed_is_kept_once_per_line() -> None:
    bench = Bench()
    for number in range(1, 1000):
        bench.store(CODE, number)
        bench.views.clean(0, CODE)
        bench.views.invalidate(0, CODE)
    pending = bench.views._outstanding[0]
    assert (len(pending.cleans), len(pending.invalidates)) == (1, 1)


def test_an_unmaintained_rewrite_is_still_found_among_maintained_ones() -> None:
    bench = Bench()
    found = 0
    for number in range(1, 2001):
        bench.store(CODE, number)
        if number % 1000:
            bench.synchronise(CODE)
        found += bench.fetch(CODE) is not None
    assert found == 2
