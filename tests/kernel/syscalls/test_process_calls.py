# SPDX-License-Identifier: GPL-2.0-or-later
"""Calls about the process itself: time, limits, identity, scheduling, futexes, randomness, what only root may do."""

from __future__ import annotations

import errno
import struct
from pathlib import Path

import pytest

from fetchsan.kernel.abi.aarch64_calling import CALLING as AARCH64
from fetchsan.kernel.abi.x64_calling import CALLING as X64
from fetchsan.kernel.errors import LinuxError
from fetchsan.kernel.syscalls.process import REFUSED
from fetchsan.kernel.syscalls.table import SYSCALLS
from fetchsan.kernel.task import Exited
from fetchsan.kernel.waiting import DeadlockError

from .guest import Guest

NULL = 0
SECOND = 1_000_000_000


def timespec(guest: Guest, nanoseconds: int) -> int:
    return guest.put(struct.pack("<qq", *divmod(nanoseconds, SECOND)))


def now(guest: Guest, clock: int = 1) -> int:
    address = guest.room(16)
    assert guest.call("clock_gettime", clock, address) == 0
    seconds, nanoseconds = struct.unpack("<qq", guest.peek(address, 16))
    return int(seconds * SECOND + nanoseconds)


def test_every_call_has_a_number_on_some_port() -> None:
    assert set(SYSCALLS) <= {*AARCH64.names.values(), *X64.names.values()}


# Time


def test_sleeping_takes_virtual_time(guest: Guest) -> None:
    before = now(guest)
    assert guest.call("nanosleep", timespec(guest, 3600 * SECOND), NULL) == 0
    assert 3600 * SECOND < now(guest) - before < 3601 * SECOND


def test_an_absolute_sleep_ends_at_its_time(guest: Guest) -> None:
    end = now(guest) + 5 * SECOND
    assert guest.call("clock_nanosleep", 1, 1, timespec(guest, end), NULL) == 0
    assert end <= now(guest) < end + SECOND


def test_an_absolute_sleep_into_the_past_returns(guest: Guest) -> None:
    assert guest.call("clock_nanosleep", 1, 1, timespec(guest, 1), NULL) == 0


def test_a_timespec_with_too_many_nanoseconds_is_einval(guest: Guest) -> None:
    assert guest.call("nanosleep", guest.put(struct.pack("<qq", 0, SECOND)), NULL) == -errno.EINVAL


@pytest.mark.parametrize("clock", [10, 99, 1 << 31])
def test_an_unknown_clock_is_einval(guest: Guest, clock: int) -> None:
    assert guest.call("clock_gettime", clock, guest.room(16)) == -errno.EINVAL


def test_cpu_clock_of_the_own_process(guest: Guest) -> None:
    assert now(guest, (~1000 << 3 | 2) & 0xFFFF_FFFF) < SECOND


def test_alarm_interrupts_a_sleep_and_tells_what_was_left(guest: Guest) -> None:
    action = guest.put(struct.pack("<QQQQ", 0x40_0078, 0, 0, 0))
    guest.call("rt_sigaction", 14, action, NULL, 8)
    guest.call("setitimer", 0, guest.put(struct.pack("<qqqq", 0, 0, 2, 0)), NULL)
    remaining = guest.room(16)
    guest.pe.values["sp"] = guest.room(0x4000) + 0x4000
    guest.call("nanosleep", timespec(guest, 10 * SECOND), remaining)
    assert struct.unpack("<q", guest.peek(remaining, 8))[0] == 8
    assert guest.pe.get("pc") == 0x40_0078


def test_a_timer_tells_its_setting(guest: Guest) -> None:
    guest.call("setitimer", 0, guest.put(struct.pack("<qqqq", 1, 0, 9, 0)), NULL)
    address = guest.room(32)
    guest.call("getitimer", 0, address)
    assert struct.unpack("<qqq", guest.peek(address, 24)) == (1, 0, 8)


def test_a_timer_that_was_never_made_is_einval(guest: Guest) -> None:
    assert guest.call("timer_settime", 7, 0, guest.room(32), NULL) == -errno.EINVAL


def test_timers_run_out(guest: Guest) -> None:
    address = guest.room(4)
    results = {guest.call("timer_create", 1, NULL, address) for _ in range(300)}
    assert results == {0, -errno.EAGAIN}


# Futexes and waiting


def test_futex_wait_with_another_value_is_eagain(guest: Guest) -> None:
    assert guest.call("futex", guest.put(struct.pack("<I", 1)), 0, 2, NULL, 0, 0) == -errno.EAGAIN


def test_futex_wait_times_out(guest: Guest) -> None:
    word = guest.put(struct.pack("<I", 1))
    assert guest.call("futex", word, 128, 1, timespec(guest, 5), 0, 0) == -errno.ETIMEDOUT


def test_futex_wait_that_nobody_ends_is_a_deadlock(guest: Guest) -> None:
    with pytest.raises(DeadlockError, match="thread 1000 waits for futex 0x"):
        guest.call("futex", guest.put(struct.pack("<I", 1)), 0, 1, NULL, 0, 0)


def test_futex_wake_finds_nobody(guest: Guest) -> None:
    assert guest.call("futex", guest.put(bytes(4)), 129, 1, 0, 0, 0) == 0


def test_misaligned_futex_is_einval(guest: Guest) -> None:
    assert guest.call("futex", guest.put(bytes(8)) + 1, 1, 1, 0, 0, 0) == -errno.EINVAL


@pytest.mark.parametrize(("operation", "result"), [(0, 3), (1, 8), (2, 7), (3, 4), (4, 6)])
def test_futex_wake_op_changes_the_second_word(guest: Guest, operation: int, result: int) -> None:
    word = guest.put(struct.pack("<I", 5))
    guest.call("futex", guest.put(bytes(4)), 5, 1, 0, word, operation << 28 | 3 << 12)
    assert guest.peek(word, 4) == struct.pack("<I", result)


def test_suspending_for_ever_is_a_deadlock(guest: Guest) -> None:
    with pytest.raises(DeadlockError, match="a signal"):
        guest.call("rt_sigsuspend", guest.put(bytes(8)), 8)


# Limits and identity


def test_rlimit_nofile_binds_the_descriptor_table(guest: Guest) -> None:
    guest.call("setrlimit", 7, guest.put(struct.pack("<QQ", 4, 100)))
    assert [guest.call("dup", 1), guest.call("dup", 1)] == [3, -errno.EMFILE]


def test_the_hard_limit_only_goes_down(guest: Guest) -> None:
    guest.call("setrlimit", 7, guest.put(struct.pack("<QQ", 4, 100)))
    assert guest.call("setrlimit", 7, guest.put(struct.pack("<QQ", 4, 101))) == -errno.EPERM


def test_a_soft_limit_above_the_hard_one_is_einval(guest: Guest) -> None:
    assert guest.call("prlimit64", 0, 7, guest.put(struct.pack("<QQ", 5, 4)), NULL) == -errno.EINVAL


def test_an_unknown_resource_is_einval(guest: Guest) -> None:
    assert guest.call("getrlimit", 16, guest.room(16)) == -errno.EINVAL


def test_pids_are_fixed(guest: Guest) -> None:
    assert [guest.call(name) for name in ("getpid", "gettid", "getppid", "getuid")] == [1000, 1000, 999, 1000]


def test_becoming_root_is_refused(guest: Guest) -> None:
    assert guest.call("setuid", 0) == -errno.EPERM


def test_a_long_thread_name_is_cut(guest: Guest) -> None:
    guest.call("prctl", 15, b"averyveryverylongname")
    address = guest.room(16)
    guest.call("prctl", 16, address)
    assert guest.peek(address, 16) == b"averyveryverylo\0"


def test_uname_says_what_this_is(guest: Guest) -> None:
    address = guest.room(390)
    guest.call("uname", address)
    fields = [guest.peek(address + 65 * n, 65).rstrip(b"\0") for n in (0, 2, 4)]
    assert fields == [b"Linux", b"6.1.0-fetchsan", b"aarch64"]


def test_there_are_no_children(guest: Guest) -> None:
    assert guest.call("wait4", -1 & 0xFFFF_FFFF, NULL, 0, NULL) == -errno.ECHILD


@pytest.mark.parametrize(("error", "name"), [(error, name) for error, names in REFUSED.items() for name in names])
def test_what_needs_privileges_is_refused(guest: Guest, error: int, name: str) -> None:
    with pytest.raises(LinuxError) as caught:
        SYSCALLS[name].function(guest.task)
    assert caught.value.errno == error


def test_exit_group_ends_the_run(guest: Guest) -> None:
    guest.call("exit_group", 0x103)
    assert guest.kernel.end_state == Exited(3)


# Scheduling


def test_sync_core_needs_its_registration(guest: Guest) -> None:
    assert guest.call("membarrier", 32, 0, 0) == -errno.EPERM


def test_sync_core_is_a_cse_once_registered(guest: Guest) -> None:
    def events(command: int) -> int:
        calls = guest.kernel.hardware.calls  # type: ignore[attr-defined]
        before = calls.count(("context_synchronise",))
        assert guest.call("membarrier", command, 0, 0) >= 0
        return int(calls.count(("context_synchronise",)) - before)

    guest.call("membarrier", 64, 0, 0)
    assert events(32) == events(0) + 1  # one more than any system call is


def test_membarrier_query_offers_sync_core(guest: Guest) -> None:
    assert guest.call("membarrier", 0, 0, 0) & (32 | 64) == 32 | 64


def test_affinity_has_the_one_processor(guest: Guest) -> None:
    address = guest.room(8)
    assert guest.call("sched_getaffinity", 0, 8, address) == 8
    assert guest.peek(address, 8) == struct.pack("<Q", 1)


def test_realtime_scheduling_is_refused(guest: Guest) -> None:
    assert guest.call("sched_setscheduler", 0, 1, guest.put(struct.pack("<i", 1))) == -errno.EPERM


# Randomness


def test_getrandom_gives_what_fits(guest: Guest) -> None:
    page = guest.call("mmap", 0, 0x2_0000, 3, 0x22, -1, 0)
    guest.call("mprotect", page + 0x1_0000, 0x1_0000, 0)
    assert guest.call("getrandom", page, 0x2_0000, 0) == 0x1_0000


def test_getrandom_is_the_same_in_two_runs(tmp_path: Path) -> None:
    def drawn() -> bytes:
        guest = Guest(tmp_path)
        address = guest.room(16)
        guest.call("getrandom", address, 16, 0)
        return guest.peek(address, 16)

    assert drawn() == drawn()


@pytest.mark.parametrize("flags", [8, 2 | 4])
def test_getrandom_with_flags_that_contradict_is_einval(guest: Guest, flags: int) -> None:
    assert guest.call("getrandom", guest.room(8), 8, flags) == -errno.EINVAL
