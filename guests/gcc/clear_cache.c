/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Owns the way an ordinary program on glibc generates code: mmap or mprotect, write, __builtin___clear_cache, call.
 *
 * Without arguments it is correct: no finding in any mode. With `no-clear` it leaves __builtin___clear_cache out, and
 * every rewritten function is a finding. Output when fresh code is executed (either way in `check`): clear_cache.out.
 */
#define _GNU_SOURCE
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#ifndef __aarch64__
#error "this program writes A64 instructions"
#endif

enum { REWRITES = 500, UNROLLED = 200 };

/* A64 words (Arm ARM C6.2): MOVZ Wd, ADD (immediate) Wd, Wn, RET. */
#define MOV_W0(value) (0x52800000u | ((uint32_t)(value) & 0xffffu) << 5)
#define ADD_W0(value) (0x11000000u | ((uint32_t)(value) & 0xfffu) << 10)
#define RET 0xd65f03c0u

static int clearing = 1;

static void publish(uint32_t *start, uint32_t *end)
{
    if (clearing)
        __builtin___clear_cache((char *)start, (char *)end);
}

static uint32_t call(const uint32_t *code, uint32_t argument)
{
    uint32_t (*volatile function)(uint32_t);
    memcpy((void *)&function, &code, sizeof code);
    return function(argument);
}

static void *map(size_t size, int protection)
{
    void *memory = mmap(NULL, size, protection, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) {
        perror("mmap");
        exit(1);
    }
    return memory;
}

/* The same function again and again, at a place where it straddles a cache line of any usual size. */
static uint32_t rewrite_in_place(size_t page)
{
    uint32_t *memory = map(page, PROT_READ | PROT_WRITE | PROT_EXEC);
    uint32_t *code = memory + 256 / sizeof *memory - 1;
    uint32_t sum = 0;
    for (uint32_t i = 0; i < REWRITES; i++) {
        code[0] = MOV_W0(i);
        code[1] = ADD_W0(i % 7);
        code[2] = RET;
        publish(code, code + 3);
        sum += call(code, 0);
    }
    munmap(memory, page);
    return sum;
}

/* Writable or executable, never both, as hardened engines do. */
static uint32_t write_then_protect(size_t page)
{
    uint32_t *memory = map(page, PROT_READ | PROT_WRITE);
    uint32_t sum = 0;
    for (uint32_t i = 0; i < 20; i++) {
        if (mprotect(memory, page, PROT_READ | PROT_WRITE))
            exit(1);
        memory[0] = ADD_W0(i);
        memory[1] = RET;
        publish(memory, memory + 2);
        if (mprotect(memory, page, PROT_READ | PROT_EXEC))
            exit(1);
        sum += call(memory, 1000);
    }
    munmap(memory, page);
    return sum;
}

/* A function longer than many lines, across the end of a page; the range is synchronised once. */
static uint32_t long_function(size_t page)
{
    uint32_t *memory = map(2 * page, PROT_READ | PROT_WRITE | PROT_EXEC);
    uint32_t *code = memory + page / sizeof *memory - UNROLLED / 2, *end = code;
    for (uint32_t i = 0; i < UNROLLED; i++)
        *end++ = ADD_W0(i);
    *end++ = RET;
    publish(code, end);
    uint32_t result = call(code, 5);
    munmap(memory, 2 * page);
    return result;
}

int main(int argc, char **argv)
{
    if (argc > 2 || (argc == 2 && strcmp(argv[1], "no-clear") != 0)) {
        fprintf(stderr, "usage: %s [no-clear]\n", argv[0]);
        return 2;
    }
    clearing = argc == 1;
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    printf("rewritten in place: %u\n", rewrite_in_place(page));
    printf("written, then protected: %u\n", write_then_protect(page));
    printf("one long function: %u\n", long_function(page));
    return 0;
}
