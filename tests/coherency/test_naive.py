# SPDX-License-Identifier: GPL-2.0-or-later
"""`Views` against the naive model on random events: the same kind for every PE and slot after each, the same hits told."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coherency.bench import ADD, CODE, NOP, SUB, B, Bench, exempt
from coherency.naive import Naive
from fetchsan.coherency import Barrier, CacheRules, Domain, Kind, lines

# Two slots of one line, one of the next line, one of another frame.
SLOTS = [CODE, CODE + 8, CODE + 64, CODE + 0x1000]
WORDS = [B, NOP, ADD, SUB]

Event = tuple[Any, ...]

_pe = st.integers(0, 1)
_slot = st.sampled_from(SLOTS)
_events: st.SearchStrategy[list[Event]] = st.lists(
    st.one_of(
        st.tuples(st.just("store"), _pe, _slot, st.sampled_from(WORDS)),
        st.tuples(st.just("fetch"), _pe, _slot),
        st.tuples(st.just("clean"), _pe, st.one_of(_slot, st.none())),
        st.tuples(st.just("invalidate"), _pe, _slot),
        st.tuples(st.just("invalidate_all"), _pe, st.booleans()),
        st.tuples(st.just("dsb"), _pe, st.sampled_from(Barrier), st.sampled_from(Domain)),
        st.tuples(st.just("dsb"), _pe, st.just(Barrier.FULL), st.just(Domain.SHAREABLE)),
        st.tuples(st.just("dmb"), _pe, st.sampled_from(Barrier), st.sampled_from(Domain)),
        st.tuples(st.just("context_synchronise"), _pe),
        st.tuples(st.just("made_executable"), _pe, _slot),
        st.tuples(st.just("reset"), _pe),
    ),
    max_size=40,
)
_rules = st.sampled_from(
    [
        CacheRules(exempt=exempt),
        CacheRules(exempt=exempt, dline=128),
        CacheRules(exempt=exempt, iline=128),
        CacheRules(exempt=exempt, idc=True),
        CacheRules(exempt=exempt, idc=True, dic=True),
    ]
)


class _Told(Bench):
    """A bench that does events and keeps what was told."""

    def __init__(self, rules: CacheRules, pes: int = 2) -> None:
        super().__init__(rules, pes)
        self.told: list[tuple[int, int, Kind]] = []

    def do(self, event: Event) -> None:
        name, pe, *rest = event
        views = self.views
        operations: dict[str, Callable[..., object]] = {
            "store": lambda slot, word: self.store(slot, word, pe),
            "clean": lambda slot: views.clean_all(pe) if slot is None else views.clean(pe, slot),
            "invalidate": lambda slot: views.invalidate(pe, slot),
            "invalidate_all": lambda broadcast: views.invalidate_all(pe, broadcast=broadcast),
            "dsb": lambda *how: views.dsb(pe, *how),
            "dmb": lambda *how: views.dmb(pe, *how),
            "context_synchronise": lambda: views.context_synchronise(pe),
            "made_executable": lambda slot: views.made_executable(pe, slot & ~4095),
            "reset": lambda: views.reset(pe),
            "fetch": self.fetched,
        }
        if name == "fetch":
            self.fetched(pe, *rest)
        else:
            operations[name](*rest)
        self._take_due()

    def fetched(self, pe: int, slot: int) -> None:
        judgement = self.views.fetch(pe, slot)
        if judgement is not None:
            self.told.append((pe, slot, judgement.kind))

    def _take_due(self) -> None:
        self.told += [(hit.pe, hit.physical, hit.kind) for hit in self.due]
        self.due.clear()

    def finish(self) -> None:
        self.views.finish()
        self._take_due()

    def state(self) -> list[tuple[Kind | None, int]]:
        """Every verdict and what would be fetched."""
        return [
            (self.kind(slot, pe), int.from_bytes(self.views.fetch_bytes(pe, slot)[slot & 63 :][:4], "little"))
            for pe in range(self.views.pes)
            for slot in SLOTS
        ]


def _do_naive(naive: Naive, event: Event) -> None:
    name, pe, *rest = event
    if name == "invalidate_all":
        naive.invalidate(pe, None, local=not rest[0])
    else:
        getattr(naive, name)(pe, *rest)


@settings(max_examples=400, deadline=None)
@given(_rules, _events)
def test_the_naive_model_agrees(rules: CacheRules, events: list[Event]) -> None:
    bench, naive = _Told(rules), Naive(rules, 2, SLOTS, 0)
    for event in events:
        bench.do(event)
        _do_naive(naive, event)
        for pe in (0, 1):
            for slot in SLOTS:
                assert bench.kind(slot, pe) == naive.kind(pe, slot), (event, pe, slot)
    bench.finish()
    naive.finish()
    assert bench.told == naive.told


@settings(max_examples=200, deadline=None)
@given(_rules, _events)
def test_would_observe_covers_every_fetch_that_moves_something(rules: CacheRules, events: list[Event]) -> None:
    bench = _Told(rules)
    for event in events:
        if event[0] == "fetch":
            _, pe, slot = event
            expected = bench.views.would_observe(pe, slot) >> (slot & 63) // 4 & 1
            bench.do(event)
            assert expected or not bench.views.moved_by_fetch
        else:
            bench.do(event)


@settings(max_examples=200, deadline=None)
@given(_rules, _events)
def test_stale_slots_are_those_that_a_fetch_tells(rules: CacheRules, events: list[Event]) -> None:
    bench = Bench(rules, 2, strict=True)
    for name, pe, *rest in events:
        if name == "store":
            bench.store(*rest, pe)
        elif name == "fetch":
            expected = bench.views.stale_slots(pe, rest[0]) >> (rest[0] & 63) // 4 & 1
            assert (bench.fetch(rest[0], pe) is not None) == bool(expected)
        elif name == "context_synchronise":
            bench.views.context_synchronise(pe)


@settings(max_examples=200, deadline=None)
@given(_rules, _events)
def test_pruning_changes_nothing(rules: CacheRules, events: list[Event]) -> None:
    unpruned = _Told(rules)
    states = []
    for event in events:
        unpruned.do(event)
        states.append(unpruned.state())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lines, "_HISTORY", 1)
        pruned = _Told(rules)
        for event, state in zip(events, states, strict=True):
            pruned.do(event)
            assert pruned.state() == state
    assert pruned.told == unpruned.told


@settings(max_examples=100, deadline=None)
@given(_rules, _events)
def test_no_view_ever_goes_back(rules: CacheRules, events: list[Event]) -> None:
    """But for reset, which says what it sets."""
    bench = _Told(rules)
    before: list[tuple[int, ...]] = []
    for event in events:
        bench.do(event)
        after = [
            bench.views._fetched(line, pe, line.side(pe, -1))
            for pe in (0, 1)
            for address in sorted({slot & ~63 for slot in SLOTS})
            if (line := bench.views._line(address))
        ]
        if event[0] != "reset" and before:
            assert all(new >= old for one, two in zip(after, before, strict=True) for new, old in zip(one, two, strict=True))
        before = after
