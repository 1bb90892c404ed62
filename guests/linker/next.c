/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Owns what is left to check of dlopen and dlsym: RTLD_NEXT, RTLD_GLOBAL, versions, a destructor that closes a plugin. */

void *dlopen(const char *, int), *dlsym(void *, const char *), *dlvsym(void *, const char *, const char *);
int dlclose(void *);
enum { NOW = 2, GLOBAL = 0x100 };

int constructed, destructed;
int twice(int value) { return value; }

int main(void)
{
    int (*next)(int) = dlsym((void *)-1, "twice");
    if (!next || next == twice || next(4) != 8) return 1;
    int (*old)(void) = dlvsym(0, "versioned", "OLD"), (*new)(void) = dlsym(0, "versioned");
    if (!old || old() != 1 || !new || new() != 2 || dlvsym(0, "versioned", "NONE")) return 2;
    void *plugin = dlopen("plugin.so", NOW);
    if (!plugin || dlsym(0, "plugin_value")) return 3;
    if (dlopen("plugin.so", NOW | GLOBAL) != plugin || !dlsym(0, "plugin_value")) return 4;
    if (dlclose(plugin) || destructed || dlclose(plugin) || destructed != 1) return 5;
    if (dlsym(0, "plugin_value")) return 6;
    void *closes = dlopen("closes.so", NOW);
    if (!closes || constructed != 2 || dlclose(closes) || destructed != 12) return 7;
    return 0;
}
