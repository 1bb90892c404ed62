# SPDX-License-Identifier: GPL-2.0-or-later
"""The reference machine: slow and obviously right.

Every instruction is decided, decoded and executed by itself, and every event is fed to `Views` one at a time:

1. before an instruction: which physical slot is it, what does the model say of its fetch, and which word executes (D's in
   `check`, F's in `stale`)?
2. SVC and maintenance are done here, from the word and the registers; the engine never sees them;
3. any other word is put into a page that holds nothing else (so no translated code can ever be wrong) and stepped once;
4. what its stores changed is found by comparing RAM before and after, and told slot by slot.
"""

from __future__ import annotations

import ctypes
import hashlib
from collections.abc import Callable
from typing import Any

import unicorn
from unicorn import arm64_const as arm64

from fetchsan.coherency import Judgement, Views
from fetchsan.machine.hardware import Origin
from maintenance_words import feed
from reference.guest import (
    PAGE,
    RAM_BASE,
    RAM_SIZE,
    REGISTERS,
    EndlessGuestError,
    Found,
    Guest,
    Mapping,
    Mode,
    Outcome,
)

__all__ = ["run_reference"]

_WORD_PAGES = 0x8000_0000  # engine-physical, one page for each word that was ever executed
_LIMIT = 4000  # instructions of one PE

_REGISTER_IDS = [
    *(arm64.UC_ARM64_REG_X0 + number for number in range(29)),
    arm64.UC_ARM64_REG_X29,
    arm64.UC_ARM64_REG_X30,
    arm64.UC_ARM64_REG_SP,
    arm64.UC_ARM64_REG_PC,
]
_IDS = dict(zip(REGISTERS, _REGISTER_IDS, strict=True))
_EL1H_MASKED = 0x3C5
_SVC, _SVC_MASK = 0xD4000001, 0xFFE0001F
_BARRIER_OR_SYSTEM = 0xD5000000  # bits 31:24 of barriers, DC, IC, MSR, MRS, hints
_DC_ZVA = 0xD50B7420


class _PE:
    """One engine, and the mappings it translates by."""

    def __init__(self, index: int, guest: Guest, ram: ctypes.Array[ctypes.c_char], store: Callable[[int, int], None]) -> None:
        self.index = index
        self.steps = 0
        self.ended = False
        self.trace = hashlib.sha256()
        self._mappings = {mapping.virtual: mapping for mapping in guest.mappings}
        self._word_pages: dict[int, int] = {}
        self._fetching = 0
        self._pages: list[Any] = []
        self._trapped = False
        engine = self._engine = unicorn.Uc(unicorn.UC_ARCH_ARM64, unicorn.UC_MODE_ARM)
        engine.ctl_set_page_size(PAGE)
        engine.ctl_set_cpu_model(arm64.UC_CPU_ARM64_A72)
        engine.ctl_set_tlb_mode(unicorn.UC_TLB_VIRTUAL)
        engine.ctl_exits_enabled(True)
        engine.mem_map_ptr(RAM_BASE, RAM_SIZE, unicorn.UC_PROT_READ | unicorn.UC_PROT_WRITE, ctypes.addressof(ram))
        engine.hook_add(unicorn.UC_HOOK_TLB_FILL, self._fill)
        engine.hook_add(unicorn.UC_HOOK_INTR, self._interrupt)
        engine.hook_add(unicorn.UC_HOOK_MEM_WRITE, lambda _uc, _kind, physical, size, _value, _data: store(physical, size))
        engine.reg_write(arm64.UC_ARM64_REG_PSTATE, _EL1H_MASKED)
        start = guest.starts[index]
        for name, value in (*start.registers, ("pc", start.pc)):
            self.set(name, value)

    def get(self, register: str) -> int:
        return int(self._engine.reg_read(_IDS[register]))

    def set(self, register: str, value: int) -> None:
        self._engine.reg_write(_IDS[register], value)

    def translate(self, virtual: int, access: str) -> int | None:
        """Physical address, if the page may be accessed so."""
        mapping: Mapping | None = self._mappings.get(virtual & -PAGE)
        if mapping is None or access not in mapping.access:
            return None
        return mapping.physical | virtual & PAGE - 1

    def step(self, word: int) -> None:
        """Execute `word` at the PC; the program ends if it traps."""
        self._fetching = self._word_page(word)
        self._engine.ctl(unicorn.unicorn_const.UC_CTL_TLB_FLUSH, unicorn.unicorn_const.UC_CTL_IO_WRITE)
        self._trapped = False
        try:
            self._engine.emu_start(self.get("pc"), 0, count=1)
        except unicorn.UcError:
            self._trapped = True
        self.ended = self._trapped

    def _word_page(self, word: int) -> int:
        page = self._word_pages.get(word)
        if page is None:
            page = self._word_pages[word] = _WORD_PAGES + PAGE * len(self._word_pages)
            contents = ctypes.create_string_buffer(word.to_bytes(4, "little") * (PAGE // 4) + bytes(PAGE))
            aligned = (ctypes.addressof(contents) + PAGE - 1) & -PAGE
            ctypes.memmove(aligned, word.to_bytes(4, "little") * (PAGE // 4), PAGE)
            self._pages.append(contents)
            self._engine.mem_map_ptr(page, PAGE, unicorn.UC_PROT_READ | unicorn.UC_PROT_EXEC, aligned)
        return page

    def _fill(self, _uc: Any, virtual: int, access: int, entry: Any, _data: Any) -> bool:
        if access == unicorn.UC_MEM_FETCH:
            entry.paddr, entry.perms = self._fetching, unicorn.UC_PROT_EXEC
            return True
        for letter, kind, protection in (
            ("r", unicorn.UC_MEM_READ, unicorn.UC_PROT_READ),
            ("w", unicorn.UC_MEM_WRITE, unicorn.UC_PROT_READ | unicorn.UC_PROT_WRITE),
        ):
            physical = self.translate(virtual, letter)
            if access == kind and physical is not None:
                entry.paddr, entry.perms = physical & -PAGE, protection
                return True
        return False

    def _interrupt(self, uc: Any, _number: int, _data: Any) -> None:
        self._trapped = True
        uc.emu_stop()


class _Reference:
    """All PEs of a guest, the model, and what was found."""

    def __init__(self, guest: Guest, mode: Mode, *, strict: bool) -> None:
        self.guest = guest
        self.mode = mode
        self.ram = ctypes.create_string_buffer(RAM_SIZE + PAGE)
        offset = -ctypes.addressof(self.ram) % PAGE
        self.memory = (ctypes.c_char * RAM_SIZE).from_buffer(self.ram, offset)
        self.found: list[Found] = []
        self.pcs: dict[tuple[int, int], int] = {}
        self.before: dict[int, bytes] = {}
        """Lines that the running instruction stores to, as they were."""
        pes = len(guest.starts)
        frames = range(RAM_BASE, RAM_BASE + RAM_SIZE, PAGE)
        self.views = Views(guest.rules, pes, self.read, due=self.tell, strict=strict, every_frame=lambda: frames)
        for physical, image in guest.images:
            ctypes.memmove(ctypes.addressof(self.memory) + physical - RAM_BASE, image, len(image))
        for frame in guest.frames:
            self.views.boot(frame)
        for mapping in guest.mappings:
            if "x" in mapping.access:
                self.views.watch(mapping.physical)
                for pe in range(pes):
                    self.views.made_executable(pe, mapping.physical, mapping.virtual)
        self.pes = [_PE(index, guest, self.memory, self.storing) for index in range(pes)]

    def read(self, physical: int, size: int) -> bytes:
        start = physical - RAM_BASE
        return bytes(self.memory[start : start + size])

    def run(self) -> None:
        """PEs in turn, each until it ends or yields."""
        while not all(pe.ended for pe in self.pes):
            for pe in self.pes:
                while not pe.ended and not self.instruction(pe):
                    pe.steps += 1
                    if pe.steps > _LIMIT:
                        raise EndlessGuestError
        self.views.finish()

    def instruction(self, pe: _PE) -> bool:
        """One instruction of `pe`; True: it yields."""
        pc = pe.get("pc")
        physical = pe.translate(pc, "x")
        if physical is None or pc & 3:
            pe.ended = True
            return False
        word = self.fetch(pe, pc, physical)
        pe.trace.update(pc.to_bytes(8, "little") + word.to_bytes(4, "little"))
        if word & _SVC_MASK == _SVC:
            pe.set("pc", pc + 4)
            pe.ended = word != _SVC | 1 << 5
            return not pe.ended
        if word & 0xFF000000 == _BARRIER_OR_SYSTEM and word & 0xFFFFFFE0 != _DC_ZVA and self.maintain(pe, word, pc):
            pe.set("pc", pc + 4)
            return False
        self.before.clear()
        pe.step(word)
        self.stored(pe, pc)
        return False

    def fetch(self, pe: _PE, pc: int, physical: int) -> int:
        """Ask the model; the word that executes."""
        if self.mode == "stale":
            return self.views.fetch_stale(pe.index, physical, pc & -PAGE)
        self.pcs[pe.index, physical] = pc
        judgement = self.views.fetch(pe.index, physical, pc & -PAGE)
        if judgement is not None:
            self.tell(judgement)
        return int.from_bytes(self.read(physical, 4), "little")

    def tell(self, judgement: Judgement) -> None:
        """A hit, at once or after it was held."""
        origin = judgement.origin
        self.found.append(
            Found(
                str(judgement.kind),
                judgement.pe,
                self.pcs[judgement.pe, judgement.physical],
                judgement.physical,
                origin.pc if isinstance(origin, Origin) else None,
                judgement.stale,
                judgement.current,
            )
        )

    def maintain(self, pe: _PE, word: int, pc: int) -> bool:
        """Feed a maintenance instruction or barrier to the model. False: it is neither."""
        virtual = pe.get(f"x{word & 31}") if word & 31 != 31 else 0
        by_address = word >> 12 & 0xFFFFF == 0xD50B7
        physical = pe.translate(virtual, "r") if by_address else 0
        if physical is None:
            return False  # it faults in the engine, like a load
        feed(self.views, pe.index, word, lambda number: pe.get(f"x{number}"), lambda _: physical, pc)
        return word & 0xFFFFF000 in (0xD5033000, 0xD5087000, 0xD50B7000)

    def storing(self, physical: int, size: int) -> None:
        """The engine is about to store."""
        line = self.guest.rules.line
        for address in range(physical & -line, physical + size, line):
            self.before.setdefault(address, self.read(address, line))

    def stored(self, pe: _PE, pc: int) -> None:
        """What the instruction changed."""
        for address, before in self.before.items():
            after = self.read(address, len(before))
            slots = [slot for slot in range(len(before) // 4) if before[4 * slot :][:4] != after[4 * slot :][:4]]
            origin = Origin(pc)
            self.views.stored(pe.index, address, sum(1 << slot for slot in slots), dict.fromkeys(slots, origin))


def run_reference(guest: Guest, mode: Mode, *, strict: bool = False) -> Outcome:
    """Run a guest to its end. Raises EndlessGuestError."""
    machine = _Reference(guest, mode, strict=strict)
    machine.run()
    return Outcome(
        tuple(machine.found),
        tuple(tuple(pe.get(name) for name in REGISTERS) for pe in machine.pes),
        machine.read(RAM_BASE, RAM_SIZE),
        tuple(pe.trace.hexdigest() for pe in machine.pes),
    )
