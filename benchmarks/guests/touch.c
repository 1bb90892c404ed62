/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Owns the page-fault benchmark: maps BYTES of memory and stores to COUNT pages of it, STRIDE bytes apart; with a fourth
 * argument the memory is executable too. */
#include "../../guests/runtime/syscalls.h"

static unsigned long number(const char *digit)
{
    unsigned long value = 0;
    for (; *digit >= '0' && *digit <= '9'; digit++)
        value = value * 10 + (unsigned long)(*digit - '0');
    return value;
}

int main(int argc, char **argv)
{
    if (argc < 4)
        return 2;
    size_t bytes = number(argv[1]), stride = number(argv[2]), count = number(argv[3]);
    int rights = PROT_READ | PROT_WRITE | (argc > 4 ? PROT_EXEC : 0);
    int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
    long start = system_call(SYS_mmap, 0, (long)bytes, rights, flags, -1, 0);
    if (start < 0 || stride * count > bytes)
        return 1;
    for (size_t page = 0; page < count; page++)
        *(volatile unsigned char *)(start + page * stride) = 1;
    print("touched\n");
    return 0;
}
