# SPDX-License-Identifier: GPL-2.0-or-later
"""The start-up stack, read back the way a program's start-up code reads it."""

from __future__ import annotations

import errno
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fetchsan.kernel.auxv import AuxiliaryType, StackImage, build_stack
from fetchsan.kernel.errors import LinuxError

TOP = 0x0000_FFFF_FFFF_F000
RANDOM = bytes(range(16))
strings = st.lists(st.binary(max_size=40).filter(lambda b: b"\0" not in b), max_size=8)


class Reader:
    """A stack image as its program sees it."""

    def __init__(self, image: StackImage) -> None:
        self.image = image

    def word(self, address: int) -> int:
        return int(struct.unpack_from("<Q", self.image.data, address - self.image.pointer)[0])

    def string(self, address: int) -> bytes:
        offset = address - self.image.pointer
        return self.image.data[offset : self.image.data.index(b"\0", offset)]

    def vector(self, address: int) -> tuple[list[bytes], int]:
        result = []
        while pointer := self.word(address):
            result.append(self.string(pointer))
            address += 8
        return result, address + 8

    def auxiliary(self, address: int) -> dict[int, int]:
        result = {}
        while key := self.word(address):
            result[key] = self.word(address + 8)
            address += 16
        return result


def build(argv: list[bytes], envp: list[bytes], extra: list[tuple[AuxiliaryType, int]] | None = None) -> Reader:
    return Reader(build_stack(TOP, argv, envp, extra or [], platform=b"aarch64", execfn=b"/bin/prog", random=RANDOM))


@given(strings, strings)
def test_program_reads_back_its_arguments_and_environment(argv: list[bytes], envp: list[bytes]) -> None:
    reader = build(argv, envp)
    pointer = reader.image.pointer
    got_argv, after = reader.vector(pointer + 8)
    got_envp, _ = reader.vector(after)
    assert (reader.word(pointer), got_argv, got_envp) == (len(argv), argv, envp)


@given(strings, strings)
def test_stack_pointer_is_aligned_and_the_image_ends_at_the_top(argv: list[bytes], envp: list[bytes]) -> None:
    image = build(argv, envp).image
    assert image.pointer % 16 == 0
    assert image.pointer + len(image.data) == TOP


def test_auxiliary_vector_points_at_its_strings() -> None:
    reader = build([b"prog"], [b"A=1"], [(AuxiliaryType.PAGESZ, 4096)])
    _, after = reader.vector(reader.image.pointer + 8)
    _, after = reader.vector(after)
    auxiliary = reader.auxiliary(after)
    assert auxiliary[AuxiliaryType.PAGESZ] == 4096
    assert reader.string(auxiliary[AuxiliaryType.PLATFORM]) == b"aarch64"
    assert reader.string(auxiliary[AuxiliaryType.EXECFN]) == b"/bin/prog"
    random = auxiliary[AuxiliaryType.RANDOM] - reader.image.pointer
    assert reader.image.data[random : random + 16] == RANDOM


@pytest.mark.parametrize("argv", [[b"x" * (32 * 4096)], [b"x" * 1000] * 2100])
def test_too_much_is_e2big(argv: list[bytes]) -> None:
    with pytest.raises(LinuxError) as caught:
        build(argv, [])
    assert caught.value.errno == errno.E2BIG
