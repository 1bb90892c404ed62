# SPDX-License-Identifier: GPL-2.0-or-later
"""What a checker must tell apart and must not report, as the model sees it.

Sequences are `pe:event` at CODE, on two PEs; the question is the fetch by PE 1 (two-thread shapes, MP.*) or 0 (SM.*).
The SM.* shapes are `tests/litmus` too; here are their kinds.
"""

from __future__ import annotations

import pytest

from coherency.bench import ADD, CODE, EVENTS, MOV1, NOP, SUB, B, Bench, exempt
from fetchsan.coherency import CacheRules, Kind

SETTINGS = {
    "00": CacheRules(exempt=exempt),
    "01": CacheRules(idc=True, exempt=exempt),
    "11": CacheRules(idc=True, dic=True, exempt=exempt),
}

FULL = "0:w 0:dc 0:dsb 0:ic 0:dsb"

# (id, shape, events, executing PE, allowed with DIC/IDC = 00, 01, 11)
ROWS: tuple[tuple[str, str, int, str], ...] = (
    ("V0 SM.none", "0:w", 0, "AAA"),
    ("V0 SM.dsb-isb", "0:w 0:dsb 0:isb", 0, "AAF"),
    ("V1 SM.no-dc", "0:w 0:dsb 0:ic 0:dsb 0:isb", 0, "AFF"),
    ("V1 MP.no-dc", "0:w 0:dsb 0:ic 0:dsb 1:isb", 1, "AFF"),
    ("V2 SM.no-ic", "0:w 0:dc 0:dsb 0:isb", 0, "AAF"),
    ("V2 MP.no-ic", "0:w 0:dc 0:dsb 1:isb", 1, "AAF"),
    ("V3 SM.swapped-ic-dc", "0:w 0:dsb 0:ic 0:dsb 0:dc 0:dsb 0:isb", 0, "AFF"),
    ("V4 SM.all-before-store", "0:dc 0:dsb 0:ic 0:dsb 0:w 0:isb", 0, "AAA"),
    ("V4 SM.ic-before-store", "0:ic 0:w 0:dc 0:dsb 0:isb", 0, "AAF"),
    ("V4 SM.dc-before-store", "0:dc 0:w 0:dsb 0:ic 0:dsb 0:isb", 0, "AFF"),
    ("V5 SM.no-dsb1", "0:w 0:dc 0:ic 0:dsb 0:isb", 0, "AAF"),
    ("V5 SM.dmb-for-dsb1", "0:w 0:dc 0:dmb 0:ic 0:dsb 0:isb", 0, "AAF"),
    ("V5 SM.dsbst-for-dsb1", "0:w 0:dc 0:dsb.st 0:ic 0:dsb 0:isb", 0, "AFF"),
    ("V5 SM.dsbld-for-dsb1", "0:w 0:dc 0:dsb.ld 0:ic 0:dsb 0:isb", 0, "AAF"),
    ("V6 SM.ic-dsb-no-storedsb", "0:w 0:ic 0:dsb 0:isb", 0, "AAF"),
    ("V7 SM.no-dsb2", "0:w 0:dc 0:dsb 0:ic 0:isb", 0, "AAF"),
    ("V7 MP.no-dsb2", "0:w 0:dc 0:dsb 0:ic 1:isb", 1, "AAF"),
    ("V7b MP.dsbnsh2", "0:w 0:dc 0:dsb 0:ic 0:dsb.nsh 1:isb", 1, "AAF"),
    ("V8 SM.no-isb", FULL, 0, "AAA"),
    ("V8 SM.isb-before-dsb2", "0:w 0:dc 0:dsb 0:ic 0:isb 0:dsb", 0, "AAF"),
    ("V8x MP.full, no ISB", FULL, 1, "AAA"),
    ("V8x MP.full-isb-on-writer-only", FULL + " 0:isb", 1, "AAA"),
    ("MP.full+ctrlisb", FULL + " 1:isb", 1, "FFF"),
    ("V11 MP.iallu-local", "0:w 0:dc 0:dsb 0:iallu 0:dsb 1:isb", 1, "AAF"),
    ("MP.ialluis", "0:w 0:dc 0:dsb 0:ialluis 0:dsb 1:isb", 1, "FFF"),
    ("V12 MP.publish-before-maint", "0:w 1:isb", 1, "AAF"),
    ("V14 SM.second-store-after", FULL + " 0:isb 0:w2", 0, "AAA"),
    ("N1 SM.dsb-extra", "0:w 0:dsb 0:dc 0:dsb 0:dsb 0:ic 0:dsb 0:dsb 0:isb", 0, "FFF"),
    ("N1 double IC", "0:w 0:ic 0:dsb 0:dc 0:dsb 0:ic 0:dsb 0:isb", 0, "FFF"),
    ("15.1 spread over PEs", "0:w 1:dc 1:dsb 0:ic 0:dsb 1:isb", 1, "FFF"),
    ("15.1 migrated after DC, the switch has a DSB", "0:w 0:dc 0:dsb 1:ic 1:dsb 1:isb", 1, "FFF"),
    ("15.1 migrated before DC", "0:w 0:dsb 1:dc 1:dsb 1:ic 1:dsb 1:isb", 1, "FFF"),
    ("15.5 one maintenance after several stores", "0:w 0:w2 0:w 0:dc 0:dsb 0:ic 0:dsb 0:isb", 0, "FFF"),
    ("15.7 the reader maintains", "0:w 1:dc 1:dsb 1:ic 1:dsb 1:isb", 1, "FFF"),
    ("DC; DMB; publish, then IC by the reader", "0:w 0:dc 0:dmb 1:ic 1:dsb 1:isb", 1, "FFF"),
)



def _on(bench: Bench, events: str) -> None:
    for item in events.split():
        pe, name = item.split(":")
        EVENTS[name](bench, int(pe))


@pytest.mark.parametrize(
    ("events", "pe", "setting", "allowed"),
    [
        pytest.param(events, pe, setting, verdict == "A", id=f"{name} {setting}")
        for name, events, pe, verdicts in ROWS
        for setting, verdict in zip(SETTINGS, verdicts, strict=True)
    ],
)
def test_stale_outcome(events: str, pe: int, setting: str, allowed: bool) -> None:
    bench = Bench(SETTINGS[setting], pes=2)
    _on(bench, events)
    assert (bench.kind(CODE, pe) is not None) is allowed


# --- V9, V13: ranges and line sizes --------------------


def _maintain_range(bench: Bench, start: int, end: int, stride: int) -> None:
    for operation in (bench.clean, bench.invalidate):
        for address in range(start, end, stride):
            operation(address)
    bench.views.context_synchronise(0)


def test_v9_a_loop_that_does_not_round_down_misses_the_last_line() -> None:
    """libgcc's old loop: base 0x103c, end 0x1044, 64-byte lines."""
    bench = Bench()
    for address in range(CODE + 0x3C, CODE + 0x44, 4):
        bench.store(address, MOV1)
    _maintain_range(bench, CODE + 0x3C, CODE + 0x44, 64)
    assert bench.kind(CODE + 0x3C) is None
    assert bench.kind(CODE + 0x40) is Kind.MISSING_DC_CLEAN


def test_v9_a_stride_too_large_misses_every_second_line() -> None:
    """Exynos 8890: 128 bytes cached from a big core, used on a little one with 64 (Mono, 2016)."""
    bench = Bench()
    for address in range(CODE, CODE + 0x100, 4):
        bench.store(address, MOV1)
    _maintain_range(bench, CODE, CODE + 0x100, 128)
    stale = [address for address in range(CODE, CODE + 0x100, 4) if bench.kind(address) is not None]
    assert stale == [*range(CODE + 0x40, CODE + 0x80, 4), *range(CODE + 0xC0, CODE + 0x100, 4)]


def test_15_6_a_stride_smaller_than_the_line_is_fine() -> None:
    bench = Bench()
    for address in range(CODE, CODE + 0x100, 4):
        bench.store(address, MOV1)
    _maintain_range(bench, CODE, CODE + 0x100, 16)
    assert all(bench.kind(address) is None for address in range(CODE, CODE + 0x100, 4))


@pytest.mark.parametrize(("events", "kind"), [("0:w 0:dsb 0:isb", Kind.MISSING_DC_CLEAN), (FULL + " 0:isb", None)])
def test_v13_software_that_trusts_a_ctr_of_another_core(events: str, kind: Kind | None) -> None:
    """What suffices with IDC=1 and DIC=1 does not where the caches are not coherent; what these need suffices anywhere."""
    incoherent, coherent = Bench(SETTINGS["00"]), Bench(SETTINGS["11"])
    _on(incoherent, events)
    _on(coherent, events)
    assert incoherent.kind(CODE) is kind
    assert coherent.kind(CODE) is None


# --- V10, V8y: what reordering would be needed for, and is not found (clause 9) --------------------


@pytest.mark.parametrize("events", ["0:w 1:dc 1:dsb 1:ic 1:dsb 1:isb", FULL + " 1:isb"])
def test_v10_and_v8y_are_silent_in_the_executed_order(events: str) -> None:
    bench = Bench(pes=2)
    _on(bench, events)
    assert bench.kind(CODE, 1) is None


# --- V15, V16 --------------------


@pytest.mark.parametrize("setting", ["00", "01"])
def test_v15_unsynchronised_with_an_opcode_that_is_not_exempt(setting: str) -> None:
    bench = Bench(SETTINGS[setting], pes=2)
    bench.load(CODE, ADD.to_bytes(4, "little"))
    bench.store(CODE, SUB)
    assert bench.kind(CODE, 1) is Kind.UNSYNCHRONISED_MODIFICATION


def test_v15_with_dic_it_is_in_i_at_once() -> None:
    bench = Bench(SETTINGS["11"], pes=2)
    bench.load(CODE, ADD.to_bytes(4, "little"))
    bench.store(CODE, SUB)
    assert bench.kind(CODE, 1) is Kind.MISSING_ISB


def test_v16_each_slot_of_a_torn_patch_is_told_by_itself() -> None:
    bench = Bench()
    bench.load(CODE, NOP.to_bytes(4, "little") * 2)
    bench.store(CODE, MOV1)
    bench.synchronise(CODE)
    bench.store(CODE + 4, B)
    assert bench.views.stale_slots(0, CODE) == 0b10


# --- section 15 --------------------


def test_15_8_two_slots_of_a_line_need_one_pair() -> None:
    bench = Bench()
    bench.store(CODE, MOV1)
    bench.store(CODE + 8, MOV1)
    bench.synchronise(CODE)
    assert bench.views.stale_slots(0, CODE) == 0


def test_15_4_a_fresh_page_that_the_kernel_synchronised() -> None:
    bench = Bench(watch=False)
    bench.unseen(CODE, MOV1)
    bench.views.kernel_synchronise(0, CODE)
    bench.views.watch(CODE)
    bench.views.made_executable(0, CODE)
    assert bench.kind(CODE) is None


def test_15_4_but_not_once_it_is_written_again() -> None:
    bench = Bench(watch=False)
    bench.views.kernel_synchronise(0, CODE)
    bench.views.watch(CODE)
    bench.views.made_executable(0, CODE)
    bench.store(CODE, MOV1)
    assert bench.kind(CODE) is Kind.MISSING_DC_CLEAN
