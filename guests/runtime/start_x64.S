/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Owns the entry point of the freestanding x86-64 guests: argc and argv from the stack, main(), exit_group(). */
    .file   "start_x64.S"
    .text
    .globl _start
    .type _start, @function
_start:
    xor     %ebp, %ebp              /* ends the frame chain for debuggers */
    mov     (%rsp), %rdi            /* argc */
    lea     8(%rsp), %rsi           /* argv */
    and     $-16, %rsp
    call    main
    mov     %eax, %edi
    mov     $231, %eax              /* exit_group */
    syscall
    .size _start, . - _start
    .section .note.GNU-stack, "", @progbits
