/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Owns tst-alias: an executable page of a file (a copy of tst-plugin) that has run is changed, and runs again. The first option
 * says how: "write" through the file, "mapping" through a second mapping, "shared" through the executable mapping itself.
 * With the option "corrected" the application then synchronises the caches. */
#include "osv_application.h"

enum { TEXT = PAGE }; /* where answer() lies in the file */

/* The image is read-only; the copy is not. */
static long copy(const char *from, const char *to)
{
    static char block[PAGE];
    long source = must(system_call(SYS_openat, AT_FDCWD, (long)from, 0, 0, 0, 0), "openat");
    long file = must(system_call(SYS_openat, AT_FDCWD, (long)to, O_RDWR | O_CREAT, 0755, 0, 0), "openat");
    long size;
    while ((size = must(system_call(SYS_read, source, (long)block, sizeof block, 0, 0, 0), "read")) > 0)
        must(system_call(SYS_write, file, (long)block, size, 0, 0, 0), "write");
    return file;
}

static long map_text(long file, int rights)
{
    return must(system_call(SYS_mmap, 0, PAGE, rights, MAP_SHARED, file, TEXT), "mmap");
}

static NOINLINE void patch(long code, int number)
{
    *(volatile uint32_t *)(code + CONSTANT_AT) = CONSTANT_WORD(number);
}

EXPORT int main(int argc, char **argv)
{
    int shared = given(argc, argv, "shared"), mapping = given(argc, argv, "mapping");
    long file = copy("/tst-plugin.so", "/tmp/plugin.so");
    long mapped = map_text(file, PROT_READ | PROT_EXEC | (shared ? PROT_WRITE : 0));
    long alias = mapping ? map_text(file, PROT_READ | PROT_WRITE) : mapped;
    code *answer = (code *)(uintptr_t)mapped;
    if (mapping) /* the first store gives the file another page, which every mapping then has to fault in */
        patch(alias, 1);
    if (answer() != 1)
        judge(0, 1);
    if (shared || mapping) {
        patch(alias, 2);
        must(system_call(SYS_msync, alias, PAGE, MS_SYNC, 0, 0, 0), "msync");
    } else {
        uint32_t word = CONSTANT_WORD(2);
        must(system_call(SYS_pwrite64, file, (long)&word, sizeof word, TEXT + CONSTANT_AT, 0, 0), "pwrite");
    }
    if (given(argc, argv, "corrected"))
        __builtin___clear_cache((char *)mapped, (char *)mapped + 8);
    judge(answer(), 2);
}
