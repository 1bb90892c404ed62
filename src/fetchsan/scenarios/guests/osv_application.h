/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Owns what the scenarios' OSv applications share: system calls by SVC, a verdict on the console, options by name. */
#ifndef OSV_APPLICATION_H
#define OSV_APPLICATION_H

#include <stdint.h>

#define EXPORT __attribute__((visibility("default")))
#define HIDDEN __attribute__((visibility("hidden")))
#define NOINLINE __attribute__((noinline))

enum { PROT_READ = 1, PROT_WRITE = 2, PROT_EXEC = 4, MAP_SHARED = 1, MS_SYNC = 4, O_RDWR = 2, O_CREAT = 0100, AT_FDCWD = -100 };
enum { PAGE = 4096 };

typedef int code(void);

/* What differs between the ports: numbers of system calls and how to make them; a function that returns a constant, as its two
 * words, of which CONSTANT_WORD(n), CONSTANT_AT bytes in, is what changes with the constant; how to wait for another processor. */
#if defined(__aarch64__)
enum { SYS_openat = 56, SYS_read = 63, SYS_write = 64, SYS_pwrite64 = 68, SYS_exit_group = 94 };
enum { SYS_mmap = 222, SYS_mprotect = 226, SYS_msync = 227 };

#define CONSTANT_AT 0
#define CONSTANT_WORD(number) (0x52800000u | (uint32_t)(number) << 5) /* mov w0, #number */
#define FIRST_WORD(number) CONSTANT_WORD(number)
#define SECOND_WORD 0xd65f03c0u /* ret */
#define WAIT "wfi"
#define SYNCHRONISE_CONTEXT "isb"

static inline long system_call(long number, long a, long b, long c, long d, long e, long f)
{
    register long x8 __asm__("x8") = number;
    register long x0 __asm__("x0") = a;
    register long x1 __asm__("x1") = b;
    register long x2 __asm__("x2") = c;
    register long x3 __asm__("x3") = d;
    register long x4 __asm__("x4") = e;
    register long x5 __asm__("x5") = f;
    __asm__ volatile("svc #0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5) : "memory", "cc");
    return x0;
}
#elif defined(__x86_64__)
enum { SYS_openat = 257, SYS_read = 0, SYS_write = 1, SYS_pwrite64 = 18, SYS_exit_group = 231 };
enum { SYS_mmap = 9, SYS_mprotect = 10, SYS_msync = 26 };

#define CONSTANT_AT 1
#define CONSTANT_WORD(number) ((uint32_t)(number))
#define FIRST_WORD(number) ((uint32_t)(number) << 8 | 0xb8) /* mov $number, %eax */
#define SECOND_WORD 0xc300u /* ret */
#define WAIT "hlt"
#define SYNCHRONISE_CONTEXT ""

static inline long system_call(long number, long a, long b, long c, long d, long e, long f)
{
    register long r10 __asm__("r10") = d;
    register long r8 __asm__("r8") = e;
    register long r9 __asm__("r9") = f;
    long result = number;
    __asm__ volatile("syscall"
                     : "+a"(result)
                     : "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
                     : "rcx", "r11", "memory", "cc");
    return result;
}
#endif

static inline char *append(char *to, const char *text)
{
    while (*text)
        *to++ = *text++;
    return to;
}

static inline void print(const char *text)
{
    char line[128], *end = append(append(append(line, NAME ": "), text), "\n");
    system_call(SYS_write, 1, (long)line, end - line, 0, 0, 0);
}

static inline void leave(int status)
{
    for (;;)
        system_call(SYS_exit_group, status, 0, 0, 0, 0, 0);
}

/* A step that must not fail. */
static inline long need(long result, const char *what)
{
    if (result < 0) {
        print(what);
        leave(2);
    }
    return result;
}

/* Status 0 if `answer` is what memory says, 1 if other code ran. */
static inline void judge(int answer, int expected)
{
    print(answer == expected ? "right" : "other code ran than memory holds");
    leave(answer != expected);
}

static inline int given(int argc, char **argv, const char *option)
{
    for (int i = 1; i < argc; i++) {
        int at = 0;
        while (option[at] && argv[i][at] == option[at])
            at++;
        if (option[at] == argv[i][at])
            return 1;
    }
    return 0;
}

#endif
