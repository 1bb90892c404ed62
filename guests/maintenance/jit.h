/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Owns the few A64 words that the variants emit, the page they emit them into, and what a variant is. */
#ifndef GUESTS_JIT_H
#define GUESTS_JIT_H

#include "../runtime/maintenance.h"
#include "../runtime/syscalls.h"

#define PAGE 4096UL
#define RET 0xd65f03c0u
#define NOP 0xd503201fu
#define UDF 0x00000000u
#define MOV_W0(value) (0x52800000u | ((uint32_t)(value) & 0xffffu) << 5)
#define ADD_W0(value) (0x11000000u | ((uint32_t)(value) & 0xfffu) << 10)
#define ADD_IMMEDIATE(word) ((word) >> 10 & 0xfffu)
#define B(bytes) (0x14000000u | ((uint32_t)((bytes) / 4) & 0x3ffffffu))

/* What executed, told by the value that the generated function returned. */
enum outcome {
    OUTCOME_NEW,    /* the newest code */
    OUTCOME_OLD,    /* the code before it */
    OUTCOME_MIDDLE, /* a version between the two */
    OUTCOME_TORN,   /* some slots new, some old */
    OUTCOME_ODD,    /* nothing that was ever written: exit status 3 */
};

/* A function that runs one row of a family's table. */
struct variant {
    const char *name;
    enum outcome (*run)(const struct variant *self);
    const void *detail;
};

extern const struct variant sequence_variants[], range_variants[], store_variants[], mapping_variants[],
    straight_line_variants[], loop_variants[], fault_variants[];

typedef uint32_t generated(uint32_t w0, uint32_t w1, uint32_t w2);

/* Called through a volatile pointer so that the compiler knows nothing of what runs. */
static inline uint32_t call(const volatile uint32_t *code, uint32_t w0)
{
    generated *volatile function = (generated *)(uintptr_t)code;
    return function(w0, 0, 0);
}

/* Zero words on both sides of what a variant emits: a fetch past it is UDF. */
static inline volatile uint32_t *jit_page(void)
{
    return map_anonymous(PAGE, PROT_READ | PROT_WRITE | PROT_EXEC);
}

static inline size_t larger_line(void)
{
    return data_line() > instruction_line() ? data_line() : instruction_line();
}

/* `mov w0, #value; ret`: the function that most variants rewrite. Only its first slot ever changes. */
static inline void emit_constant(volatile uint32_t *code, uint32_t value)
{
    code[0] = MOV_W0(value);
    code[1] = RET;
}

/* The starting point of every variant that rewrites: old code, properly maintained, executed once. */
static inline void emit_first_version(volatile uint32_t *code, uint32_t value)
{
    emit_constant(code, value);
    synchronise((const void *)code, 8);
    if (call(code, 0) != value)
        exit_group(3);
}

static inline enum outcome outcome_of(uint32_t result, uint32_t newest, uint32_t old)
{
    return result == newest ? OUTCOME_NEW : result == old ? OUTCOME_OLD : OUTCOME_ODD;
}

#endif
