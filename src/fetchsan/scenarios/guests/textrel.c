/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Owns tst-textrel: calls a function whose instructions the dynamic linker completes (relocated.S). */
#include "osv_application.h"

__asm__(".globl relocated_code\n"
        ".set relocated_code, 0xd65f03c052800540"); /* mov w0, #42; ret */

extern HIDDEN code relocated;

EXPORT int main(int argc, char **argv)
{
    (void)argc, (void)argv;
    judge(relocated(), 42);
    return 0;
}
