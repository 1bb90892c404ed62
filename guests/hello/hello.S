/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Owns the smallest static program: write(1, "hello\n", 6), exit_group(0). */
    .file   "hello.S"
    .text
    .globl _start
    .type _start, %function
_start:
    mov     x0, #1
    adr     x1, 1f
    mov     x2, #6
    mov     x8, #64                 /* write */
    svc     #0
    mov     x0, #0
    mov     x8, #94                 /* exit_group */
    svc     #0
1:  .ascii  "hello\n"
    .size _start, . - _start
    .section .note.GNU-stack, "", %progbits
