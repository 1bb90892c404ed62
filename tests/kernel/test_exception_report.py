# SPDX-License-Identifier: GPL-2.0-or-later
"""OSv's report of issue #1100's exception."""

from __future__ import annotations

from fetchsan.kernel.errors import GuestFault
from fetchsan.kernel.exception_report import RegisterDump, backtrace, exception_report
from fetchsan.machine.traps import CPUException

STATE = RegisterDump(tuple(range(31)), sp=0x7000, pc=0x1000_0000_1234, pstate=0x6000_0000)
EC0 = CPUException(ec=0, esr=0x0200_0000, far=0x1000_0000_9000, pc=STATE.pc)


def report(symbolise: str = "") -> list[str]:
    return exception_report(4, EC0, STATE, [STATE.pc], lambda address: symbolise).splitlines()


def test_it_opens_as_osv_does() -> None:
    assert report()[:2] == ["unexpected synchronous exception, EC: 0x0000", "[registers]"]


def test_an_unknown_pc_is_shown_as_osv_shows_it() -> None:
    assert report()[2] == "PC: 0x0000100000001234 <???+17592186049076>"


def test_a_known_pc_has_its_symbol() -> None:
    assert report("main+4 (app)")[2] == "PC: 0x0000100000001234 <main+4 (app)>"


def test_registers_stand_three_to_a_line_with_sp_and_esr_on_the_last() -> None:
    lines = report()
    assert lines[3] == "X00: 0x0000000000000000 X01: 0x0000000000000001 X02: 0x0000000000000002"
    assert lines[13] == "X30: 0x000000000000001e SP:  0x0000000000007000 ESR: 0x0000000002000000"
    assert lines[14:16] == ["PSTATE: 0x0000000060000000", "FAR: 0x0000100000009000"]


def test_it_ends_with_the_backtrace() -> None:
    assert report("f+0 (app)")[-2:] == ["[backtrace]", "0x0000100000001234 <f+0 (app)>"]


class Words(dict[int, int]):
    """Guest memory of a few words."""

    def read(self, address: int) -> int:
        if address not in self:
            raise GuestFault(address, "read", 11, 1)
        return self[address]


def frames(memory: dict[int, int], frame: int) -> list[int]:
    return backtrace(0x10, frame, Words(memory).read)


def test_backtrace_follows_frame_records() -> None:
    assert frames({0x100: 0x200, 0x108: 0xA, 0x200: 0, 0x208: 0xB}, 0x100) == [0x10, 0xA, 0xB]


def test_backtrace_ends_at_unmapped_memory() -> None:
    assert frames({}, 0x100) == [0x10]


def test_backtrace_of_a_loop_ends() -> None:
    assert frames({0x100: 0x100, 0x108: 0xA}, 0x100) == [0x10, 0xA]


def test_backtrace_through_a_misaligned_frame_ends() -> None:
    assert frames({0x101: 0x200, 0x109: 0xA}, 0x101) == [0x10]
