/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Owns the attacks through what is executed: garbage, jumps to everywhere, instructions that EL0 may not use. */
#include "hostile.h"

typedef void function(void);

static void jump(uintptr_t address)
{
    function *volatile target = (function *)address;
    target();
}

/* A page of garbage from a seed, properly maintained: how it ends is the architecture's business, that it ends ours. */
static void garbage(const struct attack *self, const char *argument)
{
    (void)self;
    uint64_t state = number_of(argument) * 0x9e3779b97f4a7c15 | 1;
    uint32_t *code = map_anonymous(PAGE, PROT_READ | PROT_WRITE | PROT_EXEC);
    for (size_t i = 0; i < PAGE / 4; i++)
        code[i] = (uint32_t)(next_random(&state) >> 32);
    synchronise(code, PAGE);
    jump((uintptr_t)code);
}

static void jump_to(const struct attack *self, const char *argument)
{
    (void)argument;
    jump((uintptr_t)self->detail);
}

static void jump_misaligned(const struct attack *self, const char *argument)
{
    (void)self, (void)argument;
    jump((uintptr_t)&jump_misaligned + 2);
}

static void jump_to_stack(const struct attack *self, const char *argument)
{
    (void)self, (void)argument;
    uint32_t words[4] = {0xd65f03c0, 0xd65f03c0, 0xd65f03c0, 0xd65f03c0};
    __asm__ volatile("" ::"r"(words) : "memory");
    jump((uintptr_t)words);
}

/* NOPs to the end of a page with nothing behind it. */
static void run_off_the_page(const struct attack *self, const char *argument)
{
    (void)self, (void)argument;
    uint32_t *code = map_anonymous(2 * PAGE, PROT_READ | PROT_WRITE | PROT_EXEC);
    unmap((char *)code + PAGE, PAGE);
    for (size_t i = 0; i < PAGE / 4; i++)
        code[i] = 0xd503201f;
    synchronise(code, PAGE);
    jump((uintptr_t)code + PAGE - 64);
}

/* Unmaps the page it runs on: the system call returns to nowhere. mov x8, #215; svc #0; ret */
static void unmap_itself(const struct attack *self, const char *argument)
{
    (void)self, (void)argument;
    uint32_t *code = map_anonymous(PAGE, PROT_READ | PROT_WRITE | PROT_EXEC);
    code[0] = 0xd2801ae8;
    code[1] = 0xd4000001;
    code[2] = 0xd65f03c0;
    synchronise(code, 12);
    void (*volatile target)(void *, size_t) = (void (*)(void *, size_t))(uintptr_t)code;
    target(code, PAGE);
}

/* What FetchSan plants in I-frames, as the guest's own words. BRK with any immediate is SIGTRAP ... */
static void own_brk(const struct attack *self, const char *argument)
{
    (void)self;
    uint32_t *code = map_anonymous(PAGE, PROT_READ | PROT_WRITE | PROT_EXEC);
    code[0] = 0xd4200000 | (uint32_t)(number_of(argument) & 0xffff) << 5;
    synchronise(code, 4);
    jump((uintptr_t)code);
}

/* ... DC CVAU, XZR is a clean of address 0: SIGSEGV ... */
static void own_clean_of_null(const struct attack *self, const char *argument)
{
    (void)self, (void)argument;
    __asm__ volatile("dc cvau, xzr" ::: "memory");
}

/* ... and MSR TPIDR_EL0, XZR clears the thread pointer. */
static void own_thread_pointer(const struct attack *self, const char *argument)
{
    (void)self, (void)argument;
    uint64_t before, after;
    __asm__ volatile("mrs %0, tpidr_el0\n\tmsr tpidr_el0, xzr\n\tmrs %1, tpidr_el0\n\tmsr tpidr_el0, %0"
                     : "=&r"(before), "=&r"(after));
    if (after)
        exit_group(3);
}

/* privileged.S: one word each. */
extern const uint32_t privileged_words[];

static void privileged(const struct attack *self, const char *argument)
{
    (void)self;
    uint32_t *code = map_anonymous(PAGE, PROT_READ | PROT_WRITE | PROT_EXEC);
    code[0] = privileged_words[number_of(argument)];
    code[1] = 0xd65f03c0;
    if (!code[0])
        exit_group(2);
    synchronise(code, 8);
    jump((uintptr_t)code);
}

/* Linux emulates the identification registers for EL0. */
static void identification(const struct attack *self, const char *argument)
{
    (void)self, (void)argument;
    uint64_t midr, features;
    __asm__ volatile("mrs %0, midr_el1\n\tmrs %1, id_aa64isar0_el1" : "=r"(midr), "=r"(features));
    if (!midr)
        exit_group(3);
}

static void misaligned_stack(const struct attack *self, const char *argument)
{
    (void)self, (void)argument;
    __asm__ volatile("mov x9, sp\n\tsub x10, x9, #24\n\tmov sp, x10\n\tldr x11, [sp]\n\tmov sp, x9" ::: "x9", "x10", "x11",
                     "memory");
}

static void wild_stack(const struct attack *self, const char *argument)
{
    (void)self, (void)argument;
    __asm__ volatile("mov x10, #0\n\tmov sp, x10\n\tstr x10, [sp, #-16]!" ::: "x10", "memory");
}

/* A system call does not touch the user's stack: it must not matter where it points. */
static void stackless_system_call(const struct attack *self, const char *argument)
{
    (void)self, (void)argument;
    __asm__ volatile("mov x9, sp\n\tmov x10, #0\n\tmov sp, x10\n\tmov x8, #172\n\tsvc #0\n\tmov sp, x9" ::: "x0", "x8", "x9",
                     "x10", "memory");
}

const struct attack code_attacks[] = {
    {"garbage", garbage, NULL},
    {"jump-null", jump_to, (void *)0},
    {"jump-low", jump_to, (void *)0x1000},
    {"jump-top-of-user", jump_to, (void *)0x0000fffffffff000},
    {"jump-noncanonical", jump_to, (void *)0x00f0000000400000},
    {"jump-kernel", jump_to, (void *)0xffff000000080000},
    {"jump-all-ones", jump_to, (void *)0xfffffffffffffffc},
    {"jump-misaligned", jump_misaligned, NULL},
    {"jump-stack", jump_to_stack, NULL},
    {"run-off-the-page", run_off_the_page, NULL},
    {"unmap-itself", unmap_itself, NULL},
    {"own-brk", own_brk, NULL},
    {"own-clean-of-null", own_clean_of_null, NULL},
    {"own-thread-pointer", own_thread_pointer, NULL},
    {"privileged", privileged, NULL},
    {"identification", identification, NULL},
    {"misaligned-stack", misaligned_stack, NULL},
    {"wild-stack", wild_stack, NULL},
    {"stackless-system-call", stackless_system_call, NULL},
    {0},
};
