# SPDX-License-Identifier: GPL-2.0-or-later
"""The reference machine runs programs rightly: in `check` like any machine, in `stale` as the model's F says."""

from __future__ import annotations

import pytest

from assembler import assemble
from litmus.parse import Litmus, own_tests
from reference.guest import PAGE, RAM_BASE, REGISTERS, EndlessGuestError, Guest, Mapping, Mode, Outcome, Start
from reference.machine import run_reference

CODE = 0x10000
CODE_FRAME = RAM_BASE
DATA = 0x80000
DATA_FRAME = RAM_BASE + PAGE


def bare(source: str, *others: str, cpu: str = "cortex-a72", **registers: int) -> Guest:
    """One RWX page of code per program, the first at CODE, and a page of data; all registers the same."""
    images, mappings, starts = [], [Mapping(DATA, DATA_FRAME, "rw")], []
    for index, text in enumerate((source, *others)):
        at, frame = CODE + 0x10 * PAGE * index, CODE_FRAME + 2 * PAGE * index
        images.append((frame, assemble(text, at)[0]))
        mappings.append(Mapping(at, frame, "rwx"))
        starts.append(Start(at, tuple(registers.items())))
    return Guest(tuple(images), tuple(mappings), tuple(starts), cpu)


def register(outcome: Outcome, name: str, pe: int = 0) -> int:
    """A register at the end."""
    return outcome.registers[pe][REGISTERS.index(name)]


PATCH = """
    ADR_x1_is_given: NOP
    STR W2, [X1]
    {maintenance}
    target: MOV W0, #1
    SVC #0
"""
SYNCHRONISE = "DC CVAU, X1\nDSB ISH\nIC IVAU, X1\nDSB ISH\nISB"
MOV2 = 0x52800040


def patch(maintenance: str, mode: Mode, cpu: str = "cortex-a72") -> Outcome:
    """Straight-line self-modification: MOV W0, #1 becomes MOV W0, #2."""
    source = PATCH.format(maintenance=maintenance)
    _, labels = assemble(source, CODE)
    return run_reference(bare(source, cpu=cpu, x1=labels["target"], x2=MOV2), mode)


def test_arithmetic_loads_stores_and_branches() -> None:
    source = """
        MOV X0, #0
        MOV X3, #10
        loop: ADD X0, X0, #7
        STR X0, [X1]
        LDR X4, [X1]
        SUBS X3, X3, #1
        B.NE loop
        SVC #0
    """
    outcome = run_reference(bare(source, x1=DATA + 8), "check")
    assert (register(outcome, "x0"), register(outcome, "x4")) == (70, 70)
    assert outcome.ram[PAGE + 8] == 70
    assert outcome.found == ()


def test_check_reports_and_executes_the_new_word() -> None:
    outcome = patch("NOP", "check")
    assert register(outcome, "x0") == 2
    (found,) = outcome.found
    assert (found.kind, found.pc, found.stale, found.current) == ("missing-dc-clean", CODE + 12, 0x52800020, MOV2)
    assert found.writer_pc == CODE + 4


def test_stale_executes_the_old_word() -> None:
    outcome = patch("NOP", "stale")
    assert register(outcome, "x0") == 1
    assert outcome.found == ()


@pytest.mark.parametrize("mode", ["check", "stale"])
def test_a_synchronised_patch_is_fresh_in_both(mode: Mode) -> None:
    outcome = patch(SYNCHRONISE, mode)
    assert (register(outcome, "x0"), outcome.found) == (2, ())


@pytest.mark.parametrize(("cpu", "kind"), [("cortex-a72", "missing-dc-clean"), ("neoverse-v1", "missing-dsb-after-clean")])
def test_the_profile_decides(cpu: str, kind: str) -> None:
    assert [found.kind for found in patch("ISB", "check", cpu).found] == [kind]


@pytest.mark.parametrize(
    ("store", "slots"),
    [
        ("STRB W2, [X1]", 1),
        ("STRH W2, [X1]", 1),
        ("STR W2, [X1]", 1),
        ("STR X2, [X1]", 2),
        ("STP X2, X2, [X1]", 4),
        ("DC ZVA, X1", 16),
    ],
)
def test_each_changed_slot_is_told(store: str, slots: int) -> None:
    data = CODE + 0x100
    executed = "\n".join("NOP" for _ in range(16))
    source = f"{store}\nBR X3\n{executed}\nSVC #0"
    code, _ = assemble(source, CODE)
    code = code.ljust(0x100, b"\0") + 0x5280_0065.to_bytes(4, "little") * 16 + 0xD400_0001.to_bytes(4, "little")
    guest = Guest(
        ((CODE_FRAME, code),),
        (Mapping(CODE, CODE_FRAME, "rwx"),),
        (Start(CODE, (("x1", data), ("x2", 0x5280_0085_5280_0085), ("x3", data))),),
    )
    ram = run_reference(guest, "check").ram[0x100:0x140]
    assert sum(ram[4 * slot :][:4] != code[0x100 + 4 * slot :][:4] for slot in range(16)) == slots


def test_programs_take_turns_at_yields() -> None:
    writer = "MOV W0, #1\nSTR W0, [X1]\nSVC #1\nLDR W4, [X1]\nSVC #0"
    reader = "LDR W3, [X1]\nMOV W0, #5\nSTR W0, [X1]\nSVC #0"
    outcome = run_reference(bare(writer, reader, x1=DATA), "check")
    assert (register(outcome, "x3", 1), register(outcome, "x4", 0)) == (1, 5)


def test_an_undefined_slot_ends_the_program_there() -> None:
    assert register(run_reference(bare("NOP\nUDF #0\nSVC #0"), "check"), "pc") == CODE + 4


def test_a_store_to_nowhere_ends_the_program_there() -> None:
    assert register(run_reference(bare("NOP\nSTR X0, [X1]\nSVC #0", x1=0x1234), "check"), "pc") == CODE + 4


def test_an_endless_program_is_given_up() -> None:
    with pytest.raises(EndlessGuestError):
        run_reference(bare("here: B here"), "check")


def test_the_same_guest_gives_the_same_trace() -> None:
    assert patch("NOP", "check").traces == patch("NOP", "check").traces
    assert patch("NOP", "check").traces != patch("NOP", "stale").traces


CPUS = {(False, False): "cortex-a72", (True, False): "cortex-a78ae", (True, True): "neoverse-v1"}


def litmus_guest(test: Litmus) -> Guest:
    """A litmus body as a guest."""
    code, registers, _ = test.guest(CODE)
    values = tuple((name.lower().replace("w", "x"), value) for name, value in registers.items())
    return Guest(((CODE_FRAME, code),), (Mapping(CODE, CODE_FRAME, "rwx"),), (Start(CODE, values),), CPUS[test.idc, test.dic])


@pytest.mark.parametrize(("test", "allowed"), [pytest.param(test, allowed, id=name) for name, test, allowed in own_tests()])
def test_litmus_bodies_as_guests(test: Litmus, allowed: bool) -> None:
    guest = litmus_guest(test)
    name, value = test.exists
    assert bool(run_reference(guest, "check").found) is allowed
    assert (register(run_reference(guest, "stale"), name.lower()) == value) is allowed
