/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Owns the rewriting benchmark: stores a function, maintains it and calls it, a hundred thousand times (or as often as
 * the argument says). */
#include "../../guests/maintenance/jit.h"

int main(int argc, char **argv)
{
    unsigned long cycles = 0, sum = 0;
    for (const char *digit = argc > 1 ? argv[1] : "100000"; *digit >= '0' && *digit <= '9'; digit++)
        cycles = cycles * 10 + (unsigned long)(*digit - '0');
    volatile uint32_t *code = jit_page();
    for (unsigned long cycle = 0; cycle < cycles; cycle++) {
        emit_constant(code, (uint32_t)cycle);
        synchronise((const void *)code, 8);
        sum += call(code, 0);
    }
    print_number(sum);
    print("\n");
    return 0;
}
