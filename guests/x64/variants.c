/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Owns the command `variants NAME`: rewrites code in one way, with no maintenance at all, and prints what executed.
 * variants.toml says what each must give. Status 0, or 3 if something executed that was never written, 4 if the environment
 * is at fault. */
#include "jit.h"

static const struct variant *const families[] = {store_variants, self_variants, mapping_variants, rights_variants};
#define FAMILIES (sizeof families / sizeof *families)

static const char *const outcome_text[] = {[OUTCOME_NEW] = "new\n", [OUTCOME_OLD] = "old\n", [OUTCOME_ODD] = "odd\n"};

static const struct variant *find(const char *name)
{
    for (size_t i = 0; i < FAMILIES; i++)
        for (const struct variant *variant = families[i]; variant->name; variant++)
            if (text_equal(variant->name, name))
                return variant;
    return NULL;
}

int main(int argc, char **argv)
{
    const struct variant *variant = argc == 2 ? find(argv[1]) : NULL;
    if (!variant) {
        print("usage: variants NAME\n");
        return 2;
    }
    enum outcome outcome = variant->run(variant);
    print(outcome_text[outcome]);
    return outcome == OUTCOME_ODD ? 3 : 0;
}
