# SPDX-License-Identifier: GPL-2.0-or-later
"""The model of silicon: its probabilities, its sampling, and that it fails exactly where the machine does."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fetchsan.arch.aarch64.cpus import get_cpu
from fetchsan.scenarios import osv_1100
from fetchsan.scenarios.life import Life
from fetchsan.scenarios.silicon import Sampled, Silicon, Traffic, sample

A72 = get_cpu("cortex-a72")


def test_without_traffic_nothing_is_evicted_and_everything_survives() -> None:
    assert Silicon.of(A72, Traffic(0, 0)) == Silicon(evicted=0.0, survives=1.0)


def test_much_traffic_leaves_nothing_behind() -> None:
    silicon = Silicon.of(A72, Traffic(1 << 20, 1 << 20))
    assert silicon.stale(recycled=True) < 1e-9


@given(evicted=st.floats(0, 1), survives=st.floats(0, 1))
def test_a_recycled_line_is_at_least_as_often_stale(evicted: float, survives: float) -> None:
    silicon = Silicon(evicted, survives)
    assert silicon.stale(recycled=True) >= silicon.stale(recycled=False) - 1e-12


def test_a_line_in_neither_cache_is_never_stale() -> None:
    assert Silicon(evicted=1.0, survives=0.0).stale(recycled=True) == 0


def test_no_lines_no_failures() -> None:
    assert sample(1000, 0, 0.5, "x") == Sampled(1000, 0, 0)


def test_no_probability_no_failures() -> None:
    assert sample(1000, 100, 0.0, "x").failures == 0


def test_certainty() -> None:
    assert sample(1000, 100, 1.0, "x") == Sampled(1000, 1000, 1)


def test_the_same_seed_gives_the_same_runs() -> None:
    assert sample(1000, 260, 0.001, "a") == sample(1000, 260, 0.001, "a")


@pytest.mark.parametrize("lines", [1, 10, 260])
def test_the_rate_is_that_of_independent_lines(lines: int) -> None:
    probability = 0.004
    expected = 1 - (1 - probability) ** lines
    tolerance = 4 * (expected * (1 - expected) / 20_000) ** 0.5  # four standard deviations; the seed is fixed
    assert abs(sample(20_000, lines, probability, "rate").rate - expected) < tolerance


@pytest.mark.parametrize("face", osv_1100.FACES, ids=lambda face: face.name)
def test_the_rate_before_the_patch_is_in_the_range_that_was_reported(face: osv_1100.Face) -> None:
    result = osv_1100.sampled(osv_1100.check(face, osv_1100.BEFORE), 5000, seed=1).result
    assert 0.02 <= result.rate <= 0.30


@pytest.mark.parametrize("face", osv_1100.FACES, ids=lambda face: face.name)
def test_after_the_patch_no_run_fails(face: osv_1100.Face) -> None:
    assert osv_1100.sampled(osv_1100.check(face, osv_1100.AFTER), 100_000, seed=1).result.failures == 0


@pytest.mark.parametrize("stale_lines", [0, 1, 2])
@pytest.mark.parametrize("face", osv_1100.FACES, ids=lambda face: face.name)
def test_the_machine_fails_exactly_where_the_model_does(face: osv_1100.Face, stale_lines: int) -> None:
    """The model says: a run is good if and only if none of the lines it fetches was left behind."""
    lines = osv_1100.check(face, osv_1100.BEFORE).lines
    left_behind = set(random.Random(stale_lines).sample(lines, stale_lines))
    with Life(A72, "stale", "none") as machine:
        outcome = osv_1100.play_face(machine, face, lambda line: line not in left_behind)
    assert (outcome.kind == "ok") == (not left_behind)
