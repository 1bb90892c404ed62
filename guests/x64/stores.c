/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Owns the variants that store into a page and then call it: sizes, repetition, and what needs no step on this port. */
#include "jit.h"

static enum outcome first_execution(const struct variant *self)
{
    (void)self;
    volatile uint8_t *code = jit_page();
    emit_constant(code, 2);
    return called(code);
}

static enum outcome store_then_call(const struct variant *self)
{
    volatile uint8_t *code = jit_page();
    emit_first_version(code);
    switch ((uintptr_t)self->detail) {
    case 1:
        code[1] = 2;
        break;
    case 2:
        *(volatile uint16_t *)(code + 1) = 2;
        break;
    case 4:
        *(volatile uint32_t *)(code + 1) = 2;
        break;
    default:
        emit_constant(code, 2);
    }
    return called(code);
}

/* Instructions of other lengths: push $2; pop %rax; ret. */
static enum outcome other_lengths(const struct variant *self)
{
    (void)self;
    volatile uint8_t *code = jit_page();
    emit_first_version(code);
    *(volatile uint32_t *)code = 0xc358026a;
    return called(code);
}

static enum outcome same_bytes(const struct variant *self)
{
    (void)self;
    volatile uint8_t *code = jit_page();
    emit_first_version(code);
    emit_constant(code, 1);
    return outcome_of(call(code, 0), 1, 2);
}

static enum outcome thousand(const struct variant *self)
{
    (void)self;
    volatile uint8_t *code = jit_page();
    for (uint32_t i = 1; i <= 1000; i++) {
        emit_constant(code, i);
        uint32_t result = call(code, 0);
        if (result != i)
            return outcome_of(result, i, i - 1);
    }
    return OUTCOME_NEW;
}

/* A function of the page that calls the rewritten one directly: engines link such blocks to each other. */
static enum outcome linked(const struct variant *self)
{
    (void)self;
    volatile uint8_t *code = jit_page();
    code[64] = 0xe9; /* jmp code */
    *(volatile int32_t *)(code + 65) = -69;
    emit_first_version(code);
    for (int i = 0; i < 100; i++)
        if (call(code + 64, 0) != 1)
            return OUTCOME_ODD;
    emit_constant(code, 2);
    return called(code + 64);
}

/* The portable way to say that code was written: nothing is left of it here. */
static enum outcome clear_cache(const struct variant *self)
{
    (void)self;
    volatile uint8_t *code = jit_page();
    emit_first_version(code);
    emit_constant(code, 2);
    __builtin___clear_cache((char *)code, (char *)code + 8);
    return called(code);
}

#define STORE(bytes) {"store-" #bytes, store_then_call, (void *)bytes}

const struct variant store_variants[] = {
    {"first-execution", first_execution, NULL},
    STORE(1),
    STORE(2),
    STORE(4),
    STORE(8),
    {"other-lengths", other_lengths, NULL},
    {"same-bytes", same_bytes, NULL},
    {"thousand", thousand, NULL},
    {"linked", linked, NULL},
    {"clear-cache", clear_cache, NULL},
    {0},
};
