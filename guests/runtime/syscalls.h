/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Owns the guests' system calls: the Linux arm64 ABI by number, no libc. A failed call returns -errno. */
#ifndef GUESTS_SYSCALLS_H
#define GUESTS_SYSCALLS_H

#include <stddef.h>
#include <stdint.h>

#define SYS_dup 23
#define SYS_unlinkat 35
#define SYS_symlinkat 36
#define SYS_ftruncate 46
#define SYS_openat 56
#define SYS_close 57
#define SYS_pipe2 59
#define SYS_lseek 62
#define SYS_read 63
#define SYS_write 64
#define SYS_pwrite64 68
#define SYS_exit_group 94
#define SYS_getpid 172
#define SYS_munmap 215
#define SYS_mremap 216
#define SYS_mmap 222
#define SYS_mprotect 226
#define SYS_memfd_create 279

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

static inline long system_call(long number, long a, long b, long c, long d, long e, long f)
{
    register long x8 __asm__("x8") = number;
    register long x0 __asm__("x0") = a;
    register long x1 __asm__("x1") = b;
    register long x2 __asm__("x2") = c;
    register long x3 __asm__("x3") = d;
    register long x4 __asm__("x4") = e;
    register long x5 __asm__("x5") = f;
    __asm__ volatile("svc #0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5) : "memory", "cc");
    return x0;
}

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
