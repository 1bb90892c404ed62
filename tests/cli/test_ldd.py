# SPDX-License-Identifier: GPL-2.0-or-later
"""`fetchsan ldd`: what it says of objects that a real linker made, and of files that are none."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import pytest

from fetchsan.cli.main import main

GUESTS = Path(__file__).resolve().parents[2] / "guests"
SCENARIOS = Path(__file__).resolve().parents[2] / "src/fetchsan/scenarios/guests"


def lines(capsys: pytest.CaptureFixture[str], *arguments: object) -> list[str]:
    assert main(["ldd", *map(str, arguments)]) == 0
    return capsys.readouterr().out.splitlines()


@pytest.mark.parametrize("port", ["aarch64", "x64"])
def test_a_library_beside_it_is_found_and_has_everything(port: str, capsys: pytest.CaptureFixture[str]) -> None:
    shown = lines(capsys, GUESTS / "linker" / port / "lazy.so")
    folder = GUESTS / "linker" / port
    assert f"  library.so  {folder}/library.so" in shown
    assert "symbols that nothing provides" not in shown


def test_what_is_not_there_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "lazy.so").write_bytes((GUESTS / "linker/aarch64/lazy.so").read_bytes())
    shown = lines(capsys, "-L", tmp_path, tmp_path / "lazy.so")
    assert "  library.so  NOT FOUND (needed by lazy.so)" in shown
    assert "  twice" in shown[shown.index("symbols that nothing provides") :]
    assert "  nowhere" not in shown, "a weak one may be missing"


def test_the_kernel_stands_for_the_c_library(capsys: pytest.CaptureFixture[str]) -> None:
    shown = lines(capsys, GUESTS / "linker/hosted/program")
    assert "  libc.so.6  provided by the kernel" in shown
    assert "symbols that nothing provides" not in shown


def test_text_relocations_are_warned_of(capsys: pytest.CaptureFixture[str]) -> None:
    shown = " ".join(line.strip() for line in lines(capsys, SCENARIOS / "tst-textrel.so"))
    assert "text relocations (DT_TEXTREL): the linker stores into code" in shown


def test_a_writable_and_executable_segment_is_warned_of(capsys: pytest.CaptureFixture[str]) -> None:
    shown = " ".join(line.strip() for line in lines(capsys, SCENARIOS / "tst-bss-tail.so"))
    assert "is writable and executable" in shown


def test_nothing_is_wider_than_80_columns(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(SCENARIOS)
    assert max(map(len, lines(capsys, "tst-textrel.so"))) <= 80


def test_json_has_relocations_by_type(capsys: pytest.CaptureFixture[str]) -> None:
    found = json.loads("\n".join(lines(capsys, "--json", GUESTS / "linker/x64/now.so")))
    assert found["relocations"] == {"64": 2, "GLOB_DAT": 8, "JUMP_SLOT": 8, "RELATIVE": 1, "TLSDESC": 5}


@pytest.mark.parametrize(("name", "status"), [("no-such-file", 127), ("guests/README.md", 126), ("guests", 126)])
def test_what_is_no_object_is_one_line(name: str, status: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ldd", str(GUESTS.parent / name)]) == status
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_a_damaged_object_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = bytearray((SCENARIOS / "tst-hello.so").read_bytes())
    struct.pack_into("<Q", data, 0x6EC0 + 8 * 2 * 3 + 8, 1 << 40)  # DT_STRTAB
    (tmp_path / "it.so").write_bytes(data)
    assert main(["ldd", str(tmp_path / "it.so")]) == 126
    assert "corrupt ELF" in capsys.readouterr().err
