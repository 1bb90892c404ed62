# SPDX-License-Identifier: GPL-2.0-or-later
"""Owns the page-fault error code as declared bits (Intel SDM volume 3, 4.7), and the vectors of x86-64 exceptions."""

from __future__ import annotations

from enum import IntEnum
from typing import Literal

from fetchsan.arch.register import Field

__all__ = ["ErrorCode", "Vector", "access_of", "page_fault_error"]


class Vector(IntEnum):
    """Exceptions that a program can take."""

    DIVIDE_ERROR = 0
    DEBUG = 1
    BREAKPOINT = 3
    OVERFLOW = 4
    INVALID_OPCODE = 6
    STACK_FAULT = 12
    GENERAL_PROTECTION = 13
    PAGE_FAULT = 14
    X87_ERROR = 16
    ALIGNMENT_CHECK = 17
    SIMD_ERROR = 19


class ErrorCode:
    """What a page fault pushes."""

    PROT = Field(0, 1)  # the page was present: a violation of its rights
    WRITE = Field(1, 1)
    USER = Field(2, 1)  # from ring 3 (OSv ignores it: everything runs in ring 0)
    RSVD = Field(3, 1)  # a reserved bit was set: on OSv, a resident page without rights
    INSN = Field(4, 1)  # an instruction fetch


def page_fault_error(
    access: Literal["read", "write", "execute"], *, present: bool, user: bool, reserved: bool = False
) -> int:
    """The error code of a fault; a reserved bit is found in entries that are present.

    >>> page_fault_error("write", present=False, user=True)
    6
    >>> page_fault_error("execute", present=True, user=False)
    17
    """
    return (
        ErrorCode.PROT.put(present or reserved)
        | ErrorCode.WRITE.put(access == "write")
        | ErrorCode.USER.put(user)
        | ErrorCode.RSVD.put(reserved)
        | ErrorCode.INSN.put(access == "execute")
    )


def access_of(error: int) -> Literal["read", "write", "execute"]:
    """What was tried, from an error code.

    >>> access_of(0x6), access_of(0x15)
    ('write', 'execute')
    """
    if ErrorCode.INSN.of(error):
        return "execute"
    return "write" if ErrorCode.WRITE.of(error) else "read"
