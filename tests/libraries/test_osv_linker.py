# SPDX-License-Identifier: GPL-2.0-or-later
"""Libraries on OSv's linker in the kernel, through the interface that those on the guest's own linker have."""

from __future__ import annotations

from collections.abc import Iterator
from ctypes import CFUNCTYPE, POINTER, byref, c_char_p, c_double, c_int, c_size_t, c_uint32, c_void_p
from pathlib import Path

import pytest

import fetchsan
from fetchsan.libraries import GuestEndedError, LibraryError, MachineEndedError
from libraries.conftest import load_or_skip, machine_of

PLUGIN = Path(__file__).resolve().parents[2] / "guests/linker/hosted/plugin.so"


@pytest.fixture
def osv(monkeypatch: pytest.MonkeyPatch) -> Iterator[fetchsan.Machine]:
    """Its output is captured."""
    monkeypatch.chdir(PLUGIN.parent)
    with fetchsan.Machine(linker="osv", clean_environment=True) as machine:
        machine.load("./plugin.so", capture_stdout=True)
        yield machine


def test_says_who_loaded_it(osv: fetchsan.Machine) -> None:
    assert osv.load("./plugin.so").linker == "osv"


def test_constructors_have_run_and_thread_local_storage_is_there(osv: fetchsan.Machine) -> None:
    assert osv.load("./plugin.so").plugin(20) == 42
    assert osv.stdout == b"plugin constructor\n"


def test_destructors_run_at_the_end(osv: fetchsan.Machine) -> None:
    osv.close()
    assert osv.stdout == b"plugin constructor\nplugin destructor\n"


def test_the_kernels_libc_goes_by_its_usual_names(osv: fetchsan.Machine) -> None:
    libm, libc = osv.load("libm.so.6"), osv.load("libc.so.6")
    libm.sqrt.argtypes, libm.sqrt.restype = [c_double], c_double
    assert (libm.sqrt(2.0), libc.abs(-3)) == (2.0**0.5, 3)


def test_python_is_called_back(osv: fetchsan.Machine) -> None:
    compare = CFUNCTYPE(c_int, POINTER(c_int), POINTER(c_int))
    qsort = osv.load("libc.so.6").qsort
    qsort.argtypes, qsort.restype = [c_void_p, c_size_t, c_size_t, compare], None
    numbers = (c_int * 5)(3, 1, 5, 2, 4)
    qsort(numbers, 5, 4, lambda left, right: left.get(0) - right.get(0))
    assert list(numbers) == [1, 2, 3, 4, 5]


def test_a_library_that_is_nowhere(osv: fetchsan.Machine) -> None:
    with pytest.raises(LibraryError, match=r"nope\.so: .*not found"):
        osv.load("nope.so")


def test_a_death_is_told_with_its_place(osv: fetchsan.Machine) -> None:
    strlen = osv.load("libc.so.6").strlen
    strlen.argtypes = [c_void_p]
    with pytest.raises(GuestEndedError) as death:
        strlen(8)
    assert (death.value.signal, death.value.address) == (11, 8)
    assert death.value.backtrace[0].symbol == "strlen"
    with pytest.raises(MachineEndedError):
        strlen(8)


def test_exit_is_no_return(osv: fetchsan.Machine) -> None:
    with pytest.raises(GuestEndedError) as end:
        osv.load("libc.so.6").exit(3)
    assert end.value.exit == 3


def test_code_that_the_kernel_does_not_synchronise_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(PLUGIN.parent)
    with fetchsan.Machine(linker="osv", kernel_sync="none", clean_environment=True) as machine:
        assert machine.load("./plugin.so").plugin(20) == 42
        assert "missing-dc-clean" in {str(finding.kind) for finding in machine.findings}


@pytest.mark.parametrize("ignored", [None, "all"])
def test_pcre2_compiles_to_code_and_maintains_it(ignored: str | None) -> None:
    with machine_of("arm64", linker="osv", ignore_maintenance=ignored) as machine:
        pcre = load_or_skip(machine, "libpcre2-8.so.0", "libpcre2-8-0")
        pcre.pcre2_compile_8.argtypes = [c_char_p, c_size_t, c_uint32, POINTER(c_int), POINTER(c_size_t), c_void_p]
        pcre.pcre2_compile_8.restype = pcre.pcre2_match_data_create_from_pattern_8.restype = c_void_p
        code = pcre.pcre2_compile_8(b"(\\d+)-(\\d+)", 11, 0, byref(c_int()), byref(c_size_t()), None)
        assert pcre.pcre2_jit_compile_8(code, 1) == 0
        data = pcre.pcre2_match_data_create_from_pattern_8(code, None)
        assert pcre.pcre2_match_8(code, b"tel. 555-1234", 13, 0, 0, data, None) == 3
        assert bool(machine.findings) is (ignored is not None)
