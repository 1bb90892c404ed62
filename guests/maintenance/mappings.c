/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Owns the variants about mappings: W^X, aliases of one file, code that the kernel writes, moved and reused pages. */
#include "jit.h"

#define READ_WRITE (PROT_READ | PROT_WRITE)
#define READ_EXECUTE (PROT_READ | PROT_EXEC)

enum maintain { NOT, ON_WRITABLE, ON_EXECUTABLE };

static enum maintain how(const struct variant *self) { return (enum maintain)(uintptr_t)self->detail; }

static void maintain_if(const struct variant *self, const volatile uint32_t *code)
{
    if (how(self) != NOT)
        synchronise((const void *)code, 8);
}

static enum outcome called(const volatile uint32_t *code) { return outcome_of(call(code, 0), 2, 1); }

/* Linux synchronises the frame when it first becomes executable: right by luck, and only this once. */
static enum outcome wx_first(const struct variant *self)
{
    volatile uint32_t *code = map_anonymous(PAGE, READ_WRITE);
    emit_constant(code, 2);
    maintain_if(self, code);
    protect((void *)code, PAGE, READ_EXECUTE);
    return called(code);
}

static enum outcome wx_second(const struct variant *self)
{
    volatile uint32_t *code = map_anonymous(PAGE, READ_WRITE);
    emit_constant(code, 1);
    synchronise((const void *)code, 8);
    protect((void *)code, PAGE, READ_EXECUTE);
    if (call(code, 0) != 1)
        return OUTCOME_ODD;
    protect((void *)code, PAGE, READ_WRITE);
    emit_constant(code, 2);
    maintain_if(self, code);
    protect((void *)code, PAGE, READ_EXECUTE);
    return called(code);
}

static int memory_file(void)
{
    int fd = (int)must(system_call(SYS_memfd_create, (long)"code", 0, 0, 0, 0, 0), "memfd_create");
    must(system_call(SYS_ftruncate, fd, PAGE, 0, 0, 0, 0), "ftruncate");
    return fd;
}

static int temporary_file(void)
{
    const char *path = "/tmp/fetchsan-variants-code";
    int fd = (int)must(system_call(SYS_openat, AT_FDCWD, (long)path, O_RDWR | O_CREAT | O_TRUNC, 0600, 0, 0), "open");
    must(system_call(SYS_unlinkat, AT_FDCWD, (long)path, 0, 0, 0, 0), "unlink");
    must(system_call(SYS_ftruncate, fd, PAGE, 0, 0, 0, 0), "ftruncate");
    return fd;
}

static enum outcome rewrite_through_alias(const struct variant *self, int fd)
{
    volatile uint32_t *writable = map(NULL, PAGE, READ_WRITE, MAP_SHARED, fd);
    volatile uint32_t *executable = map(NULL, PAGE, READ_EXECUTE, MAP_SHARED, fd);
    emit_constant(writable, 1);
    synchronise((const void *)writable, 8);
    synchronise((const void *)executable, 8);
    if (call(executable, 0) != 1)
        return OUTCOME_ODD;
    emit_constant(writable, 2);
    maintain_if(self, how(self) == ON_WRITABLE ? writable : executable);
    return called(executable);
}

static enum outcome alias_memfd(const struct variant *self) { return rewrite_through_alias(self, memory_file()); }

static enum outcome alias_tmp(const struct variant *self) { return rewrite_through_alias(self, temporary_file()); }

/* The kernel's copy into the page is a store like any other, and no maintenance of it. */
static enum outcome read_into_code(const struct variant *self, int from)
{
    volatile uint32_t *code = jit_page();
    emit_first_version(code, 1);
    must(system_call(SYS_read, from, (long)code, 8, 0, 0, 0), "read");
    maintain_if(self, code);
    return called(code);
}

static enum outcome read_memfd(const struct variant *self)
{
    uint32_t words[2];
    emit_constant(words, 2);
    int fd = memory_file();
    must(system_call(SYS_pwrite64, fd, (long)words, sizeof words, 0, 0, 0), "pwrite");
    return read_into_code(self, fd);
}

static enum outcome read_pipe(const struct variant *self)
{
    uint32_t words[2];
    int ends[2];
    emit_constant(words, 2);
    must(system_call(SYS_pipe2, (long)ends, 0, 0, 0, 0, 0), "pipe2");
    must(system_call(SYS_write, ends[1], (long)words, sizeof words, 0, 0, 0), "write");
    return read_into_code(self, ends[0]);
}

/* write(2) to a file whose page is mapped executable. */
static enum outcome write_under_mapping(const struct variant *self)
{
    uint32_t words[2];
    int fd = memory_file();
    emit_constant(words, 1);
    must(system_call(SYS_pwrite64, fd, (long)words, sizeof words, 0, 0, 0), "pwrite");
    volatile uint32_t *code = map(NULL, PAGE, READ_EXECUTE, MAP_SHARED, fd);
    if (call(code, 0) != 1)
        return OUTCOME_ODD;
    emit_constant(words, 2);
    must(system_call(SYS_pwrite64, fd, (long)words, sizeof words, 0, 0, 0), "pwrite");
    maintain_if(self, code);
    return called(code);
}

/* A plain executable file mapping, as a loader makes it: the kernel's duty, not the program's. */
static enum outcome map_file(const struct variant *self)
{
    (void)self;
    uint32_t words[2];
    int fd = memory_file();
    emit_constant(words, 2);
    must(system_call(SYS_pwrite64, fd, (long)words, sizeof words, 0, 0, 0), "pwrite");
    return called(map(NULL, PAGE, READ_EXECUTE, MAP_PRIVATE, fd));
}

static volatile uint32_t *moved(volatile uint32_t *code)
{
    char *hole = map_anonymous(2 * PAGE, PROT_NONE);
    return (volatile uint32_t *)must(
        system_call(SYS_mremap, (long)code, PAGE, PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, (long)(hole + PAGE), 0), "mremap");
}

static enum outcome mremap_call(const struct variant *self)
{
    (void)self;
    volatile uint32_t *code = jit_page();
    emit_first_version(code, 2);
    return called(moved(code));
}

static enum outcome mremap_rewrite(const struct variant *self)
{
    volatile uint32_t *code = jit_page();
    emit_first_version(code, 1);
    code = moved(code);
    if (call(code, 0) != 1)
        return OUTCOME_ODD;
    emit_constant(code, 2);
    maintain_if(self, code);
    return called(code);
}

/* munmap, then mmap: the same frame as likely as not, with another program's code in every cache. */
static enum outcome reuse(const struct variant *self, int protection)
{
    volatile uint32_t *code = jit_page();
    emit_first_version(code, 1);
    unmap((void *)code, PAGE);
    code = map_anonymous(PAGE, protection);
    emit_constant(code, 2);
    maintain_if(self, code);
    if (protection == READ_WRITE)
        protect((void *)code, PAGE, READ_EXECUTE);
    return called(code);
}

static enum outcome reuse_rwx(const struct variant *self) { return reuse(self, READ_WRITE | PROT_EXEC); }

static enum outcome reuse_wx(const struct variant *self) { return reuse(self, READ_WRITE); }

#define TWINS(text, run) {text "-none", run, (void *)NOT}, {text "-maintained", run, (void *)ON_EXECUTABLE}
#define ALIAS(text, run) TWINS(text, run), {text "-maintained-on-writable", run, (void *)ON_WRITABLE}

const struct variant mapping_variants[] = {
    TWINS("wx-first", wx_first),
    TWINS("wx-second", wx_second),
    ALIAS("alias-memfd", alias_memfd),
    ALIAS("alias-tmp", alias_tmp),
    TWINS("read-memfd", read_memfd),
    TWINS("read-pipe", read_pipe),
    TWINS("write-under-mapping", write_under_mapping),
    {"map-file", map_file, NULL},
    {"mremap-call", mremap_call, NULL},
    TWINS("mremap-rewrite", mremap_rewrite),
    TWINS("reuse-rwx", reuse_rwx),
    TWINS("reuse-wx", reuse_wx),
    {0},
};
