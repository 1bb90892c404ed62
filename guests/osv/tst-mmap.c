/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Owns what applications may expect of anonymous memory on OSv: what its tst-mmap asserts, in our own words. */
#include "osv.h"

#define RW (PROT_READ | PROT_WRITE)
#define ANONYMOUS (MAP_PRIVATE | MAP_ANONYMOUS)

static void touch(char *at, size_t size, size_t step)
{
    for (size_t offset = 0; offset < size; offset += step)
        ((volatile char *)at)[offset] = 1;
}

/* More in total than there is memory: what is unmapped must come back. */
static void cycles(int count, size_t size, size_t step)
{
    for (int i = 0; i < count; i++) {
        char *at = map(NULL, size, RW, ANONYMOUS, -1);
        touch(at, size, step);
        unmap(at, size);
    }
}

static void fixed(void)
{
    char *at = map(NULL, 4 * PAGE, RW, ANONYMOUS, -1);
    touch(at, 4 * PAGE, PAGE);
    char *again = map(at + PAGE, PAGE, RW, ANONYMOUS | MAP_FIXED, -1);
    CHECK(10, again == at + PAGE);
    CHECK(11, again[0] == 0);
    CHECK(12, at[0] == 1 && at[2 * PAGE] == 1);
    CHECK(13, try_map(at + 1, PAGE, RW, ANONYMOUS | MAP_FIXED, -1, 0) == -EINVAL);
    unmap(at, 4 * PAGE);
    CHECK(14, try_read(at) == SIGSEGV);
    CHECK(15, last_fault.code == SEGV_MAPERR);
    CHECK(16, last_fault.address == at);
}

static void arguments(void)
{
    CHECK(20, try_map(NULL, PAGE, RW, MAP_ANONYMOUS, -1, 0) == -EINVAL);
    CHECK(21, try_map(NULL, PAGE, RW, MAP_ANONYMOUS | MAP_SHARED | MAP_PRIVATE, -1, 0) == -EINVAL);
    CHECK(22, try_map(NULL, 0, RW, ANONYMOUS, -1, 0) == -EINVAL);
    CHECK(23, try_map(NULL, PAGE, RW, ANONYMOUS, -1, 1) == -EINVAL);
    char *at = map(NULL, 64, RW, ANONYMOUS, -1);
    CHECK(24, try_unmap(at + 1, 64) == -EINVAL);
    CHECK(25, try_unmap(at, 0) == -EINVAL);
    CHECK(26, try_unmap(at, 2 * PAGE) == -EINVAL); /* unlike Linux: all of it must be mapped */
    CHECK(27, try_unmap(at, 64) == 0);
    CHECK(28, try_unmap(at, 64) == -EINVAL);
}

static void rights(void)
{
    char *at = map(NULL, PAGE, PROT_READ, ANONYMOUS, -1);
    CHECK(30, try_read(at) == 0);
    CHECK(31, try_write(at) == SIGSEGV);
    CHECK(32, last_fault.code == SEGV_ACCERR && last_fault.address == at);
    CHECK(33, try_protect(at, PAGE, RW) == 0 && try_write(at) == 0);
    CHECK(34, try_protect(at, PAGE, PROT_NONE) == 0 && try_read(at) == SIGSEGV);
    CHECK(35, try_protect(at, PAGE, PROT_WRITE) == 0 && try_write(at) == 0);
    at[0] = 123;
    CHECK(36, try_protect(at, PAGE, PROT_NONE) == 0 && try_read(at) == SIGSEGV);
    CHECK(37, try_protect(at, PAGE, PROT_READ) == 0 && at[0] == 123);
    CHECK(38, try_protect(at + 1, PAGE, PROT_READ) == -EINVAL);
    CHECK(39, try_protect(at, 2 * PAGE, PROT_READ) == -ENOMEM);
    /* A right that was used is gone at once when it is taken away. */
    CHECK(40, try_protect(at, PAGE, RW) == 0 && try_write(at) == 0);
    CHECK(41, try_protect(at, PAGE, PROT_READ) == 0 && try_write(at) == SIGSEGV);
    unmap(at, PAGE);
    char *none = map(NULL, PAGE, PROT_NONE, ANONYMOUS, -1);
    CHECK(42, try_read(none) == SIGSEGV && last_fault.code == SEGV_ACCERR);
    unmap(none, PAGE);
}

static void huge(void)
{
    char *at = map(NULL, 3 * HUGE_PAGE, RW, ANONYMOUS, -1);
    char *window = (char *)(((uintptr_t)at + HUGE_PAGE - 1) & -HUGE_PAGE);
    touch(window, HUGE_PAGE, PAGE);
    char *page = window + 7 * PAGE;
    CHECK(50, try_protect(page, PAGE, PROT_READ) == 0);
    CHECK(51, try_write(page) == SIGSEGV);
    CHECK(52, try_write(page - 1) == 0 && try_write(page + PAGE) == 0);
    CHECK(53, page[0] == 1 && window[0] == 1 && window[HUGE_PAGE - PAGE] == 1);
    CHECK(54, try_unmap(page, PAGE) == 0 && try_read(page) == SIGSEGV);
    CHECK(55, window[9 * PAGE] == 1);
    unmap(window + 8 * PAGE, HUGE_PAGE - 8 * PAGE);
    unmap(at, (size_t)(page - at));
    unmap(window + HUGE_PAGE, (size_t)(at + 3 * HUGE_PAGE - window - HUGE_PAGE));
}

static void advice(void)
{
    unsigned char vector[4] = {9, 9, 9, 9};
    char *at = map(NULL, 4 * PAGE, RW, ANONYMOUS, -1);
    CHECK(60, call3(SYS_madvise, (long)at, 4 * PAGE, MADV_NOHUGEPAGE) == 0);
    touch(at + PAGE, 1, 1);
    CHECK(61, call3(SYS_mincore, (long)at, 4 * PAGE, (long)vector) == 0);
    CHECK(62, vector[0] == 0 && vector[1] == 1 && vector[2] == 0);
    CHECK(63, call3(SYS_mincore, (long)at + 1, PAGE, (long)vector) == -EINVAL);
    CHECK(64, call3(SYS_mincore, (long)at, 64 * PAGE, (long)vector) == -ENOMEM);
    CHECK(65, call3(SYS_madvise, (long)at, 4 * PAGE, MADV_DONTNEED) == 0 && at[PAGE] == 0);
    CHECK(66, call3(SYS_madvise, (long)at, 4 * PAGE, 12345) == -EINVAL);
    CHECK(67, call3(SYS_madvise, (long)at, 64 * PAGE, MADV_DONTNEED) == -ENOMEM);
    CHECK(68, call3(SYS_msync, (long)at, 4 * PAGE, 4) == 0);
    CHECK(69, call3(SYS_msync, (long)at, 5 * PAGE, 4) == -ENOMEM);
    unmap(at + PAGE, PAGE);
    CHECK(70, call3(SYS_msync, (long)at, 4 * PAGE, 4) == -ENOMEM);
    unmap(at, PAGE);
    unmap(at + 2 * PAGE, 2 * PAGE);
    char *ready = map(NULL, 4 * PAGE, RW, ANONYMOUS | MAP_POPULATE, -1);
    CHECK(71, call3(SYS_mincore, (long)ready, 4 * PAGE, (long)vector) == 0);
    CHECK(72, vector[0] == 1 && vector[3] == 1);
    unmap(ready, 4 * PAGE);
    char *stack = (char *)((uintptr_t)vector & -PAGE);
    CHECK(73, call3(SYS_mincore, (long)stack, PAGE, (long)vector) == 0 && vector[0] == 1);
    CHECK(74, call2(SYS_mlock, (long)stack, PAGE) == 0 && call2(SYS_munlock, (long)stack, PAGE) == 0);
}

MAIN(void)
{
    guard();
    fixed();
    arguments();
    rights();
    huge();
    advice();
    cycles(1000, 1ul << 20, 64 * PAGE);
    cycles(100, 30ul << 20, 512 * PAGE);
    print("tst-mmap: ok\n");
    exit_group(0);
}
