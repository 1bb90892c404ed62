/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Owns the library of the linker's tests: data to copy, thread-local variables, functions by resolver and by version. */

int copied = 5;
int *address_of_copied(void) { return &copied; }

__thread int thread_local_here = 11;
__thread int thread_local_zero;
__thread long aligned __attribute__((aligned(64))) = 12;
int thread_local_there(void) { return ++thread_local_here; }
static __thread int hidden_thread_local = 13;
int *address_of_hidden_thread_local(void) { return &hidden_thread_local; }

static int chosen_implementation(void) { return 21; }
static int (*resolve_chosen(void))(void) { return chosen_implementation; }
int chosen(void) __attribute__((ifunc("resolve_chosen")));
static int chosen_here(void) __attribute__((ifunc("resolve_chosen")));
int call_chosen_here(void) { return chosen_here(); }

/* Two versions of one name. */
int versioned_old(void) { return 1; }
int versioned_new(void) { return 2; }
__asm__(".symver versioned_old, versioned@OLD\n.symver versioned_new, versioned@@NEW");

int twice(int value) { return 2 * value; }
int interposed(void) { return 31; }
int call_interposed(void) { return interposed(); }

int order[4], order_count, constructor_argc;
__attribute__((constructor)) static void first(int argc) { constructor_argc = argc; order[order_count++] = 1; }
