/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Owns the instructions that are undefined at EL0 under Linux: each one ends in SIGILL. Their index is the argument of
 * `hostile privileged N`; a zero word ends the table. */
    .file   "privileged.S"
    .section .rodata
    .balign 4
    .globl privileged_words
privileged_words:
    mrs     x0, sctlr_el1           /* 0 */
    msr     ttbr0_el1, x0           /* 1 */
    msr     vbar_el1, x0            /* 2 */
    mrs     x0, esr_el1             /* 3 */
    msr     daifset, #15            /* 4 */
    msr     spsel, #1               /* 5 */
    tlbi    vmalle1is               /* 6 */
    ic      iallu                   /* 7 */
    ic      ialluis                 /* 8 */
    dc      ivac, x0                /* 9 */
    dc      isw, x0                 /* 10 */
    dc      cisw, x0                /* 11 */
    at      s1e1r, x0               /* 12 */
    eret                            /* 13 */
    .inst   0xd4000002              /* 14: hvc #0 */
    .inst   0xd4000003              /* 15: smc #0 */
    hlt     #0                      /* 16 */
    dcps1                           /* 17 */
    drps                            /* 18 */
    msr     cntv_ctl_el0, x0        /* 19 */
    mrs     x0, mpidr_el1           /* 20: one of those that Linux emulates: survives */
    .word   0
    .section .note.GNU-stack, "", %progbits
