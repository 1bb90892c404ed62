# SPDX-License-Identifier: GPL-2.0-or-later
"""Virtual time moves only when asked."""

from __future__ import annotations

from fetchsan.kernel.clock import EPOCH_NS, Clock


def test_two_runs_read_the_same_times() -> None:
    def readings() -> list[int]:
        clock = Clock()
        clock.tick()
        clock.advance(5)
        return [clock.monotonic_ns(), clock.realtime_ns(), clock.cpu_ns()]

    assert readings() == readings()


def test_a_loop_that_waits_for_time_to_pass_ends() -> None:
    clock = Clock()
    first = clock.monotonic_ns()
    assert clock.monotonic_ns() > first


def test_realtime_starts_at_the_epoch_of_the_machine() -> None:
    assert 0 < Clock().realtime_ns() - EPOCH_NS < 1_000_000


def test_a_negative_sleep_does_not_turn_time_back() -> None:
    clock = Clock()
    before = clock.elapsed_ns
    clock.advance(-1)
    assert clock.elapsed_ns == before


def test_timers_expire_in_the_order_of_their_deadlines() -> None:
    clock = Clock()
    clock.arm("late", 2_000_000)
    clock.arm("early", 1_000_000)
    clock.advance(3_000_000)
    assert clock.expired() == ["early", "late"]


def test_a_timer_expires_once() -> None:
    clock = Clock()
    clock.arm("once", 10)
    clock.advance(10)
    assert (clock.expired(), clock.expired()) == (["once"], [])


def test_disarming_tells_what_was_left() -> None:
    clock = Clock()
    clock.arm("alarm", 5_000)
    clock.advance(2_000)
    assert clock.disarm("alarm") == 3_000
    assert clock.next_deadline() is None


def test_arming_again_replaces_the_deadline() -> None:
    clock = Clock()
    clock.arm("alarm", 5_000)
    clock.arm("alarm", 9_000)
    assert clock.next_deadline() == 9_000
