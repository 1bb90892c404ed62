# SPDX-License-Identifier: GPL-2.0-or-later
"""Owns which bytes an instruction accesses: the engine tells only the page that an access faulted on.

Also how long instructions are, and how each answers where that decides about an exception.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, lru_cache
from typing import Any, Literal, NamedTuple

__all__ = ["MAXIMUM_LENGTH", "MemoryAccess", "find_access", "first_reaching", "first_vex", "next_instruction"]

MAXIMUM_LENGTH = 15
_PAGE = 4096
_MASK64 = (1 << 64) - 1
Get = Callable[[str], int]


class MemoryAccess(NamedTuple):
    """`size` bytes from `address`. `stack`: through SS, where a bad address is a stack fault."""

    address: int
    size: int
    write: bool
    stack: bool


# Instructions that read their memory operand to write it: they fault as a write, also when the read comes first.
_READ_MODIFY_WRITE = frozenset((
    "adc", "add", "and", "btc", "btr", "bts", "cmpxchg", "cmpxchg16b", "cmpxchg8b", "dec", "inc", "neg", "not", "or", "rcl",
    "rcr", "rol", "ror", "sal", "sar", "sbb", "shl", "shld", "shr", "shrd", "sub", "xadd", "xchg", "xor",
))  # fmt: skip
_BIT_TESTS = frozenset(("bt", "btc", "btr", "bts"))
# Implicit accesses: register, offset from it, size, write.
_IMPLICIT: dict[str, tuple[str, int, int, bool]] = {
    "push": ("rsp", -8, 8, True),
    "pushfq": ("rsp", -8, 8, True),
    "call": ("rsp", -8, 8, True),
    "enter": ("rsp", -8, 8, True),
    "pop": ("rsp", 0, 8, False),
    "popfq": ("rsp", 0, 8, False),
    "ret": ("rsp", 0, 8, False),
    "retf": ("rsp", 0, 8, False),
    "iretq": ("rsp", 0, 40, False),
    "leave": ("rbp", 0, 8, False),
    "maskmovdqu": ("rdi", 0, 16, True),
    "maskmovq": ("rdi", 0, 8, True),
}
_SIZES = {"fxsave": 512, "fxsave64": 512, "fxrstor": 512, "fxrstor64": 512, "fnsave": 108, "frstor": 108, "fnstenv": 28,
          "fldenv": 28, "cmpxchg16b": 16}  # fmt: skip
_SEGMENT_PREFIXES = bytes((0x26, 0x2E, 0x36, 0x3E, 0x64, 0x65, 0x67))  # and address size
_STACK_REGISTERS = ("rsp", "rbp", "esp", "ebp")


@cache
def _decoder() -> Any:
    import capstone

    decoder = capstone.Cs(capstone.CS_ARCH_X86, capstone.CS_MODE_64)
    decoder.detail = True
    return decoder


def find_access(
    code: bytes, pc: int, get: Get, page: int, access: Literal["read", "write"]
) -> MemoryAccess | None:
    """What the instruction `code` at `pc` accesses of `page`, first byte within the page; None if it is no such access.

    `get` reads a register by name. A read that is the first half of a read-modify-write comes back with `write` set.
    """
    accesses = [operand.access(pc, get) for operand in _operands(code)]
    # Of several operands (movs, push of memory) the one with the right direction.
    accesses.sort(key=lambda each: each.write is not (access == "write"))
    for each in accesses:
        if page - each.size < each.address < page + _PAGE:
            return each._replace(address=max(each.address, page))
    return None


def next_instruction(code: bytes, pc: int) -> int | None:
    """Where the instruction `code` at `pc` ends; None if it is none, or not all of it is there."""
    return next((pc + size for _at, size, _name, _text in _decoder().disasm_lite(code, pc, 1)), None)


def first_reaching(code: bytes, pc: int, boundary: int) -> int:
    """The first instruction from `pc` on, one after the other, that has a byte at `boundary` or after."""
    while pc < boundary:
        after = next_instruction(code, pc)
        if after is None or after > boundary:
            return pc
        code = code[after - pc :]
        pc = after
    return pc


def first_vex(code: bytes, pc: int) -> int | None:
    """The address of the first instruction of a block that has a VEX prefix: AVX, or BMI."""
    for at, size, _name, _text in _decoder().disasm_lite(code, pc):
        if code[at - pc : at - pc + size].lstrip(_SEGMENT_PREFIXES)[:1] in (b"\xc4", b"\xc5"):
            return int(at)
    return None


class _Operand(NamedTuple):
    """One memory operand, explicit or implicit, before registers have values."""

    base: str
    scaled: str
    scale: int
    displacement: int
    after: int  # the instruction's length if the address is relative to its end, else 0
    bits: tuple[str, int]  # a bit test's register and operand size; ("", 0): none
    mask: int  # the width of an address
    segment: str
    size: int
    write: bool
    stack: bool

    def access(self, pc: int, get: Get) -> MemoryAccess:
        """With the registers as `get` has them."""
        address = self.displacement + _value(self.scaled, get) * self.scale
        address += pc + self.after if self.after else _value(self.base, get)
        register, size = self.bits
        if register:
            address += _bit_offset(_value(register, get), size)
        address &= self.mask
        if self.segment:
            address = address + get(f"{self.segment}_base") & _MASK64
        return MemoryAccess(address, self.size, self.write, self.stack)


@lru_cache(maxsize=4096)
def _operands(code: bytes) -> tuple[_Operand, ...]:
    """The memory operands of the first instruction of `code`. Programs fault at few places, again and again."""
    import capstone.x86 as x86

    instruction = next(_decoder().disasm(code, 0, 1), None)
    if instruction is None:
        return ()
    name = instruction.mnemonic.rpartition(" ")[2]  # without lock, rep
    found = []
    operands = instruction.operands
    for position, operand in enumerate(operands):
        if operand.type != x86.X86_OP_MEM:
            continue
        memory = operand.mem
        base = instruction.reg_name(memory.base) if memory.base else ""
        segment = instruction.reg_name(memory.segment) if memory.segment else ""
        tests_bit = name in _BIT_TESTS and operands[-1].type == x86.X86_OP_REG
        # Of add and its like only the first operand is written; xchg names its memory in either place.
        first = position == 0 or name == "xchg"
        found.append(
            _Operand(
                base=base,
                scaled=instruction.reg_name(memory.index) if memory.index else "",
                scale=memory.scale,
                # pop computes its address after the increment
                displacement=memory.disp + (8 if name == "pop" and base == "rsp" else 0),
                after=instruction.size if base in ("rip", "eip") else 0,
                bits=(instruction.reg_name(operands[-1].reg), operand.size) if tests_bit else ("", 0),
                mask=(1 << 8 * instruction.addr_size) - 1,
                segment=segment if segment in ("fs", "gs") else "",
                size=_SIZES.get(name, operand.size) or 1,
                write=first and (name in _READ_MODIFY_WRITE or bool(operand.access & 2)),
                stack=base in _STACK_REGISTERS and not segment,
            )
        )
    implicit = _IMPLICIT.get(name)
    if implicit is not None:
        register, offset, size, write = implicit
        found.append(_Operand(register, "", 1, offset, 0, ("", 0), _MASK64, "", size, write, register != "rdi"))
    elif name == "xlatb":
        found.append(_Operand("rbx", "al", 1, 0, 0, ("", 0), _MASK64, "", 1, False, False))
    return tuple(found)


def _value(register: str, get: Get) -> int:
    """A register of 16, 32 or 64 bits by capstone's name, and AL."""
    if not register or register in ("riz", "eiz"):
        return 0
    if register == "al":
        return get("rax") & 0xFF
    if register[0] == "r":
        if register[1].isdigit() and register[-1] in "dw":
            return get(register[:-1]) & (0xFFFF_FFFF if register[-1] == "d" else 0xFFFF)
        return get(register)
    if register[0] == "e":
        return get("r" + register[1:]) & 0xFFFF_FFFF
    return get("r" + register) & 0xFFFF


def _bit_offset(bits: int, size: int) -> int:
    """Bytes that the bit number of BT and its like moves the operand of `size` bytes."""
    width = 8 * size
    signed = bits - (1 << width) if bits >> (width - 1) & 1 else bits
    return signed // width * size
