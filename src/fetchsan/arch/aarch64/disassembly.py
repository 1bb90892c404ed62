# SPDX-License-Identifier: GPL-2.0-or-later
"""One A64 instruction as text, for reports. Capstone is imported at the first call: most runs print no report."""

from __future__ import annotations

from functools import cache
from typing import Any

__all__ = ["disassemble"]


@cache
def _engine() -> Any:
    import capstone

    return capstone.Cs(capstone.CS_ARCH_ARM64, capstone.CS_MODE_LITTLE_ENDIAN)


def disassemble(word: int, pc: int) -> str:
    """The instruction `word` as it reads at `pc` (branch targets and ADR are absolute).

    >>> disassemble(0x52800040, 0x1000)
    'mov w0, #2'
    >>> disassemble(0, 0x1000)
    '.inst 0x00000000 (undefined)'
    """
    # The A64 reserved space (op0 = 0000, op1 = 000000000) is UDF: what a frame that nobody cleaned executes (EC=0).
    if word >> 16:
        for instruction in _engine().disasm(word.to_bytes(4, "little"), pc, 1):
            return f"{instruction.mnemonic} {instruction.op_str}".rstrip()
    return f".inst 0x{word:08x} (undefined)"
