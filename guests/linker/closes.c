/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Owns a plugin that has a plugin, and closes it in its own destructor. */

void *dlopen(const char *, int);
int dlclose(void *);
extern int destructed;
static void *plugin;

__attribute__((constructor)) static void construct(void) { plugin = dlopen("plugin.so", 2); }
__attribute__((destructor)) static void destruct(void) { if (plugin && !dlclose(plugin)) destructed += 10; }
