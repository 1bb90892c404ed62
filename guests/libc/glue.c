/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Owns where musl's start and exit meet the kernel's linker: constructors and destructors of the application's objects. */

void osv_run_constructors(void), osv_run_destructors(void);

void _init(void) { osv_run_constructors(); }
void _fini(void) { osv_run_destructors(); }
