// SPDX-License-Identifier: GPL-2.0-or-later
// What file mappings show of each other, of read(2) and write(2), and of truncation. The last part maps a file of 48 MiB.
// With an argument: stores to the second half of that file through a mapping, and says what msync(2) says of it.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define PAGE 4096L

static sigjmp_buf escape;
static void *volatile faulted;

static void on_bus(int number, siginfo_t *info, void *context)
{
    (void)context;
    faulted = info->si_addr;
    siglongjmp(escape, number == SIGBUS ? info->si_code : 99);
}

// The si_code of the SIGBUS that a load takes, 0 if it takes none.
static int load(volatile char *at)
{
    int code = sigsetjmp(escape, 1);
    if (!code)
        (void)*at;
    else if (faulted != at)
        code = 98;
    return code;
}

static char *map(int file, size_t size, int kind)
{
    char *at = mmap(NULL, size, PROT_READ | PROT_WRITE, kind, file, 0);
    if (at == MAP_FAILED) {
        perror("mmap");
        exit(1);
    }
    return at;
}

static void show(const char *what, int file, long offset, const char *a, const char *b, const char *c)
{
    char text[9] = {0};
    if (pread(file, text, 8, offset) < 0)
        perror("pread");
    printf("%-28s file %-8s shared %-8.8s %-8.8s private %-8.8s\n", what, text, a, b, c);
}

static void write_first(int file, const char *text)
{
    if (pwrite(file, text, strlen(text) + 1, 0) < 0)
        perror("pwrite");
}

static void cut(int file, off_t size)
{
    if (ftruncate(file, size))
        perror("ftruncate");
}

static void together(void)
{
    struct sigaction action = {.sa_sigaction = on_bus, .sa_flags = SA_SIGINFO};
    sigaction(SIGBUS, &action, NULL);
    int file = open("data", O_RDWR | O_CREAT | O_TRUNC, 0600);
    if (file < 0 || ftruncate(file, 3 * PAGE + 100))
        exit(1);
    char *a = map(file, 4 * PAGE, MAP_SHARED), *b = map(file, 4 * PAGE, MAP_SHARED), *c = map(file, 4 * PAGE, MAP_PRIVATE);
    printf("read first: %d %d %d\n", a[0], b[0], c[0]);
    strcpy(a, "stored");
    show("store", file, 0, a, b, c);
    write_first(file, "written");
    show("pwrite", file, 0, a, b, c);
    strcpy(c, "copied");
    write_first(file, "again");
    strcpy(b + 2, "ony");
    show("copy on write", file, 0, a, b, c);
    strcpy(c + 2 * PAGE, "copy");
    strcpy(a + 2 * PAGE, "dirty");
    show("third page", file, 2 * PAGE, a + 2 * PAGE, b + 2 * PAGE, c + 2 * PAGE);
    cut(file, PAGE + 10);
    printf("cut: %d %d %d %d\n", load(a + 2 * PAGE), load(b + 2 * PAGE), load(c + 2 * PAGE), load(a + PAGE));
    strcpy(a + PAGE + 6, "past the end");
    cut(file, 4 * PAGE);
    printf("grown: %d %d %d\n", load(a + 2 * PAGE), load(c + 2 * PAGE), load(c + 3 * PAGE));
    show("after the cut", file, PAGE + 6, a + PAGE + 6, b + PAGE + 6, c + PAGE + 6);
    show("third page", file, 2 * PAGE, a + 2 * PAGE, b + 2 * PAGE, c + 2 * PAGE);
    char *moved = mremap(a, 4 * PAGE, 8 * PAGE, MREMAP_MAYMOVE);
    strcpy(moved + 3 * PAGE, "moved");
    show("mremap", file, 3 * PAGE, moved + 3 * PAGE, b + 3 * PAGE, c + 3 * PAGE);
    printf("past the end: %d\n", load(moved + 4 * PAGE));
    madvise(c, 4 * PAGE, MADV_DONTNEED);
    show("MADV_DONTNEED", file, 0, moved, b, c);
    printf("msync %d fsync %d\n", msync(b, 4 * PAGE, MS_SYNC), fsync(file));
    munmap(b, PAGE);
    munmap(moved, 8 * PAGE);
    show("munmap", file, 3 * PAGE, "", b + 3 * PAGE, c + 3 * PAGE);
    strcpy(b + PAGE, "at exit");
}

static void large(void)
{
    const long pages = 12288;
    int file = open("large", O_RDWR | O_CREAT | O_TRUNC, 0600);
    if (file < 0 || ftruncate(file, pages * PAGE))
        exit(1);
    char *a = map(file, pages * PAGE, MAP_SHARED);
    for (long page = 0; page < pages; page++)
        *(long *)(a + page * PAGE) = page * 7919;
    char *c = map(file, pages * PAGE, MAP_PRIVATE);
    unsigned long sum = 0;
    for (long page = pages - 1; page >= 0; page--)
        sum = sum * 31 + *(long *)(c + page * PAGE);
    printf("mapped %lx\n", sum);
    sum = 0;
    for (long page = pages - 1, value; page >= 0; page--)
        sum = sum * 31 + (pread(file, &value, sizeof value, page * PAGE) == sizeof value ? value : 0);
    printf("read   %lx\n", sum);
    unlink("large");
    munmap(a, pages * PAGE);
    printf("unlinked %ld\n", *(long *)(c + 9 * PAGE));
}

static void store(const char *name, size_t size)
{
    char *at = map(open(name, O_RDWR), size, MAP_SHARED);
    strcpy(at + size / 2, "stored");
    printf("msync: %s\n", msync(at, size, MS_SYNC) ? strerrorname_np(errno) : "done");
}

int main(int argc, char **argv)
{
    if (argc > 1) {
        store(argv[1], 1 << 20);
        return 0;
    }
    together();
    large();
    return 0;
}
