# SPDX-License-Identifier: GPL-2.0-or-later
"""Readiness: ppoll, pselect6, epoll; on virtual time."""

from __future__ import annotations

import errno
import struct
from itertools import pairwise

import pytest

from fetchsan.kernel.waiting import DeadlockError

from .guest import Guest
from .test_descriptors import pipe

IN, OUT, ERR, HUP, NVAL = 1, 4, 8, 16, 32
ET, ONESHOT = 1 << 31, 1 << 30
ADD, DEL, MOD = 1, 2, 3
SECOND = struct.pack("<qq", 1, 0)


def poll(guest: Guest, *wanted: tuple[int, int], timeout: int | None = None) -> tuple[int, list[int]]:
    table = guest.put(b"".join(struct.pack("<ihh", fd, events, 0x7F) for fd, events in wanted))
    time = 0 if timeout is None else guest.put(struct.pack("<qq", timeout, 0))
    result = guest.call("ppoll", table, len(wanted), time, 0, 8)
    return result, [struct.unpack_from("<H", guest.peek(table + 8 * i + 6, 2))[0] for i in range(len(wanted))]


def watch(guest: Guest, epoll: int, operation: int, fd: int, events: int, data: int = 0) -> int:
    return guest.call("epoll_ctl", epoll, operation, fd, guest.put(struct.pack("<IxxxxQ", events, data)))


def wait(guest: Guest, epoll: int, timeout_ms: int = 0, most: int = 8) -> list[tuple[int, int]] | int:
    address = guest.room(16 * most)
    result = guest.call("epoll_pwait", epoll, address, most, timeout_ms, 0, 8)
    if result < 0:
        return result
    return [struct.unpack_from("<IxxxxQ", guest.peek(address + 16 * i, 16)) for i in range(result)]


def test_poll_of_a_pipe(guest: Guest) -> None:
    reader, writer = pipe(guest)
    assert poll(guest, (reader, IN), (writer, OUT), timeout=0) == (1, [0, OUT])
    guest.write(writer, b"x")
    assert poll(guest, (reader, IN), (-1, IN), (999, IN)) == (2, [IN, 0, NVAL])
    guest.call("close", writer)
    assert poll(guest, (reader, IN)) == (1, [IN | HUP])


def test_poll_of_a_file_is_always_ready(guest: Guest) -> None:
    assert poll(guest, (guest.open("prog"), IN | OUT)) == (1, [IN])


def test_poll_timeout_is_virtual(guest: Guest) -> None:
    reader, _ = pipe(guest)
    before = guest.kernel.clock.elapsed_ns
    assert poll(guest, (reader, IN), timeout=3600) == (0, [0])
    assert guest.kernel.clock.elapsed_ns - before >= 3600 * 10**9


def test_poll_that_nothing_can_end(guest: Guest) -> None:
    reader, _ = pipe(guest)
    with pytest.raises(DeadlockError):
        poll(guest, (reader, IN))


def test_poll_of_too_many(guest: Guest) -> None:
    assert guest.call("ppoll", 0, 1 << 20, 0, 0, 0) == -errno.EINVAL


def test_poll_ends_by_an_alarm(guest: Guest) -> None:
    reader, _ = pipe(guest)
    handler = guest.put(struct.pack("<QQQ", 0x40_0078, 0, 0))
    guest.call("rt_sigaction", 14, handler, 0, 8)
    guest.call("setitimer", 0, guest.put(struct.pack("<qqqq", 0, 0, 1, 0)), 0)
    guest.pe.set("sp", guest.room(8192) + 8192 & -16)
    table = guest.put(struct.pack("<ihh", reader, IN, 0))
    guest.call("ppoll", table, 1, 0, 0, 8)
    assert guest.pe.get("pc") == 0x40_0078  # in the handler
    assert guest.kernel.end_state is None


def test_select(guest: Guest) -> None:
    reader, writer = pipe(guest)
    reads, writes = guest.put(struct.pack("<Q", 1 << reader)), guest.put(struct.pack("<Q", 1 << writer))
    assert guest.call("pselect6", writer + 1, reads, writes, 0, guest.put(SECOND), 0) == 1
    assert guest.peek(reads, 8) == bytes(8)
    assert guest.peek(writes, 8) == struct.pack("<Q", 1 << writer)


def test_select_errors(guest: Guest) -> None:
    bits = guest.put(struct.pack("<QQ", 0, 0))
    assert guest.call("pselect6", -1, bits, 0, 0, 0, 0) == -errno.EINVAL
    pipe(guest)
    guest.call("dup3", 1, 20, 0)
    closed = guest.put(struct.pack("<Q", 1 << 15))
    assert guest.call("pselect6", 64, closed, 0, 0, 0, 0) == -errno.EBADF


def test_epoll_level_triggered(guest: Guest) -> None:
    reader, writer = pipe(guest)
    epoll = guest.call("epoll_create1", 0)
    assert watch(guest, epoll, ADD, reader, IN, 42) == 0
    assert wait(guest, epoll) == []
    guest.write(writer, b"xy")
    assert wait(guest, epoll) == [(IN, 42)]
    guest.read(reader, 1)
    assert wait(guest, epoll) == [(IN, 42)]
    guest.read(reader, 1)
    assert wait(guest, epoll, timeout_ms=10) == []


def test_epoll_edge_triggered(guest: Guest) -> None:
    reader, writer = pipe(guest)
    epoll = guest.call("epoll_create1", 0)
    watch(guest, epoll, ADD, reader, IN | ET)
    guest.write(writer, b"x")
    assert wait(guest, epoll) == [(IN, 0)]
    assert wait(guest, epoll) == []
    guest.write(writer, b"more")
    assert wait(guest, epoll) == [(IN, 0)]


def test_epoll_one_shot(guest: Guest) -> None:
    event = guest.call("eventfd2", 1, 0)
    epoll = guest.call("epoll_create1", 0)
    watch(guest, epoll, ADD, event, IN | ONESHOT)
    assert wait(guest, epoll) == [(IN, 0)]
    assert wait(guest, epoll) == []
    watch(guest, epoll, MOD, event, IN | ONESHOT)
    assert wait(guest, epoll) == [(IN, 0)]


def test_epoll_starves_nobody(guest: Guest) -> None:
    epoll = guest.call("epoll_create1", 0)
    for data in range(3):
        watch(guest, epoll, ADD, guest.call("eventfd2", 1, 0), IN, data)
    assert [wait(guest, epoll, most=1) for _ in range(3)] == [[(IN, 0)], [(IN, 1)], [(IN, 2)]]


def test_epoll_forgets_what_was_closed(guest: Guest) -> None:
    event = guest.call("eventfd2", 1, 0)
    epoll = guest.call("epoll_create1", 0)
    watch(guest, epoll, ADD, event, IN)
    guest.call("close", event)
    assert wait(guest, epoll) == []


def test_epoll_errors(guest: Guest) -> None:
    epoll = guest.call("epoll_create1", 0)
    event = guest.call("eventfd2", 0, 0)
    assert watch(guest, epoll, ADD, guest.open("prog"), IN) == -errno.EPERM
    assert watch(guest, epoll, ADD, epoll, IN) == -errno.EINVAL
    assert watch(guest, event, ADD, epoll, IN) == -errno.EINVAL
    assert watch(guest, epoll, MOD, event, IN) == -errno.ENOENT
    assert watch(guest, epoll, ADD, event, IN) == 0
    assert watch(guest, epoll, ADD, event, IN) == -errno.EEXIST
    assert watch(guest, epoll, DEL, event, 0) == 0
    assert watch(guest, epoll, 9, event, 0) == -errno.EINVAL
    assert wait(guest, epoll, most=0) == -errno.EINVAL
    assert guest.call("epoll_pwait", epoll, 8, 1, 0, 0, 8) == -errno.EFAULT


def test_epoll_instances_must_not_circle(guest: Guest) -> None:
    first, second = guest.call("epoll_create1", 0), guest.call("epoll_create1", 0)
    assert watch(guest, first, ADD, second, IN) == 0
    assert watch(guest, second, ADD, first, IN) == -errno.ELOOP


def test_epoll_instances_must_not_pile_up(guest: Guest) -> None:
    stack = [guest.call("epoll_create1", 0) for _ in range(7)]
    results = [watch(guest, above, ADD, below, IN) for above, below in pairwise(stack)]
    assert results == [0, 0, 0, 0, -errno.ELOOP, 0]


def test_epoll_of_epoll(guest: Guest) -> None:
    outer, inner = guest.call("epoll_create1", 0), guest.call("epoll_create1", 0)
    event = guest.call("eventfd2", 0, 0)
    watch(guest, outer, ADD, inner, IN)
    watch(guest, inner, ADD, event, IN)
    assert wait(guest, outer) == []
    guest.write(event, struct.pack("<Q", 1))
    assert wait(guest, outer) == [(IN, 0)]
