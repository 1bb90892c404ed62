/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Owns the variants whose code patches itself while it runs: templates.S, copied into a JIT page and maintained once. */
#include "jit.h"

struct template {
    const uint32_t *start, *end;
    uint32_t offset; /* added to 1 (old) or 2 (new) */
};

static enum outcome run(const struct variant *self)
{
    const struct template *template = self->detail;
    volatile uint32_t *code = jit_page();
    size_t words = (size_t)(template->end - template->start);
    for (size_t i = 0; i < words; i++)
        code[i] = template->start[i];
    synchronise((const void *)code, words * 4);
    return outcome_of(call(code, 0), 2 + template->offset, 1 + template->offset);
}

#define TEMPLATE(text, name, offset) {text, run, &(const struct template){template_##name, template_##name##_end, offset}}
#define DECLARE(name) extern const uint32_t template_##name[], template_##name##_end[];

DECLARE(ahead)
DECLARE(ahead_far)
DECLARE(branch)
DECLARE(isb)
DECLARE(no_isb)
DECLARE(full)
DECLARE(pair)
DECLARE(post_index)
DECLARE(quad)
DECLARE(behind)
DECLARE(behind_full)

const struct variant straight_line_variants[] = {
    TEMPLATE("self-ahead", ahead, 0),
    TEMPLATE("self-ahead-far", ahead_far, 0),
    TEMPLATE("self-branch", branch, 0),
    TEMPLATE("self-isb", isb, 0),
    TEMPLATE("self-no-isb", no_isb, 0),
    TEMPLATE("self-full", full, 0),
    TEMPLATE("self-pair", pair, 0),
    TEMPLATE("self-post-index", post_index, 8),
    TEMPLATE("self-quad", quad, 0),
    TEMPLATE("self-behind", behind, 0),
    TEMPLATE("self-behind-full", behind_full, 0),
    {0},
};
