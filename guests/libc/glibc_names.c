/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Owns names that glibc's headers put into programs and musl does not have: checked variants, and 64-bit file offsets. */

typedef unsigned long size_t;
typedef __builtin_va_list va_list;
typedef struct file FILE;

_Noreturn void abort(void);

/* NAME_chk takes the size of the destination after its own arguments. */
#define MEMORY(name, second)                                                                              \
    void *name(void *, second, size_t);                                                                   \
    void *__##name##_chk(void *to, second with, size_t size, size_t room)                                 \
    {                                                                                                     \
        if (size > room) abort();                                                                         \
        return name(to, with, size);                                                                      \
    }
MEMORY(memcpy, const void *)
MEMORY(memmove, const void *)
MEMORY(mempcpy, const void *)
MEMORY(memset, int)
MEMORY(strncpy, const char *)
MEMORY(stpncpy, const char *)

size_t strlen(const char *), strnlen(const char *, size_t);
#define STRING(name, before)                                                                              \
    char *name(char *, const char *);                                                                     \
    char *__##name##_chk(char *to, const char *from, size_t room)                                         \
    {                                                                                                     \
        if (strlen(from) + (before) >= room) abort();                                                     \
        return name(to, from);                                                                            \
    }
STRING(strcpy, 0)
STRING(stpcpy, 0)
STRING(strcat, strlen(to))

char *strncat(char *, const char *, size_t);
char *__strncat_chk(char *to, const char *from, size_t size, size_t room)
{
    if (strnlen(from, size) + strlen(to) >= room) abort();
    return strncat(to, from, size);
}

int vsnprintf(char *, size_t, const char *, va_list), vfprintf(FILE *, const char *, va_list);
extern FILE *const stdout;

int __vsnprintf_chk(char *to, size_t size, int flag, size_t room, const char *format, va_list arguments)
{
    (void)flag;
    if (size > room) abort();
    return vsnprintf(to, size, format, arguments);
}

int __vsprintf_chk(char *to, int flag, size_t room, const char *format, va_list arguments)
{
    (void)flag;
    int length = vsnprintf(to, room > 0x7fffffff ? 0x7fffffff : room, format, arguments);
    if (length >= 0 && (size_t)length >= room) abort();
    return length;
}

int __vfprintf_chk(FILE *file, int flag, const char *format, va_list arguments)
{
    (void)flag;
    return vfprintf(file, format, arguments);
}

int __vprintf_chk(int flag, const char *format, va_list arguments) { return __vfprintf_chk(stdout, flag, format, arguments); }

#define VARIADIC(call)                                                                                    \
    va_list arguments;                                                                                    \
    __builtin_va_start(arguments, format);                                                                \
    int result = call;                                                                                    \
    __builtin_va_end(arguments);                                                                          \
    return result

int __snprintf_chk(char *to, size_t size, int flag, size_t room, const char *format, ...)
{
    VARIADIC(__vsnprintf_chk(to, size, flag, room, format, arguments));
}
int __sprintf_chk(char *to, int flag, size_t room, const char *format, ...)
{
    VARIADIC(__vsprintf_chk(to, flag, room, format, arguments));
}
int __fprintf_chk(FILE *file, int flag, const char *format, ...) { VARIADIC(__vfprintf_chk(file, flag, format, arguments)); }
int __printf_chk(int flag, const char *format, ...) { VARIADIC(__vprintf_chk(flag, format, arguments)); }

char *fgets(char *, int, FILE *);
char *__fgets_chk(char *to, size_t room, int size, FILE *file)
{
    if (size > 0 && (size_t)size > room) abort();
    return fgets(to, size, file);
}

size_t fread(void *, size_t, size_t, FILE *);
size_t __fread_chk(void *to, size_t room, size_t size, size_t count, FILE *file)
{
    if (size && count > room / size) abort();
    return fread(to, size, count, file);
}

long read(int, void *, size_t);
long __read_chk(int fd, void *to, size_t size, size_t room)
{
    if (size > room) abort();
    return read(fd, to, size);
}

_Noreturn void longjmp(void *, int);
_Noreturn void __longjmp_chk(void *buffer, int value) { longjmp(buffer, value); }

long __fdelt_chk(long descriptor)
{
    if (descriptor < 0 || descriptor >= 1024) abort();
    return descriptor / 64;
}

int fcntl(int, int, ...);
int fcntl64(int fd, int command, void *argument) { return fcntl(fd, command, argument); }
