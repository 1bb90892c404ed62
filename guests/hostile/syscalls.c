/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Owns the attacks through system calls: wild pointers, huge lengths, descriptors, paths out of the sandbox. */
#include "hostile.h"

enum { LAST_SYSTEM_CALL = 500 };

/* Calls that end, block or kill by design: what they do with good arguments is no news. */
static const int left_out[] = {
    22,  /* epoll_pwait */
    57,  /* close: of our stdout; the descriptors attack closes everything */
    72,  /* pselect6 */
    73,  /* ppoll */
    93,  /* exit */
    94,  /* exit_group */
    95,  /* waitid */
    98,  /* futex */
    101, /* nanosleep */
    115, /* clock_nanosleep */
    117, /* ptrace: TRACEME with all-zero arguments */
    129, /* kill */
    130, /* tkill */
    131, /* tgkill */
    133, /* rt_sigsuspend */
    137, /* rt_sigtimedwait */
    139, /* rt_sigreturn: an attack of its own */
    142, /* reboot */
    157, /* setsid */
    215, /* munmap: from the second wild address on it takes the stack along */
    220, /* clone: a child that goes on with the attack */
    260, /* wait4 */
    424, /* pidfd_send_signal */
    435, /* clone3 */
    436, /* close_range */
    441, /* epoll_pwait2 */
    449, /* futex_waitv */
};

static int is_left_out(long number)
{
    for (size_t i = 0; i < sizeof left_out / sizeof *left_out; i++)
        if (left_out[i] == number)
            return 1;
    return 0;
}

static void every_system_call(const long arguments[6])
{
    for (long number = 0; number <= LAST_SYSTEM_CALL; number++)
        if (!is_left_out(number))
            system_call(number, arguments[0], arguments[1], arguments[2], arguments[3], arguments[4], arguments[5]);
}

static const long wild_addresses[] = {
    0x1000, 0x7ffffffff000, 0x0000ffffffffffff, (long)0xffff000000000000, (long)0xffffffffffffffff,
    (long)0x8000000000000000, 0x4000000005, (long)0xff00000000400000,
};

static void wild_pointers(const struct attack *self, const char *argument)
{
    (void)self, (void)argument;
    for (size_t i = 0; i < sizeof wild_addresses / sizeof *wild_addresses; i++) {
        long wild = wild_addresses[i];
        every_system_call((const long[6]){wild, wild, wild, wild, wild, wild});
    }
}

/* Good first arguments, so that more calls get as far as their pointers. */
static void wild_after_good(const struct attack *self, const char *argument)
{
    (void)self, (void)argument;
    long fd = must(system_call(SYS_memfd_create, (long)"hostile", 0, 0, 0, 0, 0), "memfd_create");
    for (size_t i = 0; i < sizeof wild_addresses / sizeof *wild_addresses; i++) {
        long wild = wild_addresses[i];
        every_system_call((const long[6]){fd, wild, 64, wild, wild, wild});
        every_system_call((const long[6]){AT_FDCWD, wild, 1, wild, wild, wild});
    }
}

/* A pointer that is good for its first bytes and not for the length that goes with it. */
static void huge_lengths(const struct attack *self, const char *argument)
{
    (void)self, (void)argument;
    static const long lengths[] = {0x7fffffff, 0xffffffff, 0x7fffffffffffffff, -1, 0x100000000, -4096};
    long fd = must(system_call(SYS_memfd_create, (long)"hostile", 0, 0, 0, 0, 0), "memfd_create");
    char *pages = map_anonymous(2 * PAGE, PROT_READ | PROT_WRITE);
    protect(pages + PAGE, PAGE, PROT_NONE);
    long edge = (long)(pages + PAGE - 16);
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        every_system_call((const long[6]){fd, edge, lengths[i], lengths[i], lengths[i], lengths[i]});
        every_system_call((const long[6]){edge, lengths[i], lengths[i], lengths[i], lengths[i], lengths[i]});
    }
}

static void random_arguments(const struct attack *self, const char *argument)
{
    (void)self;
    uint64_t state = number_of(argument) * 0x9e3779b97f4a7c15 | 1;
    for (int i = 0; i < 5000; i++) {
        long a[6], number = (long)(next_random(&state) % (LAST_SYSTEM_CALL + 1));
        for (size_t k = 0; k < 6; k++) /* mostly wild, sometimes small */
            a[k] = (long)(next_random(&state) >> (next_random(&state) & 63));
        if (!is_left_out(number) && number != 222 && number != 226 && number != 214)
            system_call(number, a[0], a[1], a[2], a[3], a[4], a[5]);
    }
}

static void huge_numbers(const struct attack *self, const char *argument)
{
    (void)self, (void)argument;
    static const long numbers[] = {501, 0x7fffffff, 0x80000000, 0xffffffff, 0x7fffffffffffffff, -1, -38};
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        if (system_call(numbers[i], 0, 0, 0, 0, 0, 0) >= 0)
            exit_group(3);
}

static void close_everything(const struct attack *self, const char *argument)
{
    (void)self, (void)argument;
    for (int fd = 0; fd < 1024; fd++)
        system_call(SYS_close, fd, 0, 0, 0, 0, 0);
    exit_group(7);
}

static void descriptors(const struct attack *self, const char *argument)
{
    (void)self, (void)argument;
    for (int i = 0; i < 2000000; i++)
        if (system_call(SYS_dup, 1, 0, 0, 0, 0, 0) < 0)
            return;
    exit_group(3);
}

static void wild_sigreturn(const struct attack *self, const char *argument)
{
    (void)self, (void)argument;
    system_call(139, 0, 0, 0, 0, 0, 0);
}

/* ARGUMENT is a file of the host that was not granted. */
static void escape(const struct attack *self, const char *argument)
{
    (void)self;
    static const char *const ways[] = {
        "", "/../../../../../../../..", "/proc/self/root", "/proc/1/root", "/proc/self/cwd/../../../../../../../..",
        "/tmp/../../../../../../../..", "/dev/fd/../../../../../..", "/tmp/link-to-root",
    };
    system_call(SYS_symlinkat, (long)"/../../../../../../..", AT_FDCWD, (long)"/tmp/link-to-root", 0, 0, 0);
    for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
        char path[4200];
        size_t length = 0;
        for (const char *from = ways[i]; *from; from++)
            path[length++] = *from;
        for (const char *from = argument; *from && length < sizeof path - 1; from++)
            path[length++] = *from;
        path[length] = 0;
        if (system_call(SYS_openat, AT_FDCWD, (long)path, O_RDONLY, 0, 0, 0) >= 0) {
            print("escaped by ");
            print(path);
            print("\n");
            exit_group(3);
        }
    }
    system_call(SYS_unlinkat, AT_FDCWD, (long)"/tmp/link-to-root", 0, 0, 0, 0);
}

const struct attack syscall_attacks[] = {
    {"syscalls-wild", wild_pointers, NULL},
    {"syscalls-wild-after-good", wild_after_good, NULL},
    {"syscalls-huge", huge_lengths, NULL},
    {"syscalls-random", random_arguments, NULL},
    {"syscalls-unknown", huge_numbers, NULL},
    {"close-everything", close_everything, NULL},
    {"descriptors", descriptors, NULL},
    {"sigreturn", wild_sigreturn, NULL},
    {"escape", escape, NULL},
    {0},
};
