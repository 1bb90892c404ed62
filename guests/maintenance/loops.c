/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Owns the variants that rewrite and call one function twenty thousand times: counts, and what a long run costs. */
#include "jit.h"

enum { CYCLES = 20000 };

static enum outcome run(const struct variant *self)
{
    unsigned long missed_every = (uintptr_t)self->detail, stale = 0;
    volatile uint32_t *code = jit_page();
    emit_first_version(code, 0);
    for (unsigned long cycle = 1; cycle <= CYCLES; cycle++) {
        emit_constant(code, (uint32_t)cycle);
        if (!missed_every || cycle % missed_every)
            synchronise((const void *)code, 8);
        uint32_t result = call(code, 0);
        if (result != cycle && result != cycle - 1)
            return OUTCOME_ODD;
        stale += result != cycle;
    }
    if (!stale)
        return OUTCOME_NEW;
    print_number(stale);
    print(" ");
    return OUTCOME_OLD;
}

const struct variant loop_variants[] = {
    {"cycles-all-maintained", run, (void *)0},
    {"cycles-thousandth-not", run, (void *)1000},
    {0},
};
