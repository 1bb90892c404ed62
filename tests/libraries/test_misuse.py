# SPDX-License-Identifier: GPL-2.0-or-later
"""Wrong use is a TypeError or ValueError of one sentence, before the guest sees anything."""

from __future__ import annotations

import ctypes
from ctypes import CFUNCTYPE, POINTER, byref, c_char_p, c_double, c_int, c_ubyte, c_void_p

import pytest

import fetchsan


class Large(ctypes.Structure):
    _fields_ = (("numbers", c_int * 5),)


@pytest.mark.parametrize(
    "kind, value, error, text",
    [
        (c_int, "1", TypeError, "c_int takes an int, not str"),
        (c_int, 1.5, TypeError, "c_int takes an int, not float"),
        (c_int, None, TypeError, "c_int takes an int, not NoneType"),
        (c_int, 1 << 32, ValueError, "4294967296 does not fit into c_int"),
        (c_ubyte, -129, ValueError, "-129 does not fit into c_ubyte"),
        (c_double, "1", TypeError, "c_double takes a float, not str"),
        (ctypes.c_float, 1e300, ValueError, "too large for c_float"),
        (c_char_p, "text", TypeError, r"not str; \.encode\(\) it"),
        (c_char_p, 1.0, TypeError, "takes guest memory, bytes, byref"),
        (c_void_p, -1, ValueError, "-1 is no address"),
        (POINTER(c_int), b"bytes", TypeError, "LP_c_int takes guest memory"),
        (POINTER(c_int), byref(c_double()), TypeError, "LP_c_int takes guest memory"),
        (CFUNCTYPE(c_int), 1.0, TypeError, "takes a callable"),
        (CFUNCTYPE(c_int), CFUNCTYPE(c_int)(lambda: 1), TypeError, "takes a callable or machine.callback"),
    ],
)
def test_a_value_that_does_not_fit(libc, kind, value, error, text) -> None:
    function = libc["abs"]
    function.argtypes = [kind]
    with pytest.raises(error, match=text) as raised:
        function(value)
    assert str(raised.value).startswith("abs, argument 1: ")


@pytest.mark.parametrize(
    "kind, text",
    [
        (Large, r"Large cannot be passed by value .*, only as POINTER\(Large\)"),
        (c_int * 3, r"C passes arrays by reference: POINTER\(c_int\)"),
        (ctypes.py_object, "no ctypes type that can be passed"),
        (ctypes.c_longdouble, "no ctypes type that can be passed"),
        (ctypes.c_wchar_p, "no ctypes type that can be passed"),
        (int, "no ctypes type that can be passed"),
    ],
)
def test_a_type_that_cannot_be_passed(libc, kind, text) -> None:
    function = libc["abs"]
    with pytest.raises(TypeError, match=text):
        function.argtypes = [kind]
    with pytest.raises(TypeError, match=text):
        function.restype = kind


def test_the_number_of_arguments(libc) -> None:
    function = libc["abs"]
    function.argtypes = [c_int]
    for values in ((), (1, 2)):
        with pytest.raises(TypeError, match=f"abs takes 1 arguments, not {len(values)}"):
            function(*values)
    function.variadic = True
    with pytest.raises(TypeError, match="at least 1"):
        function()


def test_a_float_without_argtypes(libc) -> None:
    with pytest.raises(TypeError, match="a float needs argtypes"):
        libc["abs"](1.0)


def test_a_void_pointer_has_no_elements(machine) -> None:
    with pytest.raises(TypeError, match="cast"):
        machine.pointer(16).get()


def test_nothing_before_a_library_is_loaded() -> None:
    machine = fetchsan.Machine()
    with pytest.raises(ValueError, match="before the first load"):
        machine.buffer(1)
    assert (machine.findings, machine.stdout) == ((), None)
    machine.close()


@pytest.mark.parametrize("content, error", [(-1, ValueError), ("text", TypeError), (None, TypeError)])
def test_what_a_buffer_cannot_be_made_of(machine, content, error) -> None:
    with pytest.raises(error):
        machine.buffer(content)
