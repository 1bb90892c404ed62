/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Owns the static hello of a real C library: start-up, stdio and the environment as glibc sees them. */
#include <stdio.h>

int main(int argc, char **argv)
{
    printf("hello from glibc");
    for (int i = 1; i < argc; i++)
        printf(" %s", argv[i]);
    putchar('\n');
    return 0;
}
