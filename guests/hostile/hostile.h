/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Owns what an attack is: a name and a function that may not return. */
#ifndef GUESTS_HOSTILE_H
#define GUESTS_HOSTILE_H

#include "../runtime/maintenance.h"
#include "../runtime/syscalls.h"

#define PAGE 4096UL

struct attack {
    const char *name;
    void (*run)(const struct attack *self, const char *argument);
    const void *detail;
};

extern const struct attack syscall_attacks[], code_attacks[], memory_attacks[];

static inline unsigned long number_of(const char *text)
{
    unsigned long value = 0;
    for (; *text >= '0' && *text <= '9'; text++)
        value = value * 10 + (unsigned long)(*text - '0');
    return value;
}

/* xorshift64*: the same garbage from the same seed everywhere. */
static inline uint64_t next_random(uint64_t *state)
{
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    return *state * 0x2545f4914f6cdd1d;
}

#endif
