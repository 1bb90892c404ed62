# SPDX-License-Identifier: GPL-2.0-or-later
"""From SVC to the function and back; what is missing is named once."""

from __future__ import annotations

import errno

from fetchsan.kernel.clock import EPOCH_NS

from .caller import Caller


def test_a_call_that_there_is_no_function_for_is_named_once(osv: Caller) -> None:
    assert [osv.call("ptrace"), osv.call("ptrace")] == [-errno.ENOSYS] * 2
    assert bytes(osv.kernel.console) == b"syscall(): unimplemented system call ptrace (117)\n"


def test_a_failed_call_returns_the_negative_errno(osv: Caller) -> None:
    assert osv.call("munmap", 1, 1) == -errno.EINVAL


def test_the_process_has_osvs_number(osv: Caller) -> None:
    assert osv.call("getpid") == 2


def test_the_time_is_virtual(osv: Caller) -> None:
    assert osv.call("clock_gettime", 0, osv.buffer) == 0
    assert osv.kernel.memory.read_u64(osv.buffer) == EPOCH_NS // 10**9


def test_an_unknown_clock_is_einval(osv: Caller) -> None:
    assert osv.call("clock_gettime", 99, osv.buffer) == -errno.EINVAL


def test_a_bad_pointer_is_efault(osv: Caller) -> None:
    assert osv.call("clock_gettime", 0, 8) == -errno.EFAULT
