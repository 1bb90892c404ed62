/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Owns the numbers of Linux's system calls on x86-64, those that the guests use, and how one is made. */
#ifndef GUESTS_ABI_X64_H
#define GUESTS_ABI_X64_H

#define SYS_read 0
#define SYS_write 1
#define SYS_mmap 9
#define SYS_mprotect 10
#define SYS_munmap 11
#define SYS_rt_sigaction 13
#define SYS_pwrite64 18
#define SYS_mremap 25
#define SYS_msync 26
#define SYS_ftruncate 77
#define SYS_exit_group 231
#define SYS_openat 257
#define SYS_pipe2 293
#define SYS_memfd_create 319

static inline long system_call(long number, long a, long b, long c, long d, long e, long f)
{
    register long r10 __asm__("r10") = d;
    register long r8 __asm__("r8") = e;
    register long r9 __asm__("r9") = f;
    long result = number;
    __asm__ volatile("syscall"
                     : "+a"(result)
                     : "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
                     : "memory", "cc", "rcx", "r11");
    return result;
}

#endif
