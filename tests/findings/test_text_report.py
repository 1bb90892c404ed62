# SPDX-License-Identifier: GPL-2.0-or-later
"""The text report: the sanitizers' shape, readable at any width, and plain unless a terminal wants colour."""

from __future__ import annotations

import dataclasses
import io

import pytest

from fetchsan.arch.aarch64.cpus import get_cpu
from fetchsan.coherency.verdicts import Kind
from fetchsan.findings.finding import Writer
from fetchsan.findings.hints import hint
from fetchsan.findings.location import Location
from fetchsan.findings.outcome import GuestEnd
from fetchsan.findings.text_report import Style, render_finding, render_report
from fetchsan.settings import RunSettings

from .samples import FinishedRun, finding

A72 = get_cpu("cortex-a72")

WHOLE = """\
WARNING: FetchSan: missing-ic-invalidate (pe 0, thread 1)
  Executed 0x10000040 (line 0x10000040, physical 0x40012040), where a fetch may
    return the old bytes:
    stale   52800020  mov w0, #1
    current 52800040  mov w0, #2
    #0 0x10000040 (anonymous RWX mapping at 0x10000000+0x40)
  Written by thread 1:
    #0 0x401920 in emit+0x20 (/guest/demo)
  Steps since that store:
    [done]       dc-clean             DC CVAU  pe 0, 0x401930 in emit+0x30
    [done]       dsb-after-clean      DSB ISH  pe 0, 0x401934 in emit+0x34
    [MISSING]    ic-invalidate        IC IVAU  <-- needed
    [pending]    dsb-after-invalidate DSB ISH
    [pending]    isb                  ISB
  CPU: cortex-a72: CTR_EL0 0x8444c004, IDC=0 DIC=0, lines of 64 (data) and 64
       (instruction) bytes, PIPT
  Hint: Add an IC IVAU of the line, by the address that is executed, after the
        DC CVAU and its DSB ISH; an IC issued before the clean completed does
        not count.
SUMMARY: FetchSan: missing-ic-invalidate anonymous+0x40 in ??

FetchSan: 1 finding (1 line); exit status 66, seed 0
"""


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_whole_report() -> None:
    assert render_report(FinishedRun([finding()]), Style()) == WHOLE


def test_no_findings_no_text() -> None:
    assert render_report(FinishedRun(), Style()) == ""


def test_the_summary_names_object_offset_and_symbol() -> None:
    executed = Location(0x40_1040, "/usr/bin/demo", 0x1040, "stub", 0x10)
    text = render_finding(finding(executed=executed), A72, Style())
    assert text.splitlines()[-1] == "SUMMARY: FetchSan: missing-ic-invalidate demo+0x1040 in stub"


def test_the_summary_prefers_a_source_line() -> None:
    executed = Location(0x40_1040, "/usr/bin/demo", 0x1040, "stub", 0x10, "demo.c", 41)
    text = render_finding(finding(executed=executed), A72, Style())
    assert text.splitlines()[-1] == "SUMMARY: FetchSan: missing-ic-invalidate demo.c:41 in stub"
    assert "    #0 0x401040 in stub+0x10 demo.c:41 (/usr/bin/demo)" in text.splitlines()


def test_a_missing_writer_says_why() -> None:
    text = render_finding(finding(writer=None), A72, Style(), "--no-replay")
    assert "  Written by: not known (--no-replay)" in text.splitlines()


def test_a_kernel_writer_is_named() -> None:
    text = render_finding(finding(writer=Writer("page-cache fill", 2, None, None)), A72, Style())
    assert "  Written by page-cache fill, for thread 2" in text.splitlines()
    assert "populate_vma() owes vma_invalidate_cache()" in " ".join(text.split())


def test_a_count_is_told() -> None:
    assert "  12 lines in all," in render_finding(finding(count=12), A72, Style())


def test_a_profile_whose_caches_do_other_than_ctr_says_tells_both() -> None:
    odd = dataclasses.replace(A72, caches=0x9444_C004)
    assert "its caches do IDC=1 DIC=0" in " ".join(render_finding(finding(), odd, Style()).split())


def test_the_line_of_totals_counts_prefetch_only_apart() -> None:
    run = FinishedRun([finding(count=3), finding(kind=Kind.MISSING_ISB, prefetch_only=True)], GuestEnd(exit=1))
    assert render_report(run, Style()).splitlines()[-1] == (
        "FetchSan: 2 findings (4 lines), 1 of them prefetch-only; exit status 66, seed 0"
    )


def test_under_strict_nothing_is_counted_apart() -> None:
    run = FinishedRun([finding(prefetch_only=True)], settings=RunSettings(cpu="cortex-a72", strict=True, seed=7))
    assert render_report(run, Style()).splitlines()[-1] == "FetchSan: 1 finding (1 line); exit status 66, seed 7"


@pytest.mark.parametrize("width", [40, 60, 80, 100])
def test_prose_keeps_to_the_width(width: int) -> None:
    parsed_by_tools = ("WARNING:", "SUMMARY:", "    #0")
    lines = render_finding(finding(), A72, Style(width)).splitlines()
    long = [line for line in lines if len(line) > width and not line.startswith(parsed_by_tools)]
    # The ledger's columns need 60.
    assert all(line.startswith("    ") and width < 60 for line in long)


@pytest.mark.parametrize("width", [40, 80])
def test_lines_that_tools_parse_are_never_wrapped(width: int) -> None:
    lines = render_finding(finding(), A72, Style(width)).splitlines()
    assert "    #0 0x10000040 (anonymous RWX mapping at 0x10000000+0x40)" in lines
    assert "SUMMARY: FetchSan: missing-ic-invalidate anonymous+0x40 in ??" in lines


def test_reports_are_plain_ascii() -> None:
    assert all(render_finding(finding(kind=kind, latent=True), A72, Style()).isascii() for kind in Kind)


@pytest.mark.parametrize("kind", Kind)
def test_every_kind_has_a_hint_that_names_an_instruction(kind: Kind) -> None:
    assert any(name in hint(finding(kind=kind)) for name in ("DC CVAU", "DSB ISH", "IC IVAU", "ISB"))


@pytest.mark.parametrize("kind", Kind)
def test_the_kernel_is_blamed_for_a_page_that_it_did_not_synchronise_only(kind: Kind) -> None:
    told = hint(finding(kind=kind, writer=Writer("page-cache fill", 1, None, None)))
    assert ("populate_vma() owes" in told) == (kind is not Kind.MISSING_ISB)


def test_no_colour_without_a_terminal() -> None:
    assert not Style.of(io.StringIO(), {}).colour


def test_colour_on_a_terminal() -> None:
    style = Style.of(Terminal(), {})
    assert style.colour
    assert "\x1b[1;31m[MISSING]" in render_finding(finding(), A72, style)


@pytest.mark.parametrize("environ", [{"NO_COLOR": "1"}, {"TERM": "dumb"}])
def test_no_colour_where_it_is_not_wanted(environ: dict[str, str]) -> None:
    assert not Style.of(Terminal(), environ).colour


def test_a_very_narrow_terminal_still_gets_forty_columns() -> None:
    assert Style.of(Terminal(), {"COLUMNS": "12"}).width == 40
