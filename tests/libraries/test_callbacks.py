# SPDX-License-Identifier: GPL-2.0-or-later
"""Python functions that the guest calls."""

from __future__ import annotations

import gc
from ctypes import CFUNCTYPE, POINTER, c_char_p, c_double, c_int, c_long, c_size_t, c_void_p

import pytest

from fetchsan.libraries import GuestEndedError, MachineEndedError

COMPARE = CFUNCTYPE(c_int, POINTER(c_int), POINTER(c_int))


def sort(libc, values: list[int], compare) -> list[int]:
    array = (c_int * len(values))(*values)
    qsort = libc["qsort"]
    qsort.argtypes = [c_void_p, c_size_t, c_size_t, COMPARE]
    qsort.restype = None
    qsort(array, len(values), 4, compare)
    return list(array)


def test_a_callable_is_a_callback_for_one_call(libc) -> None:
    assert sort(libc, [5, -3, 9, 0], lambda left, right: left.get() - right.get()) == [-3, 0, 5, 9]


def test_a_callback_may_call_the_guest(libc) -> None:
    magnitude = libc["abs"]
    assert sort(libc, [5, -3, 9, 0], lambda left, right: magnitude(left.get()) - magnitude(right.get())) == [0, -3, 5, 9]


def test_callbacks_may_nest(machine, libc) -> None:
    sorted_inside = []

    def compare(left, right) -> int:
        if not sorted_inside:
            sorted_inside.append(None)
            sorted_inside[0] = sort(libc, [2, 1], lambda a, b: a.get() - b.get())
        return right.get() - left.get()

    assert sort(libc, [1, 3, 2], compare) == [3, 2, 1]
    assert sorted_inside == [[1, 2]]


def test_what_a_callback_raises_comes_out_of_the_call(machine, libc) -> None:
    def compare(left, right) -> int:
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        sort(libc, [2, 1], compare)
    assert sort(libc, [2, 1], lambda left, right: left.get() - right.get()) == [1, 2]


def test_a_result_of_the_wrong_type_is_a_type_error(libc) -> None:
    with pytest.raises(TypeError, match="c_int takes an int, not str"):
        sort(libc, [2, 1], lambda left, right: "less")


def test_arguments_of_every_kind_reach_a_callback(machine) -> None:
    kinds = [c_int, c_double] * 9 + [c_long, c_char_p]
    seen = []
    prototype = CFUNCTYPE(c_double, *kinds)

    def function(*values) -> float:
        seen.extend(values)
        return 0.25

    callback = machine.callback(prototype, function)
    values = [value for number in range(9) for value in (-number, number + 0.5)] + [-(2**40), b"text"]
    assert machine.function(callback.address, prototype)(*values) == 0.25
    assert seen == values


def test_callbacks_are_given_back(machine, libc) -> None:
    prototype = CFUNCTYPE(c_int)
    for number in range(3000):
        assert machine.function(machine.callback(prototype, lambda number=number: number).address, prototype) is not None
    callbacks = [machine.callback(prototype, lambda: 1) for _ in range(1000)]
    assert len({callback.address for callback in callbacks}) == 1000


def test_too_many_callbacks_are_refused(machine) -> None:
    with pytest.raises(ValueError, match="1024 callbacks"):
        [machine.callback(CFUNCTYPE(None), print) for _ in range(1025)]


def test_a_callback_that_was_given_up_is_an_error(machine) -> None:
    prototype = CFUNCTYPE(c_int)
    function = machine.function(machine.callback(prototype, lambda: 1).address, prototype)
    gc.collect()
    with pytest.raises(LookupError, match="keep the callback object"):
        function()


def test_a_callback_without_a_prototype_is_refused(machine) -> None:
    with pytest.raises(TypeError, match="CFUNCTYPE"):
        machine.callback(c_int, print)


def test_a_death_inside_a_callbacks_call_comes_out_of_both(arm64) -> None:
    libc = arm64.load("libc.so.6")
    crash = libc["strlen"]
    with pytest.raises(GuestEndedError, match="SIGSEGV") as raised:
        sort(libc, [2, 1], lambda left, right: crash(8))
    symbols = [place.symbol for place in raised.value.backtrace]
    assert "qsort_r" in symbols, "the backtrace goes on through the callback"
    with pytest.raises(MachineEndedError):
        crash(b"x")


def test_a_machine_is_not_closed_from_a_callback(arm64) -> None:
    libc = arm64.load("libc.so.6")
    with pytest.raises(ValueError, match="from a callback"):
        sort(libc, [2, 1], lambda left, right: arm64.close())


def test_endless_recursion_through_the_guest_is_an_error_of_pythons(arm64) -> None:
    libc = arm64.load("libc.so.6")
    depth = []

    def compare(left, right) -> int:
        depth.append(None)
        sort(libc, [2, 1], compare)
        return 0

    with pytest.raises(RecursionError, match="64 deep"):
        sort(libc, [2, 1], compare)
    assert len(depth) == 64
    assert libc["abs"](-1) == 1


def test_ctrl_c_in_a_callback_ends_the_machine(arm64) -> None:
    libc = arm64.load("libc.so.6")

    def compare(left, right) -> int:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sort(libc, [2, 1], compare)
    with pytest.raises(MachineEndedError, match="interrupted"):
        libc["abs"](1)


def test_a_callback_on_a_stack_that_is_not_there(arm64) -> None:
    """The guest calls back with a stack pointer of nonsense, and the callback calls the guest on it."""
    libc = arm64.load("libc.so.6")
    magnitude = libc["abs"]
    callback = arm64.callback(CFUNCTYPE(c_int), lambda: magnitude(-1))
    words = [0x9100_003F, 0xD63F_0000, 0]  # mov sp, x1; blr x0; udf
    libc.mmap.argtypes = [c_void_p, c_size_t, c_int, c_int, c_int, c_long]
    libc.mmap.restype = c_void_p
    place = libc.mmap(None, 4096, 7, 0x22, -1, 0)
    place.write(b"".join(word.to_bytes(4, "little") for word in words))
    with pytest.raises(GuestEndedError, match="SIGILL"):
        arm64.function(place, CFUNCTYPE(c_int, c_void_p, c_void_p))(callback.address, 0x10_0000)


def test_a_jump_over_pythons_frames_ends_the_machine(arm64) -> None:
    libc = arm64.load("libc.so.6")
    place = arm64.buffer(512)
    setjmp, longjmp = libc["_setjmp"], libc["longjmp"]
    longjmp.argtypes = [c_void_p, c_int]
    setjmp.argtypes = [c_void_p]

    def compare(left, right) -> int:
        longjmp(place, 1)
        return 0

    @arm64.callback(CFUNCTYPE(c_int))
    def outer() -> int:
        return 0

    assert setjmp(place) == 0
    with pytest.raises(GuestEndedError, match="longjmp"):
        sort(libc, [2, 1], compare)
