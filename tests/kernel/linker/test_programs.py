# SPDX-License-Identifier: GPL-2.0-or-later
"""Programs and libraries that a real linker made, loaded by ours and run: each checks itself (guests/linker)."""

from __future__ import annotations

import struct
from io import BytesIO

import pytest
from elftools.elf.elffile import ELFFile

from fetchsan.errors import NotExecutableError
from fetchsan.kernel.linker.program import Program, without_calls
from fetchsan.kernel.linker.relocations import RELOCATIONS
from fetchsan.kernel.linker.symbols import gnu_hash
from fetchsan.kernel.linker.versions import NEWEST, Version
from fetchsan.kernel.osv import Aborted
from fetchsan.kernel.task import Exited
from kernel.linker.programs import FOLDER, Osv

PORTS = sorted(RELOCATIONS)
PROGRAM_BASE = 0x1000_0000_0000


def image(port: str, name: str) -> bytes:
    return (FOLDER / port / name).read_bytes()


def load(osv: Osv, name: str = "/library.so") -> Program:
    program = Program(osv.kernel.space, osv.kernel.memory, osv.kernel._open_object, at=PROGRAM_BASE)
    steps = program.load(name)
    try:
        next(steps)
        while True:
            steps.send(0x1234)  # what every resolver says
    except StopIteration:
        return program


@pytest.mark.parametrize("port", PORTS)
@pytest.mark.parametrize("name", ["lazy.so", "now.so", "pie"])
def test_a_program_and_its_library_find_each_other(port: str, name: str) -> None:
    assert Osv(port).run(name, "x") == Exited(0)


@pytest.mark.parametrize("port", PORTS)
def test_a_plugin_is_loaded_and_unloaded_again_and_again(port: str) -> None:
    assert Osv(port).run("loads_plugin.so", "2") == Exited(0)


@pytest.mark.parametrize("port", PORTS)
def test_names_after_ones_own_global_plugins_versions_and_a_destructor_that_closes_a_plugin(port: str) -> None:
    assert Osv(port).run("next.so") == Exited(0)


def test_packed_relative_relocations() -> None:
    data = image("x64", "relr.so")
    assert ELFFile(BytesIO(data)).get_section_by_name(".relr.dyn") is not None
    assert Osv("x64").run("relr.so") == Exited(0)


@pytest.mark.parametrize("port", PORTS)
@pytest.mark.parametrize(("name", "argument"), [("now.so", "x"), ("loads_plugin.so", "1"), ("next.so", "")])
def test_every_frame_comes_back(port: str, name: str, argument: str) -> None:
    osv = Osv(port)
    before = osv.machine.memory.frames_in_use
    osv.run(name, argument)
    assert osv.machine.memory.frames_in_use == before


def library_without(port: str, name: str) -> dict[str, bytes]:
    """The library with one of its symbols undefined."""
    data = bytearray(image(port, "library.so"))
    table = ELFFile(BytesIO(bytes(data))).get_section_by_name(".dynsym")
    (number,) = [number for number, symbol in enumerate(table.iter_symbols()) if symbol.name == name]
    struct.pack_into("<H", data, table["sh_offset"] + 24 * number + 6, 0)
    return {"library.so": bytes(data)}


@pytest.mark.parametrize("port", PORTS)
@pytest.mark.parametrize("name", ["lazy.so", "now.so"])
def test_a_call_of_a_function_that_nothing_provides_names_it(port: str, name: str) -> None:
    end = Osv(port, library_without(port, "call_chosen_here")).run(name, "x")
    assert isinstance(end, Aborted)
    if port == "aarch64":  # the other port's report has no such line
        assert f"/{name}: failed looking up symbol call_chosen_here" in end.report


def test_data_that_nothing_provides_is_fatal_on_aarch64() -> None:
    with pytest.raises(NotExecutableError, match="needs the symbol copied, which nothing provides"):
        Osv("aarch64", library_without("aarch64", "copied")).run("lazy.so", "x")


def test_data_that_nothing_provides_faults_when_it_is_touched_on_x64() -> None:
    end = Osv("x64", library_without("x64", "copied")).run("lazy.so", "x")
    assert isinstance(end, Aborted) and end.exception.far


def test_a_needed_object_that_is_nowhere_is_named() -> None:
    osv = Osv("aarch64")
    program = Program(osv.kernel.space, osv.kernel.memory, {"/now.so": osv.kernel._open_object("/now.so")}.get, at=PROGRAM_BASE)
    with pytest.raises(NotExecutableError, match=r"needs library.so, which is not found \(looked for /library.so, "):
        without_calls(program.load("/now.so"))
    assert not list(osv.kernel.space.vmas.mapped())


@pytest.mark.parametrize("port", PORTS)
@pytest.mark.parametrize(
    ("version", "value"), [(None, 1), (NEWEST, 2), (Version(b"OLD"), 1), (Version(b"NEW"), 2), (Version(b"NONE"), None)]
)
def test_a_definition_is_found_by_its_version(port: str, version: Version | None, value: int | None) -> None:
    program = load(Osv(port))
    found = program.modules[0].lookup_symbol(b"versioned", version)
    elf = ELFFile(BytesIO(image(port, "library.so")))
    addresses = {
        number: next(
            symbol["st_value"] for symbol in elf.get_section_by_name(".symtab").iter_symbols() if symbol.name == name
        )
        for number, name in ((1, "versioned_old"), (2, "versioned_new"))
    }
    assert (found.symbol.value if found is not None else None) == (addresses[value] if value is not None else None)


@pytest.mark.parametrize("port", PORTS)
def test_both_hash_tables_find_every_exported_symbol(port: str) -> None:
    for name in ("lazy.so", "now.so"):
        osv = Osv(port)
        program = load(osv, f"/{name}")
        table = ELFFile(BytesIO(image(port, name))).get_section_by_name(".dynsym")
        for symbol in table.iter_symbols():
            if symbol["st_shndx"] != "SHN_UNDEF" and symbol["st_info"]["bind"] == "STB_GLOBAL":
                found = program.modules[0].lookup_symbol(symbol.name.encode())
                assert found is not None and found.symbol.value == symbol["st_value"], symbol.name


@pytest.mark.parametrize("port", PORTS)
def test_an_address_leads_back_to_its_symbol(port: str) -> None:
    program = load(Osv(port))
    found = program.lookup(b"twice")
    assert found is not None
    library = program.find_object(found.address)
    assert library is found.object
    assert library.symbol_at(found.address + 3) == found.symbol
    assert library.symbol_name(found.symbol) == b"twice"


def test_a_copy_takes_the_bytes_of_the_library() -> None:
    """No linker makes one for AArch64 in a position-independent program: GLOB_DAT of `copied` is made one."""
    data = bytearray(image("aarch64", "pie"))
    elf = ELFFile(BytesIO(bytes(data)))
    section, symbols = elf.get_section_by_name(".rela.dyn"), elf.get_section_by_name(".dynsym")
    (row,) = [
        (number, row["r_offset"])
        for number, row in enumerate(section.iter_relocations())
        if row["r_info_type"] == 1025 and symbols.get_symbol(row["r_info_sym"]).name == "copied"
    ]
    struct.pack_into("<I", data, section["sh_offset"] + 24 * row[0] + 8, 1024)
    symbol = next(number for number, each in enumerate(symbols.iter_symbols()) if each.name == "copied")
    struct.pack_into("<Q", data, symbols["sh_offset"] + 24 * symbol + 16, 4)  # its size, as in a program that has it
    osv = Osv("aarch64", {"pie": bytes(data)})
    program = load(osv, "/pie")
    assert osv.kernel.memory.read_u32(program.modules[0].base + row[1]) == 5


def test_the_gnu_hash_of_a_name() -> None:
    assert [gnu_hash(name) for name in (b"", b"printf", b"syscall")] == [5381, 0x156B2BB8, 0xBAC212A0]


@pytest.mark.parametrize("port", PORTS)
def test_a_thousand_cycles_of_dlopen_and_dlclose(port: str) -> None:
    osv = Osv(port)
    before = osv.machine.memory.frames_in_use
    assert osv.run("loads_plugin.so", "~") == Exited(0)
    assert osv.machine.memory.frames_in_use == before
