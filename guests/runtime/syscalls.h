/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Owns the guests' system calls: the Linux ABI by number, no libc. A failed call returns -errno. */
#ifndef GUESTS_SYSCALLS_H
#define GUESTS_SYSCALLS_H

#include <stddef.h>
#include <stdint.h>

#if defined(__x86_64__)
#include "abi_x64.h"
#else
#include "abi_aarch64.h"
#endif

#define PROT_NONE 0
#define PROT_READ 1
#define PROT_WRITE 2
#define PROT_EXEC 4
#define MAP_SHARED 1
#define MAP_PRIVATE 2
#define MAP_ANONYMOUS 0x20
#define MAP_NORESERVE 0x4000
#define MREMAP_MAYMOVE 1
#define MREMAP_FIXED 2
#define AT_FDCWD (-100)
#define O_RDONLY 0
#define O_RDWR 2
#define O_CREAT 0100
#define O_TRUNC 01000
#define EFAULT 14

static inline _Noreturn void exit_group(int status)
{
    for (;;)
        system_call(SYS_exit_group, status, 0, 0, 0, 0, 0);
}

static inline size_t text_length(const char *text)
{
    size_t length = 0;
    while (text[length])
        length++;
    return length;
}

static inline int text_equal(const char *a, const char *b)
{
    for (; *a && *a == *b; a++, b++)
        ;
    return *a == *b;
}

static inline void print(const char *text)
{
    system_call(SYS_write, 1, (long)text, (long)text_length(text), 0, 0, 0);
}

static inline void print_number(unsigned long value)
{
    char digits[24];
    char *first = digits + sizeof digits - 1;
    *first = 0;
    do
        *--first = (char)('0' + value % 10);
    while (value /= 10);
    print(first);
}

/* A set-up step that cannot fail where a guest is meant to run: status 4 says that the environment is at fault. */
static inline long must(long result, const char *what)
{
    if (result < 0 && result > -4096) {
        print("cannot ");
        print(what);
        print("\n");
        exit_group(4);
    }
    return result;
}

static inline void *map(void *address, size_t size, int protection, int flags, int fd)
{
    return (void *)must(system_call(SYS_mmap, (long)address, (long)size, protection, flags, fd, 0), "mmap");
}

static inline void *map_anonymous(size_t size, int protection)
{
    return map(NULL, size, protection, MAP_PRIVATE | MAP_ANONYMOUS, -1);
}

static inline void protect(void *address, size_t size, int protection)
{
    must(system_call(SYS_mprotect, (long)address, (long)size, protection, 0, 0, 0), "mprotect");
}

static inline void unmap(void *address, size_t size)
{
    must(system_call(SYS_munmap, (long)address, (long)size, 0, 0, 0, 0), "munmap");
}

#endif
