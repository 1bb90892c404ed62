/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Owns main() of the two small OSv applications of the osv-1100 scenario (NAME says which): calls every function of
 * work.S in turn and prints whether their checksum is this application's own. Leaves by exit_group, never returns.
 *
 * Both applications have the same layout, byte for byte, except in work.S: what a stale fetch runs in one of them is
 * then the other's function at the same place, and shows as a wrong checksum rather than as a jump into nowhere. */
#include <stdint.h>

#define SYS_write 64
#define SYS_exit_group 94

typedef uint64_t work(uint64_t accumulator);

#define HIDDEN __attribute__((visibility("hidden")))
extern const char work_functions[] HIDDEN; /* WORK_COUNT functions, WORK_STRIDE bytes apart */
extern const uint64_t work_checksum[] HIDDEN;

static long system_call(long number, long a, long b, long c)
{
    register long x8 __asm__("x8") = number;
    register long x0 __asm__("x0") = a;
    register long x1 __asm__("x1") = b;
    register long x2 __asm__("x2") = c;
    __asm__ volatile("svc #0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2) : "memory", "cc");
    return x0;
}

static char *append(char *to, const char *text)
{
    while (*text)
        *to++ = *text++;
    return to;
}

/* An address in data: a RELATIVE relocation, which the linker stores through the data side. */
static const char *const verdicts[] = {": the code of another program ran, checksum ", ": ok, checksum "};

__attribute__((visibility("default"))) int main(int argc, char **argv)
{
    (void)argc, (void)argv;
    uint64_t accumulator = 0;
    for (int i = 0; i < WORK_COUNT; i++)
        accumulator = ((work *)(uintptr_t)(work_functions + i * WORK_STRIDE))(accumulator);
    int right = accumulator == *work_checksum;
    char line[128], *end = append(append(line, NAME), verdicts[right]);
    for (int shift = 60; shift >= 0; shift -= 4)
        *end++ = "0123456789abcdef"[accumulator >> shift & 15];
    *end++ = '\n';
    system_call(SYS_write, 1, (long)line, end - line);
    for (;;)
        system_call(SYS_exit_group, !right, 0, 0);
}
