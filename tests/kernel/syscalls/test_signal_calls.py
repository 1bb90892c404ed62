# SPDX-License-Identifier: GPL-2.0-or-later
"""Signal system calls: dispositions, masks, pending sets, queues, alternate stacks."""

from __future__ import annotations

import errno
import struct

import pytest

from .guest import Guest

SIGUSR1, SIGKILL, SIGCHLD = 10, 9, 17
BLOCK, UNBLOCK, SETMASK = 0, 1, 2
HANDLER = 0x40_0078
STACK_T = struct.Struct("<QiIQ")


def mask(guest: Guest, how: int, *signals: int) -> int:
    bits = sum(1 << (signal - 1) for signal in signals)
    return guest.call("rt_sigprocmask", how, guest.put(struct.pack("<Q", bits)), 0, 8)


def pending(guest: Guest) -> int:
    address = guest.room(8)
    guest.call("rt_sigpending", address, 8)
    return int(struct.unpack("<Q", guest.peek(address, 8))[0])


def action(guest: Guest, signal: int, handler: int) -> int:
    return guest.call("rt_sigaction", signal, guest.put(struct.pack("<QQQQ", handler, 0, 0, 0)), 0, 8)


def test_the_old_action_comes_back(guest: Guest) -> None:
    guest.call("rt_sigaction", SIGUSR1, guest.put(struct.pack("<QQQQ", HANDLER, 4, 7, 1)), 0, 8)
    address = guest.room(32)
    guest.call("rt_sigaction", SIGUSR1, 0, address, 8)
    assert struct.unpack("<QQQQ", guest.peek(address, 32)) == (HANDLER, 4, 7, 1)


@pytest.mark.parametrize("signal", [0, 65, SIGKILL, 19, 1 << 31])
def test_what_cannot_be_handled_is_einval(guest: Guest, signal: int) -> None:
    assert action(guest, signal, HANDLER) == -errno.EINVAL


def test_another_size_of_sigset_is_einval(guest: Guest) -> None:
    assert guest.call("rt_sigaction", SIGUSR1, 0, 0, 16) == -errno.EINVAL


def test_a_blocked_signal_is_pending(guest: Guest) -> None:
    mask(guest, BLOCK, SIGUSR1)
    guest.call("kill", 1000, SIGUSR1)
    assert pending(guest) == 1 << (SIGUSR1 - 1)


def test_sigkill_cannot_be_blocked(guest: Guest) -> None:
    mask(guest, SETMASK, SIGKILL, SIGUSR1)
    assert guest.task.signal_mask == 1 << (SIGUSR1 - 1)


def test_unblocking_delivers(guest: Guest) -> None:
    action(guest, SIGUSR1, HANDLER)
    mask(guest, BLOCK, SIGUSR1)
    guest.call("tgkill", 1000, 1000, SIGUSR1)
    guest.pe.values["sp"] = guest.room(0x4000) + 0x4000
    mask(guest, UNBLOCK, SIGUSR1)
    assert (guest.pe.get("pc"), guest.pe.get("x0")) == (HANDLER, SIGUSR1)


def test_ignoring_forgets_what_is_pending(guest: Guest) -> None:
    mask(guest, BLOCK, SIGUSR1)
    guest.call("kill", 1000, SIGUSR1)
    action(guest, SIGUSR1, 1)
    assert pending(guest) == 0


def test_what_is_ignored_by_default_is_never_pending(guest: Guest) -> None:
    guest.call("kill", 1000, SIGCHLD)
    assert pending(guest) == 0


def test_sigtimedwait_takes_a_pending_signal(guest: Guest) -> None:
    mask(guest, BLOCK, SIGUSR1)
    guest.call("kill", 1000, SIGUSR1)
    wanted = guest.put(struct.pack("<Q", 1 << (SIGUSR1 - 1)))
    info = guest.room(128)
    assert guest.call("rt_sigtimedwait", wanted, info, 0, 8) == SIGUSR1
    assert struct.unpack("<iiiiiI", guest.peek(info, 24)) == (SIGUSR1, 0, 0, 0, 1000, 1000)


def test_sigtimedwait_times_out(guest: Guest) -> None:
    wanted = guest.put(struct.pack("<Q", 1 << (SIGUSR1 - 1)))
    timeout = guest.put(struct.pack("<qq", 1, 0))
    assert guest.call("rt_sigtimedwait", wanted, 0, timeout, 8) == -errno.EAGAIN


@pytest.mark.parametrize(("pid", "error"), [(999, errno.EPERM), (12345, errno.ESRCH), (-12345 & 0xFFFF_FFFF, errno.ESRCH)])
def test_others_are_out_of_reach(guest: Guest, pid: int, error: int) -> None:
    assert guest.call("kill", pid, 0) == -error


def test_signal_0_only_asks(guest: Guest) -> None:
    assert guest.call("kill", 1000, 0) == 0


def test_a_full_queue_is_eagain(guest: Guest) -> None:
    mask(guest, BLOCK, 40)
    info = guest.put(struct.pack("<iii", 40, 0, -1).ljust(128, b"\0"))
    results = [guest.call("rt_sigqueueinfo", 1000, 40, info) for _ in range(1030)]
    assert results[1023:1025] == [0, -errno.EAGAIN]


def test_alternate_stack_is_remembered(guest: Guest) -> None:
    guest.call("sigaltstack", guest.put(STACK_T.pack(0x1000, 0, 0, 0x4000)), 0)
    address = guest.room(24)
    guest.call("sigaltstack", 0, address)
    assert STACK_T.unpack(guest.peek(address, 24)) == (0x1000, 0, 0, 0x4000)


def test_a_stack_too_small_for_a_frame_is_enomem(guest: Guest) -> None:
    assert guest.call("sigaltstack", guest.put(STACK_T.pack(0x1000, 0, 0, 5119)), 0) == -errno.ENOMEM


def test_the_stack_in_use_cannot_be_changed(guest: Guest) -> None:
    guest.call("sigaltstack", guest.put(STACK_T.pack(0x1000, 0, 0, 0x4000)), 0)
    guest.pe.values["sp"] = 0x2000
    assert guest.call("sigaltstack", guest.put(STACK_T.pack(0, 2, 0, 0)), 0) == -errno.EPERM
