/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Owns the variants whose code patches itself while it runs: templates.S, copied into pages and called with 1, then 2. */
#include "jit.h"

struct template {
    const uint8_t *start, *end;
};

static enum outcome run(const struct variant *self)
{
    const struct template *template = self->detail;
    volatile uint8_t *code = map_anonymous(3 * PAGE, EVERYTHING);
    for (const uint8_t *from = template->start; from < template->end; from++)
        code[from - template->start] = *from;
    if (call(code, 1) != 1)
        return OUTCOME_ODD;
    return outcome_of(call(code, 2), 2, 1);
}

#define DECLARE(name) extern const uint8_t template_##name[], template_##name##_end[];
#define TEMPLATE(text, name) {text, run, &(const struct template){template_##name, template_##name##_end}}

DECLARE(next)
DECLARE(same_block)
DECLARE(next_line)
DECLARE(next_page)
DECLARE(straddle)
DECLARE(behind)
DECLARE(branch)
DECLARE(string)
DECLARE(exchange)
DECLARE(wide)
DECLARE(push)
DECLARE(serialised)

const struct variant self_variants[] = {
    TEMPLATE("self-next", next),
    TEMPLATE("self-same-block", same_block),
    TEMPLATE("self-next-line", next_line),
    TEMPLATE("self-next-page", next_page),
    TEMPLATE("self-straddle", straddle),
    TEMPLATE("self-behind", behind),
    TEMPLATE("self-branch", branch),
    TEMPLATE("self-string", string),
    TEMPLATE("self-exchange", exchange),
    TEMPLATE("self-wide", wide),
    TEMPLATE("self-push", push),
    TEMPLATE("self-serialised", serialised),
    {0},
};
