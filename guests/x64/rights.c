/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Owns the variants about rights: what they forbid, and a handler that grants them and returns to the instruction. */
#include "jit.h"

#define SIGSEGV 11
#define SA_SIGINFO 4UL
#define SA_RESTORER 0x04000000UL

struct kernel_sigaction {
    void (*handler)(int signal, const char *information, void *context);
    unsigned long flags;
    void (*restorer)(void);
    unsigned long mask;
};

extern void signal_restorer(void);

static volatile uint8_t *guarded;
static volatile int granted; /* the rights that the handler gives */
static volatile int handled;

static void grant(int signal, const char *information, void *context)
{
    (void)context;
    uintptr_t address = *(const uintptr_t *)(information + 16); /* si_addr */
    if (signal != SIGSEGV || address / PAGE != (uintptr_t)guarded / PAGE || handled++)
        exit_group(3);
    protect((void *)guarded, PAGE, granted);
}

static void handle_faults(volatile uint8_t *code, int rights)
{
    struct kernel_sigaction action = {grant, SA_SIGINFO | SA_RESTORER, signal_restorer, 0};
    guarded = code;
    granted = rights;
    handled = 0;
    must(system_call(SYS_rt_sigaction, SIGSEGV, (long)&action, 0, sizeof action.mask, 0, 0), "rt_sigaction");
}

/* Code that may not be executed until the handler says so. */
static enum outcome granted_fetch(const struct variant *self)
{
    (void)self;
    volatile uint8_t *code = map_anonymous(PAGE, READ_WRITE);
    emit_constant(code, 2);
    handle_faults(code, READ_EXECUTE);
    enum outcome outcome = called(code);
    return handled == 1 ? outcome : OUTCOME_ODD;
}

/* A store into code that was read-only, done once the handler has returned. */
static enum outcome granted_store(const struct variant *self)
{
    (void)self;
    volatile uint8_t *code = jit_page();
    emit_first_version(code);
    protect((void *)code, PAGE, READ_EXECUTE);
    handle_faults(code, EVERYTHING);
    emit_constant(code, 2);
    return handled == 1 ? called(code) : OUTCOME_ODD;
}

static enum outcome forbidden_fetch(const struct variant *self)
{
    (void)self;
    volatile uint8_t *code = map_anonymous(PAGE, READ_WRITE);
    emit_constant(code, 2);
    return called(code);
}

/* The right was there once, and the code ran with it. */
static enum outcome withdrawn_fetch(const struct variant *self)
{
    (void)self;
    volatile uint8_t *code = jit_page();
    emit_first_version(code);
    protect((void *)code, PAGE, READ_WRITE);
    return called(code);
}

static enum outcome forbidden_store(const struct variant *self)
{
    (void)self;
    volatile uint8_t *code = jit_page();
    emit_first_version(code);
    protect((void *)code, PAGE, READ_EXECUTE);
    emit_constant(code, 2);
    return called(code);
}

static enum outcome unmapped_fetch(const struct variant *self)
{
    (void)self;
    volatile uint8_t *code = jit_page();
    emit_first_version(code);
    unmap((void *)code, PAGE);
    return called(code);
}

/* A fresh page is zeros, `add %al, (%rax)`, with the address called in RAX: a store that the page does not allow. */
static enum outcome reuse_is_zero(const struct variant *self)
{
    (void)self;
    volatile uint8_t *code = jit_page();
    emit_first_version(code);
    unmap((void *)code, PAGE);
    return called(map((void *)code, PAGE, READ_EXECUTE, MAP_PRIVATE | MAP_ANONYMOUS, -1));
}

/* ud2 over the code that ran. */
static enum outcome undefined(const struct variant *self)
{
    (void)self;
    volatile uint8_t *code = jit_page();
    emit_first_version(code);
    *(volatile uint16_t *)code = 0x0b0f;
    return called(code);
}

const struct variant rights_variants[] = {
    {"granted-fetch", granted_fetch, NULL},
    {"granted-store", granted_store, NULL},
    {"forbidden-fetch", forbidden_fetch, NULL},
    {"withdrawn-fetch", withdrawn_fetch, NULL},
    {"forbidden-store", forbidden_store, NULL},
    {"unmapped-fetch", unmapped_fetch, NULL},
    {"reuse-is-zero", reuse_is_zero, NULL},
    {"undefined", undefined, NULL},
    {0},
};
