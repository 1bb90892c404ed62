# SPDX-License-Identifier: GPL-2.0-or-later
"""A memory and its `Views`, driven by hand: what the model's tests say their event sequences with."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from fetchsan.coherency import Barrier, CacheRules, Domain, Judgement, Kind, Views
from fetchsan.coherency.views import FRAME_SIZE
from maintenance_words import feed

__all__ = ["ADD", "CODE", "EVENTS", "MOV1", "MOV2", "NOP", "SUB", "B", "Bench", "exempt"]

CODE = 0x2000
"""A watched frame."""

NOP, B, MOV1, MOV2, ADD, SUB = 0xD503201F, 0x14000002, 0x52800020, 0x52800040, 0x8B020020, 0xCB020020


def exempt(word: int) -> bool:
    """Enough of clause 6 for the model's tests: B and NOP."""
    return word == NOP or word >> 26 == 0b000101


class Bench:
    """64 KiB of memory from 0, all of it watched unless `watch` is false, power-on contents zero."""

    def __init__(self, rules: CacheRules | None = None, pes: int = 1, *, watch: bool = True, **options: Any) -> None:
        self.memory = bytearray(0x10000)
        self.due: list[Judgement] = []
        frames = range(0, len(self.memory), FRAME_SIZE)
        self.views = Views(
            rules or CacheRules(exempt=exempt), pes, self.data, due=self.due.append, every_frame=lambda: frames, **options
        )
        if watch:
            for frame in frames:
                self.views.watch(frame)

    def data(self, physical: int, size: int) -> bytes:
        """D."""
        return bytes(self.memory[physical : physical + size])

    def load(self, physical: int, data: bytes) -> None:
        """Part of the boot image."""
        self.memory[physical : physical + len(data)] = data
        for frame in range(physical & ~(FRAME_SIZE - 1), physical + len(data), FRAME_SIZE):
            self.views.boot(frame)

    def unseen(self, physical: int, *words: int) -> None:
        """A store that nobody announces (the frame is not watched)."""
        for index, word in enumerate(words):
            self.memory[physical + 4 * index : physical + 4 * index + 4] = word.to_bytes(4, "little")

    def store(self, physical: int, word: int, pe: int = 0, *, uncached: bool = False, origin: object = None) -> None:
        """A 4-byte store; announced if it changes the value."""
        new = word.to_bytes(4, "little")
        if self.data(physical, 4) == new:
            return
        self.memory[physical : physical + 4] = new
        slot = (physical & self.views.rules.line - 1) // 4
        self.views.stored(pe, physical, 1 << slot, {slot: origin} if origin is not None else None, uncached=uncached)

    def clean(self, physical: int, pe: int = 0) -> None:
        """DC CVAU; DSB ISH."""
        self.views.clean(pe, physical)
        self.views.dsb(pe)

    def invalidate(self, physical: int, pe: int = 0, page: int = 0) -> None:
        """IC IVAU; DSB ISH."""
        self.views.invalidate(pe, physical, page)
        self.views.dsb(pe)

    def maintain(self, physical: int, pe: int = 0) -> None:
        """The whole sequence but the CSE."""
        self.clean(physical, pe)
        self.invalidate(physical, pe)

    def synchronise(self, physical: int, pe: int = 0) -> None:
        """The whole sequence."""
        self.maintain(physical, pe)
        self.views.context_synchronise(pe)

    def kind(self, physical: int, pe: int = 0, page: int = 0) -> Kind | None:
        """What a fetch now would be."""
        judgement = self.views.judge(pe, physical, page)
        return None if judgement is None else judgement.kind

    def fetch(self, physical: int, pe: int = 0, page: int = 0) -> Kind | None:
        """What a fetch now is reported as."""
        judgement = self.views.fetch(pe, physical, page)
        return None if judgement is None else judgement.kind

    def execute(self, pe: int, word: int, registers: Mapping[str, int]) -> None:
        """One instruction of a litmus body: STR Wt, [Xn], maintenance, a barrier or ISB. Its fetch is no event here."""
        if word & 0xFFFFFC00 == 0xB9000000:
            self.store(registers[f"X{word >> 5 & 31}"], registers[f"X{word & 31}"], pe)
        else:
            feed(self.views, pe, word, lambda number: registers.get(f"X{number}", 0), lambda address: address)


EVENTS: dict[str, Callable[[Bench, int], object]] = {
    "w": lambda bench, pe: bench.store(CODE, MOV1, pe),
    "w2": lambda bench, pe: bench.store(CODE, SUB, pe),
    "dc": lambda bench, pe: bench.views.clean(pe, CODE),
    "ic": lambda bench, pe: bench.views.invalidate(pe, CODE),
    "iallu": lambda bench, pe: bench.views.invalidate_all(pe, broadcast=False),
    "ialluis": lambda bench, pe: bench.views.invalidate_all(pe, broadcast=True),
    "dccsw": lambda bench, pe: bench.views.clean_all(pe),
    "dsb": lambda bench, pe: bench.views.dsb(pe),
    "dsb.st": lambda bench, pe: bench.views.dsb(pe, Barrier.STORES),
    "dsb.ld": lambda bench, pe: bench.views.dsb(pe, Barrier.LOADS),
    "dsb.nsh": lambda bench, pe: bench.views.dsb(pe, Barrier.FULL, Domain.NON_SHAREABLE),
    "dmb": lambda bench, pe: bench.views.dmb(pe),
    "isb": lambda bench, pe: bench.views.context_synchronise(pe),
}
"""Events at CODE by name, for the tests' tables."""
