# SPDX-License-Identifier: GPL-2.0-or-later
"""Each port's relocations, in objects that a real linker made (guests/relocations)."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import pytest
from elftools.elf.elffile import ELFFile
from elftools.elf.enums import ENUM_RELOC_TYPE_AARCH64, ENUM_RELOC_TYPE_x64
from elftools.elf.relocation import RelocationSection

from fetchsan.arch.aarch64.cpus import get_cpu
from fetchsan.errors import NotExecutableError
from fetchsan.kernel.linker.file import File
from fetchsan.kernel.linker.program import Program, without_calls
from fetchsan.kernel.linker.relocations import RELOCATIONS, Act
from fetchsan.kernel.mmu.osv_space import OsvSpace
from fetchsan.kernel.mmu.ports import AARCH64, X64, Port
from fetchsan.kernel.mmu.user_memory import UserMemory
from fetchsan.kernel.osv import RofsFile
from fetchsan.machine.hardware import Hardware
from fetchsan.machine.machine import Machine
from fetchsan.machine.memory import PhysicalMemory
from fetchsan.machine.x64_machine import X64Machine

FOLDER = Path(__file__).resolve().parents[3] / "guests/relocations"
PROGRAM_BASE = 0x1000_0000_0000


@dataclass(frozen=True)
class Case:
    """A port, a name for it, and its types as the tools call them."""

    port: Port
    types: dict[str, int]
    prefix: str
    hardware: Hardware

    @property
    def image(self) -> bytes:
        return (FOLDER / f"{self.port.name}.so").read_bytes()

    def load(self, image: bytes) -> File:
        space = OsvSpace(self.hardware, sync="osv", port=self.port)
        files = {"/object.so": RofsFile("/object.so", image)}
        return without_calls(Program(space, UserMemory(space), files.get, at=PROGRAM_BASE).load("/object.so")).root

    def entries(self) -> list[tuple[str, int, str, int]]:
        """Of each relocation: its type, its place, its symbol's name, and what it resolves to, relative to the base."""
        elf = ELFFile(BytesIO(self.image))
        symbols = elf.get_section_by_name(".dynsym")
        names = {number: name.removeprefix(self.prefix) for name, number in self.types.items()}
        found = []
        for section in elf.iter_sections():
            if isinstance(section, RelocationSection):
                for row in section.iter_relocations():
                    symbol = symbols.get_symbol(row["r_info_sym"])
                    value = symbol["st_value"] + row["r_addend"]
                    found.append((names[row["r_info_type"]], row["r_offset"], symbol.name, value))
        return found


def _aarch64() -> Case:
    machine = Machine(get_cpu("cortex-a72"), memory=PhysicalMemory(16 << 20), user=False)
    return Case(AARCH64, ENUM_RELOC_TYPE_AARCH64, "R_AARCH64_", machine)


def _x64() -> Case:
    return Case(X64, ENUM_RELOC_TYPE_x64, "R_X86_64_", X64Machine(memory=PhysicalMemory(16 << 20), user=False))


@pytest.fixture(params=[_aarch64, _x64], ids=["aarch64", "x64"])
def case(request: pytest.FixtureRequest) -> Case:
    return request.param()


def test_every_relocation_is_stored(case: Case) -> None:
    loaded = case.load(case.image)
    for _, place, name, value in case.entries():
        assert loaded.memory.read_u64(loaded.base + place) == loaded.base + value, name


def test_types_have_the_names_that_the_tools_give_them(case: Case) -> None:
    known = {number: name.removeprefix(case.prefix) for name, number in case.types.items()}
    for number, row in RELOCATIONS[case.port.name].types.items():
        # The psABI leaves 1028 and 1029 to the platform, and pyelftools has names of its own there and for 1031 and 1032.
        if row.act is not Act.NOTHING and number not in (1028, 1029, 1031, 1032):
            assert known[number].removesuffix("64") == row.name.removesuffix("64")


def test_a_function_called_through_the_plt_is_bound_when_loaded(case: Case) -> None:
    loaded = case.load(case.image)
    ((_, slot, name, _),) = [entry for entry in case.entries() if entry[0] == "JUMP_SLOT"]
    found = loaded.lookup_symbol(name.encode())
    assert found is not None
    assert loaded.memory.read_u64(loaded.base + slot) == found.address


def test_an_entry_of_the_plt_that_nothing_provides_leads_into_the_plt(case: Case) -> None:
    image = bytearray(case.image)
    symbols = ELFFile(BytesIO(case.image)).get_section_by_name(".dynsym")
    index = next(i for i, symbol in enumerate(symbols.iter_symbols()) if symbol.name == "called_through_plt")
    struct.pack_into("<H", image, symbols["sh_offset"] + 24 * index + 6, 0)  # st_shndx: undefined
    loaded = case.load(bytes(image))
    ((_, slot, _, _),) = [entry for entry in case.entries() if entry[0] == "JUMP_SLOT"]
    plt = ELFFile(BytesIO(case.image)).get_section_by_name(".plt")
    assert 0 <= loaded.memory.read_u64(loaded.base + slot) - loaded.base - plt["sh_addr"] < plt["sh_size"]


def test_an_object_of_another_port_is_refused(case: Case) -> None:
    other = "x64" if case.port is AARCH64 else "aarch64"
    with pytest.raises(NotExecutableError, match="built for"):
        case.load((FOLDER / f"{other}.so").read_bytes())
