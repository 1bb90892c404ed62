/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Owns what an application's segments allow on OSv: what its tst-elf-permissions asserts, in our own words.
 *
 * The handler gives the page all rights and returns: the instruction runs again, and this time it may. */
#include "osv.h"

static volatile int faults;
static char *volatile faulted_at;

static __attribute__((noinline)) int nine(void) { return 9; }

/* A function that returns 7: code where none may run. */
#if defined(__x86_64__)
#define FIRST_WORD 0x000007b8 /* mov eax, 7; ret */
#define SECOND_WORD 0x0000c300
#define SYNCHRONISE ""
#else
#define FIRST_WORD 0x528000e0 /* mov w0, #7; ret */
#define SECOND_WORD 0xd65f03c0
#define SYNCHRONISE "dc cvau, %0\n dsb ish\n ic ivau, %0\n dsb ish\n isb"
#endif
static unsigned code_in_data[2] __attribute__((aligned(64))) = {FIRST_WORD, SECOND_WORD};

/* A relocated constant: .data.rel.ro, which is PT_GNU_RELRO. */
static const void *const relocated[] = {&code_in_data, (const void *)&faults};

static void synchronise(char *at)
{
    __asm__ volatile(SYNCHRONISE : : "r"(at) : "memory");
}

static void allow(int number, struct signal_info *info, void *context)
{
    (void)number, (void)context;
    faults++;
    faulted_at = info->address;
    char *page = (char *)((uintptr_t)info->address & -PAGE);
    protect(page, PAGE, PROT_READ | PROT_WRITE | PROT_EXEC);
    if (info->address == (char *)code_in_data)
        synchronise(info->address);
}

MAIN(void)
{
    on_signal(SIGSEGV, (void *)allow, 0);

    volatile unsigned *text = (volatile unsigned *)(uintptr_t)nine;
    CHECK(1, nine() == 9 && faults == 0);
    *text = *text;
    CHECK(2, faults == 1 && faulted_at == (char *)text);
    CHECK(3, nine() == 9);

    ((volatile unsigned *)code_in_data)[0] = FIRST_WORD;
    CHECK(4, faults == 1);
    int (*volatile call_data)(void) = (int (*)(void))(uintptr_t)code_in_data;
    CHECK(5, call_data() == 7);
    CHECK(6, faults == 2 && faulted_at == (char *)code_in_data);

    const void *volatile *constant = (const void *volatile *)(uintptr_t)relocated;
    CHECK(7, *constant == code_in_data && faults == 2);
    *constant = 0;
    CHECK(8, faults == 3 && faulted_at == (char *)constant);
    CHECK(9, *constant == 0);

    print("tst-elf-permissions: ok\n");
    exit_group(0);
}
