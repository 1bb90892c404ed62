/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Owns the functions that tst-two-cpus executes on both processors, one page each. */
    .file   "two_cpus_code.S"
    .macro  FUNCTION name, number
    .balign 4096
    .globl  \name
    .hidden \name
    .type   \name, %function
\name:
    mov     w0, #\number
    ret
    .size   \name, . - \name
    .balign 4096
    .endm

    .text
    FUNCTION service, 42
    FUNCTION patched, 1
    .section .note.GNU-stack, "", %progbits
