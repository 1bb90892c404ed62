// SPDX-License-Identifier: GPL-2.0-or-later
// The program in which a machine's libraries live (fetchsan/libraries/guest_linker.py). The guest's own ld.so starts it as it
// starts any program; it then offers ld.so's functions by the private system call, and never runs again by itself: a call
// from Python is made to return into `host_return`, and a callback into Python is one of `host_callbacks`.

#define CALLBACKS 1024
#define STRING(text) #text
#define NUMBER(value) STRING(value)

// All of Linux's numbers are far below. The kernel of a library machine knows it; every other kernel refuses it. The number
// and the shape of the table below are in step with entry_kernel.py and guest_linker.py.
#define PRIVATE_CALL 0x0F5C0000

#if defined(__aarch64__)
// The private call returns its first argument, so that a function's result stays where it is.
__asm__(
    ".text\n"
    ".balign 64\n"
    ".global host_return\n.hidden host_return\n.type host_return, %function\n"
    "host_return:\n"
    "  movz x8, #0x0F5C, lsl #16\n"
    "  svc #0\n"
    "  udf #0\n"
    ".size host_return, . - host_return\n"
    ".balign 64\n"
    ".global host_callbacks\n.hidden host_callbacks\n.type host_callbacks, %function\n"
    "host_callbacks:\n"
    ".rept " NUMBER(CALLBACKS) "\n"
    "  movz x8, #0x0F5C, lsl #16\n"
    "  svc #0\n"
    "  ret\n"
    "  udf #0\n"
    ".endr\n"
    ".size host_callbacks, . - host_callbacks\n");
#elif defined(__x86_64__)
// SYSCALL overwrites RCX (the fourth argument) and R11, and the number takes RAX (the result).
__asm__(
    ".text\n"
    ".balign 64\n"
    ".globl host_return\n.hidden host_return\n.type host_return, @function\n"
    "host_return:\n"
    "  mov %rax, %rdi\n"
    "  mov $" NUMBER(PRIVATE_CALL) ", %eax\n"
    "  syscall\n"
    "  ud2\n"
    ".size host_return, . - host_return\n"
    ".balign 64\n"
    ".globl host_callbacks\n.hidden host_callbacks\n.type host_callbacks, @function\n"
    "host_callbacks:\n"
    ".rept " NUMBER(CALLBACKS) "\n"
    "  mov %rcx, %r10\n"
    "  mov $" NUMBER(PRIVATE_CALL) ", %eax\n"
    "  syscall\n"
    "  ret\n"
    "  .balign 16\n"
    ".endr\n"
    ".size host_callbacks, . - host_callbacks\n");
#endif

extern const char host_callbacks[];
extern void host_return(const void *services);

extern void *dlopen(const char *, int);
extern int dlclose(void *);
extern void *dlsym(void *, const char *);
extern char *dlerror(void);
extern void *calloc(unsigned long, unsigned long);
extern void free(void *);
extern int *__errno_location(void);
extern int fflush(void *);
extern void exit(int);

static const struct {
    const void *returning, *callbacks;
    unsigned long callback_count;
    const void *functions[9];
} services = {
    host_return,
    host_callbacks,
    CALLBACKS,
    {dlopen, dlclose, dlsym, dlerror, calloc, free, __errno_location, fflush, exit},
};

int main(void) {
#if defined(__x86_64__)
    // host_return takes its argument from RAX, as a function's result.
    __asm__ volatile("call host_return" : : "a"(&services));
#else
    host_return(&services);
#endif
    return 125;
}
