/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Owns what the tests of dlopen load: it counts its constructors in the program, and has a thread-local variable. */

extern int constructed, destructed;
__thread int plugin_thread_local = 7;
static __thread char large[12000];

__attribute__((constructor)) static void construct(void) { constructed++; }
__attribute__((destructor)) static void destruct(void) { destructed++; }

int plugin_value(void) { return plugin_thread_local++ + large[11999]; }
int same_name(void) { return 2; }
