# SPDX-License-Identifier: GPL-2.0-or-later
"""Files by descriptor under OSv's API: the read-only image, memory at /tmp, and what mappings see of both."""

from __future__ import annotations

import errno

from fetchsan.kernel.mmu.maps import procfs_maps

from .caller import Caller

O_RDWR, O_CREAT, O_TRUNC, O_APPEND = 2, 0o100, 0o1000, 0o2000
READ, WRITE, SHARED, PRIVATE = 1, 2, 1, 2
PAGE = 4096


def made(osv: Caller, data: bytes, path: str = "/tmp/file") -> int:
    fd = osv.open(path, O_RDWR | O_CREAT)
    assert osv.call("pwrite64", fd, osv.put(data), len(data), 0) == len(data)
    return fd


def content(osv: Caller, fd: int) -> bytes:
    size = osv.call("pread64", fd, osv.buffer, 1 << 16, 0)
    return osv.kernel.memory.read(osv.buffer, size) if size else b""


def test_a_file_of_the_image_is_read_from_its_offset(osv: Caller) -> None:
    fd = osv.open("/etc/motd")
    osv.call("read", fd, osv.buffer, 2)
    assert osv.call("read", fd, osv.buffer, 4) == 4
    assert osv.kernel.memory.read(osv.buffer, 4) == b"llo "


def test_the_image_is_read_only(osv: Caller) -> None:
    assert osv.open("/etc/motd", O_RDWR) == -errno.EROFS
    assert osv.open("/new", O_RDWR | O_CREAT) == -errno.EROFS


def test_a_missing_file_is_enoent(osv: Caller) -> None:
    assert osv.open("/nothing") == -errno.ENOENT


def test_a_closed_descriptor_is_ebadf(osv: Caller) -> None:
    fd = osv.open("/etc/motd")
    assert osv.call("close", fd) == 0
    assert osv.call("read", fd, osv.buffer, 1) == -errno.EBADF


def test_a_read_into_a_bad_pointer_is_efault(osv: Caller) -> None:
    assert osv.call("read", osv.open("/etc/motd"), 0x1234_5000, 1) == -errno.EFAULT


def test_a_read_stops_before_the_first_page_that_is_not_there(osv: Caller) -> None:
    assert osv.call("read", osv.open("/etc/motd"), osv.buffer + (1 << 16) - 5, 100) == 5


def test_memory_files_keep_what_was_written(osv: Caller) -> None:
    fd = made(osv, b"one")
    osv.call("lseek", fd, 0, 2)
    osv.call("write", fd, osv.put(b"two"), 3)
    assert content(osv, fd) == b"onetwo"


def test_append_writes_at_the_end(osv: Caller) -> None:
    made(osv, b"one")
    fd = osv.open("/tmp/file", O_RDWR | O_APPEND)
    osv.call("write", fd, osv.put(b"two"), 3)
    assert content(osv, fd) == b"onetwo"


def test_truncation_on_opening(osv: Caller) -> None:
    made(osv, b"one")
    assert content(osv, osv.open("/tmp/file", O_RDWR | O_TRUNC)) == b""


def test_a_write_reaches_a_mapping_of_the_file(osv: Caller) -> None:
    fd = made(osv, b"a" * PAGE)
    at = osv.call("mmap", 0, PAGE, READ, PRIVATE, fd, 0)
    assert osv.kernel.memory.read(at, 1) == b"a"
    osv.call("pwrite64", fd, osv.put(b"b"), 1, 0)
    assert osv.kernel.memory.read(at, 2) == b"ba"


def test_a_store_through_a_shared_mapping_is_read_back_at_once(osv: Caller) -> None:
    fd = made(osv, b"a" * PAGE)
    at = osv.call("mmap", 0, PAGE, READ | WRITE, SHARED, fd, 0)
    osv.kernel.memory.write(at + 1, b"b")
    assert content(osv, fd)[:3] == b"aba"


def test_a_mapping_outlives_the_name_and_the_descriptor(osv: Caller) -> None:
    fd = made(osv, b"a" * PAGE)
    at = osv.call("mmap", 0, PAGE, READ, PRIVATE, fd, 0)
    assert osv.call("unlinkat", -100, osv.put(b"/tmp/file\0"), 0) == 0
    assert osv.call("close", fd) == 0
    assert osv.kernel.memory.read(at, 1) == b"a"


def test_proc_self_maps_is_osvs(osv: Caller) -> None:
    fd = osv.open("/proc/self/maps")
    assert content(osv, fd).decode() == procfs_maps(osv.kernel.space)


def test_a_file_of_proc_cannot_be_mapped(osv: Caller) -> None:
    assert osv.call("mmap", 0, PAGE, READ, PRIVATE, osv.open("/proc/self/maps"), 0) == -errno.ENODEV
