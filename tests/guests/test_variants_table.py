# SPDX-License-Identifier: GPL-2.0-or-later
"""The two tables agree with their programs, and with themselves."""

from __future__ import annotations

import re

import pytest

from fetchsan.coherency.verdicts import Kind

from .variants_table import ATTACKS, CLASSES, HOSTILE, ROOT, VARIANTS, VARIANTS_PROGRAM

WITH_FINDINGS = [variant for variant in VARIANTS.values() if variant.findings or variant.vipt]


def test_no_variant_is_declared_twice() -> None:
    names = re.findall(r'^name = "(.*)"$', (ROOT / "guests/maintenance/variants.toml").read_text(), re.MULTILINE)
    assert len(names) == len(set(names)) == len(VARIANTS)


def test_the_program_has_every_variant_of_the_table() -> None:
    image = VARIANTS_PROGRAM.read_bytes()
    assert [name for name in VARIANTS if b"\0" + name.encode() + b"\0" not in image] == []


def test_the_program_has_every_attack_of_the_table() -> None:
    image = HOSTILE.read_bytes()
    assert [attack.id for attack in ATTACKS if b"\0" + attack.arguments[0].encode() + b"\0" not in image] == []


@pytest.mark.parametrize("variant", WITH_FINDINGS, ids=lambda variant: variant.name)
def test_findings_are_of_the_closed_list(variant) -> None:
    kinds = {kind.value for kind in Kind} | {""}
    assert set(variant.findings.values()) | set(variant.vipt.values()) <= kinds
    assert set(variant.findings) | set(variant.vipt) <= set(CLASSES)


@pytest.mark.parametrize("variant", WITH_FINDINGS, ids=lambda variant: variant.name)
def test_every_bug_has_a_corrected_twin_that_is_silent(variant) -> None:
    twin = VARIANTS[variant.twin]
    assert [twin.kind(cache_class, vipt=vipt) for cache_class in CLASSES for vipt in (False, True)] == [None] * 6


@pytest.mark.parametrize("variant", WITH_FINDINGS, ids=lambda variant: variant.name)
def test_a_stale_run_can_be_told_from_a_fresh_one(variant) -> None:
    assert variant.stale is not None
    assert (variant.stale, variant.stale_exit or variant.exit) != (variant.check, variant.exit)
