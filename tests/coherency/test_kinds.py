# SPDX-License-Identifier: GPL-2.0-or-later
"""Each row of the second table of section 2: the first link that a store lacks names the finding."""

from __future__ import annotations

import pytest

from coherency.bench import ADD, CODE, EVENTS, MOV1, MOV2, SUB, Bench, exempt
from fetchsan.coherency import CacheRules, Kind, Step

COHERENT_D = CacheRules(idc=True, exempt=exempt)
COHERENT_I = CacheRules(idc=True, dic=True, exempt=exempt)

DC, DSB1, IC, DSB2, ISB = (
    Kind.MISSING_DC_CLEAN,
    Kind.MISSING_DSB_AFTER_CLEAN,
    Kind.MISSING_IC_INVALIDATE,
    Kind.MISSING_DSB_AFTER_INVALIDATE,
    Kind.MISSING_ISB,
)

# (events on PE 0, of which "w" is the store that the finding is about; kind with IDC/DIC = 00, 10, 11)
SEQUENCES: tuple[tuple[str, Kind | None, Kind | None, Kind | None], ...] = (
    ("w dc dsb ic dsb isb", None, None, None),
    ("w", DC, DSB1, DSB1),
    ("w isb", DC, DSB1, DSB1),
    ("w dsb isb", DC, IC, None),
    ("w dsb.st isb", DC, IC, None),
    ("w dsb.ld isb", DC, DSB1, DSB1),
    ("w dmb isb", DC, DSB1, DSB1),
    ("w dsb", DC, IC, ISB),
    ("w ic dsb isb", DC, DSB1, None),
    ("w dsb ic dsb isb", DC, None, None),
    ("w dsb.st ic dsb isb", DC, None, None),
    ("w dc", DSB1, DSB1, DSB1),
    ("w dc dmb", DSB1, DSB1, DSB1),
    ("w dc dsb", IC, IC, ISB),
    ("w dc dsb isb", IC, IC, None),
    ("w dc ic dsb isb", DSB1, DSB1, None),
    ("w dc dmb ic dsb isb", DSB1, DSB1, None),
    ("w dc dsb.st ic dsb isb", DSB1, None, None),
    ("w dc dsb.ld ic dsb isb", DSB1, DSB1, None),
    ("w ic dsb dc dsb isb", IC, DSB1, None),
    ("dc dsb w ic dsb isb", DC, DSB1, None),
    ("dc dsb ic dsb isb w", DC, DSB1, DSB1),
    ("ic w dc dsb isb", IC, IC, None),
    ("w dc dsb ic isb", DSB2, DSB2, None),
    ("w dc dsb ic dmb isb", DSB2, DSB2, None),
    ("w dc dsb ic dsb.st isb", DSB2, DSB2, None),
    ("w dc dsb ic dsb.ld isb", DSB2, DSB2, None),
    ("w dc dsb ic dsb", ISB, ISB, ISB),
    ("w dc dsb ic isb dsb", ISB, ISB, None),
    ("w dc dsb isb ic dsb", ISB, ISB, None),
    ("w dc dsb iallu dsb isb", None, None, None),
    ("w dc dsb ialluis dsb isb", None, None, None),
    ("w dccsw dsb ic dsb isb", None, None, None),
    ("w dc dsb.nsh ic dsb.nsh isb", None, None, None),
    ("w ic dsb dc dsb ic dsb isb", None, None, None),
    ("w dc dc dsb dsb ic ic dsb dsb isb isb", None, None, None),
    ("w dc ic dc dsb isb", DSB1, DSB1, None),
)


def _run(rules: CacheRules, events: str) -> Bench:
    bench = Bench(rules)
    for name in events.split():
        EVENTS[name](bench, 0)
    return bench


@pytest.mark.parametrize(("events", "kind"), [(row[0], row[1]) for row in SEQUENCES])
def test_kind_without_coherent_caches(events: str, kind: Kind | None) -> None:
    assert _run(CacheRules(), events).kind(CODE) == kind


@pytest.mark.parametrize(("events", "kind"), [(row[0], row[2]) for row in SEQUENCES])
def test_kind_with_idc(events: str, kind: Kind | None) -> None:
    assert _run(COHERENT_D, events).kind(CODE) == kind


@pytest.mark.parametrize(("events", "kind"), [(row[0], row[3]) for row in SEQUENCES])
def test_kind_with_dic(events: str, kind: Kind | None) -> None:
    assert _run(COHERENT_I, events).kind(CODE) == kind


@pytest.mark.parametrize("events", [row[0] for row in SEQUENCES])
def test_joined_caches_are_never_stale(events: str) -> None:
    assert _run(CacheRules(joined=True), events).kind(CODE) is None


def test_unsynchronised_modification_replaces_the_chain() -> None:
    bench = Bench(pes=2)
    bench.store(CODE, ADD)
    bench.synchronise(CODE)
    bench.views.context_synchronise(1)
    bench.store(CODE, SUB)
    assert bench.kind(CODE, pe=1) is Kind.UNSYNCHRONISED_MODIFICATION


def test_a_cse_after_the_store_leaves_the_chain() -> None:
    bench = Bench(pes=2)
    bench.store(CODE, ADD)
    bench.views.context_synchronise(1)
    assert bench.kind(CODE, pe=1) is DC


def test_a_store_that_reached_the_cache_is_synchronised_enough() -> None:
    bench = Bench(pes=2)
    bench.store(CODE, ADD)
    bench.maintain(CODE)
    assert bench.kind(CODE, pe=1) is ISB


def test_the_ledger_has_steps_done_missing_and_pending() -> None:
    bench = Bench()
    bench.store(CODE, MOV1)
    bench.views.clean(0, CODE, pc=0x40)
    bench.views.dsb(0)
    judgement = bench.views.judge(0, CODE)
    assert judgement is not None
    assert judgement.steps == (
        Step("dc-clean", "done", 0, 0x40),
        Step("dsb-after-clean", "done"),
        Step("ic-invalidate", "missing"),
        Step("dsb-after-invalidate", "pending"),
        Step("isb", "pending"),
    )


@pytest.mark.parametrize(
    ("rules", "states"),
    [
        (COHERENT_D, ["not-needed", "missing", "pending", "pending", "pending"]),
        (COHERENT_I, ["not-needed", "missing", "not-needed", "not-needed", "pending"]),
    ],
)
def test_the_ledger_says_what_coherent_caches_do_not_need(rules: CacheRules, states: list[str]) -> None:
    judgement = _run(rules, "w").views.judge(0, CODE)
    assert judgement is not None
    assert [step.state for step in judgement.steps] == states


def test_the_evidence_names_both_words_and_the_writer() -> None:
    bench = Bench()
    bench.store(CODE + 4, MOV1)
    bench.synchronise(CODE)
    bench.store(CODE + 4, MOV2, origin="the patcher")
    judgement = bench.views.judge(0, CODE + 4)
    assert judgement is not None
    assert (judgement.stale, judgement.current) == (MOV1, MOV2)
    assert (judgement.physical, judgement.origin, judgement.writer_pe) == (CODE + 4, "the patcher", 0)


def test_a_hit_is_told_once_for_a_line_and_its_newest_store() -> None:
    bench = Bench()
    bench.store(CODE, MOV1)
    bench.store(CODE + 4, MOV1)
    assert bench.fetch(CODE) is DC
    assert bench.fetch(CODE + 4) is None
    assert bench.views.stale_slots(0, CODE) == 0
    bench.store(CODE + 8, MOV1)
    assert bench.fetch(CODE + 4) is DC


def test_a_hit_moves_no_view() -> None:
    bench = Bench()
    bench.store(CODE, MOV1)
    bench.fetch(CODE)
    assert bench.kind(CODE) is DC
    assert bench.views.fetch_bytes(0, CODE) == bytes(64)


def test_each_pe_reports_for_itself() -> None:
    bench = Bench(pes=2)
    bench.store(CODE, MOV1)
    assert bench.fetch(CODE, pe=0) is DC
    assert bench.fetch(CODE, pe=1) is Kind.UNSYNCHRONISED_MODIFICATION
