# SPDX-License-Identifier: GPL-2.0-or-later
"""The hot callbacks of x86-64 as native code: `fill` is that of every architecture, `syscall` enters the kernel.

SYSCALL leaves the return address in RCX and RFLAGS in R11. The engine adds the instruction's two bytes to RIP *after* the
callback, so what the kernel left there is moved back by two.
"""

from __future__ import annotations

from functools import cache

from fetchsan.machine.engine_registers import X64
from fetchsan.machine.native import FILL, Callbacks, load_pointer

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


@cache
def callbacks() -> Callbacks:
    """Compiled once per process."""
    return Callbacks(("fill", "syscall"), (FILL, _SYSCALL))
