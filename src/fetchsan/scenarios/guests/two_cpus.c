/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Owns tst-two-cpus: main() and one more thread, each on a processor of its own. The first option of main() says what they do:
 * "arrive": both call service(), whose page is not there yet; main() comes first (thread: call_service);
 * "patch":  main() changes patched(), which the other has run, and the other runs it again (thread: call_patched).
 * With the option "corrected" the other executes an ISB first, once it knows of the change. */
#include "osv_application.h"

extern HIDDEN code service, patched; /* two_cpus_code.S: each in a page of its own */

static volatile uint32_t ready, go, done, corrected;
static volatile int seen;

/* Interrupts are masked: WFI (HLT) ends without an exception, so waiting synchronises nothing. */
static inline void wait_for(volatile uint32_t *flag)
{
    while (!__atomic_load_n(flag, __ATOMIC_ACQUIRE))
        __asm__ volatile(WAIT ::: "memory");
}

static inline void tell(volatile uint32_t *flag)
{
    __atomic_store_n(flag, 1, __ATOMIC_RELEASE);
}

/* What is patched, in patched(). */
static inline volatile uint32_t *constant(void)
{
    return (volatile uint32_t *)((uintptr_t)patched + CONSTANT_AT);
}

EXPORT void call_service(void)
{
    tell(&ready);
    wait_for(&go);
    seen = service();
    tell(&done);
}

EXPORT void call_patched(void)
{
    volatile uint32_t *word = constant();
    wait_for(&ready);
    *word = *word; /* the private copy of the page is made here, by this processor */
    if (patched() != 1)
        exit_group(2);
    tell(&done);
    wait_for(&go);
    if (corrected)
        __asm__ volatile(SYNCHRONISE_CONTEXT ::: "memory");
    seen = patched();
    done = 2;
}

static NOINLINE void patch(void)
{
    volatile uint32_t *word = constant();
    *word = CONSTANT_WORD(2);
    __builtin___clear_cache((char *)word, (char *)(word + 1));
}

EXPORT int main(int argc, char **argv)
{
    corrected = given(argc, argv, "corrected");
    if (given(argc, argv, "arrive")) {
        wait_for(&ready);
        tell(&go);
        int here = service();
        wait_for(&done);
        judge(here == 42 ? seen : 0, 42);
    }
    protect((void *)(uintptr_t)patched, PAGE, PROT_READ | PROT_WRITE | PROT_EXEC);
    tell(&ready);
    wait_for(&done);
    patch();
    tell(&go);
    while (done != 2)
        __asm__ volatile(WAIT ::: "memory");
    judge(seen, 2);
}
