/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Owns an object whose relative relocations are packed (DT_RELR): main() returns the number of a wrong pointer, or 0. */

static int value = 3;
int *table[200] = {[0 ... 69] = &value, [100 ... 199] = &value};
int *alone = &value;

int main(void)
{
    for (int i = 0; i < 200; i++)
        if (table[i] != (i < 70 || i >= 100 ? &value : 0)) return i + 1;
    return alone == &value && *table[0] == 3 ? 0 : 201;
}
