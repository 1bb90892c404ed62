/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Owns tst-bss-tail: runs into zeros at the end of a segment that is writable and executable (tail.S). Zeros are no
 * instruction, so the right end is an exception (EC=0); whoever returns from there ran something that is not in memory. */
#include "osv_application.h"

extern HIDDEN code tail;

EXPORT int main(int argc, char **argv)
{
    (void)argc, (void)argv;
    judge(tail(), -1);
}
