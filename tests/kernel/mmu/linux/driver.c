// SPDX-License-Identifier: GPL-2.0-or-later
// The program side of the differential tests: one command a line on stdin, one line of answer on stdout. A command is
// a system call, an access to memory that may fault, or a question about /proc/self/maps. Numbers are C's, in any base.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { MOST_WORDS = 9, LINE = 1 << 16 };

static const struct {
    const char *name;
    long number;
} calls[] = {
    {"brk", SYS_brk},
    {"close", SYS_close},
    {"ftruncate", SYS_ftruncate},
    {"madvise", SYS_madvise},
    {"mincore", SYS_mincore},
    {"mlock", SYS_mlock},
    {"mlock2", SYS_mlock2},
    {"mlockall", SYS_mlockall},
    {"mmap", SYS_mmap},
    {"mprotect", SYS_mprotect},
    {"mremap", SYS_mremap},
    {"msync", SYS_msync},
    {"munlock", SYS_munlock},
    {"munlockall", SYS_munlockall},
    {"munmap", SYS_munmap},
    {"pread64", SYS_pread64},
    {"pwrite64", SYS_pwrite64},
};

#if defined(__aarch64__)
static const unsigned char ret_code[] = {0xc0, 0x03, 0x5f, 0xd6};
#elif defined(__x86_64__)
static const unsigned char ret_code[] = {0xc3, 0x90, 0x90, 0x90};
#else
#error "no ret for this architecture"
#endif

static sigjmp_buf resume;
static volatile sig_atomic_t fault_signal, fault_code;
static void *volatile fault_address;
static char line[LINE], text[LINE];
static unsigned char bytes[LINE];
static char *words[MOST_WORDS];
static unsigned long long numbers[MOST_WORDS];

static void on_fault(int signal_number, siginfo_t *info, void *context)
{
    (void)context;
    fault_signal = signal_number;
    fault_code = info->si_code;
    fault_address = info->si_addr;
    siglongjmp(resume, 1);
}

static void say_fault(void)
{
    printf("signal %d code %d at %#llx\n", (int)fault_signal, (int)fault_code, (unsigned long long)(uintptr_t)fault_address);
}

static void call(void)
{
    for (size_t i = 0; i < sizeof calls / sizeof *calls; i++) {
        if (strcmp(calls[i].name, words[1]) != 0)
            continue;
        long result = syscall(calls[i].number, numbers[2], numbers[3], numbers[4], numbers[5], numbers[6], numbers[7]);
        printf("%ld\n", result == -1 ? -(long)errno : result);
        return;
    }
    printf("no such call\n");
}

static void load(void)
{
    if (sigsetjmp(resume, 1))
        say_fault();
    else
        printf("%d\n", *(volatile unsigned char *)(uintptr_t)numbers[1]);
}

static void store(void)
{
    if (sigsetjmp(resume, 1)) {
        say_fault();
    } else {
        *(volatile unsigned char *)(uintptr_t)numbers[1] = (unsigned char)numbers[2];
        printf("0\n");
    }
}

// Writes a function that returns at once.
static void emit(void)
{
    if (sigsetjmp(resume, 1)) {
        say_fault();
    } else {
        char *at = (char *)(uintptr_t)numbers[1];
        for (size_t i = 0; i < sizeof ret_code; i++)
            ((volatile unsigned char *)at)[i] = ret_code[i];
        printf("0\n");
    }
}

// Calls what `emit` wrote; never anything else.
static void execute(void)
{
    volatile int is_code = 1;
    if (!sigsetjmp(resume, 1)) {
        const volatile unsigned char *at = (const volatile unsigned char *)(uintptr_t)numbers[1];
        for (size_t i = 0; i < sizeof ret_code; i++)
            is_code &= at[i] == ret_code[i];
    }
    if (!is_code) {
        printf("not code\n");
    } else if (sigsetjmp(resume, 1)) {
        say_fault();
    } else {
        char *at = (char *)(uintptr_t)numbers[1];
        if (!fault_signal)
            __builtin___clear_cache(at, at + sizeof ret_code);
        ((void (*)(void))(uintptr_t)numbers[1])();
        printf("0\n");
    }
}

static void residency(void)
{
    static unsigned char vector[LINE];
    long result = syscall(SYS_mincore, numbers[1], numbers[2], vector);
    if (result == -1) {
        printf("%d\n", -errno);
        return;
    }
    for (size_t i = 0; i < (numbers[2] + 4095) / 4096; i++)
        putchar('0' + (vector[i] & 1));
    putchar('\n');
}

// open SLOT PATH FLAGS: the descriptor is SLOT.
static void open_file(void)
{
    int fd = open(words[2], (int)numbers[3]);
    if (fd < 0 || dup2(fd, (int)numbers[1]) < 0) {
        printf("%d\n", -errno);
        return;
    }
    close(fd);
    printf("0\n");
}

// get FD OFFSET LENGTH: what pread says, in hexadecimal.
static void get(void)
{
    ssize_t length = pread((int)numbers[1], bytes, numbers[3] < sizeof bytes ? numbers[3] : sizeof bytes, (off_t)numbers[2]);
    if (length < 0) {
        printf("%d\n", -errno);
        return;
    }
    putchar('x');
    for (ssize_t i = 0; i < length; i++)
        printf("%02x", bytes[i]);
    putchar('\n');
}

// put FD OFFSET LENGTH BYTE: LENGTH times BYTE by pwrite.
static void put(void)
{
    size_t length = numbers[3] < sizeof bytes ? numbers[3] : sizeof bytes;
    memset(bytes, (int)numbers[4], length);
    ssize_t result = pwrite((int)numbers[1], bytes, length, (off_t)numbers[2]);
    printf("%ld\n", result < 0 ? -(long)errno : (long)result);
}

// maps LOW HIGH: the lines of /proc/self/maps that touch [LOW, HIGH), joined by "|".
static void maps(void)
{
    int fd = open("/proc/self/maps", O_RDONLY);
    size_t size = 0;
    ssize_t more;
    while (fd >= 0 && (more = read(fd, text + size, sizeof text - 1 - size)) > 0)
        size += (size_t)more;
    close(fd);
    text[size] = 0;
    for (char *at = text, *end; (end = strchr(at, '\n')); at = end + 1) {
        char *rest;
        *end = 0;
        unsigned long long low = strtoull(at, &rest, 16), high = strtoull(rest + 1, &rest, 16);
        if (low < numbers[2] && high > numbers[1])
            printf("%s|", at);
    }
    putchar('\n');
}

static const struct {
    const char *name;
    void (*run)(void);
} commands[] = {
    {"call", call}, {"load", load}, {"store", store}, {"emit", emit}, {"execute", execute}, {"residency", residency},
    {"open", open_file}, {"get", get}, {"put", put}, {"maps", maps},
};

int main(void)
{
    static char out[LINE], in[LINE], stack[1 << 16];
    stack_t alternate = {.ss_sp = stack, .ss_size = sizeof stack};
    struct sigaction action = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO | SA_ONSTACK};
    sigaltstack(&alternate, NULL);
    sigaction(SIGSEGV, &action, NULL);
    sigaction(SIGBUS, &action, NULL);
    prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0); // which neighbours come along with a page is the host's own business
    setvbuf(stdout, out, _IOFBF, sizeof out);
    setvbuf(stdin, in, _IOFBF, sizeof in);
    while (fgets(line, sizeof line, stdin)) {
        size_t count = 0;
        memset(numbers, 0, sizeof numbers);
        for (char *word = strtok(line, " \n"); word && count < MOST_WORDS; word = strtok(NULL, " \n")) {
            words[count] = word;
            numbers[count++] = strtoull(word, NULL, 0);
        }
        fault_signal = 0;
        for (size_t i = 0; i < sizeof commands / sizeof *commands; i++)
            if (count && strcmp(commands[i].name, words[0]) == 0)
                commands[i].run();
        fflush(stdout);
    }
    return 0;
}
