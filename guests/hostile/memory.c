/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Owns the attacks through memory: recursion without end, mappings without end, maintenance of bad addresses. */
#include "hostile.h"

static uint64_t descend(volatile uint64_t depth)
{
    uint64_t (*volatile again)(volatile uint64_t) = descend; /* the compiler sees no recursion to warn of */
    volatile uint64_t frame[16];
    frame[depth & 15] = depth;
    return again(depth + 1) + frame[depth & 15];
}

static void recursion(const struct attack *self, const char *argument)
{
    (void)self, (void)argument;
    descend(0);
}

static long try_map(size_t size, int protection, int flags)
{
    return system_call(SYS_mmap, 0, (long)size, protection, MAP_PRIVATE | MAP_ANONYMOUS | flags, -1, 0);
}

/* A gigabyte at a time, until there is no more address space (or a thousand of them were given); one page touched. */
static void huge_mappings(const struct attack *self, const char *argument)
{
    (void)self, (void)argument;
    for (int i = 0; i < 1000; i++) {
        long address = try_map(1UL << 30, PROT_READ | PROT_WRITE, MAP_NORESERVE);
        if (address < 0 && address > -4096)
            return;
        *(volatile char *)address = 1;
    }
}

/* Pages of alternating protection, which cannot merge: Linux stops at max_map_count. */
static void many_mappings(const struct attack *self, const char *argument)
{
    (void)self, (void)argument;
    for (int i = 0; i < 3000; i++) {
        long address = try_map(PAGE, i & 1 ? PROT_READ : PROT_READ | PROT_WRITE | PROT_EXEC, 0);
        if (address < 0 && address > -4096)
            return;
    }
}

static void impossible_mappings(const struct attack *self, const char *argument)
{
    (void)self, (void)argument;
    static const size_t sizes[] = {0, 1UL << 47, 1UL << 48, 1UL << 63, (size_t)-1, (size_t)-4096, (size_t)-4095};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        long address = try_map(sizes[i], PROT_READ, 0);
        if (address >= 0 && sizes[i] >= 1UL << 48)
            exit_group(3);
    }
    /* MAP_FIXED (0x10) over the kernel's half and over the last pages */
    system_call(SYS_mmap, (long)0xffff000000000000, PAGE, 7, MAP_PRIVATE | MAP_ANONYMOUS | 0x10, -1, 0);
    system_call(SYS_mmap, 0x0000fffffffff000, 16 * PAGE, 7, MAP_PRIVATE | MAP_ANONYMOUS | 0x10, -1, 0);
    system_call(SYS_munmap, 0x0000fffffffff000, -4096, 0, 0, 0, 0);
    system_call(SYS_mprotect, 0, -4096, 7, 0, 0, 0);
}

static void unmap_everything(const struct attack *self, const char *argument)
{
    (void)self, (void)argument;
    system_call(SYS_munmap, 0, 1L << 47, 0, 0, 0, 0);
}

enum operation { CLEAN, INVALIDATE, ZERO };
enum place { UNMAPPED, UNREADABLE, READ_ONLY, KERNEL };

struct maintenance {
    enum operation operation;
    enum place place;
};

static void maintain(const struct attack *self, const char *argument)
{
    (void)argument;
    const struct maintenance *what = self->detail;
    char *pages = map_anonymous(2 * PAGE, what->place == READ_ONLY ? PROT_READ : PROT_NONE);
    if (what->place == UNMAPPED)
        unmap(pages, PAGE);
    const void *address = what->place == KERNEL ? (void *)0xffff000000080000 : pages;
    switch (what->operation) {
    case CLEAN: dc_cvau(address); break;
    case INVALIDATE: ic_ivau(address); break;
    case ZERO: dc_zva((void *)address); break;
    }
    dsb_ish();
}

/* Where FetchSan itself reaches translated code in its engine: RAM would lie there, if anything did. */
static volatile uint32_t *const engine_alias = (volatile uint32_t *)0x00ff000040000000;

static void engine_load(const struct attack *self, const char *argument)
{
    (void)self, (void)argument;
    exit_group(*engine_alias == 0 ? 3 : 4);
}

static void engine_store(const struct attack *self, const char *argument)
{
    (void)self, (void)argument;
    *engine_alias = 0;
    exit_group(3);
}

static void engine_jump(const struct attack *self, const char *argument)
{
    (void)self, (void)argument;
    ((void (*)(void))(uintptr_t)engine_alias)();
    exit_group(3);
}

#define MAINTAIN(text, operation, place) {text, maintain, &(const struct maintenance){operation, place}}

const struct attack memory_attacks[] = {
    {"recursion", recursion, NULL},
    {"huge-mappings", huge_mappings, NULL},
    {"many-mappings", many_mappings, NULL},
    {"impossible-mappings", impossible_mappings, NULL},
    {"unmap-everything", unmap_everything, NULL},
    MAINTAIN("dc-unmapped", CLEAN, UNMAPPED),
    MAINTAIN("dc-prot-none", CLEAN, UNREADABLE),
    MAINTAIN("dc-read-only", CLEAN, READ_ONLY),
    MAINTAIN("dc-kernel", CLEAN, KERNEL),
    MAINTAIN("ic-unmapped", INVALIDATE, UNMAPPED),
    MAINTAIN("ic-prot-none", INVALIDATE, UNREADABLE),
    MAINTAIN("ic-read-only", INVALIDATE, READ_ONLY),
    MAINTAIN("ic-kernel", INVALIDATE, KERNEL),
    MAINTAIN("zva-read-only", ZERO, READ_ONLY),
    MAINTAIN("zva-unmapped", ZERO, UNMAPPED),
    {"engine-load", engine_load, NULL},
    {"engine-store", engine_store, NULL},
    {"engine-jump", engine_jump, NULL},
    {0},
};
