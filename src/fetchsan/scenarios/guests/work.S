/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Owns the text that fills the applications' pages: work_0 to work_63, x0 -> x0, WORK_STRIDE bytes each, every one with
 * constants of its own that depend on APPLICATION. The assembler computes what they give together: work_checksum. */
    .file   "work.S"
    .altmacro
    .macro WORK name
    .type \name, %function
\name:
    .set .Lstep, 0
    .rept (WORK_STRIDE / 4 - 1) / 3
    .set .Lconstant, ((.Lnumber * 64 + .Lstep) * 40503 + APPLICATION * 7919) & 0xffff
    movz    x1, #.Lconstant
    add     x0, x0, x1
    eor     x0, x0, x0, lsl #1
    .set .Laccumulator, .Laccumulator + .Lconstant
    .set .Laccumulator, .Laccumulator ^ (.Laccumulator << 1)
    .set .Lstep, .Lstep + 1
    .endr
    ret
    .size \name, . - \name
    .balign WORK_STRIDE, 0
    .endm

    .macro NUMBERED_WORK number
    WORK work_\number
    .endm

    .text
    .balign 4096                    /* main() has the first page to itself: the same bytes in both applications */
    .globl work_functions, work_checksum
    .hidden work_functions, work_checksum
work_functions:
    .set .Laccumulator, 0
    .set .Lnumber, 0
    .rept WORK_COUNT
    NUMBERED_WORK %.Lnumber
    .set .Lnumber, .Lnumber + 1
    .endr

    .section .rodata
    .balign 8
work_checksum:
    .quad   .Laccumulator
    .section .note.GNU-stack, "", %progbits
