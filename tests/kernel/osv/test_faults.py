# SPDX-License-Identifier: GPL-2.0-or-later
"""Page faults of applications: the decision order of OSv's `vm_fault`, syndromes, signals to handlers, OSv's reports."""

from __future__ import annotations

import struct
from collections.abc import Callable

import pytest

from fetchsan.kernel.mmu.vma import MMAP_FIXED
from fetchsan.kernel.osv import Aborted
from fetchsan.kernel.signals import signal_bit

from .caller import Caller

AREA = 0x5000_0000_0000
TABLES = AREA + 0x10_0000  # mapped and populated, so that its neighbours fail at level 3 of the walk
HANDLER = 0x5000_0000_9000
PC = 0x4F00_0000_0000
READ, WRITE, EXEC = 1, 2, 4
SEGV, BUS = 11, 7
ANONYMOUS = 0x22
SA_SIGINFO, SA_ONSTACK, SA_RESTORER = 4, 0x0800_0000, 0x0400_0000
O_RDWR, O_CREAT = 2, 0o100


@pytest.fixture
def area(osv: Caller) -> Caller:
    """A page of each kind from AREA on: none (0), read (1), write (2), read-write (3), and a resident neighbour."""
    for perm in range(4):
        osv.kernel.space.map_anon(AREA + perm * 4096, 4096, MMAP_FIXED, perm)
    osv.kernel.space.map_anon(TABLES, 4096, MMAP_FIXED, READ | WRITE)
    osv.kernel.memory.write(TABLES, b"x")
    osv.pe.set("sp", osv.buffer + (1 << 16))
    osv.pe.set("pc", PC)
    return osv


def fault(osv: Caller, address: int, access: str) -> bool:
    """What the PE's next access does; True: served."""
    if access == "execute":
        osv.pe.set("pc", address)
    return osv.kernel.page_fault(osv.pe, address, access)  # type: ignore[arg-type]


def aborted(osv: Caller) -> Aborted:
    end = osv.kernel.ended
    assert isinstance(end, Aborted)
    return end


def handle(osv: Caller, signal: int, flags: int = SA_SIGINFO, mask: int = 0, restorer: int = 0) -> None:
    action = struct.pack("<QQQQ", HANDLER, flags, restorer, mask)
    assert osv.call("rt_sigaction", signal, osv.put(action), 0, 8) == 0
    osv.pe.set("pc", PC)


def populate(page: int) -> Callable[[Caller], None]:
    def make(osv: Caller) -> None:
        osv.kernel.space.mprotect(page, 4096, READ | WRITE)
        osv.kernel.memory.write(page, b"x")
        osv.kernel.space.mprotect(page, 4096, READ)

    return make


def nothing(osv: Caller) -> None:
    """As it is."""


@pytest.mark.parametrize(
    ("address", "access", "before", "esr"),
    [
        (TABLES + 0x1000, "read", nothing, 0x9600_0007),
        (TABLES + 0x1000, "write", nothing, 0x9600_0047),
        (TABLES + 0x1000, "execute", nothing, 0x8600_0007),
        (AREA + 0x1008, "write", populate(AREA + 0x1000), 0x9600_004F),
        (AREA + 0x1008, "execute", populate(AREA + 0x1000), 0x8600_000F),
        (0x6000_0000_0000, "read", nothing, 0x9600_0004),
        (0x9000_0000_0000, "read", nothing, 0x9600_0004),
    ],
)
def test_the_syndrome_is_that_of_the_same_exception_level(
    area: Caller, address: int, access: str, before: Callable[[Caller], None], esr: int
) -> None:
    before(area)
    assert not fault(area, address, access)
    exception = aborted(area).exception
    assert (exception.esr, exception.ec, exception.far) == (esr, esr >> 26, address)


@pytest.mark.parametrize(
    ("page", "access", "served"),
    [
        (0, "read", False), (0, "write", False), (0, "execute", False),
        (1, "read", True), (1, "write", False), (1, "execute", False),
        (2, "read", False), (2, "write", True),
        (3, "read", True), (3, "write", True), (3, "execute", False),
    ],
)  # fmt: skip
def test_the_rights_of_the_vma_decide(area: Caller, page: int, access: str, served: bool) -> None:
    assert fault(area, AREA + page * 4096, access) is served


def test_a_page_that_may_be_written_can_be_read_once_it_is_resident(area: Caller) -> None:
    assert fault(area, AREA + 0x2000, "write")
    assert area.kernel.space.mincore(AREA + 0x2000, 1) == b"\1"


@pytest.mark.parametrize(("address", "code"), [(AREA - 8, 1), (AREA + 8, 2), (AREA + 0x1008, 2)])
def test_a_handler_gets_signal_code_and_exact_address(area: Caller, address: int, code: int) -> None:
    handle(area, SEGV)
    assert not fault(area, address, "write")
    number, info = area.pe.get_many(("x0", "x1"))
    signo, _errno, si_code, si_addr = struct.unpack("<iii4xQ", area.kernel.memory.read(info, 24))
    assert (area.pe.get("pc"), number, signo, si_code, si_addr) == (HANDLER, SEGV, SEGV, code, address)
    assert not area.kernel.ended


def test_a_page_beyond_the_file_is_sigbus(area: Caller) -> None:
    fd = area.open("/tmp/file", O_RDWR | O_CREAT)
    at = area.call("mmap", 0, 8192, READ | WRITE, 1, fd, 0)
    area.call("ftruncate", fd, 10)
    handle(area, BUS)
    assert fault(area, at + 5, "read")
    assert not fault(area, at + 4096, "read")
    info = area.pe.get("x1")
    assert struct.unpack("<iii4xQ", area.kernel.memory.read(info, 24)) == (BUS, 0, 2, at + 4096)


def test_no_vma_comes_before_beyond_the_file(area: Caller) -> None:
    fd = area.open("/tmp/file", O_RDWR | O_CREAT)
    at = area.call("mmap", 0, 4096, READ, 1, fd, 0)
    area.pe.set("pc", PC)
    assert not fault(area, at, "write")
    assert "Aborted: SIGSEGV" in aborted(area).report


def test_the_interrupted_state_comes_back_when_the_handler_returns(area: Caller) -> None:
    handle(area, SEGV)
    before = {f"x{n}": 1000 + n for n in range(31)} | {"sp": area.buffer + 0x8000, "pc": PC, "v7": 1 << 100, "fpcr": 0}
    for register, value in before.items():
        area.pe.set(register, value)
    fault(area, AREA, "write")
    link = area.pe.get("x30")
    area.pe.set("v7", 0)
    assert not fault(area, link, "execute")
    assert {register: area.pe.get(register) for register in before} == before
    assert area.kernel.thread(area.pe).signal_mask == 0


def test_the_handler_returns_by_its_own_restorer_if_it_has_one(area: Caller) -> None:
    handle(area, SEGV, SA_SIGINFO | SA_RESTORER, restorer=0x1234)
    fault(area, AREA, "write")
    assert area.pe.get("x30") == 0x1234


def test_sigreturn_by_number_does_the_same(area: Caller) -> None:
    handle(area, SEGV)
    area.pe.set("x5", 55)
    fault(area, AREA, "write")
    area.call("rt_sigreturn")
    assert area.pe.get_many(("pc", "x5")) == [PC, 55]


def test_an_alternate_stack_is_used_when_asked_for(area: Caller) -> None:
    area.call("sigaltstack", area.put(struct.pack("<QiIQ", area.buffer, 0, 0, 0x8000)), 0)
    area.pe.set("sp", 0)
    handle(area, SEGV, SA_SIGINFO | SA_ONSTACK)
    area.pe.set("sp", 0)
    fault(area, AREA, "write")
    assert area.buffer < area.pe.get("sp") < area.buffer + 0x8000


def test_the_signal_is_masked_while_its_handler_runs_and_a_second_one_is_fatal(area: Caller) -> None:
    handle(area, SEGV, mask=signal_bit(BUS))
    fault(area, AREA, "write")
    assert area.kernel.thread(area.pe).signal_mask == signal_bit(SEGV) | signal_bit(BUS)
    fault(area, AREA, "write")
    assert "page fault in application" in aborted(area).report


@pytest.mark.parametrize("how", ["default", "ignored", "masked", "no room"])
def test_what_no_handler_takes_is_fatal(area: Caller, how: str) -> None:
    if how != "default":
        handle(area, SEGV)
    if how == "ignored":
        area.call("rt_sigaction", SEGV, area.put(struct.pack("<QQQQ", 1, 0, 0, 0)), 0, 8)
    if how == "masked":
        area.call("rt_sigprocmask", 0, area.put(signal_bit(SEGV).to_bytes(8, "little")), 0, 8)
    if how == "no room":
        area.pe.set("sp", 0x1000)
    area.pe.set("pc", PC)
    fault(area, AREA + 8, "write")
    first, *_, signal, _empty, title, top = aborted(area).report.splitlines()
    assert first == f"page fault in application, addr: 0x{AREA + 8:016x}"
    assert signal == "Aborted: SIGSEGV, Data Abort without a change in Exception level"
    assert (title, top) == ("[backtrace]", f"0x{PC:016x} <???+{PC}>")


def test_a_pc_in_the_kernels_text_is_a_fault_outside_the_application(area: Caller) -> None:
    handle(area, SEGV)
    assert not fault(area, 0x4010_0000, "execute")
    assert aborted(area).report.startswith("page fault outside application, addr: 0x0000000040100000\n[registers]\n")


def test_executing_a_null_pointer_has_its_own_words(area: Caller) -> None:
    handle(area, SEGV)
    assert not fault(area, 0, "execute")
    assert aborted(area).report.startswith("trying to execute null pointer\n")


def test_a_return_without_a_frame_is_fatal(area: Caller) -> None:
    area.pe.set("sp", area.buffer)
    area.call("rt_sigreturn")
    assert aborted(area).report.startswith("return from a signal handler, but no signal frame at SP\n")


@pytest.mark.parametrize("sp", [8, 0x1234, (1 << 64) - 16])
def test_a_return_with_a_wild_stack_pointer_is_fatal(area: Caller, sp: int) -> None:
    area.pe.set("sp", sp)
    area.call("rt_sigreturn")
    assert aborted(area)


@pytest.mark.parametrize("sp", [0, 16, (1 << 64) - 16, 0xFFFF_8000_0000_0000])
def test_a_signal_with_a_wild_stack_pointer_is_fatal(area: Caller, sp: int) -> None:
    handle(area, SEGV)
    area.pe.set("sp", sp)
    fault(area, AREA, "write")
    assert aborted(area)
