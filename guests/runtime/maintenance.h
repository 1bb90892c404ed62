/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Owns the single steps of cache maintenance, one function each, and the right sequence made of them. */
#ifndef GUESTS_MAINTENANCE_H
#define GUESTS_MAINTENANCE_H

#include <stddef.h>
#include <stdint.h>

#define BARRIER(name, text) \
    static inline void name(void) { __asm__ volatile(text ::: "memory"); }
#define BY_ADDRESS(name, text) \
    static inline void name(const void *address) { __asm__ volatile(text ::"r"(address) : "memory"); }

BARRIER(dsb_ish, "dsb ish")
BARRIER(dsb_ishst, "dsb ishst")
BARRIER(dsb_ishld, "dsb ishld")
BARRIER(dsb_nsh, "dsb nsh")
BARRIER(dsb_osh, "dsb osh")
BARRIER(dsb_sy, "dsb sy")
BARRIER(dmb_ish, "dmb ish")
BARRIER(isb, "isb")
BY_ADDRESS(dc_cvau, "dc cvau, %0")
BY_ADDRESS(dc_cvac, "dc cvac, %0")
BY_ADDRESS(dc_civac, "dc civac, %0")
BY_ADDRESS(dc_cvap, "sys #3, c7, c12, #1, %0") /* spelt so: the assembler wants Armv8.2 for its name */
BY_ADDRESS(dc_zva, "dc zva, %0")
BY_ADDRESS(ic_ivau, "ic ivau, %0")

static inline uint64_t read_ctr(void)
{
    uint64_t value;
    __asm__ volatile("mrs %0, ctr_el0" : "=r"(value));
    return value;
}

/* CTR_EL0.DminLine [19:16] and IminLine [3:0]: log2 of words. */
static inline size_t data_line(void) { return (size_t)4 << ((read_ctr() >> 16) & 15); }
static inline size_t instruction_line(void) { return (size_t)4 << (read_ctr() & 15); }

/* One loop over [start, end): the start is *not* rounded down here, which is a bug that one variant needs. */
static inline void clean_range(uintptr_t start, uintptr_t end, size_t stride)
{
    for (; start < end; start += stride)
        dc_cvau((void *)start);
}

static inline void invalidate_range(uintptr_t start, uintptr_t end, size_t stride)
{
    for (; start < end; start += stride)
        ic_ivau((void *)start);
}

/* The whole sequence, right on every implementation (it does not use what IDC and DIC permit to leave out). */
static inline void synchronise(const void *address, size_t size)
{
    uintptr_t start = (uintptr_t)address, end = start + size;
    clean_range(start & ~(data_line() - 1), end, data_line());
    dsb_ish();
    invalidate_range(start & ~(instruction_line() - 1), end, instruction_line());
    dsb_ish();
    isb();
}

#endif
