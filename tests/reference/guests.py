# SPDX-License-Identifier: GPL-2.0-or-later
"""Random bare guests: programs that write, maintain and call code, by themselves and on each other's behalf.

A guest has one program page per PE and a *generated* area that straddles two pages: functions of four slots, each of
MOV W0, #n, NOP, B .+8 or RET, mapped RX twice, RW, and RWX. Programs store to any of it (1 to 32 bytes, any alignment),
issue any maintenance and barriers, call functions, patch marked slots in programs (their own, ahead, or another PE's),
loop, and yield. Every path leads forward, so guests end unless a torn word jumps by accident.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from hypothesis import strategies as st

from assembler import BARRIER_OPTIONS, assemble, encode
from reference.guest import PAGE, RAM_BASE, Guest, Mapping, Start

__all__ = ["build", "guests"]

FUNCTIONS = 12
AREA = 0xF80  # of the generated area in its two pages: three lines, then one of guards
SLOTS = 4 * FUNCTIONS
JX, JX2, JW, JXW = 0x100000, 0x110000, 0x120000, 0x130000
PROGRAM, PROGRAM_RW = 0x200000, 0x300000  # one page each per PE, 64 KiB apart
DATA, POOL = 0x400000, 0x401000
GENERATED_FRAMES, DATA_FRAME, POOL_FRAME = RAM_BASE, RAM_BASE + 2 * PAGE, RAM_BASE + 3 * PAGE
PROGRAM_FRAMES = RAM_BASE + 8 * PAGE
HOT = AREA  # the first function: others patch it while it is called
MARKS = 3  # patchable slots in each program, at its beginning

NOP, RET, SKIP = encode("NOP"), encode("RET"), encode("B .+8")
CPUS = ("cortex-a72", "cortex-a72", "cortex-a53", "cortex-a78ae", "neoverse-v1", "a64fx", "max")

# Stores by size: what fills the source registers from the pool, and the instruction.
STORES: dict[str, tuple[int, str, str]] = {
    "strb": (1, "LDR W2, [X9]", "STRB W2, [X1]"),
    "strh": (2, "LDR W2, [X9]", "STRH W2, [X1]"),
    "str w": (4, "LDR W2, [X9]", "STR W2, [X1]"),
    "str x": (8, "LDR X2, [X9]", "STR X2, [X1]"),
    "str x post": (8, "LDR X2, [X9]", "STR X2, [X1], #8"),
    "stp w": (8, "LDR W2, [X9]\nADD X9, X9, #4\nLDR W3, [X9]", "STP W2, W3, [X1]"),
    "stp x": (16, "LDR X2, [X9]\nADD X9, X9, #8\nLDR X3, [X9]", "STP X2, X3, [X1]"),
    "str q": (16, "LDR Q2, [X9]", "STR Q2, [X1]"),
    "stp q": (32, "LDR Q2, [X9]\nADD X9, X9, #16\nLDR Q3, [X9]", "STP Q2, Q3, [X1]"),
}
CLEANS = ("DC CVAU, X1", "DC CVAC, X1", "DC CIVAC, X1", "DC IVAC, X1", "DC CSW, X1")
INVALIDATES = ("IC IVAU, X1", "IC IVAU, X1", "IC IALLU", "IC IALLUIS")
PRIVILEGED = ("DC IVAC, X1", "DC CSW, X1", "IC IALLU", "IC IALLUIS")
BARRIERS = ("DSB ISH", "DSB SY", "DSB NSH", "DSB ISHST", "DSB ISHLD", "DMB ISH", "DMB ISHST", "ISB", "ISB")

Operation = tuple[Any, ...]


@dataclass
class _Program:
    """The text of one PE's program."""

    pe: int
    pool: bytearray
    lines: list[str] = field(default_factory=list)
    labels: int = 0

    def address(self, register: str, value: int) -> None:
        """Load a 32-bit address."""
        self.lines += [f"MOV {register}, #{value & 0xFFFF}", f"MOVK {register}, #{value >> 16}, LSL 16"]

    def constant(self, data: bytes) -> None:
        """X9 := the address of `data`."""
        at = POOL + len(self.pool)
        self.pool += data.ljust(32, b"\0")
        self.address("X9", at)

    def label(self) -> str:
        """A new one."""
        self.labels += 1
        return f"l{self.labels}"

    def emit(self, operation: Operation) -> None:
        """One operation's instructions."""
        getattr(self, "_" + operation[0])(*operation[1:])

    def _raw(self, text: str) -> None:
        self.lines.append(text)

    def _at(self, address: int, text: str) -> None:
        """A maintenance instruction on an address."""
        self.address("X1", address)
        self.lines.append(text)

    def _store(self, how: str, address: int, words: tuple[int, ...]) -> None:
        _size, load, store = STORES[how]
        # The words as they would lie in memory from the slot that holds the first byte.
        image = b"".join(word.to_bytes(4, "little") for word in words)[address & 3 :]
        self.address("X1", address)
        self.constant(image[:32])
        self.lines += [*load.splitlines(), store]

    def _zero(self, address: int) -> None:
        self._at(address, "DC ZVA, X1")

    def _call(self, address: int) -> None:
        self.address("X5", address)
        self.lines += ["BLR X5", "ADD X20, X20, X20", "EOR X20, X20, X0"]

    def _synchronise(self, address: int, steps: int, isb: bool) -> None:
        """The sequence, with bit n of `steps` clear where a step is missing."""
        self.address("X1", address)
        texts = ("DC CVAU, X1", "DSB ISH", "IC IVAU, X1", "DSB ISH")
        self.lines += [text for bit, text in enumerate(texts) if steps >> bit & 1]
        if isb:
            self.lines.append("ISB")

    def _ahead(self, old: int, new: int, distance: int, between: tuple[str, ...], alias: bool) -> None:
        """Straight-line self-modification: the slot `distance` instructions after the store is patched."""
        count = 2 + 2 + 1 + 1 + len(between) + distance  # what is emitted from here up to the slot
        here = len(self.lines)
        base = (PROGRAM_RW if alias else PROGRAM) + 0x10000 * self.pe
        self.address("X1", base + 4 * (here + count))
        self.constant(new.to_bytes(4, "little"))
        self.lines += ["LDR W2, [X9]", "STR W2, [X1]", *between, *["ADD X21, X21, #1"] * distance]
        assert len(self.lines) == here + count
        self.lines += [f"MOV W0, #{old}", "ADD X20, X20, X20", "EOR X20, X20, X0"]

    def _loop(self, count: int, body: tuple[Operation, ...]) -> None:
        top = self.label()
        self.lines += [f"MOV X{22}, #{count}"]
        self.lines.append(f"{top}: NOP")
        for operation in body:
            self.emit(operation)
        self.lines += ["SUBS X22, X22, #1", f"B.NE {top}"]


def build(programs: list[list[Operation]], slots: list[int], cpu: str = "cortex-a72") -> Guest:
    """A guest whose PEs run `programs`, with `slots` as the first contents of the generated area."""
    pool = bytearray()
    area = b"".join(word.to_bytes(4, "little") for word in [*slots, *[RET] * 16])
    images = [(GENERATED_FRAMES + AREA, area)]
    mappings = [Mapping(DATA, DATA_FRAME, "rw"), Mapping(POOL, POOL_FRAME, "r")]
    starts = []
    for page in (0, PAGE):
        for virtual, access in ((JX, "rx"), (JX2, "rx"), (JW, "rw"), (JXW, "rwx")):
            mappings.append(Mapping(virtual + page, GENERATED_FRAMES + page, access))
    for pe, operations in enumerate(programs):
        program = _Program(pe, pool)
        for mark in range(MARKS):
            program.lines += [f"MOV W0, #{mark + 1}", "EOR X20, X20, X0"]
        for operation in operations:
            program.emit(operation)
        program.lines.append("SVC #0")
        frame, at = PROGRAM_FRAMES + PAGE * pe, PROGRAM + 0x10000 * pe
        code, _ = assemble("\n".join(program.lines), at)
        assert len(code) <= PAGE, "too many operations"
        images.append((frame, code))
        mappings += [Mapping(at, frame, "rwx"), Mapping(PROGRAM_RW + 0x10000 * pe, frame, "rw")]
        starts.append(Start(at))
    images.append((POOL_FRAME, bytes(pool)))
    return Guest(tuple(images), tuple(mappings), tuple(starts), cpu)


def mark(pe: int, index: int) -> int:
    """Offset of a patchable slot of program `pe` from PROGRAM or PROGRAM_RW."""
    return 0x10000 * pe + 8 * index


_numbers = st.integers(0, 2047)
_words = st.one_of(_numbers.map(lambda number: 0x52800000 | number << 5), st.sampled_from((NOP, SKIP, RET)))
_moves = _numbers.map(lambda number: 0x52800000 | number << 5)
_aliases = st.sampled_from((JW, JXW))
_executed = st.sampled_from((JX, JX, JX2, JXW))


@st.composite
def _stores(draw: st.DrawFn) -> Operation:
    how = draw(st.sampled_from(sorted(STORES)))
    size = STORES[how][0]
    offset = draw(st.integers(0, (4 * SLOTS - size) // 4)) * 4
    if draw(st.integers(0, 3)) == 0:
        offset = min(offset + draw(st.integers(1, 3)), 4 * SLOTS - size)
    words = tuple(draw(_words) if offset % 4 == 0 and size >= 4 else draw(_moves) for _ in range(9))
    return ("store", how, draw(_aliases) + AREA + offset, words)


_slot_addresses = st.builds(
    lambda alias, slot: alias + AREA + 4 * slot, st.sampled_from((JX, JX2, JW, JXW)), st.integers(0, SLOTS - 1)
)
_marks = st.builds(lambda pe, index: mark(pe, index), st.integers(0, 1), st.integers(0, MARKS - 1))
_maintained = st.one_of(_slot_addresses, _marks.map(lambda offset: PROGRAM + offset))
_calls = st.builds(
    lambda alias, function: ("call", alias + AREA + 16 * function), _executed, st.integers(0, FUNCTIONS - 1)
)
_synchronise = st.tuples(
    st.just("synchronise"), _maintained, st.one_of(st.just(15), st.integers(0, 15)), st.booleans()
)
_maintenance = st.one_of(
    st.tuples(st.just("at"), _maintained, st.sampled_from(CLEANS)),
    st.tuples(st.just("at"), _maintained, st.sampled_from(INVALIDATES)),
    st.tuples(st.just("raw"), st.sampled_from(BARRIERS)),
    st.tuples(st.just("raw"), st.sampled_from(sorted(BARRIER_OPTIONS)).flatmap(
        lambda option: st.sampled_from((f"DSB {option}", f"DMB {option}")))),
)
_ahead = st.tuples(
    st.just("ahead"),
    st.integers(1, 9),
    st.one_of(_moves, st.just(NOP)),
    st.integers(0, 3),
    st.sampled_from(
        ((), (), ("ISB",), ("DC CVAU, X1", "DSB ISH", "IC IVAU, X1", "DSB ISH", "ISB"), ("DSB ISH", "ISB"), ("DSB ISHST",))
    ),
    st.booleans(),
)
_patch_program = st.builds(
    lambda offset, word, base: ("store", "str w", base + offset, (word,) * 9),
    _marks,
    st.one_of(_moves, st.just(NOP)),
    st.sampled_from((PROGRAM, PROGRAM_RW)),
)
_simple = st.one_of(
    _stores(),
    _stores(),
    _calls,
    _calls,
    _synchronise,
    _synchronise,
    _maintenance,
    _ahead,
    _patch_program,
    st.tuples(st.just("zero"), st.sampled_from((DATA, JW + AREA + 0x80))),
    st.tuples(st.just("store"), st.sampled_from(sorted(STORES)), st.integers(DATA, DATA + 0x80), st.just((1,) * 9)),
    st.tuples(st.just("raw"), st.just("SVC #1")),
)
_YIELD: Operation = ("raw", "SVC #1")
_pauses = st.lists(st.just(_YIELD), max_size=1)
_near_sequences = st.one_of(
    st.just(15), st.sampled_from((0b1110, 0b1101, 0b1011, 0b0111)), st.integers(0, 15)
)


@st.composite
def _patches(draw: st.DrawFn) -> list[Operation]:
    """Store to a function, most of the sequence, call it; perhaps with a turn of another PE between."""
    function, slot = draw(st.integers(0, FUNCTIONS - 1)), draw(st.integers(0, 2))
    at = AREA + 16 * function
    alias, executed = draw(_aliases), draw(_executed)
    maintained = draw(st.sampled_from((executed, alias)))
    return [
        ("store", "str w", alias + at + 4 * slot, (draw(_words),) * 9),
        *draw(_pauses),
        ("synchronise", maintained + at, draw(_near_sequences), draw(st.booleans())),
        *draw(_pauses),
        ("call", executed + at),
    ]


@st.composite
def _hot_patches(draw: st.DrawFn) -> list[Operation]:
    """Slot 1 of the hot function holds exempt opcodes only: stored, called, maintained, in some order."""
    operations: list[Operation] = [
        ("store", "str w", draw(_aliases) + HOT + 4, (draw(st.sampled_from((NOP, SKIP))),) * 9),
        ("call", draw(_executed) + HOT),
        ("synchronise", JX + HOT, draw(_near_sequences), draw(st.booleans())),
        _YIELD,
    ]
    return [operations[index] for index in draw(st.permutations(range(4)))]


@st.composite
def _fresh_code(draw: st.DrawFn) -> list[Operation]:
    """Write a function, maintain it, patch the hot function's slot 2 to branch there, call that (clause 7)."""
    function = draw(st.integers(1, FUNCTIONS - 1))
    at = AREA + 16 * function
    branch = encode(f"B .+{at - HOT - 8}")
    return [
        ("store", "stp w", JW + at, (draw(_moves), draw(_moves)) * 4),
        ("synchronise", JX + at, draw(_near_sequences), False),
        ("store", "str w", JW + HOT + 8, (branch,) * 9),
        *draw(_pauses),
        ("synchronise", JX + HOT, draw(_near_sequences), draw(st.booleans())),
        ("call", draw(_executed) + HOT),
    ]


_loops = st.tuples(st.just("loop"), st.integers(1, 4), st.lists(_simple, min_size=1, max_size=4).map(tuple))
_one = st.one_of(_simple, _simple, _loops).map(lambda operation: [operation])
_groups = st.one_of(_one, _one, _one, _patches(), _patches(), _hot_patches(), _fresh_code())
_programs = st.lists(_groups, min_size=1, max_size=10).map(lambda groups: [each for group in groups for each in group])


@st.composite
def guests(draw: st.DrawFn, *, user: bool = False) -> Guest:
    """A guest of one or two PEs; of instructions that EL0 has if `user`."""
    pes = draw(st.integers(1, 2))
    programs = [draw(_programs) for _ in range(pes)]
    if user:
        programs = [[operation for operation in program if not _privileged(operation)] for program in programs]
    slots = [RET if slot % 4 == 3 else draw(_words.filter(lambda word: word != RET)) for slot in range(SLOTS)]
    slots[1] = draw(st.sampled_from((NOP, SKIP)))
    if pes == 1:  # there is no second program to patch
        programs = [[operation for operation in programs[0] if not _names_second(operation)]]
    return build(programs, slots, draw(st.sampled_from(CPUS)))


def _privileged(operation: Operation) -> bool:
    if operation[0] == "loop":
        return any(map(_privileged, operation[2]))
    return operation[-1] in PRIVILEGED


def _names_second(operation: Operation) -> bool:
    if operation[0] == "loop":
        return any(map(_names_second, operation[2]))
    second = range(PROGRAM + 0x10000, PROGRAM + 0x20000), range(PROGRAM_RW + 0x10000, PROGRAM_RW + 0x20000)
    return any(isinstance(part, int) and any(part in each for each in second) for part in operation[1:])
