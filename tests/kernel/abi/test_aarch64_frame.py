# SPDX-License-Identifier: GPL-2.0-or-later
"""The arm64 signal frame, against the offsets that glibc's and musl's <ucontext.h> compile to."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fetchsan.kernel.abi.aarch64_frame import FRAME_SIZE, MachineContext, decode_frame, encode_frame
from fetchsan.kernel.abi.abi import BadFrame
from fetchsan.kernel.signals import AlternateStack, SignalInfo
from fetchsan.machine.traps import CPUException

u64 = st.integers(0, (1 << 64) - 1)
contexts = st.builds(
    MachineContext,
    general=st.tuples(*[u64] * 31),
    sp=u64,
    pc=u64,
    pstate=u64,
    vectors=st.tuples(*[st.integers(0, (1 << 128) - 1)] * 32),
    fpsr=st.integers(0, (1 << 32) - 1),
    fpcr=st.integers(0, (1 << 32) - 1),
    mask=u64,
    stack=st.binary(min_size=24, max_size=24),
    fault_address=u64,
    esr=u64,
)


def plain(**changes: int) -> MachineContext:
    fields: dict[str, object] = {
        "general": tuple(range(31)),
        "sp": 0x1000,
        "pc": 0x2000,
        "pstate": 0x8000_0000,
        "vectors": tuple(range(100, 132)),
        "fpsr": 1,
        "fpcr": 2,
        "mask": 0x55,
        "stack": bytes(24),
    }
    return MachineContext(**(fields | changes))  # type: ignore[arg-type]


@given(contexts)
def test_what_was_saved_comes_back(context: MachineContext) -> None:
    assert decode_frame(encode_frame(b"", context)) == context


def test_frame_has_the_size_of_struct_rt_sigframe() -> None:
    assert len(encode_frame(b"", plain())) == FRAME_SIZE == 4688


@pytest.mark.parametrize(
    ("offset", "value"),
    [
        (128 + 40, 0x55),  # uc_sigmask
        (128 + 176, 0xBAD),  # uc_mcontext.fault_address
        (128 + 184, 0),  # regs[0]
        (128 + 184 + 8 * 30, 30),  # regs[30]
        (128 + 432, 0x1000),  # sp
        (128 + 440, 0x2000),  # pc
        (128 + 448, 0x8000_0000),  # pstate
        (128 + 464, 528 << 32 | 0x46508001),  # the first record: FPSIMD_MAGIC, size
        (128 + 472, 2 << 32 | 1),  # fpsr, fpcr
        (128 + 480, 100),  # v0
        (128 + 464 + 528, 16 << 32 | 0x45535201),  # ESR_MAGIC, size
        (128 + 464 + 536, 0x9200_0007),
        (128 + 464 + 544, 0),  # the end of the list
    ],
)
def test_handlers_find_every_field_at_its_offset(offset: int, value: int) -> None:
    frame = encode_frame(b"", plain(fault_address=0xBAD, esr=0x9200_0007))
    assert struct.unpack_from("<Q", frame, offset)[0] == value


@pytest.mark.parametrize(
    "records",
    [
        struct.pack("<II", 0, 0),  # no FPSIMD record
        struct.pack("<II", 0x1234, 16),  # unknown
        struct.pack("<II", 0x46508001, 4),  # too small to hold itself
        struct.pack("<II", 0x45535201, 1 << 20),  # past the end
        struct.pack("<IIQ", 0x45535201, 16, 0) * 256,  # no end
    ],
)
def test_a_forged_frame_is_refused(records: bytes) -> None:
    frame = bytearray(FRAME_SIZE)
    frame[128 + 464 : 128 + 464 + len(records)] = records
    with pytest.raises(BadFrame):
        decode_frame(bytes(frame))


def test_siginfo_of_a_fault_has_the_address() -> None:
    info = SignalInfo(11, 1, 0x1234, exception=CPUException(0x24, 0x9200_0007, 0x1234, 0))
    assert struct.unpack_from("<iiiiQ", info.encode()) == (11, 0, 1, 0, 0x1234)


def test_siginfo_of_kill_has_the_sender() -> None:
    assert struct.unpack_from("<iiiiiI", SignalInfo(15, 0, pid=1000, uid=7).encode()) == (15, 0, 0, 0, 1000, 7)


def test_siginfo_is_128_bytes() -> None:
    assert len(SignalInfo(15, 0).encode()) == 128


def test_an_autodisarm_stack_reports_its_flag_as_a_c_int() -> None:
    stack = AlternateStack(0x1000, AlternateStack.AUTODISARM, 0x2000)
    assert AlternateStack.LAYOUT.unpack(stack.encode(0x1800)) == (0x1000, -(1 << 31) | 1, 0, 0x2000)
