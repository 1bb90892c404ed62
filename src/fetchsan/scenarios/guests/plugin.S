/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Owns tst-plugin: a file of code that tst-alias maps, runs and changes. answer() is the first thing in its text, which
 * begins at the file's second page. */
    .file   "plugin.S"
    .text
    .globl  answer
    .type   answer, %function
answer:
    mov     w0, #1
    ret
    .size   answer, . - answer
    .balign 4096
    .section .note.GNU-stack, "", %progbits
