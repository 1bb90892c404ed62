/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Owns the position-independent functions that modify themselves; straight_line.c copies them into a JIT page.
 * Called with w0 = 0, w1 = 0, w2 = 0; each returns 1 from its old code and 2 from its new, plus what it says. */
    .file   "templates.S"
    .text

    .macro TEMPLATE name
    .balign 4
    .globl template_\name, template_\name\()_end
template_\name:
    .endm

    .macro ENDTEMPLATE name
template_\name\()_end:
    .endm

    /* mov w0, #2 as a word, and where to put it */
    .macro NEWCODE target
    movz    w1, #0x0040
    movk    w1, #0x5280, lsl #16
    adr     x2, \target
    .endm

/* The patched slot lies ahead in the same basic block. */
TEMPLATE ahead
    NEWCODE 1f
    str     w1, [x2]
1:  mov     w0, #1
    ret
ENDTEMPLATE ahead

/* The same with a few instructions between. */
TEMPLATE ahead_far
    NEWCODE 1f
    str     w1, [x2]
    nop
    add     w3, w3, #1
    nop
1:  mov     w0, #1
    ret
ENDTEMPLATE ahead_far

/* A branch between store and patched slot: no CSE either. */
TEMPLATE branch
    NEWCODE 1f
    str     w1, [x2]
    b       1f
    udf     #0
1:  mov     w0, #1
    ret
ENDTEMPLATE branch

TEMPLATE isb
    NEWCODE 1f
    str     w1, [x2]
    isb
1:  mov     w0, #1
    ret
ENDTEMPLATE isb

TEMPLATE no_isb
    NEWCODE 1f
    str     w1, [x2]
    dc      cvau, x2
    dsb     ish
    ic      ivau, x2
    dsb     ish
1:  mov     w0, #1
    ret
ENDTEMPLATE no_isb

TEMPLATE full
    NEWCODE 1f
    str     w1, [x2]
    dc      cvau, x2
    dsb     ish
    ic      ivau, x2
    dsb     ish
    isb
1:  mov     w0, #1
    ret
ENDTEMPLATE full

/* STP over two slots ahead: mov w0, #2 and (unchanged) add w0, w0, #0. */
TEMPLATE pair
    NEWCODE 1f
    movz    w3, #0x1100, lsl #16
    stp     w1, w3, [x2]
1:  mov     w0, #1
    add     w0, w0, #0
    ret
ENDTEMPLATE pair

/* A post-indexed store: the base register must have moved, once, whatever the slot ahead runs. Returns plus 8. */
TEMPLATE post_index
    NEWCODE 1f
    str     w1, [x2], #8
1:  mov     w0, #1
    adr     x3, 1b
    sub     x2, x2, x3
    add     w0, w0, w2
    ret
ENDTEMPLATE post_index

/* STR Q over four slots ahead, of which the first changes. */
TEMPLATE quad
    adr     x2, 1f
    ldr     q0, [x2]
    movz    w1, #0x0040
    movk    w1, #0x5280, lsl #16
    mov     v0.s[0], w1
    str     q0, [x2]
1:  mov     w0, #1
    nop
    nop
    ret
ENDTEMPLATE quad

/* A loop of two rounds patches a slot that it has just executed. */
TEMPLATE behind
    NEWCODE 1f
    mov     w3, #2
1:  mov     w0, #1
    str     w1, [x2]
    subs    w3, w3, #1
    b.ne    1b
    ret
ENDTEMPLATE behind

TEMPLATE behind_full
    NEWCODE 1f
    mov     w3, #2
1:  mov     w0, #1
    str     w1, [x2]
    dc      cvau, x2
    dsb     ish
    ic      ivau, x2
    dsb     ish
    isb
    subs    w3, w3, #1
    b.ne    1b
    ret
ENDTEMPLATE behind_full

    .section .note.GNU-stack, "", %progbits
