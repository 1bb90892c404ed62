# SPDX-License-Identifier: GPL-2.0-or-later
"""Whatever a program passes to the file calls, it gets a result or an errno; the kernel never fails."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fetchsan.kernel.abi.aarch64_calling import CALLING
from fetchsan.kernel.syscalls import descriptors, directories, files, metadata, polling, table, terminal
from fetchsan.kernel.syscalls.table import SYSCALLS
from fetchsan.kernel.waiting import DeadlockError

from .guest import Guest

_MODULES = {module.__name__ for module in (descriptors, directories, files, metadata, polling, table, terminal)}
_HERE = set(CALLING.names.values())  # some calls are another port's
CALLS = sorted(row.name for row in SYSCALLS.values() if row.function.__module__ in _MODULES and row.name in _HERE)
NUMBERS = st.one_of(
    st.integers(0, 12),
    st.sampled_from([-1, -100, 1 << 12, 1 << 20, 1 << 31, 1 << 32, 1 << 47, (1 << 63) - 1, 1 << 63, (1 << 64) - 4096]),
    st.integers(0, (1 << 64) - 1),
)
NAMES = st.sampled_from(
    [b".", b"..", b"/", b"f", b"d", b"d/g", b"l", b"/tmp", b"/tmp/t", b"/proc/self/fd/3", b"/dev/zero", b"/proc/self/maps"]
)
ARGUMENTS = st.one_of(NUMBERS, NAMES, st.binary(max_size=64).map(lambda data: data.replace(b"\0", b"")))
STEPS = st.lists(st.tuples(st.sampled_from(CALLS), st.lists(ARGUMENTS, min_size=6, max_size=6)), max_size=12)


def test_all_calls_are_in_reach() -> None:
    assert len(CALLS) > 80


@settings(
    max_examples=100, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(STEPS)
def test_arbitrary_arguments(tmp_path: Path, steps: list[tuple[str, list[int | bytes]]]) -> None:
    guest = Guest(tmp_path)
    for fd in range(3):
        guest.call("close", fd)  # the test's own streams are no part of this
    guest.open("/tmp/t", 0o102)
    guest.call("pipe2", guest.room(8), 0)
    guest.call("epoll_create1", 0)
    guest.open("/dev/zero", 2)
    guest.open(".")
    for name, arguments in steps:
        try:
            result = guest.call(name, *arguments)
        except DeadlockError:
            return
        assert result >= -4095 or name == "lseek"
        if guest.kernel.ended:
            return


@pytest.mark.parametrize("name", CALLS)
def test_all_zeros_and_all_ones(work: Path, name: str) -> None:
    guest = Guest(work)
    for fd in range(3):
        guest.call("close", fd)
    with suppress(DeadlockError):  # "wait for nothing, for ever" is what ppoll of no descriptors asks for
        guest.call(name, 0, 0, 0, 0, 0, 0)
    with suppress(DeadlockError):
        guest.call(name, -1, -1, -1, -1, -1, -1)
