/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Owns tst-textrel: calls a function whose instructions the dynamic linker completes (relocated.S). */
#include "osv_application.h"

#if defined(__aarch64__)
#define CODE "0xd65f03c052800540" /* mov w0, #42; ret */
#elif defined(__x86_64__)
#define CODE "0x9090c30000002ab8" /* mov $42, %eax; ret; nop; nop */
#endif
__asm__(".globl relocated_code\n.set relocated_code, " CODE);

extern HIDDEN code relocated;

EXPORT int main(int argc, char **argv)
{
    (void)argc, (void)argv;
    judge(relocated(), 42);
}
