/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Owns what applications may expect of mapped files on OSv: what its tst-mmap-file asserts, in our own words. */
#include "osv.h"

#define RW (PROT_READ | PROT_WRITE)

static const char path[] = "/tmp/tst-mmap-file";

static long open_file(const char *name, int flags) { return system_call(SYS_openat, AT_FDCWD, (long)name, flags, 0644, 0, 0); }

static char byte_of_file(long fd, long offset)
{
    char byte = 0;
    must(system_call(SYS_lseek, fd, offset, 0, 0, 0, 0), "lseek");
    must(call3(SYS_read, fd, (long)&byte, 1), "read");
    return byte;
}

static long make_file(void)
{
    static char page[PAGE];
    long fd = must(open_file(path, O_RDWR | O_CREAT | O_TRUNC), "open");
    for (int i = 0; i < 3; i++) {
        for (size_t at = 0; at < PAGE; at++)
            page[at] = (char)('a' + i);
        must(call3(SYS_write, fd, (long)page, PAGE), "write");
    }
    return fd;
}

static void contents(long fd)
{
    char *shared = map(NULL, 3 * PAGE, RW, MAP_SHARED, (int)fd);
    CHECK(1, shared[0] == 'a' && shared[2 * PAGE] == 'c');
    shared[1] = 'S';
    CHECK(2, call3(SYS_msync, (long)shared, 3 * PAGE, 4) == 0);
    CHECK(3, byte_of_file(fd, 1) == 'S');
    char *private = map(NULL, 3 * PAGE, RW, MAP_PRIVATE, (int)fd);
    private[2] = 'P';
    CHECK(4, private[2] == 'P' && shared[2] == 'a' && byte_of_file(fd, 2) == 'a');
    CHECK(5, call3(SYS_msync, (long)private, PAGE, 4) == -ENOMEM);
    char *second = (char *)must(try_map(NULL, PAGE, PROT_READ, MAP_SHARED, (int)fd, PAGE), "mmap");
    CHECK(6, second[0] == 'b');
    shared[PAGE] = 'x';
    CHECK(7, second[0] == 'x');
    shared[2 * PAGE] = 'y';
    CHECK(8, try_unmap(shared, 3 * PAGE) == 0);
    CHECK(9, byte_of_file(fd, 2 * PAGE) == 'y');
    unmap(private, 3 * PAGE);
    unmap(second, PAGE);
}

static void arguments(long fd)
{
    CHECK(10, try_map(NULL, PAGE, PROT_READ, MAP_PRIVATE | MAP_SHARED, (int)fd, 0) == -EINVAL);
    CHECK(11, try_map(NULL, PAGE, PROT_READ, 0, (int)fd, 0) == -EINVAL);
    CHECK(12, try_map((void *)1, PAGE, PROT_READ, MAP_PRIVATE | MAP_FIXED, (int)fd, 0) == -EINVAL);
    CHECK(13, try_map(NULL, PAGE, PROT_READ, MAP_PRIVATE, (int)fd, 1) == -EINVAL);
    CHECK(14, try_map(NULL, 0, PROT_READ, MAP_PRIVATE, (int)fd, 0) == -EINVAL);
    CHECK(15, try_map(NULL, PAGE, PROT_READ, MAP_PRIVATE, 999, 0) == -EBADF);
    long writable = must(open_file(path, O_WRONLY), "open");
    CHECK(16, try_map(NULL, PAGE, PROT_READ, MAP_PRIVATE, (int)writable, 0) == -EACCES);
    long readable = must(open_file(path, O_RDONLY), "open");
    CHECK(17, try_map(NULL, PAGE, RW, MAP_SHARED, (int)readable, 0) == -EACCES);
    char *shared = map(NULL, PAGE, PROT_READ, MAP_SHARED, (int)readable);
    CHECK(18, try_protect(shared, PAGE, RW) == -EACCES);
    CHECK(19, try_write(shared) == SIGSEGV);
    char *private = map(NULL, PAGE, PROT_READ, MAP_PRIVATE, (int)readable);
    CHECK(20, try_protect(private, PAGE, RW) == 0 && try_write(private) == 0);
    CHECK(21, try_unmap(private + 1, PAGE) == -EINVAL && try_unmap(private, 0) == -EINVAL);
    char *hole = map(NULL, 2 * PAGE, RW, MAP_PRIVATE | MAP_ANONYMOUS, -1);
    CHECK(22, try_map(hole, PAGE, PROT_READ, MAP_PRIVATE | MAP_FIXED, (int)readable, 0) == (long)hole);
    CHECK(23, hole[0] == 'a' && hole[PAGE] == 0);
    unmap(hole, 2 * PAGE);
    unmap(shared, PAGE);
    unmap(private, PAGE);
    call1(SYS_close, writable);
    call1(SYS_close, readable);
}

static void ends(long fd)
{
    char *shared = map(NULL, 4 * PAGE, RW, MAP_SHARED, (int)fd);
    CHECK(30, try_read(shared + 3 * PAGE + 5) == SIGBUS);
    CHECK(31, last_fault.code == BUS_ADRERR && last_fault.address == shared + 3 * PAGE + 5);
    CHECK(32, call2(SYS_ftruncate, fd, PAGE + 1) == 0);
    CHECK(33, try_read(shared + 2 * PAGE) == SIGBUS && try_read(shared + PAGE) == 0);
    CHECK(34, shared[PAGE + 1] == 0);
    CHECK(35, call2(SYS_ftruncate, fd, 3 * PAGE) == 0);
    CHECK(36, try_read(shared + 2 * PAGE) == 0 && shared[2 * PAGE] == 0);
    unmap(shared, 4 * PAGE);
}

static void unlinked(void)
{
    long fd = make_file();
    char *private = map(NULL, PAGE, PROT_READ, MAP_PRIVATE, (int)fd);
    CHECK(40, call3(SYS_unlinkat, AT_FDCWD, (long)path, 0) == 0);
    CHECK(41, call1(SYS_close, fd) == 0);
    CHECK(42, private[0] == 'a');
    unmap(private, PAGE);
}

MAIN(void)
{
    guard();
    long fd = make_file();
    contents(fd);
    arguments(fd);
    ends(fd);
    call1(SYS_close, fd);
    unlinked();
    print("tst-mmap-file: ok\n");
    exit_group(0);
}
