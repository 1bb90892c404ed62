# SPDX-License-Identifier: GPL-2.0-or-later
"""Guests that were written for a rule, on both machines: who is told what, and what `stale` executes."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from assembler import assemble, encode
from reference.fast import run_fast
from reference.guest import PAGE, RAM_BASE, REGISTERS, Found, Guest, Mapping, Mode, Outcome, Start
from reference.machine import run_reference

P0, P1, F, G, G_RW, DATA = 0x10000, 0x20000, 0x30000, 0x40000, 0x50000, 0x60000
"""Two programs; a hot function F; fresh code G (and its RW alias); data."""
FRAMES = {P0: RAM_BASE, P1: RAM_BASE + PAGE, F: RAM_BASE + 2 * PAGE, G: RAM_BASE + 3 * PAGE, DATA: RAM_BASE + 4 * PAGE}
MOV, ADD, NOP, RET = encode("MOV W0, #2"), encode("ADD X0, X0, #1"), encode("NOP"), encode("RET")
REGISTERS_AT_START = (("x1", F), ("x2", G), ("x3", G_RW), ("x4", DATA), ("x9", F), ("x10", G))
SYNC_F = "DC CVAU, X1\nDSB ISH\nIC IVAU, X1\nDSB ISH"
SYNC_G = SYNC_F.replace("X1", "X2")
YIELD = "SVC #1"


def word(register: str, value: int) -> str:
    """Instructions that load a word."""
    return f"MOV {register}, #{value & 0xFFFF}\nMOVK {register}, #{value >> 16}, LSL 16"


def guest(first: str, second: str = "SVC #0", *, hot: str = "MOV W0, #1\nRET", cpu: str = "cortex-a72") -> Guest:
    """PE 0 runs `first`, PE 1 `second`."""
    images = [(FRAMES[at], assemble(text, at)[0]) for at, text in ((P0, first), (P1, second), (F, hot), (G, "RET"))]
    access = {P0: "rwx", P1: "rwx", F: "rwx", G: "rx", DATA: "rw"}
    mappings = [Mapping(at, frame, access[at]) for at, frame in FRAMES.items()]
    mappings.append(Mapping(G_RW, FRAMES[G], "rw"))
    return Guest(tuple(images), tuple(mappings), (Start(P0, REGISTERS_AT_START), Start(P1, REGISTERS_AT_START)), cpu)


def patch(at: str, value: int) -> str:
    """Store a word."""
    return word("X5", value) + f"\nSTR W5, [{at}]"


def kinds(found: tuple[Found, ...]) -> list[tuple[str, int, int]]:
    """What was told, to whom, about which frame-relative slot."""
    return sorted((each.kind, each.pe, each.physical & PAGE - 1) for each in found)


def x0(outcome: Outcome, pe: int) -> int:
    """X0 of a PE at its end."""
    return outcome.registers[pe][REGISTERS.index("x0")]


CALL_F, CALL_G = "BLR X9", "BLR X10"
BRANCH_TO_G = encode(f"B .+{G - F}")

# (id, guest, what is told, X0 at the end of PE 0 and PE 1 in `stale`)
CASES: tuple[tuple[str, Guest, list[tuple[str, int, int]], tuple[int, int]], ...] = (
    (
        "6: another PE's exempt patch, maintained later, is silent",
        guest(f"{patch('X1', BRANCH_TO_G)}\n{YIELD}\n{SYNC_F}\nSVC #0", f"{CALL_F}\n{YIELD}\nSVC #0", hot="NOP\nRET"),
        [],
        (0, 0),
    ),
    (
        "6: another PE's exempt patch, never maintained, is due",
        guest(f"{patch('X1', BRANCH_TO_G)}\nSVC #0", f"{CALL_F}\nSVC #0", hot="NOP\nRET"),
        [("missing-dc-clean", 1, 0)],
        (0, 0),
    ),
    (
        "6: due when stored again",
        guest(
            f"{patch('X1', BRANCH_TO_G)}\n{YIELD}\n{patch('X1', NOP)}\n{SYNC_F}\nSVC #0",
            f"{CALL_F}\nSVC #0",
            hot="NOP\nRET",
        ),
        [("missing-dc-clean", 1, 0)],
        (0, 0),
    ),
    (
        "6: a held hit does not hide its neighbour",
        guest(
            f"{patch('X1', encode('B .+8'))}\nADD X6, X1, #8\n{patch('X6', MOV)}\nSVC #0",
            f"{CALL_F}\nSVC #0",
            hot="NOP\nMOV W0, #7\nMOV W0, #1\nRET",
        ),
        [("missing-dc-clean", 1, 0), ("unsynchronised-modification", 1, 8)],
        (0, 1),
    ),
    (
        "6: an opcode that is not exempt",
        guest(f"{patch('X1', MOV)}\nSVC #0", f"{CALL_F}\nSVC #0"),
        [("unsynchronised-modification", 1, 0)],
        (0, 1),
    ),
    (
        "7: a branch patched to fresh code, both executors",
        guest(
            f"{patch('X3', MOV)}\nADD X6, X3, #4\n{patch('X6', RET)}\n{SYNC_G}\n{patch('X1', BRANCH_TO_G)}\n{SYNC_F}\nSVC #0",
            f"{CALL_F}\nSVC #0",
            hot="NOP\nRET",
        ),
        [],
        (0, 0),
    ),
    (
        "7: the same without the invalidate",
        guest(
            f"{patch('X3', MOV)}\nDC CVAU, X2\nDSB ISH\n{patch('X1', BRANCH_TO_G)}\n{SYNC_F}\nSVC #0",
            f"ISB\n{CALL_F}\nSVC #0",
            hot="NOP\nRET",
        ),
        [("missing-ic-invalidate", 1, 0)],
        (0, 0),
    ),
    (
        "V8x: maintained, the executor has no ISB",
        guest(f"{patch('X1', MOV)}\n{SYNC_F}\nISB\n{CALL_F}\nSVC #0", f"{CALL_F}\nSVC #0"),
        [("missing-isb", 1, 0)],
        (2, 1),
    ),
    (
        "maintained, the executor has an ISB",
        guest(f"{patch('X1', MOV)}\n{SYNC_F}\nSVC #0", f"ISB\n{CALL_F}\nSVC #0"),
        [],
        (0, 2),
    ),
    (
        "V7b: DSB NSH after the IC",
        guest(
            f"{patch('X1', MOV)}\nDC CVAU, X1\nDSB ISH\nIC IVAU, X1\nDSB NSH\nISB\n{CALL_F}\nSVC #0",
            f"ISB\n{CALL_F}\nSVC #0",
        ),
        [("missing-dsb-after-invalidate", 1, 0)],
        (2, 1),
    ),
    (
        "V11: IC IALLU is local",
        guest(f"{patch('X1', MOV)}\nDC CVAU, X1\nDSB ISH\nIC IALLU\nDSB ISH\nISB\n{CALL_F}\nSVC #0", f"ISB\n{CALL_F}\nSVC #0"),
        [("missing-ic-invalidate", 1, 0)],
        (2, 1),
    ),
    (
        "DC; DMB; publish, IC by the other PE",
        guest(f"{patch('X1', MOV)}\nDC CVAU, X1\nDMB ISH\nSVC #0", f"IC IVAU, X1\nDSB ISH\nISB\n{CALL_F}\nSVC #0"),
        [],
        (0, 2),
    ),
    (
        "V10 as executed: DC and IC by the reader",
        guest(f"{patch('X1', MOV)}\nSVC #0", f"{SYNC_F}\nISB\n{CALL_F}\nSVC #0"),
        [],
        (0, 2),
    ),
    (
        "VIPT: maintained by the RW alias",
        guest(f"{patch('X3', ADD)}\n{SYNC_F.replace('X1', 'X3')}\nISB\n{CALL_G}\nSVC #0", cpu="cortex-a53"),
        [("missing-ic-invalidate", 0, 0)],
        (0, 0),
    ),
    (
        "PIPT: maintained by the RW alias",
        guest(f"{patch('X3', ADD)}\n{SYNC_F.replace('X1', 'X3')}\nISB\nSVC #1\nSVC #0", f"ISB\n{CALL_G}\nSVC #0"),
        [],
        (0, 1),
    ),
    (
        "DIC=1: another PE's store needs only the ISB",
        guest(f"{patch('X1', MOV)}\nSVC #0", f"ISB\n{CALL_F}\nSVC #0", cpu="neoverse-v1"),
        [],
        (0, 2),
    ),
    (
        "DIC=1: one's own store needs a DSB",
        guest(f"{patch('X1', MOV)}\nISB\n{CALL_F}\nSVC #0", cpu="neoverse-v1"),
        [("missing-dsb-after-clean", 0, 0)],
        (1, 0),
    ),
    (
        "data beside code: a store to the line of executed code",
        guest(f"{CALL_F}\nADD X6, X1, #32\n{patch('X6', 5)}\n{CALL_F}\nSVC #0"),
        [],
        (1, 0),
    ),
)


@pytest.mark.parametrize("run", [run_reference, run_fast], ids=["reference", "fast"])
@pytest.mark.parametrize(("guest", "told", "_stale"), [pytest.param(*case[1:], id=case[0]) for case in CASES])
def test_what_is_told(
    run: Callable[[Guest, Mode], Outcome], guest: Guest, told: list[tuple[str, int, int]], _stale: tuple[int, int]
) -> None:
    assert kinds(run(guest, "check").found) == told


@pytest.mark.parametrize("run", [run_reference, run_fast], ids=["reference", "fast"])
@pytest.mark.parametrize(("guest", "_told", "stale"), [pytest.param(*case[1:], id=case[0]) for case in CASES])
def test_what_stale_executes(
    run: Callable[[Guest, Mode], Outcome], guest: Guest, _told: list[tuple[str, int, int]], stale: tuple[int, int]
) -> None:
    outcome = run(guest, "stale")
    assert (x0(outcome, 0), x0(outcome, 1)) == stale


def test_strict_tells_exempt_hits_at_once() -> None:
    program = guest(f"{patch('X1', BRANCH_TO_G)}\n{YIELD}\n{SYNC_F}\nSVC #0", f"{CALL_F}\nSVC #0", hot="NOP\nRET")
    for run in (run_reference, run_fast):
        assert kinds(run(program, "check", strict=True).found) == [("missing-dc-clean", 1, 0)]


def test_a_store_after_one_across_a_page_end_has_its_own_pc() -> None:
    page = 0x10_0000
    source = """
        STR X2, [X1]            // the end of one page, the beginning of the next
        STR W5, [X6]            // the first page again
        BR X6
    """
    code, _ = assemble(source, P0)
    mappings = [Mapping(P0, FRAMES[P0], "rx"), Mapping(page, FRAMES[F], "rwx"), Mapping(page + PAGE, FRAMES[G], "rwx")]
    registers = (("x1", page + PAGE - 4), ("x5", encode("SVC #0")), ("x6", page + 8))
    images = ((FRAMES[P0], code), (FRAMES[F], bytes(PAGE - 8) + b"\1" * 8), (FRAMES[G], bytes(PAGE)))
    across = Guest(images, tuple(mappings), (Start(P0, registers),))
    assert [each.writer_pc for each in run_reference(across, "check").found] == [P0 + 4]
    assert [each.writer_pc for each in run_fast(across, "check").found] == [P0 + 4]


@pytest.mark.parametrize("cpu", ["cortex-a72", "a64fx"])
@pytest.mark.parametrize("run", [run_reference, run_fast])
def test_barriers_of_a_line_that_was_stored_to_behind_them_count(
    run: Callable[[Guest, Mode], Outcome], cpu: str
) -> None:
    behind = f"MOV X6, #{P0 & 0xFFFF}\nMOVK X6, #{P0 >> 16}, LSL 16\n{word('X5', NOP)}\nSTR W5, [X6]"
    program = guest(f"{behind}\nSTR W5, [X1]\n{SYNC_F}\nISB\n{CALL_F}\nSVC #0", cpu=cpu)
    assert run(program, "check").found == ()


@pytest.mark.parametrize("cpu", ["cortex-a72", "a64fx"])
@pytest.mark.parametrize("run", [run_reference, run_fast])
def test_a_store_ahead_is_seen_after_one_behind_in_the_same_line(
    run: Callable[[Guest, Mode], Outcome], cpu: str
) -> None:
    here = f"MOV X6, #{P0 & 0xFFFF}\nMOVK X6, #{P0 >> 16}, LSL 16\n{word('X5', NOP)}"
    program = guest(f"{here}\nSTR W5, [X6]\nADD X6, X6, #32\nSTR W5, [X6]\nNOP\nMOV W0, #1\nSVC #0", cpu=cpu)
    assert kinds(run(program, "check").found) == [("missing-dc-clean", 0, 32)]


RUN_F_TWICE = f"{CALL_F}\n{YIELD}\n{CALL_F}\nSVC #0"


@pytest.mark.parametrize(
    "first",
    [
        f"{CALL_F}\n{YIELD}\n{patch('X1', MOV)}\nSVC #0",
        f"{patch('X1', NOP)}\n{patch('X1', encode('MOV W0, #1'))}\n{CALL_F}\n{YIELD}\n{patch('X1', MOV)}\nSVC #0",
    ],
    ids=["which has run it", "which has stored there and run it"],
)
def test_coherent_pes_see_what_another_one_stores(first: str) -> None:
    assert x0(run_fast(guest(first, RUN_F_TWICE), "coherent"), 1) == 2


def test_coherent_pes_see_what_another_one_stores_through_an_alias() -> None:
    program = guest(f"{YIELD}\n{patch('X3', MOV)}\nSVC #0", f"{CALL_G}\n{YIELD}\n{CALL_G}\nSVC #0")
    with_room = Guest((*program.images, (FRAMES[G], assemble("MOV W0, #1\nRET")[0])), program.mappings, program.starts)
    assert x0(run_fast(with_room, "coherent"), 1) == 2


def test_coherent_pes_may_store_to_each_others_code_in_turn() -> None:
    """Each stores what the other one then runs: the second time after both had run it."""
    first = f"{patch('X1', encode('MOV W0, #3'))}\n{YIELD}\n{CALL_F}\n{YIELD}\n{patch('X1', MOV)}\n{YIELD}\nSVC #0"
    second = f"{CALL_F}\n{patch('X1', encode('MOV W0, #4'))}\n{YIELD}\n{CALL_F}\n{YIELD}\n{CALL_F}\nSVC #0"
    outcome = run_fast(guest(first, second), "coherent")
    assert (x0(outcome, 0), x0(outcome, 1)) == (4, 2)
