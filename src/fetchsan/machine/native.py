# SPDX-License-Identifier: GPL-2.0-or-later
"""The five hot callbacks as native code: a few lines of LLVM IR each, compiled at start-up in about 10 ms.

Each is a filter: it answers the common case from `Shared`, a block of memory that Python fills, and calls Python for the
rest. Measured: 0.02 to 0.6 µs a call, against 0.7 to 6 µs for the same thing in Python.

`fill`   a direct-mapped table per kind of access (virtual page -> engine page); misses go to Python.
`store`  the window over frames that hold code: writes D, notes which slot changed and who wrote it, and calls Python
         *before* the write only when some PE may hold translated code of the line (`armed`).
`sys`    DC ZVA and TLBI pass; a planted barrier probe with nothing to complete is skipped; the rest goes to Python.
`msr`    a planted ISB probe with nothing to move is skipped; other registers pass.
`mrs`    CTR_EL0 is what the CPU profile says; the counters go to Python; other registers pass.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from functools import cache

from fetchsan.machine import engine

__all__ = [
    "FILL", "FILL_ENTRIES", "FLUSH_STEP", "WINDOW", "Callbacks", "Shared", "callbacks", "load", "load_pointer",
]  # fmt: skip

FILL_ENTRIES = 1 << 14
"""Entries of the fill table for each kind of access."""
FLUSH_STEP = 1 << 11
"""Fills before the first flush that lets the TLB grow; each next step is twice as long."""
FLUSH_STEP_LIMIT = 1 << 18
WINDOW = 8
"""Flag in a fill entry: the page is written through the store window."""
_PC = 260  # the engine's number of PC


class Shared(ctypes.Structure):
    """What the native callbacks of one PE share with Python. Pointers are host addresses."""

    _fields_ = (
        ("store_pc", ctypes.c_uint64),  # PC of the instruction that last filled a window entry
        ("window_page", ctypes.c_uint64),  # virtual page of that entry, 0 once evicted
        ("barrier_interest", ctypes.c_uint64),  # a DSB or DMB has something to do
        ("isb_interest", ctypes.c_uint64),  # an ISB has something to do
        ("isb_seen", ctypes.c_uint64),  # an ISB was skipped (a CSE that moved nothing)
        ("join", ctypes.c_uint64),  # on IDC/DIC machines 1: each store makes barriers interesting
        ("touched_count", ctypes.c_uint64),  # entries in `touched_list`
        ("abort_store", ctypes.c_uint64),  # Python asked for the running store to be executed again
        ("fill_table", ctypes.c_uint64),  # {tag, page | protection | WINDOW} [3][FILL_ENTRIES]
        ("ram", ctypes.c_uint64),  # D
        ("touched", ctypes.c_uint64),  # u64 per line: slots changed since last drained
        ("touched_list", ctypes.c_uint64),  # u32 line numbers
        ("armed", ctypes.c_uint64),  # u8 per line: PEs that may hold translated code of it
        ("writer", ctypes.c_uint64),  # u64 per slot: PC of the newest store
        ("line_shift", ctypes.c_uint64),
        ("stores", ctypes.c_uint64),  # statistics
        ("python_fill", ctypes.c_uint64),
        ("python_store", ctypes.c_uint64),
        ("python_sys", ctypes.c_uint64),
        ("python_mrs", ctypes.c_uint64),
        ("python_msr", ctypes.c_uint64),
        ("reg_read", ctypes.c_uint64),  # uc_reg_read
        ("translate", ctypes.c_uint64),  # uc_vmem_translate
        ("touched_limit", ctypes.c_uint64),  # call Python when touched_count reaches it
        ("scratch", ctypes.c_uint64),
        ("fills", ctypes.c_uint64),  # answered by the table
        ("next_flush", ctypes.c_uint64),  # flush the TLB, so that it may grow, when `fills` reaches it
        ("flush_step", ctypes.c_uint64),
        ("control", ctypes.c_uint64),  # uc_ctl
        ("reg_write", ctypes.c_uint64),  # uc_reg_write
        ("ctr", ctypes.c_uint64),  # what CTR_EL0 reads
        ("other_window_page", ctypes.c_uint64),  # as window_page: a store across two pages fills both
        ("removing", ctypes.c_uint64),  # where it says whether MAGIC addresses translate (Engine.remove_code)
        ("python_syscall", ctypes.c_uint64),  # x86-64
        ("python_block", ctypes.c_uint64),  # x86-64
    )


_FIELD = {name: index for index, (name, _type) in enumerate(Shared._fields_)}


def load(name: str, tag: str = "") -> str:
    register = f"%{name}{tag}"
    return (
        f"{register}.p = getelementptr i64, ptr %ctx, i64 {_FIELD[name]}\n"
        f"{register} = load i64, ptr {register}.p\n"
    )


def load_pointer(name: str) -> str:
    return load(name, ".i") + f"%{name} = inttoptr i64 %{name}.i to ptr\n"


FILL = f"""
define zeroext i8 @fill(ptr %uc, i64 %va, i32 %type, ptr %result, ptr %ctx) {{
entry:
  %top = lshr i64 %va, 48
  %is_magic = icmp eq i64 %top, {engine.MAGIC >> 48}
  %perm_p = getelementptr i32, ptr %result, i64 2
  br i1 %is_magic, label %may_be_guest, label %lookup
may_be_guest:
  {load_pointer("removing")}
  %removing_now = load i64, ptr %removing
  %ours = icmp ne i64 %removing_now, 0
  br i1 %ours, label %magic, label %lookup
magic:
  %physical = and i64 %va, {(1 << 48) - 1}
  store i64 %physical, ptr %result
  store i32 {engine.PROT_READ | engine.PROT_EXEC}, ptr %perm_p
  ret i8 1
lookup:
  {load_pointer("fill_table")}
  %kind32 = sub i32 %type, {engine.READ}
  %kind = zext i32 %kind32 to i64
  %base = mul i64 %kind, {FILL_ENTRIES}
  %page = lshr i64 %va, 12
  %slot = and i64 %page, {FILL_ENTRIES - 1}
  %index = add i64 %base, %slot
  %word_index = mul i64 %index, 2
  %tag_p = getelementptr i64, ptr %fill_table, i64 %word_index
  %tag = load i64, ptr %tag_p
  %want = or i64 %va, 1
  %hit = icmp eq i64 %tag, %want
  br i1 %hit, label %found, label %miss
found:
  %value_p = getelementptr i64, ptr %tag_p, i64 1
  %value = load i64, ptr %value_p
  %target = and i64 %value, -4096
  store i64 %target, ptr %result
  %perm64 = and i64 %value, 7
  %perm = trunc i64 %perm64 to i32
  store i32 %perm, ptr %perm_p
  %flag = and i64 %value, {WINDOW}
  %is_window = icmp ne i64 %flag, 0
  br i1 %is_window, label %window, label %count
count:
  {load("fills")}
  %fills.new = add i64 %fills, 1
  store i64 %fills.new, ptr %fills.p
  {load("next_flush")}
  %due = icmp uge i64 %fills.new, %next_flush
  br i1 %due, label %grow, label %done
grow:
  ; The engine's TLB starts with 256 entries and doubles only when a flush finds it more than 70 % full.
  {load("flush_step")}
  %at_limit = icmp uge i64 %flush_step, {FLUSH_STEP_LIMIT}
  %twice = shl i64 %flush_step, 1
  %step.new = select i1 %at_limit, i64 %flush_step, i64 %twice
  store i64 %step.new, ptr %flush_step.p
  %next.new = add i64 %fills.new, %step.new
  store i64 %next.new, ptr %next_flush.p
  {load_pointer("control")}
  %flushed = call i32 (ptr, i32, ...) %control(ptr %uc, i32 {engine.CTL_TLB_FLUSH})
  br label %done
window:
  {load_pointer("reg_read")}
  %pc_p = getelementptr i64, ptr %ctx, i64 {_FIELD["store_pc"]}
  %ignored = call i32 %reg_read(ptr %uc, i32 {_PC}, ptr %pc_p)
  {load("window_page")}
  %same = icmp eq i64 %window_page, %va
  {load("other_window_page")}
  %other.new = select i1 %same, i64 %other_window_page, i64 %window_page
  store i64 %other.new, ptr %other_window_page.p
  store i64 %va, ptr %window_page.p
  %abort_p = getelementptr i64, ptr %ctx, i64 {_FIELD["abort_store"]}
  store i64 0, ptr %abort_p
  br label %done
done:
  ret i8 1
miss:
  {load_pointer("python_fill")}
  %answer = call zeroext i8 %python_fill(ptr %uc, i64 %va, i32 %type, ptr %result, ptr %ctx)
  ret i8 %answer
}}
"""

_STORE = f"""
define void @store(ptr %uc, i64 %offset, i32 %size, i64 %value, ptr %ctx) {{
entry:
  {load("abort_store")}
  %aborting = icmp ne i64 %abort_store, 0
  br i1 %aborting, label %out, label %begin
begin:
  {load_pointer("ram")}
  %d = getelementptr i8, ptr %ram, i64 %offset
  switch i32 %size, label %eight [ i32 1, label %one  i32 2, label %two  i32 4, label %four ]
one:
  %o1 = load i8, ptr %d, align 1
  %n1 = trunc i64 %value to i8
  %c1 = icmp ne i8 %o1, %n1
  br label %compared
two:
  %o2 = load i16, ptr %d, align 1
  %n2 = trunc i64 %value to i16
  %c2 = icmp ne i16 %o2, %n2
  br label %compared
four:
  %o4 = load i32, ptr %d, align 1
  %n4 = trunc i64 %value to i32
  %c4 = icmp ne i32 %o4, %n4
  br label %compared
eight:
  %o8 = load i64, ptr %d, align 1
  %c8 = icmp ne i64 %o8, %value
  br label %compared
compared:
  %changed = phi i1 [ %c1, %one ], [ %c2, %two ], [ %c4, %four ], [ %c8, %eight ]
  br i1 %changed, label %change, label %evict
change:
  {load("line_shift")}
  %line = lshr i64 %offset, %line_shift
  {load_pointer("armed")}
  %armed_p = getelementptr i8, ptr %armed, i64 %line
  %armed_now = load i8, ptr %armed_p
  %is_armed = icmp ne i8 %armed_now, 0
  {load("touched_count")}
  {load("touched_limit")}
  %full = icmp uge i64 %touched_count, %touched_limit
  %ask = or i1 %is_armed, %full
  br i1 %ask, label %python, label %write
python:
  {load_pointer("python_store")}
  call void %python_store(ptr %uc, i64 %offset, i32 %size, i64 %value, ptr %ctx)
  {load("abort_store", ".again")}
  %abort_now = icmp ne i64 %abort_store.again, 0
  br i1 %abort_now, label %evict, label %write
write:
  switch i32 %size, label %w8 [ i32 1, label %w1  i32 2, label %w2  i32 4, label %w4 ]
w1:
  store i8 %n1.again, ptr %d, align 1
  br label %written
w2:
  store i16 %n2.again, ptr %d, align 1
  br label %written
w4:
  store i32 %n4.again, ptr %d, align 1
  br label %written
w8:
  store i64 %value, ptr %d, align 1
  br label %written
written:
  {load("store_pc")}
  {load_pointer("writer")}
  %slot = lshr i64 %offset, 2
  %writer_p = getelementptr i64, ptr %writer, i64 %slot
  store i64 %store_pc, ptr %writer_p
  {load_pointer("touched")}
  %mask_p = getelementptr i64, ptr %touched, i64 %line
  %mask = load i64, ptr %mask_p
  %line_base = shl i64 %line, %line_shift
  %in_line = sub i64 %offset, %line_base
  %bit_index = lshr i64 %in_line, 2
  %bit = shl i64 1, %bit_index
  %mask_new = or i64 %mask, %bit
  store i64 %mask_new, ptr %mask_p
  {load("stores")}
  %stores.new = add i64 %stores, 1
  store i64 %stores.new, ptr %stores.p
  {load("join")}
  {load("barrier_interest")}
  %interest.new = or i64 %barrier_interest, %join
  store i64 %interest.new, ptr %barrier_interest.p
  %first = icmp eq i64 %mask, 0
  br i1 %first, label %list, label %evict
list:
  {load_pointer("touched_list")}
  {load("touched_count", ".now")}
  %entry_p = getelementptr i32, ptr %touched_list, i64 %touched_count.now
  %line32 = trunc i64 %line to i32
  store i32 %line32, ptr %entry_p
  %count.new = add i64 %touched_count.now, 1
  store i64 %count.new, ptr %touched_count.now.p
  br label %evict
evict:
  ; The next store must have its own PC, so its TLB entry must miss: a read entry of the page takes its place.
  {load("window_page")}
  %evicted = icmp eq i64 %window_page, 0
  br i1 %evicted, label %out, label %do_evict
do_evict:
  store i64 0, ptr %window_page.p
  {load_pointer("translate")}
  %scratch = getelementptr i64, ptr %ctx, i64 {_FIELD["scratch"]}
  %ignored = call i32 %translate(ptr %uc, i64 %window_page, i32 {engine.PROT_READ}, ptr %scratch)
  {load("other_window_page")}
  %no_other = icmp eq i64 %other_window_page, 0
  br i1 %no_other, label %out, label %evict_other
evict_other:
  store i64 0, ptr %other_window_page.p
  %ignored.other = call i32 %translate(ptr %uc, i64 %other_window_page, i32 {engine.PROT_READ}, ptr %scratch)
  br label %out
out:
  ret void
}}
"""
_STORE = _STORE.replace(
    "  switch i32 %size, label %w8",
    "  %n1.again = trunc i64 %value to i8\n  %n2.again = trunc i64 %value to i16\n  %n4.again = trunc i64 %value to i32\n"
    "  switch i32 %size, label %w8",
)

_KEY = """
  %crn32 = load i32, ptr %cp
  %crm_p = getelementptr i32, ptr %cp, i64 1
  %crm32 = load i32, ptr %crm_p
  %op1_p = getelementptr i32, ptr %cp, i64 3
  %op132 = load i32, ptr %op1_p
  %op2_p = getelementptr i32, ptr %cp, i64 4
  %op232 = load i32, ptr %op2_p
  %k1 = shl i32 %op132, 12
  %k2 = shl i32 %crn32, 8
  %k3 = shl i32 %crm32, 4
  %k12 = or i32 %k1, %k2
  %k123 = or i32 %k12, %k3
  %key = or i32 %k123, %op232
"""


def _key(op1: int, crn: int, crm: int, op2: int) -> int:
    return op1 << 12 | crn << 8 | crm << 4 | op2


def _pass_or_python(name: str) -> str:
    """How every filter of system instructions ends: let the engine do it, or ask Python."""
    return f"""pass:
  ret i32 0
python:
  {load_pointer(f"python_{name}")}
  %answer = call i32 %python_{name}(ptr %uc, i32 %reg, ptr %cp, ptr %ctx)
  ret i32 %answer"""


_SYS = f"""
define i32 @sys(ptr %uc, i32 %reg, ptr %cp, ptr %ctx) {{
entry:
  {_KEY}
  %is_zva = icmp eq i32 %key, {_key(3, 7, 4, 1)}
  br i1 %is_zva, label %pass, label %next
next:
  %is_tlbi = icmp eq i32 %crn32, 8
  br i1 %is_tlbi, label %pass, label %probe
probe:
  %is_cvau = icmp eq i32 %key, {_key(3, 7, 11, 1)}
  %is_xzr = icmp eq i32 %reg, {engine.XZR}
  %is_probe = and i1 %is_cvau, %is_xzr
  br i1 %is_probe, label %quiet, label %python
quiet:
  {load("barrier_interest")}
  %calm = icmp eq i64 %barrier_interest, 0
  br i1 %calm, label %skip, label %python
skip:
  ret i32 1
{_pass_or_python("sys")}
}}
"""

_MSR = f"""
define i32 @msr(ptr %uc, i32 %reg, ptr %cp, ptr %ctx) {{
entry:
  {_KEY}
  %is_tpidr = icmp eq i32 %key, {_key(3, 13, 0, 2)}
  %is_xzr = icmp eq i32 %reg, {engine.XZR}
  %is_probe = and i1 %is_tpidr, %is_xzr
  br i1 %is_probe, label %isb, label %pass
isb:
  %seen_p = getelementptr i64, ptr %ctx, i64 {_FIELD["isb_seen"]}
  store i64 1, ptr %seen_p
  {load("isb_interest")}
  %calm = icmp eq i64 %isb_interest, 0
  br i1 %calm, label %skip, label %python
skip:
  ret i32 1
{_pass_or_python("msr")}
}}
"""

_MRS = f"""
define i32 @mrs(ptr %uc, i32 %reg, ptr %cp, ptr %ctx) {{
entry:
  {_KEY}
  %is_ctr = icmp eq i32 %key, {_key(3, 0, 0, 1)}
  br i1 %is_ctr, label %ctr, label %others
ctr:
  %to_xzr = icmp eq i32 %reg, {engine.XZR}
  br i1 %to_xzr, label %skip, label %write_ctr
write_ctr:
  {load_pointer("reg_write")}
  %ctr_p = getelementptr i64, ptr %ctx, i64 {_FIELD["ctr"]}
  %ignored = call i32 %reg_write(ptr %uc, i32 %reg, ptr %ctr_p)
  br label %skip
skip:
  ret i32 1
others:
  %timer_group = and i32 %key, {0xFFF0}
  %is_timer = icmp eq i32 %timer_group, {_key(3, 14, 0, 0)}
  br i1 %is_timer, label %python, label %pass
{_pass_or_python("mrs")}
}}
"""


class Callbacks:
    """Addresses of compiled callbacks (shared by all engines of the process)."""

    def __init__(self, names: Sequence[str], sources: Sequence[str]) -> None:
        # llvmlite costs 20 to 50 ms, so it is loaded only when a machine is.
        from llvmlite import binding

        binding.initialize_native_target()
        binding.initialize_native_asmprinter()
        module = binding.parse_assembly("\n".join(sources))
        module.verify()
        target = binding.Target.from_default_triple().create_target_machine(opt=2)
        self._compiler = binding.create_mcjit_compiler(module, target)
        self._compiler.finalize_object()
        for name in names:
            setattr(self, name, self._compiler.get_function_address(name))

    fill: int
    store: int
    sys: int
    msr: int
    mrs: int
    syscall: int
    block: int


@cache
def callbacks() -> Callbacks:
    """AArch64's, compiled once per process."""
    return Callbacks(("fill", "store", "sys", "msr", "mrs"), (FILL, _STORE, _SYS, _MSR, _MRS))
