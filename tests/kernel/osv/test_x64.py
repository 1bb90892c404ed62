# SPDX-License-Identifier: GPL-2.0-or-later
"""The OSv personality on x86-64: how applications are entered, call, and end. They are tst-mprotect with another main()."""

from __future__ import annotations

import io
from collections.abc import Iterator
from importlib.resources import files

import pytest
from elftools.elf.elffile import ELFFile

from fetchsan.kernel.mmu.ports import X64
from fetchsan.kernel.osv import Aborted, OsvKernel, RofsFile
from fetchsan.kernel.task import Exited
from fetchsan.machine.memory import PhysicalMemory
from fetchsan.machine.x64_machine import X64Machine

IMAGE = files("fetchsan.scenarios").joinpath("guests", "tst-mprotect-x64.so").read_bytes()
(MAIN,) = (
    symbol["st_value"]  # its text lies in the file where it is linked
    for symbol in ELFFile(io.BytesIO(IMAGE)).get_section_by_name(".dynsym").get_symbol_by_name("main")
)
RET, UD2, SYSCALL = b"\xc3", b"\x0f\x0b", b"\x0f\x05"
MOV_EAX_EDI, MOV_EAX_EXIT_GROUP, MOV_EAX_999 = b"\x89\xf8", b"\xb8\xe7\0\0\0", b"\xb8\xe7\x03\0\0"
MOV_EDI_7 = b"\xbf\x07\0\0\0"
LOAD_FROM_8 = b"\x48\x8b\x04\x25\x08\0\0\0"  # mov 8, %rax
MOV_EAX_ESP = b"\x89\xe0"


class Machined:
    """One machine, switched on."""

    def __init__(self) -> None:
        self.machine = X64Machine(memory=PhysicalMemory(16 << 20), user=False)
        self.kernel = OsvKernel(self.machine, sync="osv", port=X64)
        self.pe = self.machine.add_pe(self.kernel)
        self.kernel.boot(self.pe)

    def run(self, code: bytes, argv: tuple[str, ...] = ("app",)) -> Exited | Aborted:
        image = IMAGE[:MAIN] + code + IMAGE[MAIN + len(code) :]
        return self.kernel.run_application(self.pe, RofsFile("/app.so", image), argv)


@pytest.fixture
def osv() -> Iterator[Machined]:
    machined = Machined()
    yield machined
    machined.machine.close()


def test_main_may_return(osv: Machined) -> None:
    assert osv.run(MOV_EAX_EDI + RET, argv=("app", "one", "two")) == Exited(3)


def test_the_stack_is_aligned_as_at_every_function(osv: Machined) -> None:
    end = osv.run(MOV_EAX_ESP + RET)
    assert isinstance(end, Exited)
    assert end.code % 16 == 8


def test_exit_group_ends_it(osv: Machined) -> None:
    assert osv.run(MOV_EDI_7 + MOV_EAX_EXIT_GROUP + SYSCALL) == Exited(7)


def test_a_call_that_is_not_there_is_named(osv: Machined) -> None:
    osv.run(MOV_EAX_999 + SYSCALL + MOV_EDI_7 + MOV_EAX_EXIT_GROUP + SYSCALL)
    assert osv.kernel.console == b"syscall(): unimplemented system call #999 (999)\n"


def test_an_undefined_instruction_is_reported_as_osv_does_on_x64(osv: Machined) -> None:
    end = osv.run(UD2)
    assert isinstance(end, Aborted)
    assert end.report.startswith("unexpected exception, vector: 6\n[registers]\nRIP: 0x0000100000001")


def test_a_page_fault_has_its_address_and_the_error_code_of_ring_0(osv: Machined) -> None:
    end = osv.run(LOAD_FROM_8)
    assert isinstance(end, Aborted)
    assert (end.exception.ec, end.exception.esr, end.exception.far) == (14, 0, 8)


def test_every_page_is_freed_with_the_application(osv: Machined) -> None:
    osv.run(RET)
    assert list(osv.kernel.space.vmas.mapped()) == []
