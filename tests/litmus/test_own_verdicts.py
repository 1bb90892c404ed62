# SPDX-License-Identifier: GPL-2.0-or-later
"""The model alone gives herd7's verdict on all 93 tests of `own/`."""

from __future__ import annotations

import pytest

from coherency.bench import Bench
from litmus.parse import Litmus, own_tests

ORIGIN = 0x4000


def stale_outcome_is_allowed(test: Litmus) -> bool:
    """Feed the body's events to the model, in order, and ask about the fetch at `m0`."""
    code, registers, labels = test.guest(ORIGIN)
    bench = Bench(test.rules, strict=True)
    bench.load(ORIGIN, code)
    for address in range(ORIGIN, labels["m0"], 4):
        bench.execute(0, int.from_bytes(code[address - ORIGIN :][:4], "little"), registers)
    return bench.views.judge(0, labels["m0"]) is not None


@pytest.mark.parametrize(("test", "allowed"), [pytest.param(test, allowed, id=name) for name, test, allowed in own_tests()])
def test_model_agrees_with_herd(test: Litmus, allowed: bool) -> None:
    assert stale_outcome_is_allowed(test) is allowed


def test_there_are_ninety_three() -> None:
    assert len(own_tests()) == 93
