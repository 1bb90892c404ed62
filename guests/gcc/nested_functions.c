/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Owns GCC's nested-function trampolines: code that GCC itself writes to the stack and synchronises with __clear_cache.
 *
 * A nested function that uses its parent's variables and whose address is taken is called through a trampoline in the
 * parent's frame (GCC manual, "Nested Functions"). Between the sorts the same stack is used as data, so that every
 * trampoline is written anew over other bytes. Correct as it stands: no finding in any mode. Output: nested_functions.out.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { RECORDS = 64, ROUNDS = 200 };

struct record {
    int key;
    int weight;
};

/* Sorts indices of `records`; both captured variables differ from call to call. */
static __attribute__((noinline)) void sort_by_key(int *order, const struct record *records, int direction)
{
    int compare(const void *left, const void *right)
    {
        const struct record *a = &records[*(const int *)left], *b = &records[*(const int *)right];
        int difference = a->key - b->key;
        return direction * (difference ? difference : *(const int *)left - *(const int *)right);
    }
    qsort(order, RECORDS, sizeof order[0], compare);
}

/* The captured variable is written by the nested function. */
static __attribute__((noinline)) long sort_by_weight(int *order, const struct record *records)
{
    long calls = 0;
    int compare(const void *left, const void *right)
    {
        calls++;
        return records[*(const int *)left].weight - records[*(const int *)right].weight;
    }
    qsort(order, RECORDS, sizeof order[0], compare);
    return calls;
}

/* Calls through a pointer that the compiler cannot see through. */
static __attribute__((noinline)) int apply(int (*function)(int), int argument)
{
    int (*volatile hidden)(int) = function;
    return hidden(argument);
}

/* One trampoline for each level of the recursion, all alive at once. */
static __attribute__((noinline)) int nest(int depth, int (*outer)(int))
{
    int inner(int x)
    {
        return apply(outer, x) + depth;
    }
    return depth == 0 ? apply(inner, 1) : nest(depth - 1, inner);
}

static int identity(int x)
{
    return x;
}

/* Uses the stack below the caller for data, where trampolines were and will be. */
static __attribute__((noinline)) unsigned churn(unsigned seed)
{
    volatile unsigned words[1024];
    for (unsigned i = 0; i < 1024; i++)
        words[i] = seed = seed * 1664525u + 1013904223u;
    return words[seed % 1024];
}

static unsigned long checksum(const int *order, unsigned long sum)
{
    for (int i = 0; i < RECORDS; i++)
        sum = sum * 31 + (unsigned long)order[i];
    return sum;
}

int main(void)
{
    struct record records[RECORDS];
    int order[RECORDS];
    unsigned state = 12345;
    unsigned long sum = 0;
    long calls = 0;

    for (int i = 0; i < RECORDS; i++) {
        state = state * 1103515245u + 12345u;
        records[i] = (struct record){.key = (int)(state >> 16 & 31), .weight = i * 37 % RECORDS};
        order[i] = i;
    }
    for (int round = 0; round < ROUNDS; round++) {
        sort_by_key(order, records, round % 2 ? 1 : -1);
        sum = checksum(order, sum);
        state = churn(state);
        calls += sort_by_weight(order, records) > 0;
        sum = checksum(order, sum);
        state = churn(state);
    }
    printf("sorted %d times, checksum %016lx\n", (int)(ROUNDS + calls), sum);
    sort_by_key(order, records, 1);
    printf("keys:");
    for (int i = 0; i < RECORDS; i += 8)
        printf(" %d", records[order[i]].key);
    printf("\nnested %d\n", nest(20, identity));
    return 0;
}
