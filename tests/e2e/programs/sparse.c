/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Owns a finding in a file that is far larger than memory: naming the place must not read it all. */
#define _GNU_SOURCE
#include <stdint.h>
#include <sys/mman.h>
#include <unistd.h>

int main(void)
{
    int fd = memfd_create("sparse", 0);
    if (ftruncate(fd, 1L << 42))
        return 1;
    uint32_t *code = mmap(0, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_SHARED, fd, 0);
    uint32_t first = 0;
    for (uint32_t value = 1; value <= 2; value++) {
        *(volatile uint32_t *)&code[1] = 0xd65f03c0;         /* ret */
        *(volatile uint32_t *)&code[0] = 0x52800000 | value << 5; /* mov w0, #value */
        first = ((uint32_t (*)(void))code)();
    }
    return first != 2;
}
