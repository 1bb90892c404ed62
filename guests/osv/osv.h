/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Owns what the OSv guests share: numbered checks, guarded loads and stores, the signal calls. No libc.
 *
 * A check that does not hold prints its number and text, and the application exits with that number. */
#ifndef GUESTS_OSV_H
#define GUESTS_OSV_H

#include "../runtime/syscalls.h"

#if defined(__x86_64__)
#define SYS_close 3
#define SYS_lseek 8
#define SYS_unlinkat 263
#define SYS_mincore 27
#define SYS_madvise 28
#define SYS_mlock 149
#define SYS_munlock 150
#else
#define SYS_rt_sigaction 134
#define SYS_mlock 228
#define SYS_munlock 229
#define SYS_mincore 232
#define SYS_madvise 233
#endif
#define MAP_FIXED 0x10
#define MAP_POPULATE 0x8000
#define MADV_DONTNEED 4
#define MADV_NOHUGEPAGE 15
#define O_WRONLY 1
#define EBADF 9
#define ENOMEM 12
#define EACCES 13
#define EINVAL 22
#define SIGBUS 7
#define SIGSEGV 11
#define SEGV_MAPERR 1
#define SEGV_ACCERR 2
#define BUS_ADRERR 2
#define SA_SIGINFO 4
#define PAGE 4096ul
#define HUGE_PAGE (2ul << 20)

struct signal_action {
    void *handler;
    unsigned long flags;
    void *restorer;
    unsigned long mask;
};

struct signal_info {
    int number, error, code, padding;
    char *address;
};

/* The interrupted PC, after the fixed part of ucontext_t (uapi/asm/sigcontext.h): after r8..r15 and eight others, or after
 * fault_address, x0..x30 and sp. */
#if defined(__x86_64__)
#define CONTEXT_PC(context) (*(uint64_t *)((char *)(context) + 40 + 16 * 8))
#else
#define CONTEXT_PC(context) (*(uint64_t *)((char *)(context) + 176 + 8 + 31 * 8 + 8))
#endif

static inline long call1(long n, long a) { return system_call(n, a, 0, 0, 0, 0, 0); }
static inline long call2(long n, long a, long b) { return system_call(n, a, b, 0, 0, 0, 0); }
static inline long call3(long n, long a, long b, long c) { return system_call(n, a, b, c, 0, 0, 0); }

static inline long try_map(void *at, size_t size, int protection, int flags, int fd, long offset)
{
    return system_call(SYS_mmap, (long)at, (long)size, protection, flags, fd, offset);
}

static inline long try_protect(void *at, size_t size, int protection)
{
    return call3(SYS_mprotect, (long)at, (long)size, protection);
}

static inline long try_unmap(void *at, size_t size) { return call2(SYS_munmap, (long)at, (long)size); }

static inline void on_signal(int number, void *handler, unsigned long flags)
{
    struct signal_action action = {handler, flags | SA_SIGINFO, 0, 0};
    must(system_call(SYS_rt_sigaction, number, (long)&action, 0, 8, 0, 0), "sigaction");
}

/* Guarded accesses: the handler notes the fault and steps over the instruction. */
#if defined(__x86_64__)
#define ACCESS_SIZE 2
#define LOAD(at) __asm__ volatile("movb (%0), %%cl" : : "D"(at) : "rcx", "memory")
#define STORE(at) __asm__ volatile("movb %%al, (%0)" : : "D"(at), "a"(0) : "memory")
#else
#define ACCESS_SIZE 4
#define LOAD(at) __asm__ volatile("ldrb w9, [%0]" : : "r"(at) : "x9", "memory")
#define STORE(at) __asm__ volatile("strb wzr, [%0]" : : "r"(at) : "memory")
#endif

static volatile struct signal_info last_fault;

static inline void step_over(int number, struct signal_info *info, void *context)
{
    last_fault.number = number;
    last_fault.code = info->code;
    last_fault.address = info->address;
    CONTEXT_PC(context) += ACCESS_SIZE;
}

static inline void guard(void)
{
    on_signal(SIGSEGV, (void *)step_over, 0);
    on_signal(SIGBUS, (void *)step_over, 0);
}

/* Each returns 0, or the signal that the access raised. */
static inline int try_read(const volatile void *at)
{
    last_fault.number = 0;
    LOAD(at);
    return last_fault.number;
}

static inline int try_write(volatile void *at)
{
    last_fault.number = 0;
    STORE(at);
    return last_fault.number;
}

#define CHECK(number, condition)                                                                                       \
    do {                                                                                                               \
        if (!(condition)) {                                                                                            \
            print("check " #number " failed: " #condition "\n");                                                       \
            exit_group(number);                                                                                        \
        }                                                                                                              \
    } while (0)

#define MAIN __attribute__((visibility("default"))) int main

#endif
