/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Owns a segment with all rights, whose last part is not in the file, and what follows it in the file by accident. The
 * linker script (tail.ld) puts the two next to each other; in other files these would be tables and debug information. */
    .file   "tail.S"
    .section .code, "awx", %progbits
    .balign 64
    nop

    .section .code_bss, "awx", %nobits
    .globl  tail
    .hidden tail
    .type   tail, %function
tail:
    .skip   64
    .size   tail, . - tail

    .section .accident, "", %progbits
    mov     w0, #1
    ret
    .skip   56
    .section .note.GNU-stack, "", %progbits
