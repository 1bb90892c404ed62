/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Owns the variants that are one rewritten slot and a sequence of steps: one row each. */
#include "jit.h"

enum step {
    END,
    STORE,        /* the newest version, value 2 */
    STORE_MIDDLE, /* a version before it, value 3 */
    STORE_SAME,   /* the old version again, value 1 */
    DC_CVAU,
    DC_CVAC,
    DC_CIVAC,
    DC_CVAP,
    IC_IVAU,
    MAINTAIN_ELSEWHERE, /* the whole sequence, on the next line */
    BUILTIN,            /* __builtin___clear_cache: the compiler's own, which obeys CTR_EL0.IDC and DIC */
    SWAPPED_CTR_BITS,   /* one that takes IDC for DIC and DIC for IDC */
    DSB_ISH,
    DSB_ISHST,
    DSB_ISHLD,
    DSB_NSH,
    DSB_OSH,
    DSB_SY,
    DMB_ISH,
    ISB,
    SYSTEM_CALL, /* exception entry and return: a CSE, no DSB */
    MPROTECT_RX, /* Linux's TLB flush: a DSB ISH, and the CSE of every system call */
    FAULT,       /* a demand fault: not a CSE that a program may lean on (coherency model, rule 12) */
};

enum { OLD_VALUE = 1, NEW_VALUE = 2, MIDDLE_VALUE = 3 };

struct sequence {
    int fresh; /* the first code ever on the page: there is no old version */
    enum step steps[14];
};

static void swapped_ctr_bits(volatile uint32_t *code)
{
    uint64_t ctr = read_ctr();
    if (!(ctr >> 29 & 1)) /* DIC, taken for IDC */
        dc_cvau((void *)code);
    dsb_ish();
    if (!(ctr >> 28 & 1)) { /* IDC, taken for DIC */
        ic_ivau((void *)code);
        dsb_ish();
    }
    isb();
}

static uint32_t take(enum step step, volatile uint32_t *code, volatile uint32_t *spare, uint32_t newest)
{
    void *address = (void *)code;
    switch (step) {
    case END: break;
    case STORE: emit_constant(code, newest = NEW_VALUE); break;
    case STORE_MIDDLE: emit_constant(code, newest = MIDDLE_VALUE); break;
    case STORE_SAME: emit_constant(code, newest = OLD_VALUE); break;
    case DC_CVAU: dc_cvau(address); break;
    case DC_CVAC: dc_cvac(address); break;
    case DC_CIVAC: dc_civac(address); break;
    case DC_CVAP: dc_cvap(address); break;
    case IC_IVAU: ic_ivau(address); break;
    case MAINTAIN_ELSEWHERE: synchronise((char *)address + larger_line(), 8); break;
    case BUILTIN: __builtin___clear_cache(address, (char *)address + 8); break;
    case SWAPPED_CTR_BITS: swapped_ctr_bits(code); break;
    case DSB_ISH: dsb_ish(); break;
    case DSB_ISHST: dsb_ishst(); break;
    case DSB_ISHLD: dsb_ishld(); break;
    case DSB_NSH: dsb_nsh(); break;
    case DSB_OSH: dsb_osh(); break;
    case DSB_SY: dsb_sy(); break;
    case DMB_ISH: dmb_ish(); break;
    case ISB: isb(); break;
    case SYSTEM_CALL: system_call(SYS_getpid, 0, 0, 0, 0, 0, 0); break;
    case MPROTECT_RX: protect(address, PAGE, PROT_READ | PROT_EXEC); break;
    case FAULT: *spare = 1; break;
    }
    return newest;
}

static enum outcome run(const struct variant *self)
{
    const struct sequence *sequence = self->detail;
    volatile uint32_t *code = jit_page();
    volatile uint32_t *spare = map_anonymous(PAGE, PROT_READ | PROT_WRITE);
    uint32_t newest = 0;
    if (!sequence->fresh)
        emit_first_version(code, OLD_VALUE);
    for (const enum step *step = sequence->steps; *step != END; step++)
        newest = take(*step, code, spare, newest);
    uint32_t result = call(code, 0);
    if (result == MIDDLE_VALUE && newest != MIDDLE_VALUE)
        return OUTCOME_MIDDLE;
    return outcome_of(result, newest, OLD_VALUE);
}

#define REWRITE(text, ...) {text, run, &(const struct sequence){0, {__VA_ARGS__, END}}}
#define FRESH(text, ...) {text, run, &(const struct sequence){1, {__VA_ARGS__, END}}}

const struct variant sequence_variants[] = {
    REWRITE("correct", STORE, DC_CVAU, DSB_ISH, IC_IVAU, DSB_ISH, ISB),
    REWRITE("builtin", STORE, BUILTIN),
    /* one step, or several, left out */
    REWRITE("none", STORE),
    REWRITE("no-dc", STORE, DSB_ISH, IC_IVAU, DSB_ISH, ISB),
    REWRITE("no-dsb1", STORE, DC_CVAU, IC_IVAU, DSB_ISH, ISB),
    REWRITE("no-ic", STORE, DC_CVAU, DSB_ISH, DSB_ISH, ISB),
    REWRITE("no-dsb2", STORE, DC_CVAU, DSB_ISH, IC_IVAU, ISB),
    REWRITE("no-isb", STORE, DC_CVAU, DSB_ISH, IC_IVAU, DSB_ISH),
    REWRITE("isb-only", STORE, ISB),
    REWRITE("dsb-isb", STORE, DSB_ISH, ISB),
    REWRITE("dsbst-isb", STORE, DSB_ISHST, ISB),
    REWRITE("dmb-isb", STORE, DMB_ISH, ISB),
    REWRITE("dsbst-ic", STORE, DSB_ISHST, IC_IVAU, DSB_ISH, ISB),
    /* another barrier in the place of one */
    REWRITE("dmb-for-dsb1", STORE, DC_CVAU, DMB_ISH, IC_IVAU, DSB_ISH, ISB),
    REWRITE("dmb-for-dsb2", STORE, DC_CVAU, DSB_ISH, IC_IVAU, DMB_ISH, ISB),
    REWRITE("dsb-st-for-dsb1", STORE, DC_CVAU, DSB_ISHST, IC_IVAU, DSB_ISH, ISB),
    REWRITE("dsb-st-for-dsb2", STORE, DC_CVAU, DSB_ISH, IC_IVAU, DSB_ISHST, ISB),
    REWRITE("dsb-ld-for-dsb1", STORE, DC_CVAU, DSB_ISHLD, IC_IVAU, DSB_ISH, ISB),
    REWRITE("dsb-ld-for-dsb2", STORE, DC_CVAU, DSB_ISH, IC_IVAU, DSB_ISHLD, ISB),
    REWRITE("dsb-nsh-for-dsb1", STORE, DC_CVAU, DSB_NSH, IC_IVAU, DSB_ISH, ISB),
    REWRITE("dsb-nsh-for-dsb2", STORE, DC_CVAU, DSB_ISH, IC_IVAU, DSB_NSH, ISB),
    REWRITE("dsb-osh-for-dsb1", STORE, DC_CVAU, DSB_OSH, IC_IVAU, DSB_ISH, ISB),
    REWRITE("dsb-osh-for-dsb2", STORE, DC_CVAU, DSB_ISH, IC_IVAU, DSB_OSH, ISB),
    REWRITE("dsb-sy-for-dsb1", STORE, DC_CVAU, DSB_SY, IC_IVAU, DSB_ISH, ISB),
    REWRITE("dsb-sy-for-dsb2", STORE, DC_CVAU, DSB_ISH, IC_IVAU, DSB_SY, ISB),
    REWRITE("syscall-for-isb", STORE, DC_CVAU, DSB_ISH, IC_IVAU, DSB_ISH, SYSTEM_CALL),
    REWRITE("syscall-for-dsb1", STORE, DC_CVAU, SYSTEM_CALL, IC_IVAU, DSB_ISH, ISB),
    REWRITE("syscall-for-dsb2", STORE, DC_CVAU, DSB_ISH, IC_IVAU, SYSTEM_CALL, ISB),
    REWRITE("mprotect-for-dsb2-isb", STORE, DC_CVAU, DSB_ISH, IC_IVAU, MPROTECT_RX),
    REWRITE("fault-for-isb", STORE, DC_CVAU, DSB_ISH, IC_IVAU, DSB_ISH, FAULT),
    /* another clean in the place of DC CVAU */
    REWRITE("dc-cvac", STORE, DC_CVAC, DSB_ISH, IC_IVAU, DSB_ISH, ISB),
    REWRITE("dc-civac", STORE, DC_CIVAC, DSB_ISH, IC_IVAU, DSB_ISH, ISB),
    REWRITE("dc-cvap", STORE, DC_CVAP, DSB_ISH, IC_IVAU, DSB_ISH, ISB),
    /* the wrong order */
    REWRITE("ic-before-dc", STORE, IC_IVAU, DSB_ISH, DC_CVAU, DSB_ISH, ISB),
    REWRITE("dsb-ic-before-dc", STORE, DSB_ISH, IC_IVAU, DSB_ISH, DC_CVAU, DSB_ISH, ISB),
    REWRITE("double-ic-first-bad", STORE, IC_IVAU, DC_CVAU, DSB_ISH, IC_IVAU, DSB_ISH, ISB),
    REWRITE("isb-before-dsb2", STORE, DC_CVAU, DSB_ISH, IC_IVAU, ISB, DSB_ISH),
    REWRITE("isb-before-ic", STORE, DC_CVAU, DSB_ISH, ISB, IC_IVAU, DSB_ISH),
    REWRITE("maintenance-before-store", DC_CVAU, DSB_ISH, IC_IVAU, DSB_ISH, ISB, STORE),
    /* two stores */
    REWRITE("two-stores", STORE_MIDDLE, STORE, DC_CVAU, DSB_ISH, IC_IVAU, DSB_ISH, ISB),
    REWRITE("store-after-dc", STORE_MIDDLE, DC_CVAU, STORE, DSB_ISH, IC_IVAU, DSB_ISH, ISB),
    REWRITE("store-before-ic", STORE_MIDDLE, DC_CVAU, DSB_ISH, STORE, IC_IVAU, DSB_ISH, ISB),
    REWRITE("second-store-after", STORE_MIDDLE, DC_CVAU, DSB_ISH, IC_IVAU, DSB_ISH, ISB, STORE),
    REWRITE("same-bytes", STORE_SAME),
    /* the wrong address, the wrong bits */
    REWRITE("wrong-line", STORE, MAINTAIN_ELSEWHERE),
    REWRITE("swapped-ctr-bits", STORE, SWAPPED_CTR_BITS),
    /* the first code on a page */
    FRESH("fresh-none", STORE),
    FRESH("fresh-no-isb", STORE, DC_CVAU, DSB_ISH, IC_IVAU, DSB_ISH),
    FRESH("fresh-correct", STORE, DC_CVAU, DSB_ISH, IC_IVAU, DSB_ISH, ISB),
    {0},
};
