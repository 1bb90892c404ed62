# SPDX-License-Identifier: GPL-2.0-or-later
"""The two OSv applications of the scenario: right alone, visibly wrong with the other's pages."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest
from elftools.elf.elffile import ELFFile
from elftools.elf.relocation import RelocationSection
from unicorn import UC_ARCH_ARM64, UC_HOOK_INTR, UC_MODE_ARM, UC_PROT_ALL, Uc, UcError
from unicorn.arm64_const import UC_ARM64_REG_SP, UC_ARM64_REG_X0, UC_ARM64_REG_X1, UC_ARM64_REG_X2, UC_ARM64_REG_X8

from .variants_table import ROOT

FOLDER = ROOT / "src/fetchsan/scenarios/guests"
BASE, STACK, PAGE = 0x1000_0000, 0x2000_0000, 4096
R_AARCH64_RELATIVE = 1027


@dataclass
class Application:
    """An application loaded at BASE with its relocations applied."""

    image: bytearray
    main: int
    text: slice  # whole pages, main()'s first
    relocations: list[int]


def load(path: Path) -> Application:
    with path.open("rb") as file:
        elf = ELFFile(file)
        segments = list(elf.iter_segments("PT_LOAD"))
        end = max(segment["p_vaddr"] + segment["p_memsz"] for segment in segments)
        image = bytearray(-(-end // PAGE) * PAGE)
        for segment in segments:
            image[segment["p_vaddr"] : segment["p_vaddr"] + segment["p_filesz"]] = segment.data()
        types = []
        for section in elf.iter_sections():
            if isinstance(section, RelocationSection):
                for relocation in section.iter_relocations():
                    types.append(relocation["r_info_type"])
                    place = relocation["r_offset"]
                    image[place : place + 8] = (BASE + relocation["r_addend"]).to_bytes(8, "little")
        (text,) = [segment for segment in segments if segment["p_flags"] & 1]
        (main,) = elf.get_section_by_name(".dynsym").get_symbol_by_name("main")
        pages = slice(text["p_vaddr"], text["p_vaddr"] + -(-text["p_memsz"] // PAGE) * PAGE)
        return Application(image, main["st_value"], pages, types)


def run(application: Application) -> tuple[str, int | None]:
    """What it wrote, and its exit status (None: it died). Relies on SVC with write and exit_group only."""
    uc = Uc(UC_ARCH_ARM64, UC_MODE_ARM)
    uc.mem_map(BASE, len(application.image), UC_PROT_ALL)
    uc.mem_write(BASE, bytes(application.image))
    uc.mem_map(STACK, PAGE)
    uc.reg_write(UC_ARM64_REG_SP, STACK + PAGE)
    written: list[str] = []
    status: list[int] = []

    def interrupt(uc: Uc, number: int, _data: object) -> None:
        if number == 2 and uc.reg_read(UC_ARM64_REG_X8) == 64:
            buffer = uc.mem_read(uc.reg_read(UC_ARM64_REG_X1), uc.reg_read(UC_ARM64_REG_X2))
            written.append(bytes(buffer).decode())
            return
        if number == 2 and uc.reg_read(UC_ARM64_REG_X8) == 94:
            status.append(uc.reg_read(UC_ARM64_REG_X0))
        uc.emu_stop()

    uc.hook_add(UC_HOOK_INTR, interrupt)
    try:
        uc.emu_start(BASE + application.main, 0, count=100_000)
    except UcError:
        return "".join(written), None
    return "".join(written), status[0] if status else None


@pytest.fixture(params=["tst-hello", "tst-other"])
def name(request) -> str:
    return request.param


def test_application_runs_its_own_code(name) -> None:
    output, status = run(load(FOLDER / f"{name}.so"))
    assert (output.startswith(f"{name}: ok, checksum "), status) == (True, 0)


def test_application_needs_no_symbol(name) -> None:
    assert set(load(FOLDER / f"{name}.so").relocations) == {R_AARCH64_RELATIVE}


@pytest.mark.parametrize("page", range(1, 5))
def test_a_page_of_the_other_application_shows(name, page) -> None:
    application = load(FOLDER / f"{name}.so")
    other = load(FOLDER / f"{'tst-other' if name == 'tst-hello' else 'tst-hello'}.so")
    assert application.text == other.text
    here = slice(application.text.start + page * PAGE, application.text.start + (page + 1) * PAGE)
    application.image[here] = other.image[here]
    output, status = run(application)
    assert (output.startswith(f"{name}: the code of another program ran, checksum "), status) == (True, 1)


def test_a_page_never_cleaned_is_undefined(name) -> None:
    application = load(FOLDER / f"{name}.so")
    application.image[application.text.start : application.text.start + PAGE] = bytes(PAGE)
    assert run(application) == ("", None)


def test_main_has_the_same_bytes_in_both_applications() -> None:
    first, second = (load(FOLDER / f"{name}.so") for name in ("tst-hello", "tst-other"))
    page = slice(first.text.start, first.text.start + PAGE)
    assert first.image[page] == second.image[page]
