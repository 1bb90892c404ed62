/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Owns a program that loads and unloads its plugin 13 times as often as argv[1] says, at most 1000 times. */
/* main() returns the number of the first check that fails. */

void *dlopen(const char *, int), *dlsym(void *, const char *);
char *dlerror(void);
int dlclose(void *);
struct info { const char *path; void *base; const char *name; void *address; };
int dladdr(const void *, struct info *);
struct object { unsigned long base; const char *name; };
int dl_iterate_phdr(int (*)(struct object *, unsigned long, void *), void *);
enum { LAZY = 1, NOW = 2, NOLOAD = 4, GLOBAL = 0x100 };

int constructed, destructed;
int same_name(void) { return 1; }

static int equal(const char *a, const char *b)
{
    while (*a && *a == *b) a++, b++;
    return *a == *b;
}

static int count(struct object *object, unsigned long size, void *data)
{
    (void)object;
    ++*(int *)data;
    return size < sizeof *object;
}

int main(int argc, char **argv)
{
    struct info info;
    int objects = 0;
    if (argc != 2) return 1;
    if (dlopen("no-such.so", NOW) || !dlerror() || dlerror()) return 2;
    if (dlopen("plugin.so", NOW | NOLOAD)) return 3;
    if (dlsym(dlopen(0, LAZY), "same_name") != (void *)same_name) return 4;
    for (int i = 0; i < 1000 && i < 13 * (argv[1][0] - '0'); i++) {
        void *plugin = dlopen("plugin.so", i & 1 ? NOW : LAZY);
        if (!plugin || constructed != i + 1) return 5;
        if (dlopen("plugin.so", NOW) != plugin || constructed != i + 1) return 6;
        if (dlclose(plugin) || destructed != i) return 7;
        int (*value)(void) = dlsym(plugin, "plugin_value");
        if (!value || value() != 7 || value() != 8) return 8;
        if (*(int *)dlsym(plugin, "plugin_thread_local") != 9) return 9;
        if (((int (*)(void))dlsym(plugin, "same_name"))() != 2) return 10;
        if (dlsym(0, "plugin_value")) return 11; /* it is not global */
        if (!dladdr(value, &info) || !equal(info.name, "plugin_value") || info.address != value) return 12;
        if (dlclose(plugin) || destructed != i + 1) return 13;
        if (!dlclose(plugin)) return 14;
    }
    if (dl_iterate_phdr(count, &objects) || objects != 1) return 15;
    return 0;
}
