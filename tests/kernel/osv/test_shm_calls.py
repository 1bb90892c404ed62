# SPDX-License-Identifier: GPL-2.0-or-later
"""System V shared memory: segments are descriptors, attachments outlive them, the last holder gives the frames back."""

from __future__ import annotations

import errno

from fetchsan.machine.memory import BLOCK_SIZE

from .caller import Caller

PAGE = 4096
CREAT, EXCL, RMID, STAT, RDONLY, RND = 0o1000, 0o2000, 0, 2, 0o10000, 0o20000


def attached(osv: Caller, size: int = PAGE, key: int = 0) -> tuple[int, int]:
    segment = osv.call("shmget", key, size, CREAT)
    return segment, osv.call("shmat", segment, 0, 0)


def test_two_attachments_show_the_same_bytes(osv: Caller) -> None:
    segment, one = attached(osv, 3 * PAGE)
    two = osv.call("shmat", segment, 0, 0)
    osv.kernel.memory.write(one + 2 * PAGE, b"shared")
    assert osv.kernel.memory.read(two + 2 * PAGE, 6) == b"shared"


def test_a_segment_is_zeros_and_a_whole_number_of_pages(osv: Caller) -> None:
    _, at = attached(osv, 5)
    assert osv.kernel.memory.read(at, PAGE) == bytes(PAGE)


def test_pages_are_4_kib_pieces_of_one_block(osv: Caller) -> None:
    _, at = attached(osv, BLOCK_SIZE)
    space = osv.kernel.space
    first = osv.kernel.memory.physical(at)
    assert osv.kernel.memory.physical(at + 17 * PAGE) == first + 17 * PAGE
    assert space.port.find_leaf(space.hardware.memory, space.root, at)[1] == 3


def test_the_same_key_is_the_same_segment_and_private_always_a_new_one(osv: Caller) -> None:
    first = osv.call("shmget", 5, PAGE, CREAT)
    assert osv.call("shmget", 5, PAGE, 0) == first
    assert osv.call("shmget", 0, PAGE, CREAT) != osv.call("shmget", 0, PAGE, CREAT)


def test_what_shmget_refuses(osv: Caller) -> None:
    osv.call("shmget", 5, PAGE, CREAT)
    assert osv.call("shmget", 5, PAGE, CREAT | EXCL) == -errno.EEXIST
    assert osv.call("shmget", 5, 2 * PAGE, 0) == -errno.EINVAL
    assert osv.call("shmget", 6, PAGE, 0) == -errno.ENOENT
    assert osv.call("shmget", 0, 0, CREAT) == -errno.EINVAL
    assert osv.call("shmget", 0, 1 << 60, CREAT) == -errno.ENOMEM


def test_an_attachment_goes_where_it_is_told(osv: Caller) -> None:
    segment = osv.call("shmget", 0, PAGE, CREAT)
    assert osv.call("shmat", segment, 0x5000_0000_0000, 0) == 0x5000_0000_0000
    assert osv.call("shmat", segment, 0x6000_0000_0123, RND) == 0x6000_0000_0000
    assert osv.call("shmat", segment, 0x6000_0000_0123, 0) == -errno.EINVAL


def test_a_read_only_attachment_refuses_stores(osv: Caller) -> None:
    segment = osv.call("shmget", 0, PAGE, CREAT)
    at = osv.call("shmat", segment, 0, RDONLY)
    assert osv.call("read", osv.open("/etc/motd"), at, 1) == -errno.EFAULT


def test_what_is_no_segment_cannot_be_attached(osv: Caller) -> None:
    for descriptor in (99, osv.open("/etc/motd")):
        assert osv.call("shmat", descriptor, 0, 0) == -errno.EINVAL


def test_removal_before_detaching_is_safe(osv: Caller) -> None:
    segment, at = attached(osv, key=7)
    assert osv.call("shmctl", segment, RMID, 0) == 0
    osv.kernel.memory.write(at, b"still")
    assert osv.call("shmget", 7, PAGE, 0) == -errno.ENOENT
    assert osv.call("shmdt", at) == 0


def test_an_address_where_nothing_is_attached_is_einval(osv: Caller) -> None:
    _, at = attached(osv)
    assert osv.call("shmdt", at + PAGE) == -errno.EINVAL
    assert [osv.call("shmdt", at), osv.call("shmdt", at)] == [0, -errno.EINVAL]


def test_what_was_mapped_over_an_attachment_stays(osv: Caller) -> None:
    _, at = attached(osv, 3 * PAGE)
    osv.call("mmap", at + PAGE, PAGE, 3, 0x32, -1, 0)
    assert osv.call("shmdt", at) == 0
    assert [(vma.start, vma.end) for vma in osv.kernel.space.vmas.find_intersecting_vmas(at, at + 3 * PAGE)] == [
        (at + PAGE, at + 2 * PAGE)
    ]


def test_stat_tells_size_and_attachments(osv: Caller) -> None:
    segment, _ = attached(osv, 2 * PAGE, key=9)
    assert osv.call("shmctl", segment, STAT, osv.buffer) == 0
    read = osv.kernel.memory.read_u64
    assert (read(osv.buffer) & 0xFFFF_FFFF, read(osv.buffer + 48), read(osv.buffer + 88)) == (9, 2 * PAGE, 1)
    assert osv.call("shmctl", segment, 77, 0) == -errno.EINVAL


def test_the_last_holder_gives_every_frame_back(osv: Caller) -> None:
    before = len(osv.kernel.space.frames.held())
    for _ in range(100):
        segment, at = attached(osv, 3 * BLOCK_SIZE)
        for offset in range(0, 3 * BLOCK_SIZE, BLOCK_SIZE):
            osv.kernel.memory.write(at + offset, b"x")
        osv.call("mprotect", at + PAGE, PAGE, 1)  # three mappings now
        osv.call("shmctl", segment, RMID, 0)
        osv.call("shmdt", at)
    assert len(osv.kernel.space.frames.held()) == before


def test_msync_of_shared_memory_succeeds(osv: Caller) -> None:
    _, at = attached(osv)
    assert osv.call("msync", at, PAGE, 4) == 0
