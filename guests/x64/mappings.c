/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Owns the variants about mappings: W^X, aliases of one file, code that the kernel writes, moved and reused pages. */
#include "jit.h"

static enum outcome wx_first(const struct variant *self)
{
    (void)self;
    volatile uint8_t *code = map_anonymous(PAGE, READ_WRITE);
    emit_constant(code, 2);
    protect((void *)code, PAGE, READ_EXECUTE);
    return called(code);
}

static enum outcome wx_second(const struct variant *self)
{
    (void)self;
    volatile uint8_t *code = map_anonymous(PAGE, READ_WRITE);
    emit_constant(code, 1);
    protect((void *)code, PAGE, READ_EXECUTE);
    if (call(code, 0) != 1)
        return OUTCOME_ODD;
    protect((void *)code, PAGE, READ_WRITE);
    emit_constant(code, 2);
    protect((void *)code, PAGE, READ_EXECUTE);
    return called(code);
}

static int memory_file(void)
{
    int fd = (int)must(system_call(SYS_memfd_create, (long)"code", 0, 0, 0, 0, 0), "memfd_create");
    must(system_call(SYS_ftruncate, fd, PAGE, 0, 0, 0, 0), "ftruncate");
    return fd;
}

static void write_constant(int fd, uint32_t value)
{
    uint64_t bytes = CONSTANT(value);
    must(system_call(SYS_pwrite64, fd, (long)&bytes, sizeof bytes, 0, 0, 0), "pwrite");
}

/* Stored through one mapping of the page, executed through another. */
static enum outcome alias(const struct variant *self)
{
    int fd = memory_file();
    volatile uint8_t *writable = map(NULL, PAGE, READ_WRITE, MAP_SHARED, fd);
    volatile uint8_t *executable = map(NULL, PAGE, (int)(uintptr_t)self->detail, MAP_SHARED, fd);
    emit_constant(writable, 1);
    if (call(executable, 0) != 1)
        return OUTCOME_ODD;
    emit_constant(writable, 2);
    return called(executable);
}

/* Two mappings that take turns: each executes what the other stored. */
static enum outcome alias_both_ways(const struct variant *self)
{
    (void)self;
    int fd = memory_file();
    volatile uint8_t *one = map(NULL, PAGE, EVERYTHING, MAP_SHARED, fd);
    volatile uint8_t *other = map(NULL, PAGE, EVERYTHING, MAP_SHARED, fd);
    for (uint32_t i = 2; i < 200; i += 2) {
        emit_constant(one, i);
        if (call(other, 0) != i || call(one, 0) != i)
            return OUTCOME_OLD;
        emit_constant(other, i + 1);
        if (call(one, 0) != i + 1 || call(other, 0) != i + 1)
            return OUTCOME_OLD;
    }
    return OUTCOME_NEW;
}

/* The kernel's copy into the page is a store like any other. */
static enum outcome read_into_code(int from)
{
    volatile uint8_t *code = jit_page();
    emit_first_version(code);
    must(system_call(SYS_read, from, (long)code, 8, 0, 0, 0), "read");
    return called(code);
}

static enum outcome read_memfd(const struct variant *self)
{
    (void)self;
    int fd = memory_file();
    write_constant(fd, 2);
    return read_into_code(fd);
}

static enum outcome read_pipe(const struct variant *self)
{
    (void)self;
    uint64_t bytes = CONSTANT(2);
    int ends[2];
    must(system_call(SYS_pipe2, (long)ends, 0, 0, 0, 0, 0), "pipe2");
    must(system_call(SYS_write, ends[1], (long)&bytes, sizeof bytes, 0, 0, 0), "write");
    return read_into_code(ends[0]);
}

/* write(2) to a file whose page is mapped executable. */
static enum outcome write_under_mapping(const struct variant *self)
{
    (void)self;
    int fd = memory_file();
    write_constant(fd, 1);
    volatile uint8_t *code = map(NULL, PAGE, READ_EXECUTE, MAP_SHARED, fd);
    if (call(code, 0) != 1)
        return OUTCOME_ODD;
    write_constant(fd, 2);
    return called(code);
}

/* A private page of a file, executed and then copied on write. */
static enum outcome copy_on_write(const struct variant *self)
{
    (void)self;
    int fd = memory_file();
    write_constant(fd, 1);
    volatile uint8_t *code = map(NULL, PAGE, EVERYTHING, MAP_PRIVATE, fd);
    if (call(code, 0) != 1)
        return OUTCOME_ODD;
    emit_constant(code, 2);
    return called(code);
}

static volatile uint8_t *moved(volatile uint8_t *code)
{
    char *hole = map_anonymous(2 * PAGE, PROT_NONE);
    return (volatile uint8_t *)must(
        system_call(SYS_mremap, (long)code, PAGE, PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, (long)(hole + PAGE), 0), "mremap");
}

static enum outcome mremap_rewrite(const struct variant *self)
{
    (void)self;
    volatile uint8_t *code = jit_page();
    emit_first_version(code);
    code = moved(code);
    if (call(code, 0) != 1)
        return OUTCOME_ODD;
    emit_constant(code, 2);
    return called(code);
}

/* munmap, then mmap: the same frame as likely as not, and here the same address too. */
static enum outcome reuse(const struct variant *self)
{
    int protection = (int)(uintptr_t)self->detail;
    volatile uint8_t *code = jit_page();
    emit_first_version(code);
    unmap((void *)code, PAGE);
    code = map((void *)code, PAGE, protection, MAP_PRIVATE | MAP_ANONYMOUS, -1);
    emit_constant(code, 2);
    protect((void *)code, PAGE, READ_EXECUTE);
    return called(code);
}

/* Written by one mapping of a file, executed by the next one at its place. */
static enum outcome written_before(const struct variant *self)
{
    (void)self;
    int fd = memory_file();
    volatile uint8_t *code = jit_page();
    emit_first_version(code);
    unmap((void *)code, PAGE);
    code = map((void *)code, PAGE, READ_WRITE, MAP_SHARED, fd);
    emit_constant(code, 2);
    unmap((void *)code, PAGE);
    return called(map((void *)code, PAGE, READ_EXECUTE, MAP_SHARED, fd));
}

const struct variant mapping_variants[] = {
    {"wx-first", wx_first, NULL},
    {"wx-second", wx_second, NULL},
    {"alias", alias, (void *)READ_EXECUTE},
    {"alias-writable", alias, (void *)EVERYTHING},
    {"alias-both-ways", alias_both_ways, NULL},
    {"read-memfd", read_memfd, NULL},
    {"read-pipe", read_pipe, NULL},
    {"write-under-mapping", write_under_mapping, NULL},
    {"copy-on-write", copy_on_write, NULL},
    {"mremap-rewrite", mremap_rewrite, NULL},
    {"reuse-rwx", reuse, (void *)EVERYTHING},
    {"reuse-wx", reuse, (void *)READ_WRITE},
    {"written-before", written_before, NULL},
    {0},
};
