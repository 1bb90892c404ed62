/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Owns the entry point of the freestanding guests: argc and argv from the stack, main(), exit_group(). */
    .file   "start.S"
    .text
    .globl _start
    .type _start, %function
_start:
    mov     x29, #0                 /* ends the frame chain for debuggers */
    mov     x30, #0
    ldr     x0, [sp]                /* argc */
    add     x1, sp, #8              /* argv */
    bl      main
    mov     x8, #94                 /* exit_group */
    svc     #0
    .size _start, . - _start
    .section .note.GNU-stack, "", %progbits
