/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Owns the command `hostile NAME [ARGUMENT]`: one attack on its host, which prints "survived" if it outlives it.
 * hostile.toml says how each may end. Run these inside FetchSan only: a host without a sandbox is not meant to hold. */
#include "hostile.h"

static const struct attack *const families[] = {syscall_attacks, code_attacks, memory_attacks};
#define FAMILIES (sizeof families / sizeof *families)

int main(int argc, char **argv)
{
    if (argc < 2) {
        print("usage: hostile NAME [ARGUMENT] | --list\n");
        return 2;
    }
    for (size_t i = 0; i < FAMILIES; i++)
        for (const struct attack *attack = families[i]; attack->name; attack++) {
            if (text_equal(argv[1], "--list")) {
                print(attack->name);
                print("\n");
            } else if (text_equal(argv[1], attack->name)) {
                attack->run(attack, argc > 2 ? argv[2] : "1");
                print("survived\n");
                return 0;
            }
        }
    return text_equal(argv[1], "--list") ? 0 : 2;
}
