/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Owns the variants about which lines were maintained: ranges, strides, neighbours in one line. */
#include "jit.h"

enum { LINES = 4 };

/* One `add w0, w0, #value` at the start of each of LINES lines, joined by branches: called with 0 it gives their sum. */
static void emit_lines(volatile uint32_t *code, uint32_t value)
{
    size_t words = larger_line() / 4;
    for (size_t i = 0; i < LINES; i++) {
        code[i * words] = ADD_W0(value);
        code[i * words + 1] = i + 1 < LINES ? B((words - 1) * 4) : RET;
    }
}

/* Two slots with a line boundary between them: code is 4 bytes before the boundary. */
static void emit_straddling(volatile uint32_t *code, uint32_t value)
{
    code[0] = ADD_W0(value);
    code[1] = ADD_W0(value);
    code[2] = RET;
}

typedef void emitter(volatile uint32_t *code, uint32_t value);
typedef void maintainer(uintptr_t start, uintptr_t end);

static void sequence(uintptr_t dc_start, uintptr_t dc_end, size_t dc_stride, uintptr_t ic_start, uintptr_t ic_end,
                     size_t ic_stride)
{
    clean_range(dc_start, dc_end, dc_stride);
    dsb_ish();
    invalidate_range(ic_start, ic_end, ic_stride);
    dsb_ish();
    isb();
}

static void whole(uintptr_t start, uintptr_t end) { synchronise((void *)start, end - start); }

static void nothing(uintptr_t start, uintptr_t end) { (void)start, (void)end; }

static void last_line_missed(uintptr_t start, uintptr_t end) { whole(start, end - larger_line()); }

static void length_in_words(uintptr_t start, uintptr_t end) { whole(start, start + (end - start) / 4); }

static void last_dc_missed(uintptr_t start, uintptr_t end)
{
    sequence(start, end - larger_line(), data_line(), start, end, instruction_line());
}

static void last_ic_missed(uintptr_t start, uintptr_t end)
{
    sequence(start, end, data_line(), start, end - larger_line(), instruction_line());
}

/* Mono, 2016: a line size of 128 cached on one core, used on another whose lines are 64. */
static void stride_doubled(uintptr_t start, uintptr_t end)
{
    sequence(start, end, 2 * data_line(), start, end, 2 * instruction_line());
}

/* Old libgcc: base 0x3c and length 8 touch 0x3c only, the line at 0x40 never. */
static void start_not_rounded(uintptr_t start, uintptr_t end)
{
    sequence(start, end, data_line(), start, end, instruction_line());
}

static void line_by_line(uintptr_t start, uintptr_t end)
{
    for (; start < end; start += larger_line())
        whole(start, start + 4);
}

static void line_by_line_without_last_dsb(uintptr_t start, uintptr_t end)
{
    for (; start < end; start += larger_line()) {
        dc_cvau((void *)start);
        dsb_ish(); /* completes the IC of the line before as well */
        ic_ivau((void *)start);
    }
    isb();
}

struct range {
    emitter *emit;
    maintainer *maintain;
};

static enum outcome run(const struct variant *self)
{
    const struct range *range = self->detail;
    int straddling = range->emit == emit_straddling;
    size_t size = straddling ? 12 : LINES * larger_line();
    uint32_t slots = straddling ? 2 : LINES;
    volatile uint32_t *code = jit_page() + (straddling ? larger_line() / 4 - 1 : 0);
    range->emit(code, 1);
    synchronise((const void *)code, size);
    if (call(code, 0) != slots)
        return OUTCOME_ODD;
    range->emit(code, 2);
    range->maintain((uintptr_t)code, (uintptr_t)code + size);
    uint32_t result = call(code, 0);
    if (result > slots && result < 2 * slots)
        return OUTCOME_TORN;
    return outcome_of(result, 2 * slots, slots);
}

/* A JIT that fills in a branch or an immediate when it learns it, after it has flushed. */
static enum outcome backpatch(const struct variant *self)
{
    volatile uint32_t *code = jit_page();
    size_t size = LINES * larger_line();
    emit_lines(code, 1);
    synchronise((const void *)code, size);
    volatile uint32_t *patched = code + 2 * larger_line() / 4;
    *patched = ADD_W0(5);
    if (self->detail)
        synchronise((const void *)patched, 4);
    return outcome_of(call(code, 0), LINES + 4, LINES);
}

/* Two functions: `apart` bytes between them, how many of them are stored before the one maintenance, of the first. */
struct pair {
    int same_line;
    int second_after;
};

static enum outcome two_functions(const struct variant *self)
{
    const struct pair *pair = self->detail;
    volatile uint32_t *first = jit_page();
    volatile uint32_t *second = first + (pair->same_line ? 4 : larger_line() / 4);
    emit_first_version(first, 1);
    emit_first_version(second, 1);
    emit_constant(first, 2);
    if (!pair->second_after)
        emit_constant(second, 2);
    synchronise((const void *)first, 8);
    if (pair->second_after)
        emit_constant(second, 2);
    if (call(first, 0) != 2)
        return OUTCOME_ODD;
    return outcome_of(call(second, 0), 2, 1);
}

/* `ldr w0, .+8; ret; .word value`: the data changes beside the code, which needs no maintenance. */
static enum outcome data_beside_code(const struct variant *self)
{
    (void)self;
    volatile uint32_t *code = jit_page();
    code[0] = 0x18000040;
    code[1] = RET;
    code[2] = 1;
    synchronise((const void *)code, 12);
    if (call(code, 0) != 1)
        return OUTCOME_ODD;
    code[2] = 2;
    code[3] = 3;
    return outcome_of(call(code, 0), 2, 1);
}

/* A rewritten line that is never executed again. */
static enum outcome never_executed(const struct variant *self)
{
    (void)self;
    volatile uint32_t *code = jit_page();
    volatile uint32_t *other = code + larger_line() / 4;
    emit_first_version(code, 2);
    emit_first_version(other, 1);
    emit_constant(other, 3);
    return outcome_of(call(code, 0), 2, 1);
}

#define RANGE(text, emit, maintain) {text, run, &(const struct range){emit, maintain}}
#define PAIR(text, same_line, second_after) {text, two_functions, &(const struct pair){same_line, second_after}}

const struct variant range_variants[] = {
    RANGE("lines-correct", emit_lines, whole),
    RANGE("lines-none", emit_lines, nothing),
    RANGE("range-too-short", emit_lines, last_line_missed),
    RANGE("range-in-words", emit_lines, length_in_words),
    RANGE("dc-range-too-short", emit_lines, last_dc_missed),
    RANGE("ic-range-too-short", emit_lines, last_ic_missed),
    RANGE("stride-too-large", emit_lines, stride_doubled),
    RANGE("line-by-line", emit_lines, line_by_line),
    RANGE("line-by-line-no-last-dsb", emit_lines, line_by_line_without_last_dsb),
    RANGE("unaligned-correct", emit_straddling, whole),
    RANGE("unaligned-start-not-rounded", emit_straddling, start_not_rounded),
    {"backpatch-after-maintenance", backpatch, NULL},
    {"backpatch-maintained", backpatch, "maintained"},
    PAIR("same-line-first-maintained", 1, 0),
    PAIR("same-line-second-after", 1, 1),
    PAIR("next-line-not-maintained", 0, 0),
    {"data-beside-code", data_beside_code, NULL},
    {"never-executed", never_executed, NULL},
    {0},
};
