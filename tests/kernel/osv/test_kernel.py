# SPDX-License-Identifier: GPL-2.0-or-later
"""The OSv personality: an application's life at EL1, and how it may end. The applications are tst-hello with another main()."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from importlib.resources import files

import pytest

from fetchsan.arch.aarch64.cpus import get_cpu
from fetchsan.errors import NotExecutableError
from fetchsan.kernel.osv import Aborted, OsvKernel, RofsFile
from fetchsan.kernel.task import Exited
from fetchsan.machine.machine import Machine
from fetchsan.machine.memory import PhysicalMemory

IMAGE = files("fetchsan.scenarios").joinpath("guests", "tst-hello.so").read_bytes()
MAIN = 0x1000
BASE = 0x1000_0000_0000
RET, SVC, UDF = 0xD65F03C0, 0xD4000001, 0
MOV_X0_7 = 0xD28000E0
MOV_X8_EXIT_GROUP, MOV_X8_WRITE, MOV_X8_999 = 0xD2800BC8, 0xD2800808, 0xD2807CE8
MOV_X0_1, MOV_X2_3 = 0xD2800020, 0xD2800062
LDR_X1_X1 = 0xF9400021  # ldr x1, [x1]
LDR_X3_XZR = 0xF9400063  # ldr x3, [x3], with x3 = 0
MOV_X1_0 = 0xD2800001


class Machined:
    """One machine, switched on."""

    def __init__(self, sync: str = "osv", mode: str = "stale") -> None:
        self.machine = Machine(get_cpu("cortex-a72"), memory=PhysicalMemory(16 << 20), mode=mode, user=False)  # type: ignore[arg-type]
        self.kernel = OsvKernel(self.machine, sync=sync)  # type: ignore[arg-type]
        self.pe = self.machine.add_pe(self.kernel)
        self.kernel.boot(self.pe)

    def run(self, *words: int, argv: tuple[str, ...] = ("app",)) -> Exited | Aborted:
        code = struct.pack(f"<{len(words)}I", *words)
        return self.kernel.run_application(self.pe, RofsFile("/app.so", IMAGE[:MAIN] + code + IMAGE[MAIN + len(code) :]), argv)


@pytest.fixture
def osv() -> Iterator[Machined]:
    machined = Machined()
    yield machined
    machined.machine.close()


def aborted(end: Exited | Aborted) -> Aborted:
    assert isinstance(end, Aborted)
    return end


def test_exit_group_ends_it(osv: Machined) -> None:
    assert osv.run(MOV_X0_7, MOV_X8_EXIT_GROUP, SVC) == Exited(7)


def test_main_may_return(osv: Machined) -> None:
    assert osv.run(MOV_X0_7, RET) == Exited(7)


def test_main_gets_argc(osv: Machined) -> None:
    assert osv.run(RET, argv=("app", "one", "two")) == Exited(3)


def test_main_gets_argv_and_write_reaches_the_console(osv: Machined) -> None:
    osv.run(LDR_X1_X1, MOV_X0_1, MOV_X2_3, MOV_X8_WRITE, SVC, MOV_X8_EXIT_GROUP, SVC)
    assert bytes(osv.kernel.console) == b"app"


def test_write_of_a_bad_pointer_is_efault(osv: Machined) -> None:
    assert osv.run(MOV_X1_0, MOV_X0_1, MOV_X2_3, MOV_X8_WRITE, SVC, MOV_X8_EXIT_GROUP, SVC) == Exited(-14 & 0xFF)


def test_write_to_another_descriptor_is_ebadf(osv: Machined) -> None:
    assert osv.run(MOV_X0_7, MOV_X2_3, MOV_X8_WRITE, SVC, MOV_X8_EXIT_GROUP, SVC) == Exited(-9 & 0xFF)


def test_an_unknown_system_call_is_enosys(osv: Machined) -> None:
    assert osv.run(MOV_X8_999, SVC, MOV_X8_EXIT_GROUP, SVC) == Exited(-38 & 0xFF)


def test_an_application_that_exits_gives_every_frame_back(osv: Machined) -> None:
    before = osv.machine.memory.frames_in_use
    osv.run(RET)
    assert osv.machine.memory.frames_in_use == before


def test_the_next_application_is_loaded_behind_the_last(osv: Machined) -> None:
    osv.run(RET)
    assert aborted(osv.run(UDF)).exception.pc == BASE + 0x8000 + MAIN


def test_an_undefined_instruction_is_fatal_with_ec_0(osv: Machined) -> None:
    exception = aborted(osv.run(UDF)).exception
    assert (exception.ec, exception.esr, exception.pc) == (0, 0x0200_0000, BASE + MAIN)


def test_far_is_that_of_the_last_page_fault_when_an_exception_does_not_write_it(osv: Machined) -> None:
    # x1 = argv[0] lies in the stack, which is resident; then a constant of the object, at 0x6000, is read for the first time.
    adrp_x1_5_pages, ldr_x1 = 0xB0000021, 0xF9400021
    assert aborted(osv.run(adrp_x1_5_pages, ldr_x1, UDF)).exception.far == BASE + 0x6000


def test_the_report_names_main(osv: Machined) -> None:
    osv.kernel.symbolise = lambda address: f"main+{address - BASE - MAIN}"
    assert "PC: 0x0000100000001000 <main+0>" in aborted(osv.run(UDF)).report


def test_the_backtrace_ends_in_the_kernel(osv: Machined) -> None:
    stp, mov = 0xA9BF7BFD, 0x910003FD  # stp x29, x30, [sp, #-16]!; mov x29, sp
    assert aborted(osv.run(stp, mov, UDF)).report.endswith("<run_main+0x0 (kernel)>\n")


def test_a_null_pointer_is_a_data_abort_from_the_same_level(osv: Machined) -> None:
    exception = aborted(osv.run(LDR_X3_XZR)).exception
    assert (exception.ec, exception.far) == (0x25, 0)


def test_a_jump_to_null_is_an_instruction_abort(osv: Machined) -> None:
    br_x3 = 0xD61F0060
    assert aborted(osv.run(br_x3)).exception.ec == 0x21


def test_an_object_without_main_is_refused(osv: Machined) -> None:
    with pytest.raises(NotExecutableError, match=r"exports no main\(\)"):
        osv.kernel.run_application(osv.pe, RofsFile("/x.so", IMAGE.replace(b"\0main\0", b"\0niam\0")), ["x"])


def test_text_arrived_is_told_of_each_page_once(osv: Machined) -> None:
    pages: list[int] = []
    osv.kernel.text_arrived = lambda physical, virtual: pages.append(virtual)
    osv.run(RET)
    assert pages == [BASE + MAIN]


def test_before_the_patch_the_first_fetch_sees_power_on_zeros() -> None:
    machined = Machined(sync="none")
    assert aborted(machined.run(RET)).exception.esr == 0x0200_0000
    machined.machine.close()


def test_a_rofs_file_refuses_writes() -> None:
    with pytest.raises(Exception, match="EROFS"):
        RofsFile("/x", b"").write_at(0, b"x")
