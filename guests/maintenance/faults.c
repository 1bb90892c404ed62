/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Owns the variants that are the guest's own faults, which FetchSan must not take for its own poison. */
#include "jit.h"

#define BRK 0xd4200000u

/* The word of self->detail, properly emitted, then executed. */
static enum outcome execute_word(const struct variant *self)
{
    volatile uint32_t *code = jit_page();
    emit_first_version(code, 1);
    code[0] = (uint32_t)(uintptr_t)self->detail;
    synchronise((const void *)code, 8);
    return outcome_of(call(code, 0), 2, 1);
}

static enum outcome null_load(const struct variant *self)
{
    (void)self;
    volatile uint32_t *volatile nowhere = NULL;
    return (enum outcome)*nowhere;
}

static enum outcome null_call(const struct variant *self)
{
    (void)self;
    return (enum outcome)call(NULL, 0);
}

static enum outcome no_execute(const struct variant *self)
{
    (void)self;
    volatile uint32_t *code = map_anonymous(PAGE, PROT_READ | PROT_WRITE);
    emit_constant(code, 2);
    synchronise((const void *)code, 8);
    return outcome_of(call(code, 0), 2, 1);
}

static enum outcome store_to_text(const struct variant *self)
{
    (void)self;
    *(volatile uint32_t *)(uintptr_t)&store_to_text = NOP;
    return OUTCOME_ODD;
}

/* DC CVAU and IC IVAU by a VA that EL0 may not read fault like a load. */
static enum outcome maintain_unreadable(const struct variant *self)
{
    volatile uint32_t *code = jit_page();
    emit_first_version(code, 2);
    protect((void *)code, PAGE, PROT_NONE);
    if (self->detail)
        ic_ivau((void *)code);
    else
        dc_cvau((void *)code);
    return OUTCOME_NEW;
}

static enum outcome wild_pointers(const struct variant *self)
{
    (void)self;
    static const unsigned long wild[] = {8, 0x7ffffffff000, 0xffff000000000000, 0xffffffffffffffff, 0xdead00000000};
    for (size_t i = 0; i < sizeof wild / sizeof *wild; i++)
        if (system_call(SYS_write, 1, (long)wild[i], 16, 0, 0, 0) != -EFAULT)
            return OUTCOME_ODD;
    return OUTCOME_NEW;
}

const struct variant fault_variants[] = {
    {"guest-brk", execute_word, (void *)(uintptr_t)BRK},
    {"guest-brk-imm", execute_word, (void *)(uintptr_t)(BRK | 0x1234 << 5)},
    {"guest-udf", execute_word, (void *)(uintptr_t)UDF},
    {"guest-udf-imm", execute_word, (void *)(uintptr_t)0xbeef},
    {"garbage", execute_word, (void *)(uintptr_t)0xffffffff},
    {"null-load", null_load, NULL},
    {"null-call", null_call, NULL},
    {"no-execute", no_execute, NULL},
    {"store-to-text", store_to_text, NULL},
    {"dc-unreadable", maintain_unreadable, NULL},
    {"ic-unreadable", maintain_unreadable, "ic"},
    {"wild-pointers", wild_pointers, NULL},
    {0},
};
