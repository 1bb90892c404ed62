/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Owns code that patches itself while it runs. Each template is copied into a page and called with a value in EDI; it stores
 * the value into its own instruction `target` (mov $imm, %eax) and then executes that, so it returns what it was given. */
    .text

.macro template name
    .globl template_\name, template_\name\()_end
    .balign 16
template_\name:
.endm

.macro end name
template_\name\()_end:
.endm

.macro target
9:  .byte 0xb8, 0, 0, 0, 0          /* mov $0, %eax */
.endm

    /* The very next instruction. */
    template next
    movb    %dil, 9f+1(%rip)
    target
    ret
    end next

    /* Its immediate as 32 bits, and a few instructions of the same block between. */
    template same_block
    mov     %edi, 9f+1(%rip)
    xor     %edx, %edx
    lea     1(%rdx), %ecx
    add     %ecx, %edx
    target
    ret
    end same_block

    /* The next line. */
    template next_line
    movb    %dil, 9f+1(%rip)
    .balign 64, 0x90
    target
    ret
    end next_line

    /* Straight-line code over a page boundary. */
    template next_page
    movb    %dil, 9f+1(%rip)
    .fill   4096, 1, 0x90
    target
    ret
    end next_page

    /* An instruction with its opcode in one page and its immediate in the next. */
    template straddle
    movb    %dil, 9f+1(%rip)
    jmp     9f
    .fill   4095 - (. - template_straddle), 1, 0xcc
    target
    ret
    end straddle

    /* Behind the store, in a loop: the second round must see the store of the first. */
    template behind
    xor     %ecx, %ecx
    target
    movb    %dil, 9b+1(%rip)
    inc     %ecx
    cmp     $2, %ecx
    jne     9b
    ret
    end behind

    /* The displacement of a jump. */
    template branch
    mov     %edi, %eax
    imul    $6, %eax, %eax
    sub     $6, %eax
    movb    %al, 1f-1(%rip)
    .byte   0xeb, 0                 /* jmp 1f + displacement */
1:  mov     $1, %eax
    ret
2:  .if     2b - 1b - 6
    .error  "the two targets are six bytes apart"
    .endif
    mov     $2, %eax
    ret
    end branch

    /* By a string instruction. */
    template string
    mov     %edi, %eax
    lea     9f+1(%rip), %rdi
    mov     $1, %ecx
    rep stosb
    target
    ret
    end string

    /* By a locked instruction. */
    template exchange
    mov     %edi, %eax
    xchg    %al, 9f+1(%rip)
    target
    ret
    end exchange

    /* Sixteen bytes at once: mov $imm, %eax; ret; nop; nop. */
    template wide
    mov     %edi, %eax
    shl     $8, %rax
    movabs  $0x9090c300000000b8, %rcx
    or      %rcx, %rax
    movq    %rax, %xmm0
    movups  %xmm0, 9f(%rip)
    target
    ret
    .fill   10, 1, 0x90
    end wide

    /* By a push, with the stack in the code. */
    template push
    mov     %edi, %eax
    shl     $8, %rax
    movabs  $0x9090c300000000b8, %rcx
    or      %rcx, %rax
    mov     %rsp, %rdx
    lea     9f+8(%rip), %rsp
    push    %rax
    mov     %rdx, %rsp
    target
    ret
    .fill   2, 1, 0x90
    end push

    /* With what the manual asks for when another processor stores: a serialising instruction. */
    template serialised
    push    %rbx
    movb    %dil, 9f+1(%rip)
    xor     %eax, %eax
    cpuid
    pop     %rbx
    target
    ret
    end serialised

    /* Where a signal handler returns to. */
    .globl  signal_restorer
signal_restorer:
    mov     $15, %eax               /* rt_sigreturn */
    syscall

    .section .note.GNU-stack, "", @progbits
