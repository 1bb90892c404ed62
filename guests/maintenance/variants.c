/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Owns the command `variants NAME`: performs one maintenance variant and prints what executed. variants.toml says what
 * each must give. Status 0, or 3 if something executed that was never written, 4 if the environment is at fault. */
#include "jit.h"

static const struct variant *const families[] = {
    sequence_variants,      range_variants, store_variants, mapping_variants,
    straight_line_variants, loop_variants,  fault_variants,
};
#define FAMILIES (sizeof families / sizeof *families)

static const char *const outcome_text[] = {
    [OUTCOME_NEW] = "new\n", [OUTCOME_OLD] = "old\n", [OUTCOME_MIDDLE] = "middle\n",
    [OUTCOME_TORN] = "torn\n", [OUTCOME_ODD] = "odd\n",
};

static const struct variant *find(const char *name)
{
    for (size_t i = 0; i < FAMILIES; i++)
        for (const struct variant *variant = families[i]; variant->name; variant++)
            if (text_equal(variant->name, name))
                return variant;
    return NULL;
}

static int list(void)
{
    for (size_t i = 0; i < FAMILIES; i++)
        for (const struct variant *variant = families[i]; variant->name; variant++) {
            print(variant->name);
            print("\n");
        }
    return 0;
}

int main(int argc, char **argv)
{
    if (argc == 2 && text_equal(argv[1], "--list"))
        return list();
    const struct variant *variant = argc == 2 ? find(argv[1]) : NULL;
    if (!variant) {
        print("usage: variants NAME | --list\n");
        return 2;
    }
    enum outcome outcome = variant->run(variant);
    print(outcome_text[outcome]);
    return outcome == OUTCOME_ODD ? 3 : 0;
}
