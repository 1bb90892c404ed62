# SPDX-License-Identifier: GPL-2.0-or-later
"""The thirteen rules that make the model exact, by number (docs/coherency_model.md)."""

from __future__ import annotations

import pytest

from coherency.bench import ADD, CODE, MOV1, MOV2, NOP, SUB, B, Bench, exempt
from fetchsan.coherency import PORTS, Barrier, CacheRules, Domain, Kind

VIPT = CacheRules(vipt=True, exempt=exempt)
IDC = CacheRules(idc=True, exempt=exempt)
DIC = CacheRules(idc=True, dic=True, exempt=exempt)
RW, RX = 0x7000, 0x9000  # two virtual pages of one frame
FRESH = 0x4000  # fresh code, in another frame than CODE


# --- 1: physical addresses, VIPT --------------------


def test_1_on_pipt_an_alias_is_as_good() -> None:
    bench = Bench()
    bench.store(CODE, MOV1)
    bench.clean(CODE)
    bench.invalidate(CODE, page=RW)
    bench.views.context_synchronise(0)
    assert bench.kind(CODE, page=RX) is None


def test_1_on_vipt_an_invalidate_moves_only_its_own_page() -> None:
    bench = Bench(VIPT)
    bench.store(CODE, MOV1)
    bench.clean(CODE)
    bench.invalidate(CODE, page=RW)
    bench.views.context_synchronise(0)
    assert bench.kind(CODE, page=RW) is None
    assert bench.kind(CODE, page=RX) is Kind.MISSING_IC_INVALIDATE


def test_1_on_vipt_the_executing_page_is_enough() -> None:
    bench = Bench(VIPT)
    bench.store(CODE, MOV1)
    bench.clean(CODE)
    bench.invalidate(CODE, page=RX)
    bench.views.context_synchronise(0)
    assert bench.kind(CODE, page=RX) is None


def test_1_on_vipt_ialluis_moves_every_page() -> None:
    bench = Bench(VIPT, pes=2)
    bench.store(CODE, MOV1)
    bench.clean(CODE)
    bench.invalidate(CODE, page=RW)
    bench.views.invalidate_all(0, broadcast=True)
    bench.views.dsb(0)
    for pe in (0, 1):
        bench.views.context_synchronise(pe)
        assert [bench.kind(CODE, pe, page) for page in (RW, RX, 0xB000)] == [None, None, None]


def test_1_an_alias_first_named_between_invalidate_and_cse_is_moved_by_the_cse() -> None:
    bench = Bench(VIPT)
    bench.store(CODE, MOV1)
    bench.clean(CODE)
    bench.views.invalidate_all(0, broadcast=True)
    bench.views.dsb(0)
    bench.views.invalidate(0, CODE, RX)
    bench.views.dsb(0)
    bench.views.context_synchronise(0)
    assert bench.kind(CODE, page=RX) is None


# --- 2: power-on, freed and recycled frames --------------------


def test_2_a_frame_never_cleaned_fetches_zeros() -> None:
    bench = Bench(watch=False)
    bench.unseen(CODE, MOV1)
    bench.views.watch(CODE)
    judgement = bench.views.judge(0, CODE)
    assert judgement is not None
    assert (judgement.kind, judgement.stale, judgement.current) == (Kind.MISSING_DC_CLEAN, 0, MOV1)


def test_2_a_recycled_frame_fetches_its_previous_life() -> None:
    bench = Bench(watch=False)
    bench.unseen(CODE, MOV1)
    bench.synchronise(CODE)
    bench.views.freed(CODE)
    bench.unseen(CODE, MOV2)
    bench.views.watch(CODE)
    judgement = bench.views.judge(0, CODE)
    assert judgement is not None
    assert (judgement.stale, judgement.current) == (MOV1, MOV2)


def test_2_the_boot_image_is_everywhere() -> None:
    bench = Bench()
    bench.load(CODE, MOV1.to_bytes(4, "little"))
    assert bench.fetch(CODE) is None
    assert bench.views.fetch_bytes(0, CODE)[:4] == MOV1.to_bytes(4, "little")


def test_2_an_unwatched_frame_that_holds_what_it_held_is_no_finding() -> None:
    bench = Bench(watch=False)
    bench.unseen(CODE, MOV1)
    bench.unseen(CODE, 0)
    bench.views.watch(CODE)
    assert bench.kind(CODE) is None


# --- 3: barriers that complete nothing --------------------


@pytest.mark.parametrize(
    "weak",
    [
        lambda bench: bench.views.dmb(0),
        lambda bench: bench.views.dsb(0, Barrier.LOADS),
        lambda bench: bench.views.dsb(0, Barrier.STORES),
    ],
    ids=["dmb", "dsb.ld", "dsb.st"],
)
@pytest.mark.parametrize("after", ["dc", "ic"])
def test_3_weak_barriers_complete_neither_dc_nor_ic(weak: object, after: str) -> None:
    bench = Bench(pes=2)
    bench.store(CODE, MOV1)
    bench.views.clean(0, CODE)
    weak(bench) if after == "dc" else bench.views.dsb(0)  # type: ignore[operator]
    bench.views.invalidate(0, CODE)
    weak(bench) if after == "ic" else bench.views.dsb(0)  # type: ignore[operator]
    bench.views.context_synchronise(0)
    expected = Kind.MISSING_DSB_AFTER_CLEAN if after == "dc" else Kind.MISSING_DSB_AFTER_INVALIDATE
    assert bench.kind(CODE) is expected


def test_3_a_dmb_lets_a_clean_arrive_for_other_pes() -> None:
    bench = Bench(pes=2)
    bench.store(CODE, MOV1)
    bench.views.clean(0, CODE)
    bench.views.dmb(0)
    bench.invalidate(CODE, pe=1)
    bench.views.context_synchronise(1)
    assert bench.kind(CODE, pe=1) is None


def test_3_a_dmb_does_not_let_it_arrive_for_its_own() -> None:
    bench = Bench(pes=2)
    bench.store(CODE, MOV1)
    bench.views.clean(0, CODE)
    bench.views.dmb(0)
    bench.invalidate(CODE, pe=0)
    bench.views.context_synchronise(1)
    assert bench.kind(CODE, pe=1) is Kind.MISSING_DSB_AFTER_CLEAN


@pytest.mark.parametrize("barrier", [Barrier.LOADS, Barrier.STORES])
def test_3_a_weak_dmb_lets_nothing_arrive(barrier: Barrier) -> None:
    bench = Bench(pes=2)
    bench.store(CODE, MOV1)
    bench.views.clean(0, CODE)
    bench.views.dmb(0, barrier)
    bench.invalidate(CODE, pe=1)
    bench.views.context_synchronise(1)
    assert bench.kind(CODE, pe=1) is Kind.MISSING_DSB_AFTER_CLEAN


def test_3_dmb_nsh_lets_nothing_arrive_elsewhere() -> None:
    bench = Bench(pes=2)
    bench.store(CODE, MOV1)
    bench.views.clean(0, CODE)
    bench.views.dmb(0, Barrier.FULL, Domain.NON_SHAREABLE)
    bench.invalidate(CODE, pe=1)
    bench.views.context_synchronise(1)
    assert bench.kind(CODE, pe=1) is Kind.MISSING_DSB_AFTER_CLEAN


def test_3_dsb_nsh_after_dc_reaches_its_own_unified_view_only() -> None:
    bench = Bench(pes=2)
    bench.store(CODE, MOV1)
    bench.views.clean(0, CODE)
    bench.views.dsb(0, Barrier.FULL, Domain.NON_SHAREABLE)
    bench.invalidate(CODE, pe=1)
    bench.views.context_synchronise(1)
    assert bench.kind(CODE, pe=1) is Kind.MISSING_DSB_AFTER_CLEAN
    bench.invalidate(CODE, pe=0)
    bench.views.context_synchronise(1)
    assert bench.kind(CODE, pe=1) is None


def test_3_dsb_nsh_after_ic_reaches_its_own_instruction_view_only() -> None:
    bench = Bench(pes=2)
    bench.store(CODE, MOV1)
    bench.clean(CODE)
    bench.views.invalidate(0, CODE)
    bench.views.dsb(0, Barrier.FULL, Domain.NON_SHAREABLE)
    bench.views.context_synchronise(0)
    bench.views.context_synchronise(1)
    assert bench.kind(CODE, pe=0) is None
    assert bench.kind(CODE, pe=1) is Kind.MISSING_DSB_AFTER_INVALIDATE


def test_3_a_later_full_dsb_completes_what_nsh_left() -> None:
    bench = Bench(pes=2)
    bench.store(CODE, MOV1)
    bench.clean(CODE)
    bench.views.invalidate(0, CODE)
    bench.views.dsb(0, Barrier.FULL, Domain.NON_SHAREABLE)
    bench.views.dsb(0)
    bench.views.context_synchronise(1)
    assert bench.kind(CODE, pe=1) is None


def test_3_iallu_reaches_its_own_pe_only() -> None:
    bench = Bench(pes=2)
    bench.store(CODE, MOV1)
    bench.clean(CODE)
    bench.views.invalidate_all(0, broadcast=False)
    bench.views.dsb(0)
    bench.views.context_synchronise(0)
    bench.views.context_synchronise(1)
    assert bench.kind(CODE, pe=0) is None
    assert bench.kind(CODE, pe=1) is Kind.MISSING_IC_INVALIDATE


def test_3_a_dsb_completes_only_what_its_own_pe_issued() -> None:
    bench = Bench(pes=2)
    bench.store(CODE, MOV1)
    bench.views.clean(0, CODE)
    bench.views.dsb(1)
    assert bench.kind(CODE) is Kind.MISSING_DSB_AFTER_CLEAN


# --- 4: lines --------------------


def test_4_maintenance_affects_the_block_that_contains_the_address() -> None:
    bench = Bench()
    bench.store(CODE, MOV1)
    bench.store(CODE + 64, MOV1)
    bench.synchronise(CODE + 63)
    assert bench.kind(CODE) is None
    assert bench.kind(CODE + 64) is Kind.MISSING_DC_CLEAN


def test_4_a_cache_with_longer_lines_does_more() -> None:
    bench = Bench(CacheRules(dline=128, iline=128, line=64))
    bench.store(CODE, MOV1)
    bench.store(CODE + 64, MOV1)
    bench.synchronise(CODE + 100)
    assert bench.kind(CODE) is None
    assert bench.kind(CODE + 64) is None


def test_4_i_lines_and_d_lines_may_differ() -> None:
    bench = Bench(CacheRules(dline=128, iline=64, line=64))
    bench.store(CODE, MOV1)
    bench.store(CODE + 64, MOV1)
    bench.synchronise(CODE)
    assert bench.kind(CODE) is None
    assert bench.kind(CODE + 64) is Kind.MISSING_IC_INVALIDATE


def test_4_small_lines_are_kept_apart() -> None:
    bench = Bench(CacheRules(dline=32, iline=32, line=32))
    bench.store(CODE, MOV1)
    bench.store(CODE + 32, MOV1)
    bench.synchronise(CODE)
    assert bench.kind(CODE + 32) is Kind.MISSING_DC_CLEAN


@pytest.mark.parametrize("sizes", [{"dline": 48}, {"iline": 2}, {"line": 128}])
def test_4_impossible_lines_are_refused(sizes: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="must be"):
        CacheRules(**sizes)


# --- 5: caches that join views --------------------


def test_5_with_idc_another_pes_store_counts_at_once() -> None:
    bench = Bench(IDC, pes=2)
    bench.store(CODE, MOV1, pe=0)
    bench.invalidate(CODE, pe=1)
    bench.views.context_synchronise(1)
    assert bench.kind(CODE, pe=1) is None


def test_5_with_idc_ones_own_store_counts_after_a_dsb() -> None:
    bench = Bench(IDC, pes=2)
    bench.store(CODE, MOV1, pe=0)
    bench.invalidate(CODE, pe=0)
    bench.views.context_synchronise(0)
    assert bench.kind(CODE, pe=0) is Kind.MISSING_DSB_AFTER_CLEAN


def test_5_with_dic_another_pes_store_needs_only_a_cse() -> None:
    bench = Bench(DIC, pes=2)
    bench.store(CODE, MOV1, pe=0)
    assert bench.kind(CODE, pe=1) is Kind.MISSING_ISB
    bench.views.context_synchronise(1)
    assert bench.kind(CODE, pe=1) is None


def test_5_with_dic_ones_own_store_needs_dsb_and_cse() -> None:
    bench = Bench(DIC, pes=2)
    bench.store(CODE, MOV1, pe=0)
    bench.views.context_synchronise(0)
    assert bench.kind(CODE, pe=0) is Kind.MISSING_DSB_AFTER_CLEAN
    bench.views.dsb(0, Barrier.STORES)
    assert bench.kind(CODE, pe=0) is Kind.MISSING_ISB
    bench.views.context_synchronise(0)
    assert bench.kind(CODE, pe=0) is None


def test_5_with_dic_a_cse_reports_what_moved_even_when_the_dsb_came_late() -> None:
    bench = Bench(DIC)
    bench.store(CODE, MOV1)
    bench.views.context_synchronise(0)
    bench.views.dsb(0)
    assert [line.address for line, _ in bench.views.context_synchronise(0)] == [CODE]


def test_5_each_port_is_a_row() -> None:
    assert PORTS["aarch64"].synchronise == "ISB"
    assert PORTS["riscv64"].clean is None
    assert PORTS["riscv64"].synchronise == "FENCE.I"
    assert {PORTS["x64"].clean, PORTS["x64"].invalidate, PORTS["x64"].synchronise} == {None}


# --- 6: exempt opcodes --------------------


def _branch_patched_by_another(**options: bool) -> Bench:
    bench = Bench(pes=2, **options)
    bench.load(CODE, NOP.to_bytes(4, "little") + ADD.to_bytes(4, "little"))
    bench.store(CODE, B, pe=0)
    return bench


def test_6_old_or_new_is_legal_for_exempt_opcodes_of_another_pe() -> None:
    bench = _branch_patched_by_another()
    assert bench.fetch(CODE, pe=1) is None
    assert bench.due == []


def test_6_the_hit_is_dropped_when_the_store_arrives() -> None:
    bench = _branch_patched_by_another()
    bench.fetch(CODE, pe=1)
    bench.maintain(CODE)
    bench.views.finish()
    assert bench.due == []


def test_6_the_hit_is_due_when_the_run_ends() -> None:
    bench = _branch_patched_by_another()
    bench.fetch(CODE, pe=1)
    bench.views.finish()
    assert [(hit.kind, hit.pe, hit.physical) for hit in bench.due] == [(Kind.MISSING_DC_CLEAN, 1, CODE)]


def test_6_the_hit_is_due_when_the_slot_is_stored_again() -> None:
    bench = _branch_patched_by_another()
    bench.fetch(CODE, pe=1)
    bench.store(CODE + 8, NOP)
    assert bench.due == []
    bench.store(CODE, NOP)
    assert len(bench.due) == 1


def test_6_the_hit_is_due_when_the_frame_is_freed() -> None:
    bench = _branch_patched_by_another()
    bench.fetch(CODE, pe=1)
    bench.views.freed(CODE)
    assert len(bench.due) == 1


def test_6_a_held_missing_isb_is_dropped() -> None:
    bench = _branch_patched_by_another()
    bench.maintain(CODE)
    assert bench.kind(CODE, pe=1) is Kind.MISSING_ISB
    assert bench.fetch(CODE, pe=1) is None
    bench.views.finish()
    assert bench.due == []


def test_6_the_writer_itself_has_no_exemption() -> None:
    bench = _branch_patched_by_another()
    assert bench.fetch(CODE, pe=0) is Kind.MISSING_DC_CLEAN


def test_6_strict_reports_at_once() -> None:
    assert _branch_patched_by_another(strict=True).fetch(CODE, pe=1) is Kind.MISSING_DC_CLEAN


@pytest.mark.parametrize(("old", "new"), [(B, ADD), (ADD, B), (ADD, SUB)])
def test_6_both_opcodes_must_be_exempt(old: int, new: int) -> None:
    bench = Bench(pes=2)
    bench.load(CODE, old.to_bytes(4, "little"))
    bench.store(CODE, new, pe=0)
    assert bench.fetch(CODE, pe=1) is Kind.UNSYNCHRONISED_MODIFICATION


def test_6_and_every_opcode_in_between() -> None:
    bench = Bench(pes=2)
    bench.load(CODE, B.to_bytes(4, "little"))
    bench.store(CODE, ADD, pe=0)
    bench.store(CODE, NOP, pe=0)
    assert bench.fetch(CODE, pe=1) is Kind.UNSYNCHRONISED_MODIFICATION


def test_6_a_held_hit_does_not_hide_its_neighbour() -> None:
    bench = _branch_patched_by_another()
    bench.store(CODE + 4, SUB, pe=0)
    assert bench.fetch(CODE, pe=1) is None
    assert bench.views.stale_slots(1, CODE) == 0b10
    assert bench.fetch(CODE + 4, pe=1) is Kind.UNSYNCHRONISED_MODIFICATION


# --- 7: fetching a new slot is an observation --------------------


def _branch_patched_to_fresh_code(bench: Bench, writer: int = 0, *, maintain: bool = True) -> None:
    bench.load(CODE, NOP.to_bytes(4, "little"))
    bench.store(FRESH, MOV1, pe=writer)
    if maintain:
        bench.maintain(FRESH, writer)
    bench.store(CODE, B, pe=writer)


@pytest.mark.parametrize("executor", [0, 1])
def test_7_a_branch_patched_to_fresh_code_needs_no_isb(executor: int) -> None:
    bench = Bench(pes=2)
    _branch_patched_to_fresh_code(bench)
    assert bench.kind(FRESH, executor) is Kind.MISSING_ISB
    bench.fetch(CODE, executor)
    assert bench.fetch(FRESH, executor) is None


def test_7_says_what_moved() -> None:
    bench = Bench(pes=2)
    _branch_patched_to_fresh_code(bench)
    assert bench.views.would_observe(1, CODE) == 1
    bench.views.fetch(1, CODE)
    assert [line.address for line, _ in bench.views.moved_by_fetch] == [FRESH]
    assert bench.views.would_observe(1, CODE) == 0


def test_7_without_the_maintenance_it_fails() -> None:
    bench = Bench(pes=2)
    _branch_patched_to_fresh_code(bench, maintain=False)
    bench.fetch(CODE, 1)
    assert bench.fetch(FRESH, 1) is not None


def test_7_the_branch_must_be_newer_than_the_invalidate() -> None:
    bench = Bench(pes=2)
    bench.load(CODE, NOP.to_bytes(4, "little"))
    bench.store(CODE, B)
    bench.store(FRESH, MOV1)
    bench.maintain(FRESH)
    bench.fetch(CODE, 1)
    assert bench.fetch(FRESH, 1) is Kind.MISSING_ISB


def test_7_only_what_had_arrived_when_the_slot_was_stored() -> None:
    bench = Bench(pes=2)
    _branch_patched_to_fresh_code(bench)
    bench.store(FRESH, MOV2)
    bench.maintain(FRESH)
    bench.fetch(CODE, 1)
    assert bench.kind(FRESH, 1) is Kind.MISSING_ISB
    assert bench.views.fetch_bytes(1, FRESH)[:4] == MOV1.to_bytes(4, "little")


def test_7_a_stale_fetch_observes_nothing_new() -> None:
    bench = Bench(pes=2)
    _branch_patched_to_fresh_code(bench)
    assert bench.views.fetch_stale(1, CODE) == NOP
    assert bench.kind(FRESH, 1) is Kind.MISSING_ISB


def test_7_a_stale_machine_observes_what_it_fetches() -> None:
    bench = Bench(pes=2)
    _branch_patched_to_fresh_code(bench)
    bench.maintain(CODE)
    bench.views.made_executable(1, CODE)
    assert bench.views.fetch_stale(1, CODE) == B
    assert bench.kind(FRESH, 1) is None


@pytest.mark.parametrize("executor", [0, 1])
def test_7_with_dic_a_dsb_between_the_stores_is_enough(executor: int) -> None:
    bench = Bench(DIC, pes=2)
    bench.load(CODE, NOP.to_bytes(4, "little"))
    bench.store(FRESH, MOV1, pe=0)
    bench.views.dsb(0)
    bench.store(CODE, B, pe=0)
    bench.fetch(CODE, executor)
    assert bench.kind(FRESH, executor) is None


def test_7_with_dic_ones_own_undrained_store_is_not_observed_through_another() -> None:
    bench = Bench(DIC, pes=2)
    bench.load(CODE, NOP.to_bytes(4, "little"))
    bench.store(FRESH, MOV1, pe=1)
    bench.store(CODE, B, pe=0)
    bench.fetch(CODE, 1)
    assert bench.kind(FRESH, 1) is Kind.MISSING_DSB_AFTER_CLEAN


# --- 8: values --------------------


def test_8_bytes_rewritten_with_the_same_value_are_no_finding() -> None:
    bench = Bench()
    bench.store(CODE, MOV1)
    bench.synchronise(CODE)
    bench.store(CODE, MOV1)
    assert bench.kind(CODE) is None


def test_8_a_value_that_came_back_may_still_be_fetched_as_what_was_between() -> None:
    bench = Bench()
    bench.store(CODE, MOV1)
    bench.synchronise(CODE)
    bench.store(CODE, MOV2)
    bench.store(CODE, MOV1)
    judgement = bench.views.judge(0, CODE)
    assert judgement is not None
    assert (judgement.stale, judgement.current) == (MOV2, MOV1)


def test_8_the_neighbouring_slots_are_fresh() -> None:
    bench = Bench()
    bench.store(CODE, MOV1)
    assert bench.views.stale_slots(0, CODE) == 1
    assert bench.kind(CODE + 4) is None


# --- 9: the executed interleaving --------------------


def test_9_maintenance_may_be_spread_over_pes_in_the_executed_order() -> None:
    bench = Bench(pes=3)
    bench.store(CODE, MOV1, pe=0)
    bench.clean(CODE, pe=1)
    bench.invalidate(CODE, pe=2)
    bench.views.context_synchronise(0)
    assert bench.kind(CODE, pe=0) is None


# --- 10: no translation, no fetch --------------------


def test_10_a_new_translation_brings_i_to_f() -> None:
    bench = Bench(pes=2)
    bench.store(CODE, MOV1)
    bench.maintain(CODE)
    moved = bench.views.made_executable(1, CODE, RX)
    assert [line.address for line, _ in moved] == [CODE]
    assert bench.kind(CODE, pe=1) is None
    assert bench.kind(CODE, pe=0) is Kind.MISSING_ISB


def test_10_hole_f_a_translation_written_before_the_maintenance() -> None:
    """OSv's populate_vma writes the PTE first: the other PE may have fetched in between."""
    bench = Bench(pes=2, watch=False)
    bench.unseen(CODE, MOV1)
    bench.views.watch(CODE)
    for pe in (0, 1):
        bench.views.made_executable(pe, CODE)
    bench.maintain(CODE, pe=0)
    bench.views.context_synchronise(0)
    assert bench.kind(CODE, pe=0) is None
    assert bench.kind(CODE, pe=1) is Kind.MISSING_ISB


def test_10_linux_synchronises_first() -> None:
    bench = Bench(pes=2, watch=False)
    bench.unseen(CODE, MOV1)
    bench.maintain(CODE, pe=0)
    bench.views.watch(CODE)
    for pe in (0, 1):
        bench.views.made_executable(pe, CODE)
        assert bench.kind(CODE, pe) is None


def test_10_stores_that_nobody_saw_come_before_the_translation() -> None:
    bench = Bench(DIC, watch=False)
    bench.unseen(CODE, MOV1)
    bench.views.made_executable(0, CODE)
    bench.views.watch(CODE)
    assert bench.kind(CODE) is None


def test_10_on_vipt_the_new_page_only() -> None:
    bench = Bench(VIPT)
    bench.store(CODE, MOV1)
    bench.clean(CODE)
    bench.views.invalidate_all(0, broadcast=True)
    bench.views.dsb(0)
    bench.views.invalidate(0, CODE, RW)
    bench.views.made_executable(0, CODE, RX)
    assert bench.kind(CODE, page=RX) is None
    assert bench.kind(CODE, page=RW) is Kind.MISSING_ISB


# --- 11, 12: a CSE is told by whoever knows of one; nothing else is one --------------------


def test_11_a_cse_is_a_pes_own() -> None:
    bench = Bench(pes=2)
    bench.store(CODE, MOV1)
    bench.maintain(CODE)
    bench.views.context_synchronise(0)
    assert bench.kind(CODE, pe=1) is Kind.MISSING_ISB


def test_12_barriers_and_fetches_are_none() -> None:
    bench = Bench()
    bench.store(CODE, MOV1)
    bench.maintain(CODE)
    bench.views.dsb(0)
    bench.views.dmb(0)
    bench.views.fetch(0, CODE + 4)
    assert bench.kind(CODE) is Kind.MISSING_ISB


# --- 13: caches off, devices, reset, set/way --------------------


def test_13_an_uncached_store_is_in_every_u() -> None:
    bench = Bench(pes=2)
    bench.store(CODE, MOV1, uncached=True)
    assert bench.kind(CODE, pe=0) is Kind.MISSING_IC_INVALIDATE
    bench.invalidate(CODE, pe=1)
    bench.views.context_synchronise(0)
    assert bench.kind(CODE, pe=0) is None


def test_13_only_the_slots_it_wrote() -> None:
    bench = Bench()
    bench.store(CODE, MOV1)
    bench.store(CODE + 4, MOV1, uncached=True)
    bench.invalidate(CODE)
    bench.views.context_synchronise(0)
    assert bench.kind(CODE) is Kind.MISSING_DC_CLEAN
    assert bench.kind(CODE + 4) is None


def test_13_a_device_may_write_frames_that_nobody_watches() -> None:
    bench = Bench(watch=False)
    bench.unseen(CODE, MOV1)
    bench.views.stored(None, CODE, 1, uncached=True)
    bench.invalidate(CODE)
    bench.views.context_synchronise(0)
    bench.views.watch(CODE)
    assert bench.kind(CODE) is None


def test_13_with_the_instruction_cache_off_a_fetch_reads_u() -> None:
    bench = Bench()
    bench.store(CODE, MOV1)
    bench.views.instruction_cache(0, enabled=False)
    assert bench.kind(CODE) is not None
    bench.clean(CODE)
    assert bench.kind(CODE) is None
    bench.views.instruction_cache(0, enabled=True)
    assert bench.kind(CODE) is Kind.MISSING_IC_INVALIDATE


def test_13_reset_takes_u() -> None:
    bench = Bench(pes=2)
    bench.store(CODE, MOV1)
    bench.clean(CODE)
    bench.store(CODE, MOV2)
    bench.views.reset(1)
    assert bench.views.fetch_bytes(1, CODE)[:4] == MOV1.to_bytes(4, "little")
    assert bench.views.fetch_bytes(0, CODE)[:4] == bytes(4)


def test_13_reset_forgets_what_was_pending() -> None:
    bench = Bench(pes=2)
    bench.store(CODE, MOV1)
    bench.views.clean(1, CODE)
    bench.views.reset(1)
    bench.views.dsb(1)
    bench.invalidate(CODE)
    bench.views.context_synchronise(0)
    assert bench.kind(CODE) is Kind.MISSING_DSB_AFTER_CLEAN


def test_13_clean_by_set_and_way_cleans_every_line_unseen_ones_too() -> None:
    bench = Bench(watch=False)
    bench.unseen(CODE, MOV1)
    bench.views.clean_all(0)
    bench.views.dsb(0)
    bench.views.invalidate_all(0, broadcast=False)
    bench.views.dsb(0)
    bench.views.context_synchronise(0)
    bench.views.watch(CODE)
    assert bench.kind(CODE) is None
