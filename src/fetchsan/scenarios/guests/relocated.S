/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Owns a function with a text relocation over its instructions. Dynamic relocations of AArch64 store 64 bits, and addresses
 * are no instructions: code can be relocated only against an absolute symbol whose value is code: relocated_code (textrel.c). */
    .file   "relocated.S"
    .text
    .balign 64                      /* a line of its own */
    .globl  relocated
    .hidden relocated
    .type   relocated, %function
relocated:
#if defined(__aarch64__)
    .reloc  ., R_AARCH64_ABS64, relocated_code
    mov     w0, #1                  /* what the file holds */
    ret
#elif defined(__x86_64__)
    .reloc  ., R_X86_64_64, relocated_code
    mov     $1, %eax
    ret
    nop
    nop
#endif
    .size   relocated, . - relocated
    .balign 64
    .section .note.GNU-stack, "", %progbits
