# SPDX-License-Identifier: GPL-2.0-or-later
"""Hits merge by (kind, writing function, executing function); the first is kept in full, the rest are counted."""

from __future__ import annotations

from fetchsan.arch.aarch64.disassembly import disassemble
from fetchsan.coherency.verdicts import Kind
from fetchsan.findings.collector import Collector
from fetchsan.findings.location import Location
from fetchsan.machine.hardware import Origin

from .samples import RX, hit


def locate(address: int) -> Location:
    """Functions of 256 bytes below 16 MiB, generated code above."""
    if address < 0x100_0000:
        return Location(address, "/guest/demo", address, f"f{address >> 8:x}", address & 0xFF)
    return Location(address, RX, address & 0xFFF, offset=address & 0xFFF)


def collector(*, strict: bool = False) -> Collector:
    return Collector(locate, disassemble, strict=strict)


def test_the_same_place_is_reported_once_with_a_count() -> None:
    c = collector()
    for line in range(5):
        c.add(hit(pc=0x1000_0000 + 64 * line, line=0x1000_0000 + 64 * line, physical=0x4000_0000 + 64 * line))
    [finding] = c.findings()
    assert (finding.count, finding.pc, c.lines) == (5, 0x1000_0000, 5)


def test_another_kind_is_another_finding() -> None:
    c = collector()
    c.add(hit())
    c.add(hit(kind=Kind.MISSING_ISB))
    assert [finding.kind for finding in c.findings()] == [Kind.MISSING_IC_INVALIDATE, Kind.MISSING_ISB]


def test_another_writing_function_is_another_finding() -> None:
    c = collector()
    c.add(hit(writer=Origin(0x40_1920)))
    c.add(hit(writer=Origin(0x40_1924)))
    c.add(hit(writer=Origin(0x40_2000)))
    assert [finding.count for finding in c.findings()] == [2, 1]


def test_what_the_kernel_wrote_is_told_from_what_the_guest_wrote_at_the_same_pc() -> None:
    c = collector()
    c.add(hit(writer=Origin(0x40_1920)))
    c.add(hit(writer=Origin(0x40_1920, "read(2)")))
    assert [finding.writer.agent for finding in c.findings() if finding.writer] == ["guest", "read(2)"]


def test_a_writer_without_a_pc_has_no_location() -> None:
    c = collector()
    c.add(hit(writer=Origin(None, "page-cache fill")))
    [finding] = c.findings()
    assert finding.writer is not None
    assert finding.writer.location is None


def test_places_are_named_when_the_hit_comes_in() -> None:
    names = {"now": "before"}
    c = Collector(lambda a: Location(a, "/x", a, names["now"]), disassemble)
    c.add(hit())
    names["now"] = "after"
    assert c.findings()[0].executed.symbol == "before"


def test_both_words_are_disassembled_at_the_executed_address() -> None:
    c = collector()
    c.add(hit(stale=0, current=0x1400_0001, pc=0x1000_0040))
    [finding] = c.findings()
    assert (finding.stale_text, finding.current_text) == (".inst 0x00000000 (undefined)", "b #0x10000044")


def test_prefetch_only_comes_last() -> None:
    c = collector()
    c.add(hit(kind=Kind.MISSING_ISB, prefetch_only=True))
    c.add(hit())
    assert [finding.prefetch_only for finding in c.findings()] == [False, True]


def test_a_place_that_also_has_a_full_hit_is_not_prefetch_only() -> None:
    c = collector()
    c.add(hit(kind=Kind.MISSING_ISB, prefetch_only=True, pc=0x1000_0080))
    c.add(hit(kind=Kind.MISSING_ISB))
    [finding] = c.findings()
    assert (finding.prefetch_only, finding.count, finding.pc) == (False, 2, 0x1000_0040)


def test_latent_hits_are_only_counted() -> None:
    c = collector()
    assert not c.add(hit(latent=True))
    assert (c.findings(), c.latent_lines) == ([], 1)


def test_strict_reports_latent_hits_last() -> None:
    c = collector(strict=True)
    assert c.add(hit(latent=True))
    c.add(hit(kind=Kind.MISSING_ISB))
    assert [finding.latent for finding in c.findings()] == [False, True]


def test_a_second_run_names_the_writers() -> None:
    c = collector()
    for line in range(4):
        c.add(hit(writer=None, pc=0x1000_0000 + 64 * line, line=0x1000_0000 + 64 * line, physical=0x4000_0000 + 64 * line))
    assert len(c.without_writer) == 4
    assert [finding.count for finding in c.findings()] == [4]
    c.name_writers(lambda h: Origin(0x40_1900 if h.pc < 0x1000_00C0 else 0x40_2000))
    assert [(f.count, f.writer.location.symbol) for f in c.findings() if f.writer and f.writer.location] == [
        (3, "f4019"),
        (1, "f4020"),
    ]
    assert c.without_writer == []


def test_a_writer_that_the_second_run_did_not_see_stays_unknown() -> None:
    c = collector()
    c.add(hit(writer=None))
    c.name_writers(lambda h: None)
    assert c.findings()[0].writer is None


def test_ledger_steps_are_located() -> None:
    c = collector()
    c.add(hit())
    step = c.findings()[0].steps[0]
    assert step.location is not None
    assert (step.pc, step.location.symbol) == (0x40_1930, "f4019")
