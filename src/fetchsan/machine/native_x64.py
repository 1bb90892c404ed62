# SPDX-License-Identifier: GPL-2.0-or-later
"""The hot callbacks of x86-64 as native code: `fill` is that of every architecture, `syscall` enters the kernel.

SYSCALL leaves the return address in RCX and RFLAGS in R11. The engine adds the instruction's two bytes to RIP *after* the
callback, so what the kernel left there is moved back by two.

`block` looks at every block that was translated for a VEX prefix. The engine has no AVX, but takes VEX.128 instructions for
the SSE ones with the same opcode: other operands, other results, and no fault. Where the bytes may be such a prefix, Python
decodes the block. A VEX prefix with L=1 is undefined to the engine, which is right.
"""

from __future__ import annotations

from functools import cache

from fetchsan.machine.engine import FETCH, READ
from fetchsan.machine.engine_registers import X64
from fetchsan.machine.native import FILL, FILL_ENTRIES, Callbacks, load_pointer

__all__ = ["SYSCALL_SIZE", "callbacks"]

SYSCALL_SIZE = 2

_SYSCALL = f"""
define void @syscall(ptr %uc, ptr %ctx) {{
entry:
  %value = alloca i64
  {load_pointer("reg_read")}
  {load_pointer("reg_write")}
  store i64 0, ptr %value
  %read.flags = call i32 %reg_read(ptr %uc, i32 {X64.ids["rflags"]}, ptr %value)
  %write.r11 = call i32 %reg_write(ptr %uc, i32 {X64.ids["r11"]}, ptr %value)
  %read.rip = call i32 %reg_read(ptr %uc, i32 {X64.ids["rip"]}, ptr %value)
  %rip = load i64, ptr %value
  %next = add i64 %rip, {SYSCALL_SIZE}
  store i64 %next, ptr %value
  %write.rcx = call i32 %reg_write(ptr %uc, i32 {X64.ids["rcx"]}, ptr %value)
  %write.rip = call i32 %reg_write(ptr %uc, i32 {X64.ids["rip"]}, ptr %value)
  {load_pointer("python_syscall")}
  %ignored = call i32 %python_syscall(ptr %uc, ptr %ctx)
  %read.left = call i32 %reg_read(ptr %uc, i32 {X64.ids["rip"]}, ptr %value)
  %left = load i64, ptr %value
  %back = sub i64 %left, {SYSCALL_SIZE}
  store i64 %back, ptr %value
  %write.back = call i32 %reg_write(ptr %uc, i32 {X64.ids["rip"]}, ptr %value)
  ret void
}}
"""


# The block is {pc:64, instructions:16, size:16}. Its bytes are found as `fill` found its page.
_BLOCK = f"""
define void @block(ptr %uc, ptr %tb, ptr %previous, ptr %ctx) {{
entry:
  %pc = load i64, ptr %tb
  %size_p = getelementptr i16, ptr %tb, i64 5
  %size16 = load i16, ptr %size_p
  %size = zext i16 %size16 to i64
  %page = and i64 %pc, -4096
  %offset = and i64 %pc, 4095
  %end = add i64 %offset, %size
  %crosses = icmp ugt i64 %end, 4096
  br i1 %crosses, label %python, label %lookup
lookup:
  {load_pointer("fill_table")}
  %number = lshr i64 %pc, 12
  %slot = and i64 %number, {FILL_ENTRIES - 1}
  %index = add i64 %slot, {(FETCH - READ) * FILL_ENTRIES}
  %word_index = mul i64 %index, 2
  %tag_p = getelementptr i64, ptr %fill_table, i64 %word_index
  %tag = load i64, ptr %tag_p
  %want = or i64 %page, 1
  %hit = icmp eq i64 %tag, %want
  br i1 %hit, label %found, label %python
found:
  %value_p = getelementptr i64, ptr %tag_p, i64 1
  %value = load i64, ptr %value_p
  %frame = and i64 %value, -4096
  {load_pointer("ram")}
  %host = getelementptr i8, ptr %ram, i64 %frame
  br label %loop
loop:
  %at = phi i64 [ %offset, %found ], [ %next, %more ]
  %done = icmp uge i64 %at, %end
  br i1 %done, label %out, label %look
look:
  %byte_p = getelementptr i8, ptr %host, i64 %at
  %byte = load i8, ptr %byte_p
  %low = and i8 %byte, -2
  %next = add i64 %at, 1
  %prefix = icmp eq i8 %low, {0xC4 - 256}
  br i1 %prefix, label %which, label %more
more:
  br label %loop
which:
  ; C5 has L in its second byte, C4 in its third, after the opcode map (1 to 3).
  %room = sub i64 %end, %at
  %short = icmp ult i64 %room, 4
  br i1 %short, label %python, label %read
read:
  %second_p = getelementptr i8, ptr %byte_p, i64 1
  %second = load i8, ptr %second_p
  %third_p = getelementptr i8, ptr %byte_p, i64 2
  %third = load i8, ptr %third_p
  %is_c4 = icmp eq i8 %byte, {0xC4 - 256}
  %map = and i8 %second, 31
  %map_before = sub i8 %map, 1
  %good_map = icmp ult i8 %map_before, 3
  %not_c4 = xor i1 %is_c4, true
  %map_fits = or i1 %not_c4, %good_map
  %with_l = select i1 %is_c4, i8 %third, i8 %second
  %l = and i8 %with_l, 4
  %is_128 = icmp eq i8 %l, 0
  %suspect = and i1 %map_fits, %is_128
  br i1 %suspect, label %python, label %more
python:
  {load_pointer("python_block")}
  call void %python_block(ptr %uc, ptr %tb, ptr %previous, ptr %ctx)
  br label %out
out:
  ret void
}}
"""


@cache
def callbacks() -> Callbacks:
    """Compiled once per process."""
    return Callbacks(("fill", "syscall", "block"), (FILL, _SYSCALL, _BLOCK))
