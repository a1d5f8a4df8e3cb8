/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Whether a core's kernel keeps the registers that a callee must keep, the stack pointer among
 * them. Linked with --wrap=tfin_fully_connected: what the network calls loads a pattern into these
 * registers, calls the kernel, and records what they hold then. The compiler cannot check this: of
 * a naked function it saves nothing, and of an inline one only what its clobber list names.
 *
 * -DTFIN_TEST_SPOIL="..." is an instruction that ruins one of them after the kernel:
 * the tests must notice.
 */
#include "registers_kept.h"

#ifndef TFIN_TEST_SPOIL
#define TFIN_TEST_SPOIL ""
#endif

uint32_t tfin_test_registers_spoilt;

#if defined(__arm__)
#if defined(__ARM_FP) || defined(__ARM_FEATURE_MVE)
enum { REGISTERS = 8 + 16 };
#define VECTORS(text) text
#else
enum { REGISTERS = 8 };
#define VECTORS(text)
#endif
#elif defined(__riscv)
enum { REGISTERS = 12 };
#elif defined(__XTENSA_CALL0_ABI__)
enum { REGISTERS = 4 };
#else
#error "registers_kept.c: which registers does a callee of this core keep?"
#endif

/* Read and written by the code below. */
extern const uint32_t tfin_test_pattern[REGISTERS];
extern uint32_t tfin_test_found[REGISTERS + 1];
extern uint32_t tfin_test_stack;
void tfin_test_compare(void);

#define P(n) 0xA5C30000u + 0x0101u * (n)
const uint32_t tfin_test_pattern[REGISTERS] = {
    P(1), P(2),  P(3),  P(4),
#if !defined(__XTENSA_CALL0_ABI__)
    P(5), P(6),  P(7),  P(8),
#endif
#if defined(__riscv)
    P(9), P(10), P(11), P(12),
#elif defined(__ARM_FP) || defined(__ARM_FEATURE_MVE)
    P(9),  P(10), P(11), P(12), P(13), P(14), P(15), P(16),
    P(17), P(18), P(19), P(20), P(21), P(22), P(23), P(24),
#endif
};
uint32_t tfin_test_found[REGISTERS + 1]; /* and the stack pointer */
uint32_t tfin_test_stack;

void tfin_test_compare(void)
{
    for (uint32_t i = 0; i < REGISTERS; i++) {
        tfin_test_registers_spoilt += tfin_test_found[i] != tfin_test_pattern[i];
    }
    tfin_test_registers_spoilt += tfin_test_found[REGISTERS] != tfin_test_stack;
}

/* clang-format off */
#if defined(__arm__)
__asm__(
    ".syntax unified\n"
    ".section .text.registers_kept, \"ax\"\n"
    ".balign 4\n"
    ".global __wrap_tfin_fully_connected\n"
    ".thumb_func\n"
    "__wrap_tfin_fully_connected:\n"
    "push {r4-r7, lr}\n"
    "mov r4, r8\n"
    "mov r5, r9\n"
    "mov r6, r10\n"
    "mov r7, r11\n"
    "push {r3-r7}\n"
    VECTORS("vpush {d8-d15}\n")
    "ldr r3, =tfin_test_stack\n"
    "mov r4, sp\n"
    "str r4, [r3]\n"
    "ldr r3, =tfin_test_pattern + 16\n"
    "ldmia r3!, {r4-r7}\n"
    VECTORS("vldmia r3, {d8-d15}\n")
    "mov r8, r4\n"
    "mov r9, r5\n"
    "mov r10, r6\n"
    "mov r11, r7\n"
    "ldr r3, =tfin_test_pattern\n"
    "ldmia r3!, {r4-r7}\n"
    "bl __real_tfin_fully_connected\n"
    TFIN_TEST_SPOIL "\n"
    "ldr r3, =tfin_test_found\n"
    "stmia r3!, {r4-r7}\n"
    "mov r4, r8\n"
    "mov r5, r9\n"
    "mov r6, r10\n"
    "mov r7, r11\n"
    "stmia r3!, {r4-r7}\n"
    VECTORS("vstmia r3!, {d8-d15}\n")
    "mov r4, sp\n"
    "str r4, [r3]\n"
    "ldr r3, =tfin_test_stack\n"
    "ldr r4, [r3]\n"
    "mov sp, r4\n"
    "bl tfin_test_compare\n"
    VECTORS("vpop {d8-d15}\n")
    "pop {r3-r7}\n"
    "mov r8, r4\n"
    "mov r9, r5\n"
    "mov r10, r6\n"
    "mov r11, r7\n"
    "pop {r4-r7, pc}\n"
    ".ltorg\n"
    ".text\n");
#elif defined(__riscv)
#define EACH(op, from) \
    op " s0, 0(" from ")\n" op " s1, 4(" from ")\n" op " s2, 8(" from ")\n" \
    op " s3, 12(" from ")\n" op " s4, 16(" from ")\n" op " s5, 20(" from ")\n" \
    op " s6, 24(" from ")\n" op " s7, 28(" from ")\n" op " s8, 32(" from ")\n" \
    op " s9, 36(" from ")\n" op " s10, 40(" from ")\n" op " s11, 44(" from ")\n"
__asm__(
    ".section .text.registers_kept, \"ax\"\n"
    ".balign 4\n"
    ".global __wrap_tfin_fully_connected\n"
    "__wrap_tfin_fully_connected:\n"
    "addi sp, sp, -64\n"
    "sw ra, 48(sp)\n"
    EACH("sw", "sp")
    "la t0, tfin_test_stack\n"
    "sw sp, 0(t0)\n"
    "la t0, tfin_test_pattern\n"
    EACH("lw", "t0")
    "call __real_tfin_fully_connected\n"
    TFIN_TEST_SPOIL "\n"
    "la t0, tfin_test_found\n"
    EACH("sw", "t0")
    "sw sp, 48(t0)\n"
    "la t0, tfin_test_stack\n"
    "lw sp, 0(t0)\n"
    "call tfin_test_compare\n"
    EACH("lw", "sp")
    "lw ra, 48(sp)\n"
    "addi sp, sp, 64\n"
    "ret\n"
    ".text\n");
#else
__asm__(
    ".section .text.registers_kept, \"ax\"\n"
    ".literal_position\n"
    ".align 4\n"
    ".global __wrap_tfin_fully_connected\n"
    "__wrap_tfin_fully_connected:\n"
    "addi a1, a1, -32\n"
    "s32i a0, a1, 0\n"
    "s32i a12, a1, 4\n"
    "s32i a13, a1, 8\n"
    "s32i a14, a1, 12\n"
    "s32i a15, a1, 16\n"
    "movi a8, tfin_test_stack\n"
    "s32i a1, a8, 0\n"
    "movi a8, tfin_test_pattern\n"
    "l32i a12, a8, 0\n"
    "l32i a13, a8, 4\n"
    "l32i a14, a8, 8\n"
    "l32i a15, a8, 12\n"
    "call0 __real_tfin_fully_connected\n"
    TFIN_TEST_SPOIL "\n"
    "movi a8, tfin_test_found\n"
    "s32i a12, a8, 0\n"
    "s32i a13, a8, 4\n"
    "s32i a14, a8, 8\n"
    "s32i a15, a8, 12\n"
    "s32i a1, a8, 16\n"
    "movi a8, tfin_test_stack\n"
    "l32i a1, a8, 0\n"
    "call0 tfin_test_compare\n"
    "l32i a0, a1, 0\n"
    "l32i a12, a1, 4\n"
    "l32i a13, a1, 8\n"
    "l32i a14, a1, 12\n"
    "l32i a15, a1, 16\n"
    "addi a1, a1, 32\n"
    "ret\n"
    ".text\n");
#endif
/* clang-format on */
