# SPDX-License-Identifier: GPL-2.0-or-later
"""Where blocks of thread-local storage lie relative to the thread pointer."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fetchsan.kernel.linker.tls import RESERVE, VARIANTS, StaticTls, TlsBlock

ONE, TWO = VARIANTS["aarch64"], VARIANTS["x64"]


def test_variant_1_goes_up_behind_the_kernels_16_bytes() -> None:
    static = StaticTls(ONE)
    assert [static.place(8, 8, 0), static.place(4, 4, 0), static.place(8, 8, 0)] == [16, 24, 32]


def test_variant_2_goes_down_from_the_thread_pointer() -> None:
    static = StaticTls(TWO)
    assert [static.place(8, 8, 0), static.place(4, 4, 0), static.place(8, 8, 0)] == [-8, -12, -24]


def test_a_block_keeps_its_place_within_an_aligned_unit() -> None:
    assert StaticTls(ONE).place(8, 64, 0x1010) == 16
    assert StaticTls(ONE).place(8, 64, 0x1008) == 72


def test_after_the_start_only_the_reserve_is_left() -> None:
    static = StaticTls(ONE)
    static.place(100, 8, 0)
    static.seal(reserve=True)
    assert static.place(RESERVE - 128, 8, 0) is not None
    assert static.place(256, 8, 0) is None


def test_a_block_that_was_released_is_used_again() -> None:
    static = StaticTls(ONE)
    static.seal(reserve=True)
    first = static.place(RESERVE - 64, 8, 0)
    assert first is not None and static.place(128, 8, 0) is None
    static.release(first, RESERVE - 64)
    assert static.place(128, 8, 0) == first


def test_alignment_that_running_threads_do_not_have_is_refused() -> None:
    static = StaticTls(ONE)
    static.seal(reserve=True)
    assert static.place(8, 64, 0) is None


@pytest.mark.parametrize("variant", [ONE, TWO], ids=["1", "2"])
@given(blocks=st.lists(st.tuples(st.integers(1, 300), st.sampled_from([1, 2, 8, 16, 64, 256]), st.integers(0, 1 << 16))))
def test_blocks_do_not_overlap_and_are_aligned(variant: object, blocks: list[tuple[int, int, int]]) -> None:
    assert variant in (ONE, TWO)
    static = StaticTls(ONE if variant is ONE else TWO)
    taken: set[int] = set()
    for size, alignment, address in blocks:
        offset = static.place(size, alignment, address)
        assert offset is not None and (offset - address) % alignment == 0
        place = set(range(offset, offset + size))
        assert not place & taken
        taken |= place
    static.seal(reserve=True)
    assert all(static.first <= at < static.first + static.size for at in taken)


def test_the_identity_of_a_module_tells_the_two_kinds_apart() -> None:
    assert TlsBlock(0, 0, 8, 8, -24).identity(5) == -48
    assert TlsBlock(0, 0, 8, 8, None).identity(5) == 11
