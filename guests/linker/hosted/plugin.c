/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Owns the plugin of program.c. */

#include <stdio.h>

static __thread int base = 22;
__attribute__((constructor)) static void construct(void) { puts("plugin constructor"); }
__attribute__((destructor)) static void destruct(void) { puts("plugin destructor"); }
int plugin(int value) { return base + value; }
