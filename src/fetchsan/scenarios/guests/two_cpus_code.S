/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Owns the functions that tst-two-cpus executes on both processors, one page each. */
    .file   "two_cpus_code.S"
    .macro  FUNCTION name, number
    .balign 4096
    .globl  \name
    .hidden \name
    .type   \name, %function
\name:
#if defined(__aarch64__)
    mov     w0, #\number
#elif defined(__x86_64__)
    mov     $\number, %eax
#endif
    ret
    .size   \name, . - \name
    .balign 4096
    .endm

    .text
    FUNCTION service, 42
    FUNCTION patched, 1
    .section .note.GNU-stack, "", %progbits
