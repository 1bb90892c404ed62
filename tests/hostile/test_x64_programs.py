# SPDX-License-Identifier: GPL-2.0-or-later
"""x86-64 programs of one instruction that no program should have: they end as on the host's own processor."""

from __future__ import annotations

import platform
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from e2e.command import TIMEOUT, fetchsan

ENTRY = 0x40_0078
EXIT = bytes.fromhex("b8e70000000f05")  # mov $231, %eax; syscall: exit_group(whatever EDI holds, 0 at the start)

HOSTILE = {
    "exit": ("", 0),
    "hlt": ("f4", 139),
    "cli": ("fa", 139),
    "in": ("e460", 139),
    "out": ("ee", 139),
    "mov-from-cr3": ("0f20d8", 139),
    "mov-to-cr0": ("0f22c0", 139),
    "mov-to-dr7": ("0f23f8", 139),
    "wrmsr": ("0f30", 139),
    "rdmsr": ("0f32", 139),
    "lgdt": ("0f0110", 139),
    "ltr": ("0f00d8", 139),
    "invlpg": ("0f0138", 139),
    "wbinvd": ("0f09", 139),
    "sysret": ("480f07", 139),
    "swapgs": ("0f01f8", 139),
    "int-1": ("cd01", 139),
    "int-14": ("cd0e", 139),
    "int3": ("cc", 133),
    "icebp": ("f1", 133),
    "ud2": ("0f0b", 132),
    "lock-nop": ("f090", 132),
    "push-es": ("06", 132),
    "too-long": ("66" * 15 + "90", 139),
    "divide-by-zero": ("31c9f7f1", 136),
    "divide-overflow": ("ba0000008031c9ffc9f7f9", 136),
    "non-canonical-load": ("48b800000000000080004c8b00", 139),
    "non-canonical-jump": ("48b80000000000008000ffe0", 139),
    "null-jump": ("31c0ffe0", 139),
    "kernel-store": ("48b80000000000ffffff488900", 139),
    "trap-flag": ("9c810c24000100009d90", 133),
    "load-bad-selector": ("b8ff0f00008ed8", 139),
    "far-return": ("6a006a00cb", 139),
    "iretq": ("6a006a006a006a006a0048cf", 139),
}
UNTRANSLATABLE = {"lock-bt": "f00fa3c1", "lock-bts": "f0480fabd9", "lock-btr": "f00fbaf208", "lock-btc": "f00fbbc1"}


def program(path: Path, code: bytes) -> Path:
    """A static ELF: one segment, readable and executable, of its headers and the code."""
    contents = code + EXIT
    size = 64 + 56 + len(contents)
    identification = b"\x7fELF\2\1\1".ljust(16, b"\0")
    header = struct.pack("<16sHHIQQQIHHHHHH", identification, 2, 62, 1, ENTRY, 64, 0, 0, 64, 56, 1, 0, 0, 0)
    segment = struct.pack("<IIQQQQQQ", 1, 5, 0, 0x40_0000, 0x40_0000, size, size, 0x1000)
    path.write_bytes(header + segment + contents)
    path.chmod(0o755)
    return path


@pytest.mark.skipif((sys.platform, platform.machine()) != ("linux", "x86_64"), reason="this is no x86-64 Linux machine")
@pytest.mark.parametrize("name", HOSTILE)
def test_on_the_hosts_own_processor(tmp_path: Path, name: str) -> None:
    code, status = HOSTILE[name]
    done = subprocess.run([program(tmp_path / name, bytes.fromhex(code))], timeout=TIMEOUT, check=False)
    assert (128 - done.returncode if done.returncode < 0 else done.returncode) == status


@pytest.mark.parametrize("name", HOSTILE)
def test_here(tmp_path: Path, name: str) -> None:
    code, status = HOSTILE[name]
    assert fetchsan("run", program(tmp_path / name, bytes.fromhex(code))).status == status


@pytest.mark.parametrize("name", UNTRANSLATABLE)
def test_what_the_engine_dies_of_is_one_line(tmp_path: Path, name: str) -> None:
    outcome = fetchsan("run", program(tmp_path / name, bytes.fromhex(UNTRANSLATABLE[name])))
    assert outcome.status == 125
    assert outcome.lines == ["fetchsan: internal error: the engine gave up on an instruction of the program"]
