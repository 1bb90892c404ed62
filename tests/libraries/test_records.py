# SPDX-License-Identifier: GPL-2.0-or-later
"""Structures by value, of functions that Debian's libraries have."""

from __future__ import annotations

import cmath
import ctypes
from ctypes import CFUNCTYPE, c_char_p, c_double, c_float, c_int, c_long, c_uint32

import pytest

from libraries.conftest import load_or_skip


class Quotient(ctypes.Structure):
    _fields_ = (("quotient", c_int), ("remainder", c_int))


class LongQuotient(ctypes.Structure):
    _fields_ = (("quotient", c_long), ("remainder", c_long))


class Complex(ctypes.Structure):
    _fields_ = (("real", c_double), ("imaginary", c_double))


class ComplexFloat(ctypes.Structure):
    _fields_ = (("parts", c_float * 2),)


class Address(ctypes.Structure):
    _fields_ = (("address", c_uint32),)


@pytest.mark.parametrize("name, number, kind", [("div", c_int, Quotient), ("ldiv", c_long, LongQuotient)])
def test_integers_are_returned(libc, name: str, number: type, kind: type) -> None:
    divide = libc[name]
    divide.argtypes, divide.restype = [number, number], kind
    result = divide(-17, 5)
    assert (result.quotient, result.remainder) == (-3, -2)


def test_floats_are_passed_and_returned(machine) -> None:
    libm = load_or_skip(machine, "libm.so.6", "libc6")
    libm.cexp.argtypes, libm.cexp.restype = [Complex], Complex
    result = libm.cexp(Complex(0.5, 2.0))
    assert complex(result.real, result.imaginary) == pytest.approx(cmath.exp(0.5 + 2j), rel=1e-15)


def test_single_floats_are_passed_and_returned(machine) -> None:
    libm = load_or_skip(machine, "libm.so.6", "libc6")
    libm.conjf.argtypes, libm.conjf.restype = [ComplexFloat], ComplexFloat
    assert list(libm.conjf(ComplexFloat((c_float * 2)(1.5, -2.5))).parts) == [1.5, 2.5]


def test_an_integer_is_passed(libc) -> None:
    text = libc["inet_ntoa"]
    text.argtypes, text.restype = [Address], c_char_p
    assert text(Address(0x0100007F)) == b"127.0.0.1"


def test_what_does_not_fit_into_registers_is_whole_on_the_stack(machine, libc) -> None:
    """The register that is left over is used up on arm64 (its reader sees 0), and the next one's on x86-64."""
    out = machine.buffer(200)
    snprintf = libc["snprintf"]
    registers = 8 if machine.settings.cpu == "cortex-a72" else 6
    numbers = [c_long] * (registers - 4)
    snprintf.argtypes = [ctypes.c_void_p, c_long, c_char_p, *numbers, LongQuotient, c_long]
    form = b"%ld " * (len(numbers) + 3)
    snprintf(out, 200, form, *range(len(numbers)), LongQuotient(70, 80), 90)
    seen = [int(word) for word in out.string().split()][len(numbers) :]
    assert seen == ([0, 70, 80] if registers == 8 else [90, 70, 80])


def test_another_type_is_refused(libc) -> None:
    text = libc["inet_ntoa"]
    text.argtypes = [Address]
    with pytest.raises(TypeError, match="takes a Address, not int"):
        text(1)


def test_a_callback_has_none(machine) -> None:
    with pytest.raises(TypeError, match="a callback cannot have Quotient by value"):
        machine.callback(CFUNCTYPE(c_int, Quotient), print)
