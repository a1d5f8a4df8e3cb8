/* SPDX-License-Identifier: Apache-2.0 */
/*
 * FULLY_CONNECTED for cores with Helium (M-profile vector extension,
 * integer): Cortex-M55, M85, M52.
 *
 * Layout ROWS: four rows of plain int8 weights at a time; one 16-byte load of inputs serves four
 * VMLADAVA.S8. Ten instructions for 64 multiply-accumulates (floor 9: five loads, four
 * VMLADAVA), tail-predicated by DLSTP/LETP, so that neither weights nor inputs are read behind
 * their ends. Then 23 instructions for four outputs (floor 14: two moves, bias 2, VQRDMULH,
 * 2 for the sign, VRSHL, zero point, 2 clamps, store, loop 2); 27 when rows have multipliers of
 * their own. Which of the three ends a group takes is decided once per layer: its address is
 * loaded with the last operands.
 *
 * Layout CANONICAL works too, at 18 instructions for 64: words are gathered, even columns lose
 * their + 128 by an exclusive or, and odd columns meet -127 once more, because that layout's bias
 * expects x - 127 there.
 *
 * Accumulators are 32 bits wide and wrap as TFLM's do; nothing here needs FC_NARROW to be right.
 * Requantisation (fully_connected.c has v and r): VQRDMULH.S32(x, m) = (2 x m + 2^31) >> 32
 * = (x m + 2^30) >> 31 = v; it saturates only for x = m = -2^31, and m > 0. With
 * s = ~shift1 = -(shift1 + 1), VRSHL.S32(v + (v >> 31), s)
 * = (v + (v >> 31) + 2^shift1) >> (shift1 + 1) in unbounded precision, which is
 * (((v + (v >> 31)) >> shift1) + 1) >> 1 = r. s > 0 is the left shift that goes before the
 * multiplication instead; the sign's correction is for s < 0 only. FC_NARROW says that every s < 0.
 */
#include "../network/net_plan.h"

#ifdef TFIN_FAMILY_MVE

/* wrong on purpose: the last row of a group meets the weights of the one before */
#ifdef TFIN_SABOTAGE_KERNEL
#define LAST_ROW "r10"
#else
#define LAST_ROW "r11"
#endif

#if defined(TFIN_TEST_SINGLE_ROUNDING)
#define AWAY_FROM_ZERO "nop\n" /* wrong on purpose: the tests must notice */
#else
#define AWAY_FROM_ZERO "vadd.i32 q0, q0, q1\n"
#endif

/* clang-format off */
#define GATHERED(offset, sum)                      \
    "vldrw.u32 q0, [q4, #" offset "\n"             \
    "veor q0, q0, q5\n"                            \
    "vmladava.s8 " sum ", q0, q1\n"                \
    "vmladava.s8 " sum ", q0, q6\n"

/* Four times {m, ~shift1}. */
#define MULTIPLIERS                   \
    "vld20.32 {q4, q5}, [r8]\n"       \
    "vld21.32 {q4, q5}, [r8]!\n"      \
    "vshr.u32 q4, q4, #1\n"           \
    "vmvn q5, q5\n"

/* Zero point, clamps, four bytes; equal after the last group. */
#define FINISH                  \
    "vadd.i32 q0, q0, r2\n"     \
    "vmax.s32 q0, q0, q2\n"     \
    "vmin.s32 q0, q0, q3\n"     \
    "vstrb.32 q0, [r5], #4\n"   \
    "cmp r5, r4\n"

/* Twice rather than a jump for each layer. */
#define LEAVE               \
    "add sp, sp, #32\n"     \
    "vpop {d8-d13}\n"       \
    "pop {r4-r11, pc}\n"

/*
 * Frame: 0 m, 4 ~shift1, 8 zero point, 12 end of the outputs, 16 how a group of layout ROWS
 * ends, 20 accumulators, 24 where a group starts, 28 flags. flags: 1 per-channel, 2 not
 * narrow, 4 accumulators, 8 canonical. Registers: r3 padded inputs, r5 output, r7 input, r8
 * constants, q2 and q3 clamps.
 */
__attribute__((naked)) void tfin_fully_connected(const tfin_node *node __attribute__((unused)),
                                                 const uint8_t *plan __attribute__((unused)),
                                                 uint8_t *arena __attribute__((unused)))
{
    __asm__ volatile(
        ".syntax unified\n"
        "push {r4-r11, lr}\n"
        "vpush {d8-d13}\n"
        "ldrd r7, r5, [r0, #4]\n" /* input, output */
        "add r7, r2\n"
        "add r5, r2\n"
        "ldrh r3, [r0, #12]\n" /* inputs */
        "adds r3, #3\n"
        "bic r3, r3, #3\n"
        "ldrh r4, [r0, #14]\n" /* outputs */
        "adds r4, #3\n"
        "bic r4, r4, #3\n"
        "add r4, r5\n"
        "ldr r8, [r0, #16]\n" /* constants */
        "add r8, r1\n"
        "ldrsb r6, [r0, #29]\n"
        "vdup.32 q2, r6\n"
        "ldrsb r6, [r0, #30]\n"
        "vdup.32 q3, r6\n"
        "ldrb r6, [r0, #1]\n" /* flags */
        "eor r6, r6, #2\n"
        "ldr r10, [r1, #40]\n" /* accumulators */
        "add r10, r2\n"
        "adr.w r11, 2f + 1\n" /* + 1: Thumb */
        "adr.w r9, 14f + 1\n"
        "ldrh r1, [r1, #6]\n" /* layout */
        "cbnz r1, 1f\n"
        "orr r6, r6, #8\n"
        "adr.w r11, 5f + 1\n"
        "1:\n"
        "cbz r6, 1f\n"
        "adr.w r9, 13f + 1\n"
        "cmp r6, #1\n"
        "beq 1f\n"
        "adr.w r9, 7f + 1\n"
        "1:\n"
        "ldrsb r2, [r0, #28]\n"
        "ldrd r0, r1, [r0, #20]\n" /* multiplier_q32, shift1 */
        "lsrs r0, r0, #1\n"
        "mvns r1, r1\n"
        "push {r6}\n"
        "push {r0, r1, r2, r4, r9, r10, r11}\n"
        "bx r11\n"

        ".balign 4\n"
        "2:\n" /* a group, layout ROWS */
        "mov r1, r7\n"
        "add r9, r8, r3\n"
        "add r10, r9, r3\n"
        "add r11, r10, r3\n"
        "add r12, r11, r3\n"
        "ldrd r0, r2, [r12], #8\n"
        "ldrd r4, r6, [r12], #8\n"
        "dlstp.8 lr, r3\n"
        "3:\n"
        "vldrb.u8 q1, [r1], #16\n"
        "vldrb.u8 q0, [r8], #16\n"
        "vmladava.s8 r0, q0, q1\n"
        "vldrb.u8 q0, [r9], #16\n"
        "vmladava.s8 r2, q0, q1\n"
        "vldrb.u8 q0, [r10], #16\n"
        "vmladava.s8 r4, q0, q1\n"
        "vldrb.u8 q0, [" LAST_ROW "], #16\n"
        "vmladava.s8 r6, q0, q1\n"
        "letp lr, 3b\n"
        "mov r8, r12\n"
        "vmov q0[2], q0[0], r0, r4\n"
        "vmov q0[3], q0[1], r2, r6\n"
        "ldm sp, {r0, r1, r2, r4, pc}\n"
        "14:\n" /* per-tensor */
        "vqrdmulh.s32 q0, q0, r0\n"
        "vshr.s32 q1, q0, #31\n"
        AWAY_FROM_ZERO
        "vrshl.s32 q0, r1\n"
        FINISH
        "bne 2b\n"
        "4:\n" LEAVE
        "13:\n" /* per-channel */
        MULTIPLIERS
        "vqrdmulh.s32 q0, q0, q4\n"
        "vshr.s32 q1, q0, #31\n"
        AWAY_FROM_ZERO
        "vrshl.s32 q0, q0, q5\n"
        FINISH
        "bne 2b\n" LEAVE

        ".balign 4\n"
        "5:\n" /* a group, layout CANONICAL */
        "mov r1, r7\n"
        "movs r0, #0\n"
        "vidup.u32 q4, r0, #8\n"
        "vshl.i32 q4, q4, #1\n"
        "sub r9, r8, #64\n"
        "vadd.i32 q4, q4, r9\n" /* where words of row 0 are, less 64 */
        "vmov.i16 q5, #0x0080\n"
        "vmov.i16 q6, #0x8100\n" /* 0, -127 */
        "add r8, r8, r3, lsl #2\n"
        "ldrd r0, r2, [r8], #8\n"
        "ldrd r4, r6, [r8], #8\n"
        "dlstp.8 lr, r3\n"
        "6:\n"
        "vldrb.u8 q1, [r1], #16\n"
        GATHERED("64]!", "r0") GATHERED("4]", "r2") GATHERED("8]", "r4") GATHERED("12]", "r6")
        "letp lr, 6b\n"
        "vmov q0[2], q0[0], r0, r4\n"
        "vmov q0[3], q0[1], r2, r6\n"
        "ldm sp, {r0, r1, r2, r4}\n"

        "7:\n" /* the general case of requantisation */
        "ldr r6, [sp, #28]\n"
        "vdup.32 q4, r0\n"
        "vdup.32 q5, r1\n"
        "lsls r1, r6, #30\n" /* C: accumulators; N: not narrow */
        "bcs 10f\n"
        "8:\n"
        "lsls r0, r6, #31\n" /* per-channel */
        "beq 9f\n"
        MULTIPLIERS
        "9:\n"
        "lsls r1, r6, #30\n"
        "bmi 11f\n"
        "vqrdmulh.s32 q0, q0, q4\n"
        "vshr.s32 q1, q0, #31\n"
        "12:\n"
        AWAY_FROM_ZERO
        "vrshl.s32 q0, q0, q5\n"
        FINISH
        "beq 4b\n"
        "ldr pc, [sp, #24]\n"
        "10:\n"
        "ldr r1, [sp, #20]\n"
        "vstrw.32 q0, [r1], #16\n"
        "str r1, [sp, #20]\n"
        "b 8b\n"
        "11:\n"
        "vmov.i32 q1, #0\n"
        "vmax.s32 q6, q5, q1\n"
        "vmin.s32 q5, q5, q1\n"
        "vshl.s32 q0, q0, q6\n"
        "vqrdmulh.s32 q0, q0, q4\n"
        "vshr.s32 q1, q0, #31\n"
        "vshr.s32 q6, q5, #31\n"
        "vand q1, q1, q6\n"
        "b 12b\n");
}
/* clang-format on */

#else
typedef int tfin_not_for_a_core_without_helium; /* ISO C requires a declaration */
#endif
