# SPDX-License-Identifier: GPL-2.0-or-later
"""A guest that dies, leaves, hangs or is hostile: an exception that tells, and no call afterwards."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from ctypes import CFUNCTYPE, c_char_p, c_int, c_long, c_size_t, c_void_p

import pytest

import fetchsan
from fetchsan.errors import FetchSanError
from fetchsan.libraries import GuestEndedError, LibraryError, MachineEndedError
from libraries.conftest import CPUS, machine_of

FORTY_TWO, FORTY_THREE, RET, NOP = 0x5280_0540, 0x5280_0560, 0xD65F_03C0, 0xD503_201F  # mov w0, #42 ...
ENDLESS = {"arm64": 0x1400_0000, "amd64": 0xFEEB}  # b . and jmp .


def code(machine, *words: int):
    """Instructions in executable memory of the guest, which nobody synchronises, as a function."""
    libc = machine.load("libc.so.6")
    libc.mmap.argtypes = [c_void_p, c_size_t, c_int, c_int, c_int, c_long]
    libc.mmap.restype = c_void_p
    place = libc.mmap(None, 4096, 7, 0x22, -1, 0)
    place.write(b"".join(word.to_bytes(4, "little") for word in words))
    return machine.function(place, CFUNCTYPE(c_int))


@pytest.mark.parametrize("architecture", CPUS)
def test_a_fault_is_an_exception_with_address_and_backtrace(architecture: str, capfd) -> None:
    with machine_of(architecture) as machine:
        libc = machine.load("libc.so.6")
        with pytest.raises(GuestEndedError, match=r"SIGSEGV at 0x10\b") as raised:
            libc["strlen"](0x10)
        error = raised.value
        assert (error.signal, error.address, error.exit) == (signal.SIGSEGV, 0x10, None)
        assert "strlen" in str(error.backtrace[0].symbol) or "libc" in str(error.backtrace[0].object)
        assert "libc.so.6" in str(error)
        with pytest.raises(MachineEndedError, match="SIGSEGV"):
            libc["strlen"](b"x")
    assert capfd.readouterr().err == ""


def test_an_undefined_instruction_is_the_bug_of_ec_0(arm64) -> None:
    undefined = code(arm64, 0)
    with pytest.raises(GuestEndedError, match="SIGILL") as raised:
        undefined()
    assert raised.value.cause == {"esr": 0x0200_0000}
    assert "EC: 0x0000" in raised.value.report


def test_code_that_python_wrote_and_nobody_synchronised_is_found(arm64) -> None:
    function = code(arm64, FORTY_TWO, RET)
    assert function() == 42
    arm64.pointer(function.address).write(FORTY_THREE.to_bytes(4, "little"))
    assert function() == 43
    found = arm64.findings
    assert {str(finding.kind) for finding in found} == {"missing-dc-clean"}
    assert "Python" in {finding.writer.agent for finding in found if finding.writer is not None}


@pytest.mark.parametrize("last, kinds", [(0xD503_3FDF, set()), (NOP, {"missing-isb"})], ids=["isb", "no-isb"])
def test_a_call_is_no_context_synchronisation(arm64, last: int, kinds: set[str]) -> None:
    """A function that Python wrote is synchronised by another one, which has its ISB or has not."""
    # dc cvau, x0; dsb ish; ic ivau, x0; dsb ish; the last; ret
    synchronise = code(arm64, 0xD50B_7B20, 0xD503_3B9F, 0xD50B_7520, 0xD503_3B9F, last, RET)
    function = code(arm64, FORTY_TWO, RET)
    synchronise.argtypes = [c_void_p]
    synchronise.restype = None
    synchronise(function.address)
    assert function() == 42
    assert {str(each.kind) for each in arm64.findings if each.executed.address == function.address} == kinds


def test_abort_is_a_signal_without_an_exception(arm64) -> None:
    with pytest.raises(GuestEndedError, match="SIGABRT") as raised:
        arm64.load("libc.so.6")["abort"]()
    assert (raised.value.signal, raised.value.address) == (signal.SIGABRT, None)


def test_exit_is_an_exception_with_the_status(arm64) -> None:
    libc = arm64.load("libc.so.6")
    with pytest.raises(GuestEndedError, match=r"exit\(7\)") as raised:
        libc["exit"](7)
    assert raised.value.exit == 7
    with pytest.raises(MachineEndedError, match=r"exit\(7\)"):
        arm64.buffer(1)


@pytest.mark.parametrize("architecture", CPUS)
def test_a_call_can_have_a_time_limit(architecture: str) -> None:
    with machine_of(architecture) as machine:
        libc = machine.load("libc.so.6")
        endless = code(machine, ENDLESS[architecture])
        machine.time_limit = 0.2
        assert libc["toupper"](97) == 65
        with pytest.raises(GuestEndedError, match=r"time limit of 0\.2 s"):
            endless()
        with pytest.raises(MachineEndedError, match="time limit"):
            libc["toupper"](97)


def test_a_time_limit_must_be_positive(arm64) -> None:
    arm64.load("libc.so.6")
    with pytest.raises(ValueError, match="time limit"):
        arm64.time_limit = 0


def test_ctrl_c_interrupts_a_call(arm64) -> None:
    endless = code(arm64, ENDLESS["arm64"])
    threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()
    with pytest.raises(KeyboardInterrupt):
        endless()
    with pytest.raises(MachineEndedError, match="interrupted"):
        endless()


def test_halt_on_error_ends_at_the_first_finding() -> None:
    with machine_of("arm64", halt_on_error=True) as machine:
        function = code(machine, FORTY_TWO, RET)
        with pytest.raises(GuestEndedError, match="first finding"):
            function()
        assert len(machine.findings) == 1


def test_the_private_call_is_no_door_for_anybody_else(arm64, capfd) -> None:
    # movz x8, #0xf5c, lsl #16; svc #0; ret
    assert code(arm64, 0xD2A1_EB88, 0xD400_0001, RET)() == -38
    assert "unsupported system call #257687552" in capfd.readouterr().err


def test_closing_flushes_what_the_guest_printed() -> None:
    machine = machine_of("arm64")
    libc = machine.load("libc.so.6", capture_stdout=True)
    libc["puts"](b"at the end")
    machine.close()
    assert machine.stdout == b"at the end\n"
    with pytest.raises(MachineEndedError, match="closed"):
        libc["puts"](b"later")
    machine.close()


def test_findings_stay_after_closing() -> None:
    machine = machine_of("arm64")
    machine.load("libc.so.6")
    machine.close()
    assert machine.findings == ()


def test_threads_of_python_take_turns(arm64) -> None:
    libc = arm64.load("libc.so.6")
    strlen = libc["strlen"]
    strlen.argtypes = [c_char_p]
    wrong = []

    def work(size: int) -> None:
        wrong.extend(1 for _ in range(200) if strlen(b"x" * size) != size)

    threads = [threading.Thread(target=work, args=(size,)) for size in (10, 1000, 100_000)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_a_missing_library_is_named(arm64) -> None:
    with pytest.raises(LibraryError, match=r"libnothing\.so\.9: .*No such file"):
        arm64.load("libnothing.so.9")


def test_a_missing_symbol_is_an_attribute_error(arm64) -> None:
    libc = arm64.load("libc.so.6")
    with pytest.raises(AttributeError, match=r"libc\.so\.6 has no symbol no_such_function"):
        libc.no_such_function  # noqa: B018
    assert not hasattr(libc, "nothing_of_the_kind")


def test_a_sysroot_without_a_linker_is_told(tmp_path) -> None:
    (tmp_path / "root").mkdir()
    with pytest.raises(FetchSanError, match="ld-linux-aarch64"):
        fetchsan.Machine(sysroot=tmp_path / "root").load("libm.so.6")


def test_a_machine_that_is_forgotten_goes_in_peace() -> None:
    machine_of("arm64")
    script = "import fetchsan; m = fetchsan.Machine(); m.load('libc.so.6')['puts'](b'kept')"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "kept\n", "")


def test_importing_fetchsan_loads_nothing() -> None:
    script = "import sys, fetchsan; print([name for name in sys.modules if name.startswith('fetchsan.')])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
