# SPDX-License-Identifier: GPL-2.0-or-later
"""Debian's own libraries, called from Python: right, and silent on caches that forgive nothing."""

from __future__ import annotations

import ctypes
import math
import random
import re
import struct
import zlib
from ctypes import CFUNCTYPE, POINTER, byref, c_char_p, c_double, c_int, c_size_t, c_uint32, c_ulong, c_void_p

import pytest

from libraries.conftest import CPUS, load_or_skip, machine_of

PARTS = ("a", "b", "(a|bc)", "[a-c]+", "(?:ab)*", "c?", ".", "a{1,3}")
TEXT = b"".join(b"%d: the quick brown fox\n" % number for number in range(500))


class Pcre2:
    """A pattern, compiled and translated."""

    def __init__(self, machine, pattern: bytes) -> None:
        self.library = library = load_or_skip(machine, "libpcre2-8.so.0", "libpcre2-8-0")
        library.pcre2_compile_8.argtypes = [
            c_char_p, c_size_t, c_uint32, POINTER(c_int), POINTER(c_size_t), c_void_p,
        ]  # fmt: skip
        library.pcre2_compile_8.restype = c_void_p
        library.pcre2_jit_compile_8.argtypes = [c_void_p, c_uint32]
        library.pcre2_match_data_create_from_pattern_8.restype = c_void_p
        library.pcre2_jit_match_8.argtypes = [c_void_p, c_char_p, c_size_t, c_size_t, c_uint32, c_void_p, c_void_p]
        library.pcre2_get_ovector_pointer_8.restype = POINTER(c_size_t)
        error, offset = c_int(), c_size_t()
        self.code = library.pcre2_compile_8(pattern, len(pattern), 0, byref(error), byref(offset), None)
        self.error, self.offset = error.value, offset.value
        if self.code:
            assert library.pcre2_jit_compile_8(self.code, 1) == 0
            self.data = library.pcre2_match_data_create_from_pattern_8(self.code, None)

    def match(self, subject: bytes) -> list[bytes] | None:
        groups = self.library.pcre2_jit_match_8(self.code, subject, len(subject), 0, 0, self.data, None)
        if groups < 0:
            return None
        ends = self.library.pcre2_get_ovector_pointer_8(self.data)
        return [subject[ends.get(2 * group) : ends.get(2 * group + 1)] for group in range(groups)]


def test_pcre2_matches_with_its_jit(machine) -> None:
    date = Pcre2(machine, rb"(\d{4})-(\d\d)")
    assert date.match(b"on 2024-05-17") == [b"2024-05", b"2024", b"05"]
    assert date.match(b"never") is None
    assert machine.findings == ()


def test_pcre2_tells_a_wrong_pattern_through_byref(machine) -> None:
    wrong = Pcre2(machine, rb"a(b")
    assert not wrong.code
    assert (wrong.error, wrong.offset) == (114, 3)


def test_pcre2_without_its_maintenance_is_found() -> None:
    with machine_of("arm64", ignore_maintenance="all") as machine:
        pattern = Pcre2(machine, rb"(a+)b")
        for _ in range(3):
            assert pattern.match(b"xaab") == [b"aab", b"aa"]
            Pcre2(machine, rb"(c|d)+e").match(b"cde")
        kinds = {str(finding.kind) for finding in pattern.library.findings}
    assert kinds, "code was generated and never synchronised"


@pytest.mark.parametrize("mode", ["check", "stale"])
@pytest.mark.parametrize("architecture", CPUS)
def test_pcre2_agrees_with_pythons_re(architecture: str, mode: str) -> None:
    """A hundred patterns, each translated anew into memory that others were in."""
    choose = random.Random(7).choice
    wrong = []
    with machine_of(architecture, mode=mode) as machine:
        for number in range(100):
            source = "".join(choose(PARTS) for _ in range(number % 7 + 1))
            pattern = Pcre2(machine, source.encode())
            for length in (3, 10, 30):
                subject = "".join(choose("abcd") for _ in range(length)).encode()
                expected = re.search(source.encode(), subject)
                matched = pattern.match(subject)
                if (matched and matched[0]) != (expected and expected[0]):
                    wrong.append((source, subject))
        assert machine.findings == ()
    assert wrong == []


def test_zlib_agrees_with_pythons(machine) -> None:
    library = load_or_skip(machine, "libz.so.1", "zlib1g")
    library.compress.argtypes = [c_void_p, POINTER(c_ulong), c_char_p, c_ulong]
    library.uncompress.argtypes = library.compress.argtypes
    size = c_ulong(len(TEXT) + 100)
    packed = machine.buffer(size.value)
    assert library.compress(packed, byref(size), TEXT, len(TEXT)) == 0
    assert zlib.decompress(packed[: size.value]) == TEXT
    data = zlib.compress(TEXT, 9)
    size = c_ulong(len(TEXT))
    unpacked = bytearray(len(TEXT))
    assert library.uncompress(unpacked, byref(size), data, len(data)) == 0
    assert unpacked == TEXT


class ZStream(ctypes.Structure):
    _fields_ = (
        ("next_in", c_void_p), ("avail_in", ctypes.c_uint), ("total_in", c_ulong),
        ("next_out", c_void_p), ("avail_out", ctypes.c_uint), ("total_out", c_ulong),
        ("message", c_void_p), ("state", c_void_p), ("zalloc", c_void_p), ("zfree", c_void_p), ("opaque", c_void_p),
        ("data_type", c_int), ("adler", c_ulong), ("reserved", c_ulong),
    )  # fmt: skip


def test_a_structure_that_a_library_keeps_lives_in_a_buffer(machine) -> None:
    library = load_or_skip(machine, "libz.so.1", "zlib1g")
    library.inflateInit_.argtypes = [POINTER(ZStream), c_char_p, c_int]
    library.inflate.argtypes = [POINTER(ZStream), c_int]
    library.zlibVersion.restype = c_char_p
    data = zlib.compress(TEXT)
    source, result = machine.buffer(data), machine.buffer(len(TEXT))
    stream = machine.buffer(
        ZStream(next_in=source.address, avail_in=len(data), next_out=result.address, avail_out=len(TEXT))
    )
    version = library.zlibVersion()
    assert library.inflateInit_(stream, version, ctypes.sizeof(ZStream)) == 0
    assert library.inflate(stream, 4) == 1
    assert stream.pointer(ZStream).get().total_out == len(TEXT)
    assert bytes(result) == TEXT


def lua_state(machine):
    library = load_or_skip(machine, "libluajit-5.1.so.2", "libluajit-5.1-2")
    library.luaL_newstate.restype = c_void_p
    library.luaL_openlibs.argtypes = [c_void_p]
    library.luaL_openlibs.restype = None
    library.luaL_loadstring.argtypes = [c_void_p, c_char_p]
    library.lua_pcall.argtypes = [c_void_p, c_int, c_int, c_int]
    library.lua_tonumber.argtypes = [c_void_p, c_int]
    library.lua_tonumber.restype = c_double
    library.lua_tolstring.argtypes = [c_void_p, c_int, c_void_p]
    library.lua_tolstring.restype = c_char_p
    library.lua_pushcclosure.argtypes = [c_void_p, CFUNCTYPE(c_int, c_void_p), c_int]
    library.lua_pushcclosure.restype = None
    library.lua_setfield.argtypes = [c_void_p, c_int, c_char_p]
    library.lua_setfield.restype = None
    library.lua_pushnumber.argtypes = [c_void_p, c_double]
    library.lua_pushnumber.restype = None
    state = library.luaL_newstate()
    library.luaL_openlibs(state)
    return library, state


def lua_run(library, state, script: bytes) -> bytes:
    assert library.luaL_loadstring(state, script) == 0, library.lua_tolstring(state, -1, None)
    status = library.lua_pcall(state, 0, 1, 0)
    result = library.lua_tolstring(state, -1, None)
    assert status == 0, result
    return result


def test_luajit_runs_a_script_with_its_jit_on(machine) -> None:
    library, state = lua_state(machine)
    script = b"local s = 0 for i = 1, 20000 do s = s + i % 7 end return (jit.status() and 'on ' or 'off ') .. s"
    assert lua_run(library, state, script) == b"on %d" % sum(i % 7 for i in range(1, 20001))
    assert machine.findings == ()


def test_luajit_calls_python_which_calls_luajit(machine) -> None:
    library, state = lua_state(machine)

    @machine.callback(CFUNCTYPE(c_int, c_void_p))
    def squared(lua: int) -> int:
        library.lua_pushnumber(lua, library.lua_tonumber(lua, 1) ** 2)
        return 1

    library.lua_pushcclosure(state, squared, 0)
    library.lua_setfield(state, -10002, b"squared")
    assert lua_run(library, state, b"local s = 0 for i = 1, 100 do s = s + squared(i) end return s") == b"338350"


def test_libffi_closures_call_python(machine) -> None:
    library = load_or_skip(machine, "libffi.so.8", "libffi8")
    handler = CFUNCTYPE(None, c_void_p, POINTER(c_int), POINTER(c_void_p), c_void_p)
    library.ffi_closure_alloc.argtypes = [c_size_t, POINTER(c_void_p)]
    library.ffi_closure_alloc.restype = c_void_p
    library.ffi_prep_cif.argtypes = [c_void_p, c_int, ctypes.c_uint, c_void_p, c_void_p]
    library.ffi_prep_closure_loc.argtypes = [c_void_p, c_void_p, handler, c_void_p, c_void_p]
    integer = library.variable("ffi_type_sint32", c_int)
    types = machine.buffer(struct.pack("<QQ", integer, integer))
    cif = machine.buffer(64)
    default_abi = 1 if machine.settings.cpu == "cortex-a72" else 2
    assert library.ffi_prep_cif(cif, default_abi, 2, integer, types) == 0

    @machine.callback(handler)
    def multiply(_cif, result, arguments, data) -> None:
        left, right = (machine.pointer(arguments.get(n) or 0, c_int).get() for n in range(2))
        result.put(left * right + data)

    code = c_void_p()
    closure = library.ffi_closure_alloc(128, byref(code))
    assert library.ffi_prep_closure_loc(closure, cif, multiply, 1000, code.value) == 0
    generated = machine.function(code.value, CFUNCTYPE(c_int, c_int, c_int))
    assert generated(6, -7) == 958
    assert machine.findings == ()


def test_sqlite3_gives_rows_to_a_callback(machine) -> None:
    library = load_or_skip(machine, "libsqlite3.so.0", "libsqlite3-0")
    row = CFUNCTYPE(c_int, c_void_p, c_int, POINTER(c_char_p), POINTER(c_char_p))
    library.sqlite3_open.argtypes = [c_char_p, POINTER(c_void_p)]
    library.sqlite3_exec.argtypes = [c_void_p, c_char_p, row, c_void_p, POINTER(c_void_p)]
    database = c_void_p()
    assert library.sqlite3_open(b":memory:", byref(database)) == 0
    rows = []

    def take(_data, columns, values, names) -> int:
        rows.append([machine.pointer(values.get(column)).string() for column in range(columns)])
        return 0

    script = b"create table t(a, b); insert into t values (1, 'one'), (2, 'two'); select a * 10, upper(b) from t;"
    message = c_void_p()
    assert library.sqlite3_exec(database, script, take, None, byref(message)) == 0
    assert rows == [[b"10", b"ONE"], [b"20", b"TWO"]]
    assert library.sqlite3_exec(database, b"selec", None, None, byref(message)) == 1
    assert b"syntax error" in machine.pointer(message.value).string()


@pytest.mark.parametrize("value", [0.0, 0.5, 1.0, -2.25, 1e-300, 123456.789])
def test_libm_is_right(machine, value: float) -> None:
    library = load_or_skip(machine, "libm.so.6", "libc6")
    library.sin.argtypes = library.floor.argtypes = [c_double]
    library.sin.restype = library.floor.restype = c_double
    library.pow.argtypes = [c_double, c_double]
    library.pow.restype = c_double
    assert struct.pack("<d", library.sin(value)) == struct.pack("<d", math.sin(value))
    assert struct.pack("<d", library.pow(abs(value), 1.5)) == struct.pack("<d", math.pow(abs(value), 1.5))
    assert library.floor(value) == math.floor(value)
