/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Owns the few x86-64 bytes that the variants emit, the page they emit them into, and what a variant is. */
#ifndef GUESTS_X64_JIT_H
#define GUESTS_X64_JIT_H

#include "../runtime/syscalls.h"

#define PAGE 4096UL
#define READ_WRITE (PROT_READ | PROT_WRITE)
#define READ_EXECUTE (PROT_READ | PROT_EXEC)
#define EVERYTHING (READ_WRITE | PROT_EXEC)

/* What executed, told by the value that the generated function returned. */
enum outcome {
    OUTCOME_NEW, /* the newest code */
    OUTCOME_OLD, /* the code before it */
    OUTCOME_ODD, /* nothing that was ever written: exit status 3 */
};

/* A function that runs one row of a family's table. */
struct variant {
    const char *name;
    enum outcome (*run)(const struct variant *self);
    const void *detail;
};

extern const struct variant store_variants[], self_variants[], mapping_variants[], rights_variants[];

/* The compiler knows nothing of what runs; RAX has its address, so that zeros (`add %al, (%rax)`) store there. */
static inline uint32_t call(const volatile void *code, uint32_t edi)
{
    uint64_t rax = (uintptr_t)code;
    __asm__ volatile("call *%0"
                     : "+a"(rax), "+D"(edi)
                     :
                     : "memory", "cc", "rcx", "rdx", "rsi", "r8", "r9", "r10", "r11", "xmm0");
    return (uint32_t)rax;
}

static inline volatile uint8_t *jit_page(void) { return map_anonymous(PAGE, EVERYTHING); }

/* `mov $value, %eax; ret`, as one 64-bit store. */
#define CONSTANT(value) (0x9090c300000000b8UL | (uint64_t)(value) << 8)

static inline void emit_constant(volatile void *code, uint32_t value) { *(volatile uint64_t *)code = CONSTANT(value); }

static inline enum outcome outcome_of(uint32_t result, uint32_t newest, uint32_t old)
{
    return result == newest ? OUTCOME_NEW : result == old ? OUTCOME_OLD : OUTCOME_ODD;
}

/* The code as the rewriting variants leave it: 2, over 1. */
static inline enum outcome called(const volatile void *code) { return outcome_of(call(code, 0), 2, 1); }

/* The starting point of every variant that rewrites: old code, executed once. */
static inline void emit_first_version(volatile void *code)
{
    emit_constant(code, 1);
    if (call(code, 0) != 1)
        exit_group(3);
}

#endif
