# SPDX-License-Identifier: GPL-2.0-or-later
"""The committed ELFs are what their sources give."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest
from elftools.elf.elffile import ELFFile

from .variants_table import ROOT


def _build_module() -> ModuleType:
    specification = importlib.util.spec_from_file_location("guests_build", ROOT / "guests/build.py")
    assert specification is not None and specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    sys.modules[specification.name] = module  # dataclasses look their module up
    specification.loader.exec_module(module)
    return module


BUILD = _build_module()


def _loadable(path: Path) -> list[tuple[int, int, int, bytes]]:
    """What a loader sees of the file; debug information may differ."""
    with path.open("rb") as file:
        return [
            (segment["p_vaddr"], segment["p_memsz"], segment["p_flags"], segment.data())
            for segment in ELFFile(file).iter_segments("PT_LOAD")
        ]


def _without_header(segments: list[tuple[int, int, int, bytes]]) -> list[tuple[int, int, int, bytes]]:
    """The ELF header has the offset of the section headers, which debug information moves."""
    first = segments[0]
    return [(*first[:3], first[3][64:]), *segments[1:]]


@pytest.mark.parametrize("program", BUILD.PROGRAMS, ids=lambda program: program.output)
def test_prebuilt_is_what_the_sources_give(program, tmp_path) -> None:
    compiler = BUILD.find_compiler(program.target)
    if compiler is None:
        pytest.skip(program.target.missing)
    if compiler.identity != (ROOT / program.target.compiler_file).read_text():
        pytest.skip(f"another compiler than the committed files were built with ({program.target.compiler_file})")
    built = _loadable(BUILD.build(program, compiler, tmp_path))
    assert _without_header(built) == _without_header(_loadable(ROOT / program.output))


@pytest.mark.parametrize("program", BUILD.PROGRAMS, ids=lambda program: program.output)
def test_prebuilt_is_for_its_target(program) -> None:
    with (ROOT / program.output).open("rb") as file:
        assert ELFFile(file)["e_machine"] == program.target.machine
