/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Owns the variants about the store itself: its width, its alignment, atomics, DC ZVA. Each with a maintained twin. */
#include "jit.h"

/* The function: two `add w0, w0, #1` and `ret`, `before` bytes into the mapping, so that it may straddle. */
enum place { AT_START, ACROSS_LINES, ACROSS_PAGES };

struct store {
    void (*store)(volatile uint32_t *code);
    enum place place;
    int maintained;
};

static void store_byte(volatile uint32_t *code) { ((volatile uint8_t *)code)[1] = 0x08; } /* #1 becomes #2 */

static void store_half(volatile uint32_t *code) { *(volatile uint16_t *)code = 0x0800; }

static void store_double(volatile uint32_t *code)
{
    *(volatile uint64_t *)code = (uint64_t)ADD_W0(2) << 32 | ADD_W0(2);
}

static void store_pair(volatile uint32_t *code)
{
    uint64_t low = (uint64_t)ADD_W0(2) << 32 | ADD_W0(2);
    __asm__ volatile("stp %1, %2, [%0]" ::"r"(code), "r"(low), "r"((uint64_t)RET) : "memory");
}

static void store_quad(volatile uint32_t *code)
{
    uint64_t low = (uint64_t)ADD_W0(2) << 32 | ADD_W0(2);
    __asm__ volatile("fmov d0, %1\n\tmov v0.d[1], %2\n\tstr q0, [%0]" ::"r"(code), "r"(low), "r"((uint64_t)RET)
                     : "memory", "v0");
}

/* Four bytes at +2: the upper half of slot 0 (its #1 becomes #257) and the lower half of slot 1 (#1 becomes #2). */
static void store_straddling(volatile uint32_t *code)
{
    __asm__ volatile("str %w1, [%0, #2]" ::"r"(code), "r"(0x08001104) : "memory");
}

static void store_exclusive(volatile uint32_t *code)
{
    uint32_t status, old;
    __asm__ volatile("1: ldxr %w1, [%2]\n\tstxr %w0, %w3, [%2]\n\tcbnz %w0, 1b"
                     : "=&r"(status), "=&r"(old)
                     : "r"(code), "r"(ADD_W0(2))
                     : "memory");
}

static void store_compare_and_swap(volatile uint32_t *code)
{
    uint32_t expected = ADD_W0(1);
    __asm__ volatile(".arch_extension lse\n\tcas %w0, %w2, [%1]" : "+r"(expected) : "r"(code), "r"(ADD_W0(2)) : "memory");
}

static void store_atomic_add(volatile uint32_t *code)
{
    __asm__ volatile(".arch_extension lse\n\tstadd %w1, [%0]" ::"r"(code), "r"(ADD_W0(2) - ADD_W0(1)) : "memory");
}

static void zero_block(volatile uint32_t *code)
{
    uint64_t dczid;
    __asm__ volatile("mrs %0, dczid_el0" : "=r"(dczid));
    if (dczid & 16)
        must(-1, "use DC ZVA (DCZID_EL0.DZP is set)");
    dc_zva((void *)code);
}

static void store_zva_rewrite(volatile uint32_t *code)
{
    zero_block(code);
    code[0] = ADD_W0(2);
    code[1] = ADD_W0(1);
    code[2] = RET;
}

static enum outcome run(const struct variant *self)
{
    const struct store *store = self->detail;
    const size_t before[] = {[AT_START] = 0, [ACROSS_LINES] = larger_line() - 4, [ACROSS_PAGES] = PAGE - 4};
    char *pages = map_anonymous(2 * PAGE, PROT_READ | PROT_WRITE | PROT_EXEC);
    volatile uint32_t *code = (volatile uint32_t *)(pages + before[store->place]);
    code[0] = code[1] = ADD_W0(1);
    code[2] = RET;
    synchronise((const void *)code, 12);
    if (call(code, 0) != 2)
        return OUTCOME_ODD;
    store->store(code);
    if (store->maintained)
        synchronise((const void *)code, 12);
    uint32_t result = call(code, 0);
    uint32_t newest = ADD_IMMEDIATE(code[0]) + ADD_IMMEDIATE(code[1]);
    return outcome_of(result, newest, 2);
}

#define STORE(text, function, where)                                    \
    {text, run, &(const struct store){function, where, 0}},             \
    {                                                                   \
        text "-maintained", run, &(const struct store){function, where, 1} \
    }

const struct variant store_variants[] = {
    STORE("byte", store_byte, AT_START),
    STORE("half", store_half, AT_START),
    STORE("double", store_double, AT_START),
    STORE("pair", store_pair, AT_START),
    STORE("quad", store_quad, AT_START),
    STORE("straddling-slots", store_straddling, AT_START),
    STORE("straddling-lines", store_straddling, ACROSS_LINES),
    STORE("straddling-pages", store_straddling, ACROSS_PAGES),
    STORE("exclusive", store_exclusive, AT_START),
    STORE("compare-and-swap", store_compare_and_swap, AT_START),
    STORE("atomic-add", store_atomic_add, AT_START),
    STORE("zva", zero_block, AT_START),
    STORE("zva-rewrite", store_zva_rewrite, AT_START),
    {0},
};
