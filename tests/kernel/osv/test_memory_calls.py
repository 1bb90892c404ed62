# SPDX-License-Identifier: GPL-2.0-or-later
"""mmap and its relatives by SVC: descriptors and rights of files (the semantics are tests/kernel/mmu/test_osv_space.py's)."""

from __future__ import annotations

import errno

from .caller import Caller

READ, WRITE, EXEC, SHARED, PRIVATE, ANONYMOUS = 1, 2, 4, 1, 2, 0x20
PAGE = 4096
O_WRONLY, O_RDWR, O_CREAT = 1, 2, 0o100


def test_anonymous_memory_comes_from_the_mmap_area(osv: Caller) -> None:
    at = osv.call("mmap", 0, PAGE, READ | WRITE, PRIVATE | ANONYMOUS, -1, 0)
    assert at == osv.buffer + (1 << 16)


def test_unmapped_memory_is_gone(osv: Caller) -> None:
    at = osv.call("mmap", 0, PAGE, READ | WRITE, PRIVATE | ANONYMOUS, -1, 0)
    assert osv.call("munmap", at, PAGE) == 0
    assert osv.call("read", osv.open("/etc/motd"), at, 1) == -errno.EFAULT


def test_protection_counts_for_the_kernel_too(osv: Caller) -> None:
    at = osv.call("mmap", 0, PAGE, READ | WRITE, PRIVATE | ANONYMOUS, -1, 0)
    assert osv.call("mprotect", at, PAGE, READ) == 0
    assert osv.call("read", osv.open("/etc/motd"), at, 1) == -errno.EFAULT


def test_a_file_of_the_image_is_mapped(osv: Caller) -> None:
    at = osv.call("mmap", 0, PAGE, READ, PRIVATE, osv.open("/etc/motd"), 0)
    assert osv.kernel.memory.read(at, 6) == b"hello "


def test_a_descriptor_that_is_not_open_is_ebadf(osv: Caller) -> None:
    assert osv.call("mmap", 0, PAGE, READ, PRIVATE, 99, 0) == -errno.EBADF


def test_a_file_that_is_not_open_for_reading_is_eacces(osv: Caller) -> None:
    fd = osv.open("/tmp/file", O_WRONLY | O_CREAT)
    assert osv.call("mmap", 0, PAGE, READ, PRIVATE, fd, 0) == -errno.EACCES


def test_a_shared_writable_mapping_of_a_file_opened_for_reading_is_eacces(osv: Caller) -> None:
    assert osv.call("mmap", 0, PAGE, READ | WRITE, SHARED, osv.open("/etc/motd"), 0) == -errno.EACCES


def test_a_shared_mapping_of_a_file_opened_for_reading_never_becomes_writable(osv: Caller) -> None:
    at = osv.call("mmap", 0, PAGE, READ, SHARED, osv.open("/etc/motd"), 0)
    assert osv.call("mprotect", at, PAGE, READ | WRITE) == -errno.EACCES
