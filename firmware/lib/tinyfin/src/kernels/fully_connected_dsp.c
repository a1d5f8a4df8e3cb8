/* SPDX-License-Identifier: Apache-2.0 */
/*
 * FULLY_CONNECTED for cores with the Arm DSP instructions (Cortex-M4, M7, M33...).
 *
 * Four weights in a word are two halfwords, u0 + 256 s1 and u2 + 256 s3 (plan.md). Inputs are
 * expanded once per layer into pairs of words,
 *
 *   p = (x1 - 127, x3 - 127)      q = (256 x0 - p0, 256 x2 - p1)
 *
 * p lies in [-255, 0] and 256 x in [-32768, 32512], so q lies in
 * [-32768, 32767]: it just fits. Its low byte, 127 - x1 modulo 256, is x1 with the lowest seven
 * bits inverted: bytes exchanged, then one exclusive or. (SSUB16 would do as well, but Renode up
 * to 1.12 adds there.) Then
 *
 *   SMLAD(word, p) + SMLAD(UXTB16(word), q) = 256 (u0 x0 + s1 (x1 - 127) + u2 x2 + s3 (x3 - 127))
 *
 * costs three instructions for four weights of one row. With loads that is 14 for 16
 * multiply-accumulates, the loop apart (0.88 each: the floor of this method; SMLAD alone would be
 * 0.5), then 8 an output (floor 6: SMMLAR, sign, shift, zero point, SSAT, store). The sum is kept
 * times 256, modulo 2^32; FC_NARROW promises 24 bits, so nothing is lost.
 *
 * Requantisation is that of fully_connected.c in one instruction less than it seems:
 * SMMLAR(a, 2m - 2^32, a) is (a * (2m - 2^32) + a * 2^32 + 2^31) >> 32 = (a * m + 2^30) >> 31, and
 * with Z = 2z + 1 (((v + (v >> 31)) >> shift1) + 1) >> 1 + z
 * = (((v + (v >> 31)) >> shift1) + Z) >> 1, which SSAT shifts and saturates at once. |a| <= 2^30
 * keeps the addition of Z inside 32 bits.
 */
#include "../network/net_plan.h"

#ifdef TFIN_FAMILY_DSP

#include "fully_connected_ssat.h"

/* wrong on purpose: the last row of a group meets the weights of the one before */
#ifdef TFIN_SABOTAGE_KERNEL
#define LAST_ROW "r7"
#else
#define LAST_ROW "r8"
#endif

/* clang-format off */
/* Four columns of four rows: 14 instructions of 4 bytes. */
#define BLOCK                  \
    "ldmia.w r0!, {r5-r8}\n"   \
    "ldrd r3, r4, [r1], #8\n"  \
    "smlad r9, r5, r3, r9\n"   \
    "smlad r10, r6, r3, r10\n" \
    "smlad r11, r7, r3, r11\n" \
    "smlad r12, " LAST_ROW ", r3, r12\n" \
    "uxtb16 r5, r5\n"          \
    "uxtb16 r6, r6\n"          \
    "uxtb16 r7, r7\n"          \
    "uxtb16 r8, r8\n"          \
    "smlad r9, r5, r4, r9\n"   \
    "smlad r10, r6, r4, r10\n" \
    "smlad r11, r7, r4, r11\n" \
    "smlad r12, r8, r4, r12\n"

/* Blocks in a round, 56 bytes of code each. Four run 3% faster than two on long rows. */
#ifndef TFIN_DSP_BLOCKS_LOG2
#define TFIN_DSP_BLOCKS_LOG2 1
#endif
#if TFIN_DSP_BLOCKS_LOG2 == 1
#define ROUND BLOCK BLOCK
#elif TFIN_DSP_BLOCKS_LOG2 == 2
#define ROUND BLOCK BLOCK BLOCK BLOCK
#else
#error "TFIN_DSP_BLOCKS_LOG2 is 1 or 2"
#endif
#define STRINGIFY_(x) #x
#define STRINGIFY(x) STRINGIFY_(x)
#define BLOCKS_LOG2 STRINGIFY(TFIN_DSP_BLOCKS_LOG2)
#define LAST_BLOCK "((1 << " BLOCKS_LOG2 ") - 1)"

#define ROW(a) NARROW_ROW(a, "smmlar " a ", " a ", r5, " a "\n")

/*
 * All rows, in groups of four, saturated to int8 only. Numbers are offsets in tfin_node and, for
 * r1, in the plan's header.
 *
 * Frame while groups run: 0 expanded inputs, 4 rounds, 8 start of every sum,
 * 12 multiplier_q32, 16 shift1, 20 Z, 24 end of the outputs, 28 where the first round enters
 * (it may be shorter), 32 flags, 36 accumulators. Registers then: r0 constants, r1 expanded,
 * r2 rounds left, r9 to r12 sums, lr output.
 */
__attribute__((naked, noinline)) static void groups(const tfin_node *node __attribute__((unused)),
                                                    const uint8_t *plan __attribute__((unused)),
                                                    uint8_t *arena __attribute__((unused)))
{
    __asm__ volatile(
        ".syntax unified\n"
        "push {r4-r11, lr}\n"
        "ldr r3, [r0, #32]\n" /* scratch */
        "ldr r4, [r0, #4]\n"  /* input */
        "adds r3, r3, r2\n"
        "adds r4, r4, r2\n"
        "ldrh r7, [r0, #12]\n" /* inputs */
        "adds r7, r7, #3\n"
        "lsrs r7, r7, #2\n"
        "mov r8, r7\n"
        "mov r6, r3\n"
        "movs r5, #0\n"
        "mvn r9, #0x007E007E\n" /* -127 twice */
        "mov r10, #0x007F007F\n"
        "mov r11, #0x00800080\n"
        "1:\n"
        "ldr r12, [r4], #4\n"
        "sxtab16 lr, r9, r12, ror #8\n" /* p */
        "rev16 r12, r12\n"
        "eor r12, r12, r10\n" /* q */
        "smlad r5, lr, r11, r5\n"
        "smlad r5, r12, r11, r5\n"
        "strd lr, r12, [r6], #8\n"
        "subs r7, r7, #1\n"
        "bne 1b\n"
        "rsbs r5, r5, #0\n" /* start: -128 * 256 * (sum of x in even columns) */
        "add r4, r8, #" LAST_BLOCK "\n"
        "lsrs r4, r4, #" BLOCKS_LOG2 "\n" /* rounds */
        "rsb r10, r8, #0\n"
        "and r10, r10, #" LAST_BLOCK "\n" /* blocks that the first round skips, 56 bytes each */
        "rsb r10, r10, r10, lsl #3\n"
        "adr r12, 3f\n"
        "add r10, r12, r10, lsl #3\n"
        "orr r10, r10, #1\n"       /* Thumb */
        "ldrd r6, r7, [r0, #20]\n" /* multiplier_q32, shift1 */
        "ldrsb r8, [r0, #28]\n"    /* zero point */
        "add r8, r8, r8\n"
        "add r8, r8, #1\n"
        "ldr lr, [r0, #8]\n" /* output */
        "add lr, lr, r2\n"
        "ldrh r9, [r0, #14]\n" /* outputs */
        "adds r9, r9, #3\n"
        "bic r9, r9, #3\n"
        "add r9, r9, lr\n"
        "ldrb r11, [r0, #1]\n"  /* flags */
        "bic r11, r11, #2\n"
        "ldr r12, [r1, #40]\n" /* accumulators */
        "add r12, r12, r2\n"
        "ldr r0, [r0, #16]\n" /* constants */
        "adds r0, r0, r1\n"
        "push {r3-r12}\n"
        "2:\n"
        "ldm sp, {r1, r2, r9}\n"
        "mov r10, r9\n"
        "mov r11, r9\n"
        "mov r12, r9\n"
        "ldr pc, [sp, #28]\n"
        ".balign 4\n"
        "3:\n" ROUND
        "subs r2, r2, #1\n"
        "bne 3b\n"
        "ldmia r0!, {r5-r8}\n"
        "add r9, r5, r9, asr #8\n"
        "add r10, r6, r10, asr #8\n"
        "add r11, r7, r11, asr #8\n"
        "add r12, r8, r12, asr #8\n"
        "ldrd r5, r6, [sp, #12]\n"
        "ldr r7, [sp, #20]\n"
        "ldr r1, [sp, #32]\n"
        "lsls r1, r1, #30\n" /* C: keep accumulators; Z: per-tensor */
        "bcs 5f\n"
        "4:\n"
        ROW("r9") ROW("r10") ROW("r11") ROW("r12")
        "ldr r1, [sp, #24]\n"
        "cmp lr, r1\n"
        "bne 2b\n"
        "add sp, sp, #40\n"
        "pop {r4-r11, pc}\n"
        "5:\n"
        "ldr r1, [sp, #36]\n"
        "stmia r1!, {r9-r12}\n"
        "str r1, [sp, #36]\n"
        "b 4b\n");
}
/* clang-format on */

void tfin_fully_connected(const tfin_node *node, const uint8_t *plan, uint8_t *arena)
{
    if ((node->flags & TFIN_FC_NARROW) == 0) {
        tfin_fully_connected_portable(node, plan, arena);
        return;
    }
    groups(node, plan, arena);
    clamp_outputs(node, arena);
}

#else
typedef int tfin_not_for_this_core; /* ISO C requires a declaration */
#endif
