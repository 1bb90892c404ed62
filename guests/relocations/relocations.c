/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Owns an object with every kind of dynamic relocation that needs no other object: RELATIVE, ABS64 or 64, GLOB_DAT, JUMP_SLOT. */

static int hidden = 7;
int exported = 5;

int *relative = &hidden;
int *absolute = &exported + 1;

__attribute__((noinline)) int called_through_plt(void) { return *relative; }

int main(void) { return exported + called_through_plt() + absolute[-1]; }
