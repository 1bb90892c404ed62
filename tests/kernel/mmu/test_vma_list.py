# SPDX-License-Identifier: GPL-2.0-or-later
"""OSv's searches, with its worked vectors."""

from __future__ import annotations

import pytest

from fetchsan.kernel.errors import LinuxError
from fetchsan.kernel.mmu.providers import PageProvider
from fetchsan.kernel.mmu.vma import AnonVma
from fetchsan.kernel.mmu.vma_list import VmaList

LIMIT = 0x8000_0000_0000
BASE = 0x2000_0000_0000
PAGE = 0x1000


def of(*ranges: tuple[int, int]) -> VmaList:
    vmas = VmaList(LIMIT)
    for start, end in ranges:
        vmas.insert(AnonVma(start, end, 3, 0, PageProvider()))
    return vmas


@pytest.mark.parametrize(
    ("hint", "size", "found"),
    [
        (BASE, PAGE, BASE + 5 * PAGE),
        (BASE + 0x10000, PAGE, BASE + 0x10000),
        (BASE + 0x4000, PAGE, BASE + 0x5000),
        (BASE, 2 << 20, BASE + (2 << 20)),
        (0x1000, PAGE, 0x1000),
    ],
)
def test_find_hole(hint: int, size: int, found: int) -> None:
    assert of((BASE, BASE + 0x5000)).find_hole(hint, size) == found


def test_a_size_that_fits_nowhere_is_enomem() -> None:
    with pytest.raises(LinuxError):
        of((BASE, BASE + 0x5000)).find_hole(0, LIMIT)


def test_markers_are_shown_first_and_last() -> None:
    vmas = list(of((BASE, BASE + PAGE)))
    assert [(vma.start, vma.end) for vma in vmas] == [(0, 0), (BASE, BASE + PAGE), (LIMIT, LIMIT)]


def test_intersections_are_half_open() -> None:
    vmas = of((BASE, BASE + PAGE), (BASE + PAGE, BASE + 2 * PAGE))
    assert [vma.start for vma in vmas.find_intersecting_vmas(BASE + PAGE, BASE + 2 * PAGE)] == [BASE + PAGE]
    assert vmas.find_intersecting_vmas(BASE, BASE) == []


def test_covered_until_stops_at_the_first_hole() -> None:
    vmas = of((BASE, BASE + PAGE), (BASE + 2 * PAGE, BASE + 3 * PAGE))
    assert vmas.covered_until(BASE, BASE + 3 * PAGE) == BASE + PAGE
    assert vmas.covered_until(BASE + PAGE, BASE + 3 * PAGE) == BASE + PAGE
    assert vmas.ismapped(BASE + 2 * PAGE, BASE + 3 * PAGE)


def test_a_search_downwards_remembers_only_what_stays_true() -> None:
    vmas = of((BASE - 2 * PAGE, BASE - PAGE))
    assert vmas.find_hole_below(BASE, 4 * PAGE, PAGE) == BASE - 6 * PAGE
    assert vmas.find_hole_below(BASE, PAGE, PAGE) == BASE - PAGE


def test_erasing_makes_room_for_a_search_downwards() -> None:
    vmas = of((BASE - PAGE, BASE))
    assert vmas.find_hole_below(BASE, PAGE, PAGE) == BASE - 2 * PAGE
    top = vmas.find(BASE - PAGE)
    assert top is not None
    vmas.erase(top)
    assert vmas.find_hole_below(BASE, PAGE, PAGE) == BASE - PAGE
