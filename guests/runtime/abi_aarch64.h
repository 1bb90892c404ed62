/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Owns the numbers of Linux's system calls on arm64, and how one is made. */
#ifndef GUESTS_ABI_AARCH64_H
#define GUESTS_ABI_AARCH64_H

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
#define SYS_msync 227
#define SYS_memfd_create 279

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

#endif
