# SPDX-License-Identifier: GPL-2.0-or-later
"""The reverse map of a file: none, one or many leaves a page."""

from __future__ import annotations

from fetchsan.kernel.mmu.reverse_map import Leaf, ReverseMap

from .recording import World

SPACE = World().space
ONE, TWO, THREE = (Leaf(SPACE, virtual) for virtual in (0x1000, 0x2000, 0x3000))


def test_a_page_has_no_leaf_one_or_several_in_the_order_they_came() -> None:
    known = ReverseMap()
    seen = [known.leaves(7)]
    for leaf in (TWO, ONE, TWO, THREE):
        known.add(7, leaf)
        seen.append(known.leaves(7))
    assert seen == [(), (TWO,), (TWO, ONE), (TWO, ONE), (TWO, ONE, THREE)]


def test_leaves_go_one_by_one() -> None:
    known = ReverseMap()
    for leaf in (ONE, TWO, THREE):
        known.add(7, leaf)
    for leaf, left in ((TWO, (ONE, THREE)), (TWO, (ONE, THREE)), (ONE, (THREE,)), (ONE, (THREE,)), (THREE, ())):
        known.discard(7, leaf)
        assert known.leaves(7) == left
    assert list(known) == []


def test_a_range_is_asked_from_either_side() -> None:
    known = ReverseMap()
    for index in (9, 3, 5):
        known.add(index, ONE)
    assert known.indices(4, None) == [5, 9]
    assert known.indices(3, 5) == [3]
    assert known.indices(0, 1 << 40) == [3, 5, 9]
