# SPDX-License-Identifier: GPL-2.0-or-later
"""The fast machine finds what the reference machine finds, and executes the same stale bytes, on random guests."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from litmus.parse import Litmus, own_tests
from reference.fast import run_fast
from reference.guest import EndlessGuestError, Guest, Mode, Outcome
from reference.guests import guests
from reference.machine import run_reference
from reference.test_reference import litmus_guest, register

_SETTINGS = settings(
    deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much]
)


def _reference(guest: Guest, mode: Mode, *, strict: bool = False) -> Outcome:
    try:
        return run_reference(guest, mode, strict=strict)
    except EndlessGuestError:
        assume(False)
        raise


def _hits(outcome: Outcome) -> list[tuple[str, int, int, int, int]]:
    return sorted((found.kind, found.pe, found.pc, found.physical, found.writer_pc or 0) for found in outcome.found)


@_SETTINGS
@given(guests())
def test_check_finds_the_same(guest: Guest) -> None:
    expected = _reference(guest, "check")
    outcome = run_fast(guest, "check")
    assert _hits(outcome) == _hits(expected)
    assert outcome.registers == expected.registers
    assert outcome.ram == expected.ram


@_SETTINGS
@given(guests())
def test_stale_executes_the_same(guest: Guest) -> None:
    expected = _reference(guest, "stale")
    outcome = run_fast(guest, "stale")
    assert outcome.registers == expected.registers
    assert outcome.ram == expected.ram


@_SETTINGS
@given(guests(user=True), st.booleans())
def test_check_finds_the_same_at_el0(guest: Guest, strict: bool) -> None:
    expected = _reference(guest, "check", strict=strict)
    outcome = run_fast(guest, "check", strict=strict, user=True)
    assert _hits(outcome) == _hits(expected)
    assert outcome.registers == expected.registers
    assert outcome.ram == expected.ram


@_SETTINGS
@given(guests(user=True))
def test_stale_executes_the_same_at_el0(guest: Guest) -> None:
    expected = _reference(guest, "stale")
    outcome = run_fast(guest, "stale", user=True)
    assert outcome.registers == expected.registers
    assert outcome.ram == expected.ram


@pytest.mark.parametrize(("test", "allowed"), [pytest.param(test, allowed, id=name) for name, test, allowed in own_tests()])
def test_litmus_bodies_on_the_fast_machine(test: Litmus, allowed: bool) -> None:
    guest = litmus_guest(test)
    name, value = test.exists
    assert bool(run_fast(guest, "check").found) is allowed
    assert (register(run_fast(guest, "stale"), name.lower()) == value) is allowed
