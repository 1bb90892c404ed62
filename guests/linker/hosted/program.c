/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Owns an ordinary C program, built against glibc: stdio, malloc, constructors, thread-local variables, a plugin of its own. */

#include <dlfcn.h>
#include <errno.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static __thread int thread_local_variable = 40;
static char constructed[64];

__attribute__((constructor)) static void construct(int argc, char **argv, char **envp)
{
    snprintf(constructed, sizeof constructed, "%d %s %s", argc, argv[0], envp[0] ? "environment" : "none");
}
__attribute__((destructor)) static void destruct(void) { puts("destructor"); }
static void at_exit(void) { puts("atexit"); }

int main(int argc, char **argv)
{
    pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
    atexit(at_exit);
    printf("constructor: %s\n", constructed);
    char *text = malloc(100000);
    memset(text, 'x', 99999);
    text[99999] = 0;
    printf("malloc: %zu\n", strlen(text));
    free(text);
    thread_local_variable += 2;
    printf("thread-local: %d, errno %d\n", thread_local_variable, errno);
    if (pthread_mutex_lock(&mutex) || pthread_mutex_unlock(&mutex)) return 2;
    printf("sqrt: %.3f\n", sqrt(argc));
    void *plugin = dlopen(argc > 1 ? argv[1] : "", RTLD_NOW);
    int (*function)(int) = plugin ? (int (*)(int))dlsym(plugin, "plugin") : 0;
    if (!function) {
        printf("%s\n", dlerror());
        return 3;
    }
    printf("plugin: %d\n", function(20));
    dlclose(plugin);
    fprintf(stderr, "to stderr\n");
    return 7;
}
