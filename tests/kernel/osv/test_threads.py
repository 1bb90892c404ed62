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
from fetchsan.kernel.osv import Aborted, OsvKernel, RofsFile
from fetchsan.kernel.task import Exited
from fetchsan.machine.machine import Machine
from fetchsan.machine.memory import PhysicalMemory

IMAGE = files("fetchsan.scenarios").joinpath("guests", "tst-two-cpus.so").read_bytes()
THREAD = "call_service"
RET, UDF, MOV_X0_7 = 0xD65F03C0, 0, 0xD28000E0


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

    def __init__(self) -> None:
        self.machine = Machine(get_cpu("cortex-a72"), memory=PhysicalMemory(16 << 20), mode="coherent", pes=2, user=False)
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
