/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Owns tst-mprotect: code stored into a page of the data segment, which mprotect() then makes executable.
 * With the option "corrected" the application synchronises the caches, as every program on AArch64 must. */
#include "osv_application.h"

static uint32_t generated[PAGE / 4] __attribute__((aligned(PAGE))) = {1}; /* .data: the symbol has a file */

static NOINLINE void emit(void)
{
    generated[0] = FIRST_WORD(42);
    generated[1] = SECOND_WORD;
}

EXPORT int main(int argc, char **argv)
{
    emit();
    if (given(argc, argv, "corrected"))
        __builtin___clear_cache((char *)generated, (char *)(generated + 2));
    protect(generated, PAGE, PROT_READ | PROT_EXEC);
    judge(((code *)(uintptr_t)generated)(), 42);
}
