// SPDX-License-Identifier: GPL-2.0-or-later
// Owns what musl leaves to its own dynamic linker and ours needs in guest code: how thread-local variables are reached.

        .text

// A TLS descriptor's function: x0 points to the descriptor, whose second word is the distance from the thread pointer.
        .globl  __tlsdesc_static
        .type   __tlsdesc_static, %function
__tlsdesc_static:
        ldr     x0, [x0, #8]
        ret
        .size   __tlsdesc_static, . - __tlsdesc_static

// x0 points to (module, offset). An even module is twice the distance of its block; an odd one is for the kernel.
        .globl  __tls_get_addr
        .type   __tls_get_addr, %function
__tls_get_addr:
        ldp     x1, x2, [x0]
        tbnz    x1, #0, 1f
        mrs     x0, tpidr_el0
        add     x0, x0, x1, asr #1
        add     x0, x0, x2
        ret
1:      b       __tls_get_addr_on_demand
        .size   __tls_get_addr, . - __tls_get_addr
        .section .note.GNU-stack, "", %progbits
