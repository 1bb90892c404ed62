# SPDX-License-Identifier: GPL-2.0-or-later
"""Pending signals and default actions (signal(7))."""

from __future__ import annotations

from fetchsan.kernel.signals import PendingSignals, Signal, SignalInfo, default_action, signal_bit, signal_name


def pending(*signals: int) -> PendingSignals:
    result = PendingSignals()
    for value, signal in enumerate(signals):
        result.add(SignalInfo(signal, 0, value=value))
    return result


def test_a_standard_signal_is_pending_once() -> None:
    assert len(pending(Signal.SIGUSR1, Signal.SIGUSR1).queue) == 1


def test_realtime_signals_queue_in_order() -> None:
    queue = pending(34, 34)
    assert [queue.take(0).value, queue.take(0).value] == [0, 1]  # type: ignore[union-attr]


def test_the_lowest_number_is_delivered_first() -> None:
    taken = pending(40, Signal.SIGTERM, Signal.SIGINT).take(0)
    assert taken is not None
    assert taken.signal == Signal.SIGINT


def test_a_blocked_signal_stays() -> None:
    queue = pending(Signal.SIGTERM)
    assert queue.take(signal_bit(Signal.SIGTERM)) is None
    assert queue.mask == signal_bit(Signal.SIGTERM)


def test_the_queue_of_a_guest_that_never_takes_is_bounded() -> None:
    queue = PendingSignals()
    assert [queue.add(SignalInfo(40, 0)) for _ in range(2000)].count(True) == 1024


def test_discarded_signals_are_gone() -> None:
    queue = pending(Signal.SIGTERM, Signal.SIGINT)
    queue.discard(signal_bit(Signal.SIGTERM))
    assert queue.mask == signal_bit(Signal.SIGINT)


def test_default_actions_are_those_of_signal_7() -> None:
    assert [default_action(n) for n in (11, 15, 17, 18, 19, 40)] == [
        "core",
        "terminate",
        "ignore",
        "continue",
        "stop",
        "terminate",
    ]


def test_names() -> None:
    assert (signal_name(4), signal_name(34)) == ("SIGILL", "SIGRTMIN+2")
