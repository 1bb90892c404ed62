/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Owns what the osv-holes scenario's applications share: a verdict on the console, options by name, and what differs between
 * the ports: a function that returns a constant, as its two words, of which CONSTANT_WORD(n), CONSTANT_AT bytes in, is what
 * changes with the constant; how to wait for another processor. */
#ifndef OSV_APPLICATION_H
#define OSV_APPLICATION_H

#include "syscalls.h"

#define EXPORT __attribute__((visibility("default")))
#define HIDDEN __attribute__((visibility("hidden")))
#define NOINLINE __attribute__((noinline))

enum { PAGE = 4096, MS_SYNC = 4 };

#if defined(__aarch64__)
#define CONSTANT_AT 0
#define CONSTANT_WORD(number) (0x52800000u | (uint32_t)(number) << 5) /* mov w0, #number */
#define FIRST_WORD(number) CONSTANT_WORD(number)
#define SECOND_WORD 0xd65f03c0u /* ret */
#define WAIT "wfi"
#define SYNCHRONISE_CONTEXT "isb"
#elif defined(__x86_64__)
#define CONSTANT_AT 1
#define CONSTANT_WORD(number) ((uint32_t)(number))
#define FIRST_WORD(number) ((uint32_t)(number) << 8 | 0xb8) /* mov $number, %eax */
#define SECOND_WORD 0xc300u /* ret */
#define WAIT "hlt"
#define SYNCHRONISE_CONTEXT ""
#endif

typedef int code(void);

/* Status 0 if `answer` is what memory says, 1 if other code ran. */
static inline _Noreturn void judge(int answer, int expected)
{
    print(answer == expected ? NAME ": right\n" : NAME ": other code ran than memory holds\n");
    exit_group(answer != expected);
}

static inline int given(int argc, char **argv, const char *option)
{
    for (int i = 1; i < argc; i++)
        if (text_equal(argv[i], option))
            return 1;
    return 0;
}

#endif
