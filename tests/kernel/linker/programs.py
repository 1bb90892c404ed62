# SPDX-License-Identifier: GPL-2.0-or-later
"""The linker's guest programs (guests/linker), on a machine of each port."""

from __future__ import annotations

from pathlib import Path

from fetchsan.arch.aarch64.cpus import get_cpu
from fetchsan.kernel.mmu.ports import AARCH64, X64
from fetchsan.kernel.osv import Aborted, OsvKernel, RofsFile
from fetchsan.kernel.task import Exited
from fetchsan.machine.machine import Machine
from fetchsan.machine.memory import PhysicalMemory
from fetchsan.machine.x64_machine import X64Machine

FOLDER = Path(__file__).resolve().parents[3] / "guests/linker"


class Osv:
    """A kernel whose image holds all objects of a port; `files` replaces some of them."""

    def __init__(self, port: str, files: dict[str, bytes] | None = None) -> None:
        memory = PhysicalMemory(32 << 20)
        self.machine = (
            Machine(get_cpu("cortex-a72"), memory=memory, mode="stale", user=False)
            if port == AARCH64.name
            else X64Machine(memory=memory, user=False)
        )
        images = {path.name: path.read_bytes() for path in sorted((FOLDER / port).iterdir())} | (files or {})
        self.kernel = OsvKernel(
            self.machine,
            sync="osv",
            port=AARCH64 if port == AARCH64.name else X64,
            files=[RofsFile(f"/{name}", data, ino=number) for number, (name, data) in enumerate(images.items(), 1)],
        )
        self.pe = self.machine.add_pe(self.kernel)
        self.kernel.boot(self.pe)

    def run(self, name: str, *arguments: str) -> Exited | Aborted:
        self.kernel.start_program(self.pe, f"/{name}", [name, *arguments])
        self.pe.run()
        return self.kernel.finish_application()
