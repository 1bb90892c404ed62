# SPDX-License-Identifier: GPL-2.0-or-later
"""Values cross between Python and the guest as C has them, on both ports."""

from __future__ import annotations

import ctypes
from ctypes import CFUNCTYPE, POINTER, byref, c_char, c_char_p, c_double, c_float, c_int, c_long, c_size_t, c_void_p

import pytest

from libraries.conftest import CPUS, load_or_skip, machine_of


def formatted(machine, libc, form: bytes, *values: object) -> bytes:
    out = machine.buffer(300)
    snprintf = libc["snprintf"]
    snprintf.argtypes = [c_void_p, c_size_t, c_char_p]
    snprintf.variadic = True
    assert snprintf(out, 300, form, *values) < 300
    return out.string()


def test_more_integers_than_registers(machine, libc) -> None:
    values = [-5, 2**40, 3, 4, 5, 6, 7, 8, 9, 10, 11]
    expected = " ".join(map(str, values)).encode()
    assert formatted(machine, libc, b" ".join([b"%ld"] * 11), *values) == expected


def test_more_floats_than_registers(machine, libc) -> None:
    values = [number + 0.5 for number in range(10)]
    assert formatted(machine, libc, b"%.1f " * 10, *values) == b"".join(b"%.1f " % value for value in values)


def test_integers_and_floats_overflow_to_the_stack_in_order(machine, libc) -> None:
    values = [value for number in range(9) for value in (number, number + 0.25)]
    assert formatted(machine, libc, b"%ld %.2f " * 9, *values) == b"".join(
        b"%d %.2f " % (number, number + 0.25) for number in range(9)
    )


def test_a_float_is_promoted_in_a_variadic_call(machine, libc) -> None:
    assert formatted(machine, libc, b"%g", c_float(0.5)) == b"0.5"


def test_single_precision(machine) -> None:
    libm = load_or_skip(machine, "libm.so.6", "libc6")
    libm.ldexpf.argtypes = [c_float, c_int]
    libm.ldexpf.restype = c_float
    assert libm.ldexpf(0.75, 4) == 12.0


def test_a_result_may_come_through_byref(machine) -> None:
    libm = load_or_skip(machine, "libm.so.6", "libc6")
    libm.frexp.argtypes = [c_double, POINTER(c_int)]
    libm.frexp.restype = c_double
    exponent = c_int()
    assert (libm.frexp(48.0, byref(exponent)), exponent.value) == (0.75, 6)


@pytest.mark.parametrize("kind, given, result", [(c_int, -3, 3), (c_long, -(2**50), 2**50)])
def test_integers_have_their_size_and_sign(libc, kind, given: int, result: int) -> None:
    function = libc["abs" if kind is c_int else "labs"]
    function.argtypes = [kind]
    function.restype = kind
    assert function(given) == result


def test_a_result_is_cut_to_its_type(libc) -> None:
    strtol = libc["strtol"]
    strtol.argtypes = [c_char_p, c_void_p, c_int]
    for kind, expected in ((c_long, 0x1FF), (ctypes.c_ubyte, 0xFF), (ctypes.c_byte, -1), (ctypes.c_bool, True)):
        strtol.restype = kind
        assert strtol(b"1ff", None, 16) == expected
    strtol.restype = c_char
    assert strtol(b"141", None, 16) == b"A"


def test_without_argtypes_ints_and_bytes_are_passed(libc) -> None:
    assert libc["strlen"](b"four") == 4
    assert libc["strncmp"](b"abc", b"abd", 2) == 0


def test_bytes_may_be_larger_than_the_arena(libc) -> None:
    strlen = libc["strlen"]
    strlen.argtypes = [c_char_p]
    strlen.restype = c_size_t
    for _ in range(3):
        assert strlen(b"x" * 200_000) == 200_000


def test_a_string_is_returned_as_bytes_and_null_as_none(libc) -> None:
    strchr = libc["strchr"]
    strchr.argtypes = [c_char_p, c_int]
    strchr.restype = c_char_p
    assert strchr(b"key=value", ord("=")) == b"=value"
    assert strchr(b"key=value", ord("#")) is None


def test_an_array_is_changed_in_place(libc) -> None:
    memset = libc["memset"]
    memset.argtypes = [POINTER(c_int), c_int, c_size_t]
    memset.restype = c_void_p
    array = (c_int * 4)(1, 2, 3, 4)
    memset(array, 0, 8)
    assert list(array) == [0, 0, 3, 4]


def test_one_object_given_twice_is_one_place(libc) -> None:
    memmove = libc["memmove"]
    memmove.argtypes = [c_void_p, c_void_p, c_size_t]
    memmove.restype = c_void_p
    data = bytearray(b"abcd")
    assert memmove(data, data, 4)
    memcmp = libc["memcmp"]
    memcmp.argtypes = [c_void_p, c_void_p, c_size_t]
    assert memcmp(data, data, 4) == 0
    assert data == b"abcd"


def test_a_returned_function_pointer_can_be_called(machine, libc) -> None:
    dlsym = libc["dlsym"]
    dlsym.argtypes = [c_void_p, c_char_p]
    dlsym.restype = CFUNCTYPE(c_int, c_int)
    function = dlsym(None, b"toupper")
    assert function(ord("a")) == ord("A")
    assert dlsym(None, b"no_such_function") is None


def test_errno_is_the_guests(machine, libc) -> None:
    assert libc["close"](12345) == -1
    assert machine.errno == 9


def test_a_variable_of_a_library(machine, libc) -> None:
    stdout = libc.variable("stdout", c_void_p).get()
    fputs = libc["fputs"]
    fputs.argtypes = [c_char_p, c_void_p]
    assert fputs(b"printed\n", stdout) >= 0
    assert machine.stdout is not None and machine.stdout.endswith(b"printed\n")


def test_several_libraries_share_a_machine(machine, libc) -> None:
    libm = load_or_skip(machine, "libm.so.6", "libc6")
    pointer = libc["malloc"]
    pointer.restype = POINTER(c_double)
    place = pointer(8)
    place.put(2.0)
    libm.sqrt.argtypes, libm.sqrt.restype = [c_double], c_double
    assert libm.sqrt(place.get()) == 2.0**0.5


def test_the_linker_is_named(libc) -> None:
    assert libc.linker == "guest"


@pytest.mark.parametrize("mode", ["stale", "coherent"])
@pytest.mark.parametrize("architecture", CPUS)
def test_other_modes(architecture: str, mode: str) -> None:
    with machine_of(architecture, mode=mode) as machine:
        assert machine.load("libc.so.6")["toupper"](ord("b")) == ord("B")


def test_a_path_decides_the_architecture() -> None:
    from fetchsan.sysroot import default_root

    path = default_root("amd64") / "usr/lib/x86_64-linux-gnu/libz.so.1"
    if not path.exists():
        pytest.skip("no sysroot: `fetchsan sysroot add --arch amd64 zlib1g`")
    import fetchsan

    granted = fetchsan.settings.DirectoryGrant(path.parent, str(path.parent), True)
    with fetchsan.Machine(directories=(granted,), clean_environment=True) as machine:
        library = machine.load(str(path))
        library.zlibVersion.restype = c_char_p
        assert library.zlibVersion().startswith(b"1.")
