/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Owns a program for the linker, without a C library: main() returns the number of the first check that fails, or 0. */

extern int copied, order[], order_count, constructor_argc;
extern int *address_of_copied(void), *address_of_hidden_thread_local(void);
extern __thread int thread_local_here, thread_local_zero;
extern __thread long aligned;
extern int thread_local_there(void), chosen(void), call_chosen_here(void), twice(int), call_interposed(void);
extern int versioned(void), versioned_old(void);
__asm__(".symver versioned_old, versioned@OLD");
extern int nowhere(void) __attribute__((weak));

int interposed(void) { return 32; }
static __thread int own = 41;
__thread int exported_own = 42;
int (*pointer_to_twice)(int) = twice;
int *pointer_to_copied = &copied;

__attribute__((constructor)) static void second(void) { order[order_count++] = 2; }

int main(int argc, char **argv)
{
    if (argc != 2 || argv[2] || argv[1][0] != 'x') return 1;
    if (constructor_argc != argc) return 2;
    if (order_count != 2 || order[0] != 1 || order[1] != 2) return 3;
    if (copied != 5 || pointer_to_copied != &copied || address_of_copied() != &copied) return 4;
    if (twice(21) != 42 || twice(4) != 8 || pointer_to_twice(3) != 6 || pointer_to_twice != twice) return 5;
    if (thread_local_here != 11 || thread_local_there() != 12 || thread_local_here != 12) return 6;
    if (thread_local_zero || aligned != 12 || (unsigned long)&aligned % 64) return 7;
    if (own != 41 || exported_own != 42 || *address_of_hidden_thread_local() != 13) return 8;
    own = exported_own = 1;
    if (*address_of_hidden_thread_local() != 13 || thread_local_here != 12) return 9;
    if (chosen() != 21 || call_chosen_here() != 21) return 10;
    if (versioned() != 2) return 11;
    if (versioned_old() != 1) return 12;
    if (call_interposed() != 32) return 13;
    if (nowhere) return 14;
    return 0;
}
