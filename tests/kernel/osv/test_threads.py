# SPDX-License-Identifier: GPL-2.0-or-later
"""An application on two PEs, which run in turn: the threads are two functions of tst-two-cpus, with other code in them."""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator
from importlib.resources import files

import pytest
from elftools.elf.elffile import ELFFile

from fetchsan.arch.aarch64.cpus import get_cpu
from fetchsan.arch.aarch64.system_instructions import WFI
from fetchsan.errors import NotExecutableError
from fetchsan.kernel.mmu.vma import MMAP_POPULATE, PERM_READ, PERM_WRITE
from fetchsan.kernel.osv import Aborted, OsvKernel, RofsFile
from fetchsan.kernel.task import Exited
from fetchsan.machine.machine import Machine, Mode
from fetchsan.machine.memory import PhysicalMemory

IMAGE = files("fetchsan.scenarios").joinpath("guests", "tst-two-cpus.so").read_bytes()
THREAD = "call_service"
RET, UDF, MOV_X0_7 = 0xD65F03C0, 0, 0xD28000E0
STR_X1_X0, LDR_X2_X0 = 0xF900_0001, 0xF940_0002


def with_code(**functions: tuple[int, ...]) -> bytes:
    """The object with other words at the beginning of some functions; its text lies in the file where it is linked."""
    image = bytearray(IMAGE)
    symbols = ELFFile(io.BytesIO(IMAGE)).get_section_by_name(".dynsym")
    for name, words in functions.items():
        (symbol,) = symbols.get_symbol_by_name(name)
        struct.pack_into(f"<{len(words)}I", image, symbol["st_value"], *words)
    return bytes(image)


class TwoPes:
    """One machine, switched on."""

    def __init__(self, mode: Mode = "coherent") -> None:
        self.machine = Machine(get_cpu("cortex-a72"), memory=PhysicalMemory(16 << 20), mode=mode, pes=2, user=False)
        self.kernel = OsvKernel(self.machine, sync="osv")
        self.first, self.second = (self.machine.add_pe(self.kernel) for _ in range(2))
        for pe in (self.first, self.second):
            self.kernel.boot(pe)

    def start(self, main: tuple[int, ...], thread: tuple[int, ...]) -> None:
        image = with_code(main=main, **{THREAD: thread})
        self.kernel.start_application(self.first, RofsFile("/app.so", image), ["app"])
        self.kernel.start_thread(self.second, THREAD)


@pytest.fixture
def osv() -> Iterator[TwoPes]:
    machine = TwoPes()
    yield machine
    machine.machine.close()


def test_a_thread_that_returns_leaves_the_application_running(osv: TwoPes) -> None:
    osv.start(main=(MOV_X0_7, RET), thread=(RET,))
    osv.second.run()
    assert not osv.kernel.ended
    osv.first.run()
    assert osv.kernel.finish_application() == Exited(7)


def test_a_thread_that_fails_halts_the_machine(osv: TwoPes) -> None:
    osv.start(main=(MOV_X0_7, RET), thread=(UDF,))
    osv.second.run()
    end = osv.kernel.finish_application()
    assert isinstance(end, Aborted)
    assert end.exception.esr == 0x0200_0000


def test_every_stack_is_freed_with_the_application(osv: TwoPes) -> None:
    osv.start(main=(RET,), thread=(RET,))
    osv.first.run()
    osv.kernel.finish_application()
    assert list(osv.kernel.space.vmas.mapped()) == []


def test_a_thread_begins_at_an_exported_function(osv: TwoPes) -> None:
    osv.kernel.start_application(osv.first, RofsFile("/app.so", IMAGE), ["app"])
    with pytest.raises(NotExecutableError, match=r"exports no service\(\)"):
        osv.kernel.start_thread(osv.second, "service")


def test_a_pe_that_waits_gives_up_its_turn_and_goes_on_behind_the_wfi(osv: TwoPes) -> None:
    osv.start(main=(RET,), thread=(WFI, WFI, UDF))
    start = osv.second.get("pc")
    osv.second.run(until_wait=True)
    assert osv.second.get("pc") == start + 4
    osv.second.run(until_wait=True)
    assert osv.second.get("pc") == start + 8


def test_without_turns_a_wfi_does_nothing(osv: TwoPes) -> None:
    osv.start(main=(WFI, WFI, MOV_X0_7, RET), thread=(RET,))
    osv.first.run()
    assert osv.kernel.finish_application() == Exited(7)


@pytest.mark.parametrize("mode", ["check", "stale", "coherent"])
@pytest.mark.parametrize(("access", "perm"), [(STR_X1_X0, PERM_READ), (LDR_X2_X0, 0)], ids=["store", "load"])
def test_a_right_that_is_taken_away_is_gone_on_every_pe_at_once(mode: Mode, access: int, perm: int) -> None:
    osv = TwoPes(mode)
    page = osv.kernel.space.map_anon(0, 4096, MMAP_POPULATE, PERM_READ | PERM_WRITE)
    osv.start(main=(RET,), thread=(access, WFI, access, WFI))
    osv.second.set("x0", page)
    start = osv.second.get("pc")
    osv.second.run(until_wait=True)
    assert osv.second.get("pc") == start + 8, "the right is there, and in its TLB"
    osv.kernel.space.pe = osv.first.index
    osv.kernel.space.mprotect(page, 4096, perm)
    osv.second.run(until_wait=True)
    end = osv.kernel.finish_application()
    assert isinstance(end, Aborted)
    assert (end.exception.pc, end.exception.far) == (start + 8, page)
    osv.machine.close()
