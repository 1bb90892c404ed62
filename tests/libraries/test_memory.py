# SPDX-License-Identifier: GPL-2.0-or-later
"""Buffers and pointers."""

from __future__ import annotations

import ctypes
from ctypes import c_char_p, c_int, c_void_p

import pytest

from fetchsan.libraries import BadAddressError
from libraries.conftest import machine_of


class Point(ctypes.Structure):
    _fields_ = (("x", c_int), ("y", c_int))


def test_a_buffer_begins_as_zeros_or_a_copy(machine) -> None:
    assert bytes(machine.buffer(5)) == bytes(5)
    assert bytes(machine.buffer(b"abc")) == b"abc"
    assert bytes(machine.buffer(Point(1, 2))) == bytes(Point(1, 2))
    assert len(machine.buffer(0)) == 0


def test_a_buffer_is_indexed_and_sliced(machine) -> None:
    buffer = machine.buffer(b"0123456789")
    assert (buffer[3], buffer[-1], buffer[2:5], buffer[::3]) == (ord("3"), ord("9"), b"234", b"0369")
    buffer[0] = 65
    buffer[1:3] = b"BC"
    assert bytes(buffer) == b"ABC3456789"


def test_a_buffer_crosses_pages(machine) -> None:
    data = bytes(range(256)) * 64
    buffer = machine.buffer(data)
    assert buffer[4000:9000] == data[4000:9000]


@pytest.mark.parametrize(
    "wrong",
    [
        lambda buffer: buffer[4],
        lambda buffer: buffer.read(5),
        lambda buffer: buffer.read(1, -1),
        lambda buffer: buffer.write(b"ab", 3),
        lambda buffer: buffer.__setitem__(slice(0, 2), b"abc"),
        lambda buffer: buffer.__setitem__(0, 256),
    ],
)
def test_a_buffer_keeps_within_itself(machine, wrong) -> None:
    with pytest.raises((ValueError, IndexError)):
        wrong(machine.buffer(4))


def test_a_buffer_is_freed_with_its_object(machine, libc) -> None:
    usage = libc["malloc_usable_size"]
    usage.argtypes = [c_void_p]
    addresses = set()
    for _ in range(100):
        buffer = machine.buffer(1 << 20)
        addresses.add(buffer.address)
        del buffer
    assert len(addresses) <= 3


def test_a_freed_buffer_has_nothing(machine) -> None:
    buffer = machine.buffer(4)
    buffer.free()
    with pytest.raises(IndexError):
        buffer[0]


def test_a_pointer_is_an_int_to_look_behind(machine) -> None:
    buffer = machine.buffer(b"text\0more")
    pointer = machine.pointer(buffer.address)
    assert pointer == buffer.address
    assert (pointer.string(), pointer.read(6)) == (b"text", b"text\0m")
    pointer.write(b"T")
    assert buffer.string() == b"Text"
    assert not machine.pointer(0)


def test_a_typed_pointer_has_elements(machine) -> None:
    points = machine.buffer((Point * 3)((1, 2), (3, 4), (5, 6))).pointer(Point)
    buffer = machine.buffer((Point * 3)((1, 2), (3, 4), (5, 6)))
    points = buffer.pointer(Point)
    assert (points.get(1).x, points.get(2).y) == (3, 6)
    points.put(Point(7, 8), 1)
    assert points.get(1).x == 7
    assert points.cast(c_int).get(3) == 8


@pytest.mark.parametrize("address", [0, 8, 1 << 47, (1 << 64) - 8, 0xDEAD_BEEF_0000])
def test_memory_that_is_not_there(machine, address: int) -> None:
    with pytest.raises(BadAddressError):
        machine.pointer(address).read(8)
    with pytest.raises(BadAddressError):
        machine.pointer(address).write(b"x")
    with pytest.raises(BadAddressError):
        machine.pointer(address).string()


def test_an_enormous_size_is_refused(machine) -> None:
    with pytest.raises(BadAddressError):
        machine.pointer(machine.buffer(1).address).read(1 << 40)
    with pytest.raises(MemoryError, match="no 1152921504606846976 bytes left"):
        machine.buffer(1 << 60)


def test_more_than_guest_ram_is_a_memory_error() -> None:
    with machine_of("arm64", memory=64 << 20) as machine:
        libc = machine.load("libc.so.6")
        with pytest.raises(MemoryError, match="not so much memory"):
            machine.buffer(b"x" * (80 << 20))
        assert libc["toupper"](97) == 65


def test_pointers_of_pythons_own_cannot_be_copied(machine) -> None:
    class Holder(ctypes.Structure):
        _fields_ = (("name", c_char_p),)

    with pytest.raises(TypeError, match="declare it as c_void_p"):
        machine.buffer(Holder())
    with pytest.raises(TypeError, match="declare it as c_void_p"):
        machine.pointer(0, ctypes.POINTER(c_int))
