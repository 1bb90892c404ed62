/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Owns tst-plugin: a file of code that tst-alias maps, runs and changes. answer() is the first thing in its text, which
 * begins at the file's second page. */
    .file   "plugin.S"
    .text
    .globl  answer
    .type   answer, %function
answer:
#if defined(__aarch64__)
    mov     w0, #1
#elif defined(__x86_64__)
    mov     $1, %eax
#endif
    ret
    .size   answer, . - answer
    .balign 4096
    .section .note.GNU-stack, "", %progbits
