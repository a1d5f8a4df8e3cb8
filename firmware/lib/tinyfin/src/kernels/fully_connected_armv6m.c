/* SPDX-License-Identifier: Apache-2.0 */
/*
 * FULLY_CONNECTED for cores with Thumb-1 instructions only (Cortex-M0, M0+, M1, M23): MULS gives
 * 32 bits, and nothing multiplies and accumulates.
 *
 * Layout COLUMNS: a word is one column of four rows, u = weight + 128 in [0, 255], and inputs are
 * x' = x + 128 in [0, 255]. Masked with 0x00FF00FF a word is two rows, and one MULS by x' gives
 * both products, each at most 65025 < 2^16, side by side. Two registers keep what they add up to,
 *
 *   S = sum of words (modulo 2^32) = A + 2^16 B
 *   T = sum of upper halves = B
 *   hence A = S - 2^16 T modulo 2^32,
 *
 * exact for any row length, as 32-bit accumulators are. That is 11 instructions for four
 * multiply-accumulates, 53 for 16 with loads and loop (3.3 each; floor 3.1). -128 * sum(x') starts
 * every sum; the rest is in the bias.
 *
 * Layout CANONICAL works too, at 61 instructions for 16: with a word's halves d = u0 + 256 s1 and
 * e = u2 + 256 s3 (signed) and p = x - 127 of the odd column,
 * d x0 + s1 (p - 256 x0) = u0 x0 + s1 p. Factors are -x0 and 256 x0 - p, which fit 16 bits, two in
 * a word; sums are kept negated.
 *
 * Requantisation costs 41 instructions an output. v = (acc * multiplier_q32 + 2^31) >> 32
 * (fully_connected.c) from 16-bit halves acc = 2^16 h + l, h signed, and
 * multiplier_q32 = 2^16 H + L:
 *
 *   t = h L + (l L >> 16)                   |h L| <= 2^15 (2^16 - 1), so t fits 32 bits signed
 *   u = l H + (t mod 2^16) + 2^15           l H <= 2^32 - 2^17 + 1, so u fits 32 bits unsigned
 *   v = h H + (t >> 16) + (u >> 16)
 *
 * Shifting in two steps loses nothing: floor(floor(a / 2^16) / 2^16) = floor(a / 2^32).
 */
#include "../network/net_plan.h"

#ifdef TFIN_FAMILY_ARMV6M

#ifdef TFIN_SABOTAGE_KERNEL /* wrong on purpose: rounding is half a unit off */
#define HALF "#14"
#else
#define HALF "#15"
#endif

#ifdef TFIN_TEST_SINGLE_ROUNDING
#define AWAY_FROM_ZERO "nop\n" /* wrong on purpose: the tests must notice */
#else
#define AWAY_FROM_ZERO "adds r1, r3\n"
#endif

/* clang-format off */
/* One column of four rows, in `word`. */
#define COLUMN(word, x)              \
    "ldrb r3, [r1, #" x "]\n"        \
    "lsrs r6, " word ", #8\n"        \
    "ands r6, r2\n"                  \
    "ands " word ", r2\n"            \
    "muls " word ", r3\n"            \
    "muls r6, r3\n"                  \
    "add r8, " word "\n"             \
    "add r10, r6\n"                  \
    "lsrs " word ", " word ", #16\n" \
    "lsrs r6, r6, #16\n"             \
    "add r9, " word "\n"             \
    "add r11, r6\n"

/* Four columns of one row, canonical. */
#define ROW(sum)            \
    "ldmia r0!, {r5}\n"     \
    "sxth r6, r5\n"         \
    "asrs r7, r6, #8\n"     \
    "muls r6, r1\n"         \
    "add " sum ", r6\n"     \
    "muls r7, r2\n"         \
    "add " sum ", r7\n"     \
    "asrs r6, r5, #16\n"    \
    "asrs r7, r5, #24\n"    \
    "muls r6, r3\n"         \
    "add " sum ", r6\n"     \
    "muls r7, r4\n"         \
    "add " sum ", r7\n"

/* Half a word of four inputs: x of the even column in r0, of the odd one in r1. Leaves the
 * packed factors in r0. */
#define FACTORS            \
    "adds r7, r0\n"        \
    "lsls r6, r0, #8\n"    \
    "subs r6, r1\n"        \
    "adds r6, #127\n"      \
    "lsls r6, r6, #16\n"   \
    "negs r0, r0\n"        \
    "uxth r0, r0\n"        \
    "orrs r0, r6\n"

/*
 * Frame: 0 start of every sum (canonical: negated), 4 inputs' end, 8 expanded inputs, 12 zero
 * point, 16 activation maximum, 20 minimum, 24 2^15, 28 multiplier (0: per-channel), 32 output,
 * 36 its end, 40 accumulators (0: not kept), 44 layout. r0 is in the constants; sums in r8 to
 * r11 while columns run.
 */
__attribute__((naked)) void tfin_fully_connected(const tfin_node *node __attribute__((unused)),
                                                 const uint8_t *plan __attribute__((unused)),
                                                 uint8_t *arena __attribute__((unused)))
{
    __asm__ volatile(
        ".syntax unified\n"
        "push {r4-r7, lr}\n"
        "mov r4, r8\n"
        "mov r5, r9\n"
        "mov r6, r10\n"
        "mov r7, r11\n"
        "push {r4-r7}\n"
        "sub sp, #48\n"
        "ldr r3, [r0, #4]\n" /* input */
        "adds r3, r2\n"
        "ldr r4, [r0, #32]\n" /* scratch */
        "adds r4, r2\n"
        "str r4, [sp, #8]\n"
        "ldrb r5, [r0, #1]\n" /* flags */
        "movs r7, r0\n"
        "adds r7, #20\n"
        "lsrs r6, r5, #1\n"
        "bcc 1f\n"
        "movs r7, #0\n"
        "1:\n"
        "str r7, [sp, #28]\n"
        "movs r7, #0\n"
        "lsrs r6, r6, #2\n"
        "bcc 1f\n"
        "ldr r7, [r1, #40]\n"
        "adds r7, r2\n"
        "1:\n"
        "str r7, [sp, #40]\n"
        "movs r6, #28\n"
        "ldrsb r7, [r0, r6]\n"
        "str r7, [sp, #12]\n"
        "movs r6, #30\n"
        "ldrsb r7, [r0, r6]\n"
        "str r7, [sp, #16]\n"
        "movs r6, #29\n"
        "ldrsb r7, [r0, r6]\n"
        "str r7, [sp, #20]\n"
        "movs r7, #1\n"
        "lsls r7, r7, " HALF "\n"
        "str r7, [sp, #24]\n"
        "ldr r7, [r0, #8]\n" /* output */
        "adds r7, r2\n"
        "str r7, [sp, #32]\n"
        "ldrh r6, [r0, #14]\n" /* outputs */
        "adds r7, r6\n"
        "str r7, [sp, #36]\n"
        "ldrh r6, [r1, #6]\n"
        "str r6, [sp, #44]\n"
        "ldrh r5, [r0, #12]\n"
        "adds r5, #3\n"
        "lsrs r5, r5, #2\n" /* blocks */
        "ldr r7, [r0, #16]\n"
        "adds r1, r7\n"
        "mov r12, r1\n" /* constants */
        "movs r7, #0\n"
        "ldr r2, 15f\n"
        "cmp r6, #0\n"
        "beq 3f\n"

        "movs r6, #128\n" /* x' = x + 128, and the sum of them */
        "lsls r1, r6, #8\n"
        "orrs r6, r1\n"
        "lsls r1, r6, #16\n"
        "orrs r6, r1\n"
        "2:\n"
        "ldmia r3!, {r0}\n"
        "eors r0, r6\n"
        "stmia r4!, {r0}\n"
        "lsrs r1, r0, #8\n"
        "ands r1, r2\n"
        "ands r0, r2\n"
        "adds r1, r0\n"
        "lsrs r0, r1, #16\n"
        "uxth r1, r1\n"
        "adds r7, r0\n"
        "adds r7, r1\n"
        "subs r5, #1\n"
        "bne 2b\n"
        "lsls r7, r7, #7\n"
        "negs r7, r7\n"
        "b 4f\n"

        "3:\n" /* factors, and the sum of even columns */
        "ldmia r3!, {r2}\n"
        "sxtb r0, r2\n"
        "sxth r1, r2\n"
        "asrs r1, r1, #8\n"
        FACTORS
        "stmia r4!, {r0}\n"
        "asrs r0, r2, #16\n"
        "sxtb r0, r0\n"
        "asrs r1, r2, #24\n"
        FACTORS
        "stmia r4!, {r0}\n"
        "subs r5, #1\n"
        "bne 3b\n"
        "lsls r7, r7, #7\n"

        "4:\n"
        "str r7, [sp, #0]\n"
        "str r4, [sp, #4]\n"
        "mov r0, r12\n"

        "5:\n" /* a group of four rows */
        "ldr r3, [sp, #0]\n"
        "ldr r4, [sp, #4]\n"
        "mov r12, r4\n"
        "ldr r1, [sp, #8]\n"
        "ldr r5, [sp, #44]\n"
        "cmp r5, #0\n"
        "beq 7f\n"
        "ldr r2, 15f\n"
        "mov r8, r3\n"
        "mov r10, r3\n"
        "movs r4, #0\n"
        "mov r9, r4\n"
        "mov r11, r4\n"
        "6:\n"
        "ldmia r0!, {r4, r5}\n"
        COLUMN("r4", "0") COLUMN("r5", "1")
        "ldmia r0!, {r4, r5}\n"
        COLUMN("r4", "2") COLUMN("r5", "3")
        "adds r1, #4\n"
        "cmp r1, r12\n"
        "bne 6b\n"
        "mov r5, r9\n"
        "mov r6, r11\n"
        "lsls r1, r5, #16\n"
        "lsls r2, r6, #16\n"
        "ldr r7, [sp, #0]\n"
        "adds r5, r7\n"
        "adds r6, r7\n"
        "mov r3, r8\n"
        "mov r4, r10\n"
        "subs r3, r1\n"
        "subs r4, r2\n"
        "b 9f\n"
        ".balign 4\n"
        "15:\n"
        ".word 0x00FF00FF\n"

        "7:\n"
        "mov lr, r1\n"
        "mov r8, r3\n"
        "mov r9, r3\n"
        "mov r10, r3\n"
        "mov r11, r3\n"
        "8:\n"
        "mov r7, lr\n"
        "ldmia r7!, {r1, r3}\n"
        "mov lr, r7\n"
        "asrs r2, r1, #16\n"
        "sxth r1, r1\n"
        "asrs r4, r3, #16\n"
        "sxth r3, r3\n"
        ROW("r8") ROW("r9") ROW("r10") ROW("r11")
        "cmp lr, r12\n"
        "bne 8b\n"
        "mov r3, r8\n"
        "mov r4, r9\n"
        "mov r5, r10\n"
        "mov r6, r11\n"
        "negs r3, r3\n"
        "negs r4, r4\n"
        "negs r5, r5\n"
        "negs r6, r6\n"

        "9:\n" /* r3 to r6 are the sums */
        "ldmia r0!, {r1, r2}\n"
        "adds r3, r1\n"
        "adds r4, r2\n"
        "ldmia r0!, {r1, r2}\n"
        "adds r5, r1\n"
        "adds r6, r2\n"
        "ldr r7, [sp, #40]\n"
        "cmp r7, #0\n"
        "beq 10f\n"
        "stmia r7!, {r3-r6}\n"
        "str r7, [sp, #40]\n"
        "10:\n"
        "push {r3-r6}\n"
        "add r7, sp, #28\n"
        "ldmia r7!, {r1-r6}\n"
        "mov r8, r1\n"
        "mov r9, r2\n"
        "mov r10, r3\n"
        "mov r11, r4\n"
        "movs r7, #0\n"
        "cmp r5, #0\n"
        "bne 11f\n"
        "movs r5, r0\n"
        "adds r0, #32\n"
        "movs r7, #8\n"
        "11:\n"
        "mov r12, r7\n"

        /* one row: r5 its multiplier, r6 output, r8 zero point, r9 maximum,
         * r10 minimum, r11 2^15 */
        "12:\n"
        "pop {r1}\n"
        "ldmia r5!, {r4, r7}\n"
        "subs r5, #8\n"
        "cmp r7, #0\n"
        "bge 13f\n"
        "mvns r7, r7\n"
        "lsls r1, r7\n"
        "13:\n"
        "lsrs r2, r4, #16\n"
        "uxth r4, r4\n"
        "uxth r3, r1\n"
        "asrs r1, r1, #16\n"
        "movs r7, r3\n"
        "muls r7, r4\n"
        "lsrs r7, r7, #16\n"
        "muls r4, r1\n"
        "adds r4, r7\n"
        "muls r3, r2\n"
        "muls r1, r2\n"
        "asrs r7, r4, #16\n"
        "adds r1, r7\n"
        "uxth r4, r4\n"
        "adds r3, r4\n"
        "add r3, r11\n"
        "lsrs r3, r3, #16\n"
        "adds r1, r3\n"
        "ldr r7, [r5, #4]\n"
        "cmp r7, #0\n"
        "blt 14f\n"
        "asrs r3, r1, #31\n"
        AWAY_FROM_ZERO
        "asrs r1, r7\n"
        "adds r1, #1\n"
        "asrs r1, r1, #1\n"
        "14:\n"
        "add r5, r12\n"
        "add r1, r8\n"
        "cmp r1, r9\n"
        "ble 16f\n"
        "mov r1, r9\n"
        "16:\n"
        "cmp r1, r10\n"
        "bge 17f\n"
        "mov r1, r10\n"
        "17:\n"
        "strb r1, [r6]\n"
        "adds r6, #1\n"
        "lsls r1, r6, #30\n"
        "bne 12b\n"
        "str r6, [sp, #32]\n"
        "ldr r7, [sp, #36]\n"
        "cmp r6, r7\n"
        "bhs 18f\n"
        "b 5b\n"
        "18:\n"
        "add sp, #48\n"
        "pop {r4-r7}\n"
        "mov r8, r4\n"
        "mov r9, r5\n"
        "mov r10, r6\n"
        "mov r11, r7\n"
        "pop {r4-r7, pc}\n");
}
/* clang-format on */

#else
typedef int tfin_not_for_a_core_with_thumb2; /* ISO C requires a declaration */
#endif
