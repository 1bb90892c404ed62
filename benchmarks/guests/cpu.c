/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Owns the CPU-bound benchmark: a sieve, a matrix product in doubles, a hash over a table; no system calls in between.
 * The argument scales it (default 1); the output is the same everywhere. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SIEVE = 4000000, SIDE = 192, TABLE = 1 << 16 };

static unsigned sieve(void)
{
    static unsigned char composite[SIEVE];
    unsigned count = 0;
    memset(composite, 0, sizeof composite);
    for (unsigned i = 2; i < SIEVE; i++) {
        if (composite[i])
            continue;
        count++;
        for (uint64_t multiple = (uint64_t)i * i; multiple < SIEVE; multiple += i)
            composite[multiple] = 1;
    }
    return count;
}

static double matrix(void)
{
    static double a[SIDE][SIDE], b[SIDE][SIDE], c[SIDE][SIDE];
    for (int i = 0; i < SIDE; i++)
        for (int j = 0; j < SIDE; j++) {
            a[i][j] = (double)((i * 7 + j) % 13);
            b[i][j] = (double)((i + j * 5) % 11);
            c[i][j] = 0;
        }
    for (int i = 0; i < SIDE; i++)
        for (int k = 0; k < SIDE; k++)
            for (int j = 0; j < SIDE; j++)
                c[i][j] += a[i][k] * b[k][j];
    double trace = 0;
    for (int i = 0; i < SIDE; i++)
        trace += c[i][i];
    return trace;
}

/* Dependent loads and a few data-dependent branches. */
static uint64_t hash(void)
{
    static uint32_t table[TABLE];
    uint64_t state = 0x9e3779b97f4a7c15, sum = 0;
    for (int i = 0; i < TABLE; i++)
        table[i] = (uint32_t)i * 2654435761u;
    for (int i = 0; i < 30000000; i++) {
        state = (state ^ (state >> 29)) * 0xbf58476d1ce4e5b9 + table[state & (TABLE - 1)];
        if (state & 64)
            sum += state >> 32;
        else
            table[state >> 48 & (TABLE - 1)] ^= (uint32_t)state;
    }
    return sum;
}

int main(int argc, char **argv)
{
    int scale = argc > 1 ? atoi(argv[1]) : 1;
    for (int round = 0; round < scale; round++) {
        unsigned primes = 0;
        double trace = 0;
        for (int i = 0; i < 20; i++)
            primes = sieve();
        for (int i = 0; i < 20; i++)
            trace = matrix();
        printf("%u %.0f %016llx\n", primes, trace, (unsigned long long)hash());
    }
    return 0;
}
