# SPDX-License-Identifier: GPL-2.0-or-later
"""A bare x86-64 machine for tests: page tables by hand, bytes for code, and a handler that writes down what happened."""

from __future__ import annotations

from collections.abc import Callable

from fetchsan.machine.hardware import Origin, Translation
from fetchsan.machine.memory import PhysicalMemory
from fetchsan.machine.traps import CPUException, ProcessingElement
from fetchsan.machine.walk_x64 import walk
from fetchsan.machine.x64_machine import X64Machine

CODE, DATA, STACK = 0x40_0000, 0x50_0000, 0x7FFF_0000_0000
R, W, X = 1, 2, 4
PRESENT, WRITABLE, USER, NO_EXECUTE = 1, 2, 4, 1 << 63
EXIT = bytes.fromhex("0f05")  # SYSCALL


class Guest:
    """One machine; `events` are (name, RIP, detail). SYSCALL stops, unless `calls` has something to do first."""

    def __init__(self, *, user: bool = True, pes: int = 1, size: int = 64 << 20) -> None:
        self.memory = PhysicalMemory(size)
        self.machine = X64Machine(memory=self.memory, pes=pes, user=user)
        self.root = self.frame()
        self.events: list[tuple[str, int, object]] = []
        self.calls: list[Callable[[], None]] = []
        self.on_fault: Callable[[int, str], bool] = lambda _virtual, _access: False
        self.on_exception: Callable[[CPUException], object] | None = None
        self.pes = [self.machine.add_pe(self) for _ in range(pes)]
        self.pe = self.pes[0]
        for pe in self.pes:
            self.machine.set_translation_root(pe.index, self.root)
        self.map(STACK, R | W)
        self.pe.set("rsp", STACK + 0x800)

    # --- memory ---

    def frame(self) -> int:
        physical = self.memory.allocate_frame()
        self.memory.write(physical, bytes(4096))
        return physical

    def entry(self, virtual: int) -> int:
        """Physical address of the page-table entry."""
        table = self.root
        for shift in (39, 30, 21):
            at = table + 8 * (virtual >> shift & 511)
            if not self.memory.read_u64(at):
                self.memory.write_u64(at, self.frame() | PRESENT | WRITABLE | USER)
            table = self.memory.read_u64(at) & 0xF_FFFF_F000
        return table + 8 * (virtual >> 12 & 511)

    def map(self, virtual: int, rights: int, frame: int | None = None) -> int:
        """(Re)map a page; returns its frame."""
        frame = self.frame() if frame is None else frame
        entry = frame | PRESENT | USER | (WRITABLE if rights & W else 0) | (0 if rights & X else NO_EXECUTE)
        before = self.memory.read_u64(self.entry(virtual))
        self.memory.write_u64(self.entry(virtual), entry if rights else 0)
        executable = [(frame, virtual)] if rights & X else []
        self.machine.pte_changed(0, virtual, 4096, executable, replaced=bool(before))
        return frame

    def unmap(self, virtual: int) -> None:
        self.map(virtual, 0, 0)

    def translation(self, virtual: int) -> Translation | None:
        return walk(self.memory, self.root, virtual & -4096)[0]

    def write(self, virtual: int, data: bytes) -> None:
        """As a kernel stores."""
        found = self.translation(virtual)
        assert found is not None
        self.machine.store(0, found.physical | virtual & 4095, data, Origin(None, "test"))

    def read(self, virtual: int, size: int = 8) -> bytes:
        found = self.translation(virtual)
        assert found is not None
        return self.memory.read(found.physical | virtual & 4095, size)

    # --- running ---

    def run(self, code: str | bytes | None = None, at: int = CODE, *, pe: int = 0, **registers: int) -> None:
        """Put `code` (hex) and an EXIT at `at`, mapped if it is not, and run from there until it stops."""
        if code is not None:
            data = (bytes.fromhex(code) if isinstance(code, str) else code) + EXIT
            for page in range(at & -4096, at + len(data), 4096):
                if self.translation(page) is None:
                    self.map(page, R | X)
            for offset in range(len(data)):
                self.write(at + offset, data[offset : offset + 1])
        self.events.clear()
        self.pes[pe].set("rflags", 0x202)
        for register, value in registers.items():
            self.pes[pe].set(register, value)
        self.pes[pe].set("rip", at)
        self.pes[pe].run()

    # --- machine.traps.TrapHandler ---

    def system_call(self, pe: ProcessingElement) -> None:
        if self.calls:
            self.calls.pop(0)()
            return
        self.events.append(("syscall", pe.get("rip"), pe.get("rax")))
        pe.stop()

    def page_fault(self, pe: ProcessingElement, virtual: int, access: str) -> bool:
        if self.on_fault(virtual, access):
            return True
        self.events.append((access, pe.get("rip"), virtual))
        pe.stop()
        return False

    def exception(self, pe: ProcessingElement, exception: CPUException) -> None:
        self.events.append((f"#{exception.ec}", exception.pc, exception.esr))
        if self.on_exception is not None:
            self.on_exception(exception)
        else:
            pe.stop()
