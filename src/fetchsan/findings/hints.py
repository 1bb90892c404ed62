# SPDX-License-Identifier: GPL-2.0-or-later
"""What to do about a finding: one sentence per kind, and the instructions that each step of the ledger means."""

from __future__ import annotations

from fetchsan.coherency.verdicts import Kind, StepName
from fetchsan.findings.finding import Finding

__all__ = ["STEP_INSTRUCTIONS", "hint"]

STEP_INSTRUCTIONS: dict[StepName, str] = {
    "dc-clean": "DC CVAU",
    "dsb-after-clean": "DSB ISH",
    "ic-invalidate": "IC IVAU",
    "dsb-after-invalidate": "DSB ISH",
    "isb": "ISB",
}

_BY_KIND: dict[Kind, str] = {
    Kind.MISSING_DC_CLEAN: (
        "clean the data cache line after the store: DC CVAU, then DSB ISH, IC IVAU, DSB ISH, ISB "
        "(__builtin___clear_cache does all five), over the whole range that was written, its start rounded down to a line."
    ),
    Kind.MISSING_DSB_AFTER_CLEAN: (
        "add a DSB ISH after the store and its DC CVAU (if one is owed) and before the IC IVAU: until it completes, "
        "instruction refills may still get the old bytes. A DMB does not complete a DC."
    ),
    Kind.MISSING_IC_INVALIDATE: (
        "add an IC IVAU of the line, by the address that is executed, after the DC CVAU and its DSB ISH; "
        "an IC issued before the clean completed does not count."
    ),
    Kind.MISSING_DSB_AFTER_INVALIDATE: (
        "add a DSB ISH after the IC IVAU, on the processor that issued it: until it completes, "
        "instruction caches may still hold the old bytes."
    ),
    Kind.MISSING_ISB: (
        "add an ISB (or another context synchronisation event) on the processor that executes the code, after the last DSB: "
        "it may have fetched the old instruction already."
    ),
    Kind.UNSYNCHRONISED_MODIFICATION: (
        "this processor executed an instruction while another one changed it, and not both are of the kinds that may be "
        "(B, BL, B.cond, CBZ, TBZ, NOP, BRK, SVC, HVC, SMC, ISB): stop the executing thread first, "
        "or let it execute an ISB after the maintenance."
    ),
}

# Writers inside the kernel: the program can do nothing about these.
_BY_AGENT: dict[str, str] = {
    "page-cache fill": (
        "the kernel loaded this page through the data side and mapped it executable without synchronising: "
        "populate_vma() owes vma_invalidate_cache()."
    ),
    "linker": "the loader wrote this code: it owes the sequence above before the first instruction runs.",
    "read(2)": "read(2) wrote this code: the program owes the sequence above after the call, as after its own stores.",
}

# Where all was done but the last step, the kernel did synchronise.
_NOT_BY_AGENT = {("page-cache fill", Kind.MISSING_ISB)}


def hint(finding: Finding) -> str:
    """What to add, in one or two sentences."""
    sentences = [_BY_KIND[finding.kind]]
    agent = finding.writer.agent if finding.writer is not None else None
    if agent in _BY_AGENT and (agent, finding.kind) not in _NOT_BY_AGENT:
        sentences.append(_BY_AGENT[agent])
    if finding.prefetch_only:
        sentences.append(
            "This processor had not fetched from the page since it became executable, so only a prefetch could be stale: "
            "engines that publish code by pointer live with it. It sets no exit status without --strict."
        )
    if finding.latent:
        sentences.append(
            "Latent: only the kernel's own synchronisation, made when it mapped the page, hid this one; "
            "it shows when the page is reused."
        )
    return " ".join(sentence[0].upper() + sentence[1:] for sentence in sentences)
