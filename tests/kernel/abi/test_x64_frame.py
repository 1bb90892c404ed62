# SPDX-License-Identifier: GPL-2.0-or-later
"""The x86-64 signal frame, against the offsets that glibc's and musl's <ucontext.h> compile to."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fetchsan.kernel.abi.x64_frame import (
    FPU_SIZE,
    FRAME_SIZE,
    INITIAL_FPU,
    SAVED_REGISTERS,
    SIGINFO,
    UCONTEXT,
    FpuState,
    MachineContext,
    decode_fpu,
    decode_frame,
    encode_fpu,
    encode_frame,
)

u16, u64 = st.integers(0, (1 << 16) - 1), st.integers(0, (1 << 64) - 1)
contexts = st.builds(
    MachineContext,
    registers=st.tuples(*[u64] * 18),
    mask=u64,
    stack=st.binary(min_size=24, max_size=24),
    fpstate=u64,
    error=u64,
    vector=u64,
    cr2=u64,
)
fpu_states = st.builds(
    FpuState,
    control=u16,
    status=u16,
    tags=st.lists(st.sampled_from([0, 3]), min_size=8, max_size=8).map(
        lambda tags: sum(tag << 2 * register for register, tag in enumerate(tags))
    ),
    mxcsr=u16,
    st=st.tuples(*[st.integers(0, (1 << 80) - 1)] * 8),
    xmm=st.tuples(*[st.integers(0, (1 << 128) - 1)] * 16),
)


@given(contexts)
def test_what_was_saved_comes_back(context: MachineContext) -> None:
    assert decode_frame(encode_frame(b"", context, 0x1234)) == context


@given(fpu_states)
def test_floating_point_state_comes_back(state: FpuState) -> None:
    assert decode_fpu(encode_fpu(state)) == state


def test_sizes_are_those_of_the_kernels_structures() -> None:
    context = MachineContext(tuple(range(18)), 0, bytes(24), 0)
    assert (len(encode_frame(b"", context, 0)), FRAME_SIZE, SIGINFO) == (440, 440, 312)
    assert len(encode_fpu(INITIAL_FPU)) == FPU_SIZE == 512


@pytest.mark.parametrize(
    ("offset", "value"),
    [
        (0, 0x1234),  # where the handler returns to
        (UCONTEXT, 6),  # uc_flags: UC_SIGCONTEXT_SS, UC_STRICT_RESTORE_SS
        (UCONTEXT + 40, 0),  # gregs[REG_R8]
        (UCONTEXT + 40 + 8 * 13, 13),  # gregs[REG_RAX]
        (UCONTEXT + 40 + 8 * 15, 15),  # gregs[REG_RSP]
        (UCONTEXT + 40 + 8 * 16, 16),  # gregs[REG_RIP]
        (UCONTEXT + 40 + 8 * 17, 17),  # gregs[REG_EFL]
        (UCONTEXT + 40 + 8 * 18, 0x2B << 48 | 0x33),  # gregs[REG_CSGSFS]
        (UCONTEXT + 40 + 8 * 19, 6),  # gregs[REG_ERR]
        (UCONTEXT + 40 + 8 * 20, 14),  # gregs[REG_TRAPNO]
        (UCONTEXT + 40 + 8 * 22, 0xBAD),  # gregs[REG_CR2]
        (UCONTEXT + 40 + 8 * 23, 0x7000),  # fpregs
        (UCONTEXT + 296, 0x55),  # uc_sigmask
    ],
)
def test_handlers_find_every_field_at_its_offset(offset: int, value: int) -> None:
    context = MachineContext(tuple(range(18)), 0x55, bytes(24), 0x7000, error=6, vector=14, cr2=0xBAD)
    assert struct.unpack_from("<Q", encode_frame(b"", context, 0x1234), offset)[0] == value


@pytest.mark.parametrize(
    ("offset", "size", "value"),
    [(0, 2, 0x37F), (2, 2, 0x3000), (4, 1, 0xC0), (24, 4, 0x1F80), (28, 4, 0xFFFF), (32, 10, 7), (160 + 16 * 3, 16, 103)],
)
def test_the_floating_point_area_is_fxsaves(offset: int, size: int, value: int) -> None:
    state = FpuState(0x37F, 0x3000, 0x0FFF, 0x1F80, (7, *range(7)), tuple(range(100, 116)))
    assert int.from_bytes(encode_fpu(state)[offset : offset + size], "little") == value


def test_reserved_bits_of_mxcsr_are_dropped() -> None:
    area = bytearray(encode_fpu(INITIAL_FPU))
    area[24:28] = b"\xff\xff\xff\xff"
    assert decode_fpu(bytes(area)).mxcsr == 0xFFFF


def test_every_general_register_is_saved_once() -> None:
    assert len(set(SAVED_REGISTERS)) == 18
