/* SPDX-License-Identifier: Apache-2.0 */
/*
 * FULLY_CONNECTED for ARMv7-M without the DSP instructions (Cortex-M3): no SIMD, but UMLAL
 * adds a product to 64 bits.
 *
 * Layout COLUMNS: a word is one column of four rows, u = weight + 128 in [0, 255]; inputs are
 * x' = x + 128 in [0, 255], expanded once per layer. Under the mask 0xFF0000FF a word is
 * u0 + 2^24 u3, turned by 16 bits u2 + 2^24 u1, and one UMLAL by x' serves two rows: a register
 * pair holds A + 2^24 B. They are taken apart after 256 columns at most: 256 * 255 * 255 < 2^24.
 * That is 23 instructions for 16 multiply-accumulates with loads and loop (1.44 each; floor 1.31:
 * without the loop). -128 * sum(x') is in every sum; the rest is in the bias. Sums are modulo
 * 2^32, as 32-bit accumulators are.
 *
 * Layout CANONICAL works too, at 50 instructions for 16: a load of a byte and an MLA each.
 *
 * Requantisation (fully_connected.c): v = (acc * multiplier_q32 + 2^31) >> 32 is one SMLAL,
 * with multiplier_q32 read as multiplier_q32 - 2^32 and acc * 2^32 added again: the pair
 * starts as (2^31, acc). The rest is that of fully_connected_dsp.c: 9 instructions for an
 * output, and 8 for its share of the group of four rows. Layers that are not narrow take the
 * general path, row by row.
 */
#include "../network/net_plan.h"

#ifdef TFIN_FAMILY_ARMV7M

#include "fully_connected_ssat.h"

#ifdef TFIN_SABOTAGE_KERNEL /* wrong on purpose: row 1 is counted as row 0 */
#define ROW1 "r8"
#else
#define ROW1 "r9"
#endif

/* clang-format off */
/* One column of four rows. */
#define COLUMN(word)                  \
    "ldrb lr, [r1], #1\n"             \
    "and r3, r12, " word ", ror #16\n" \
    "and " word ", r12, " word "\n"   \
    "umlal r4, r5, " word ", lr\n"    \
    "umlal r6, r7, r3, lr\n"

/* Adds the sums of four rows to r8 to r11. */
#define TAKE_APART                      \
    "bic lr, r4, #0xFF000000\n"         \
    "add r8, r8, lr\n"                  \
    "bic lr, r6, #0xFF000000\n"         \
    "add r10, r10, lr\n"                \
    "add r11, r11, r4, lsr #24\n"       \
    "add r11, r11, r5, lsl #8\n"        \
    "add " ROW1 ", " ROW1 ", r6, lsr #24\n" \
    "add " ROW1 ", " ROW1 ", r7, lsl #8\n"

#define NO_SUMS                         \
    "movs r4, #0\n"                     \
    "movs r5, #0\n"                     \
    "movs r6, #0\n"                     \
    "movs r7, #0\n"

/* One column of four rows, canonical; `load` is ldrb in even columns, ldrsb in odd ones. */
#define CANONICAL(load, at)             \
    load " r3, [r0, #" at "]\n"         \
    "mla r8, r3, lr, r8\n"              \
    load " r3, [r0, #" at " + 4]\n"     \
    "mla " ROW1 ", r3, lr, " ROW1 "\n"  \
    load " r3, [r0, #" at " + 8]\n"     \
    "mla r10, r3, lr, r10\n"            \
    load " r3, [r0, #" at " + 12]\n"    \
    "mla r11, r3, lr, r11\n"

/* v in `a`. */
#define ROUNDED_HIGH(a)                 \
    "mov r4, #0x80000000\n"             \
    "smlal r4, " a ", " a ", r5\n"

#define ROW(a) NARROW_ROW(a, ROUNDED_HIGH(a))

/*
 * All rows, in groups of four, saturated to int8 only. Numbers are offsets in tfin_node and, for
 * r1, in the plan's header.
 *
 * Frame while groups run: 0 multiplier_q32, 4 shift1, 8 Z, 12 output, 16 x, 20 end of the first 256
 * columns of it, 24 start of every sum, 28 end of x, 32 flags (1 per-channel, 2 accumulators or not
 * narrow, 4 not narrow), 36 a group's first instruction, 40 end of the output, 44 accumulators (0:
 * not kept), 48 more than 256 columns, 52 sums so far. r0 constants, r12 0xFF0000FF.
 */
__attribute__((naked, noinline)) static void groups(const tfin_node *node __attribute__((unused)),
                                                    const uint8_t *plan __attribute__((unused)),
                                                    uint8_t *arena __attribute__((unused)))
{
    __asm__ volatile(
        ".syntax unified\n"
        "push {r4-r11, lr}\n"
        "sub sp, #68\n"
        "ldr r3, [r0, #4]\n" /* input */
        "add r3, r3, r2\n"
        "ldrh r4, [r0, #12]\n" /* inputs */
        "adds r4, #3\n"
        "bic r4, r4, #3\n"
        "movs r5, #0\n"
        "ldrh r6, [r1, #6]\n" /* layout */
        "cbnz r6, 1f\n"
        "adr.w r10, 6f + 1\n" /* + 1: Thumb */
        "mov r7, r3\n"
        "add r4, r4, r3\n"
        "2:\n"
        "ldrsb lr, [r3], #2\n"
        "sub r5, r5, lr\n"
        "cmp r3, r4\n"
        "bne 2b\n"
        "mov r6, r4\n" /* one stretch, however long */
        "b 3f\n"
        "1:\n"
        "adr.w r10, 4f + 1\n"
        "ldr r7, [r0, #32]\n" /* scratch */
        "add r7, r7, r2\n"
        "mov r6, r7\n"
        "add r4, r4, r7\n"
        "mov r9, #0x00FF00FF\n"
        "2:\n"
        "ldr lr, [r3], #4\n"
        "eor lr, lr, #0x80808080\n"
        "str lr, [r6], #4\n"
        "and r8, r9, lr\n"
        "and lr, r9, lr, lsr #8\n"
        "add r8, r8, lr\n"
        "sub r5, r5, r8, lsr #16\n"
        "uxth r8, r8\n"
        "subs r5, r5, r8\n"
        "cmp r6, r4\n"
        "bne 2b\n"
        "add r6, r7, #256\n"
        "cmp r6, r4\n"
        "it hi\n"
        "movhi r6, r4\n"
        "3:\n"
        "lsls r5, r5, #7\n"
        "strd r7, r6, [sp, #16]\n"
        "strd r5, r4, [sp, #24]\n"
        "strd r5, r5, [sp, #52]\n"
        "strd r5, r5, [sp, #60]\n"
        "subs r4, r4, r6\n"
        "str r4, [sp, #48]\n"
        "ldrd r4, r5, [r0, #20]\n" /* multiplier_q32, shift1 */
        "ldrsb r6, [r0, #28]\n"
        "add r6, r6, r6\n"
        "adds r6, #1\n"
        "ldr r7, [r0, #8]\n" /* output */
        "add r7, r7, r2\n"
        "stm sp, {r4-r7}\n"
        "ldrb r3, [r0, #1]\n" /* flags */
        "eor r9, r3, #2\n"
        "lsls r4, r9, #1\n"
        "and r4, r4, #4\n"
        "tst r9, #6\n"
        "and r9, r9, #1\n"
        "orr r9, r9, r4\n"
        "it ne\n"
        "orrne r9, #2\n"
        "ldrh r11, [r0, #14]\n" /* outputs */
        "add r11, r11, r7\n"
        "ldr r12, [r1, #40]\n" /* accumulators */
        "add r12, r12, r2\n"
        "lsls r3, r3, #29\n"
        "it pl\n"
        "movpl r12, #0\n"
        "add r3, sp, #32\n"
        "stm r3, {r9-r12}\n"
        "mov r12, #0xFF\n"
        "orr r12, r12, #0xFF000000\n"
        "ldr r0, [r0, #16]\n" /* constants */
        "add r0, r0, r1\n"
        "bx r10\n"

        ".balign 4\n"
        "4:\n" /* a group, layout COLUMNS */
        "ldrd r1, r2, [sp, #16]\n" NO_SUMS
        "5:\n"
        "ldmia r0!, {r8-r11}\n"
        COLUMN("r8") COLUMN("r9") COLUMN("r10") COLUMN("r11")
        "cmp r1, r2\n"
        "bne 5b\n"
        "add r3, sp, #52\n"
        "ldm r3, {r8-r11}\n" TAKE_APART
        "ldr r4, [sp, #48]\n"
        "cbz r4, 8f\n"
        "ldrd r5, r4, [sp, #24]\n"
        "cmp r1, r4\n"
        "bne 7f\n"
        "str r5, [r3]\n"
        "str r5, [r3, #4]\n"
        "str r5, [r3, #8]\n"
        "str r5, [r3, #12]\n"
        "b 8f\n"
        "7:\n"
        "stm r3, {r8-r11}\n"
        "add r2, r1, #256\n"
        "cmp r2, r4\n"
        "it hi\n"
        "movhi r2, r4\n" NO_SUMS
        "b 5b\n"

        "8:\n"
        "ldmia r0!, {r4-r7}\n"
        "add r8, r8, r4\n"
        "add r9, r9, r5\n"
        "add r10, r10, r6\n"
        "add r11, r11, r7\n"

        "9:\n" /* r8 to r11 are the accumulators */
        "ldr r1, [sp, #32]\n"
        "lsls r1, r1, #31\n" /* C: something special; Z: per-tensor */
        "ldm sp, {r5-r7, lr}\n"
        "bcs 11f\n"
        "12:\n" ROW("r8") ROW("r9") ROW("r10") ROW("r11")
        "13:\n"
        "ldrd r10, r11, [sp, #36]\n"
        "str lr, [sp, #12]\n"
        "cmp lr, r11\n"
        "it lo\n"
        "bxlo r10\n"
        "add sp, #68\n"
        "pop {r4-r11, pc}\n"

        "11:\n"
        "ldr r2, [sp, #44]\n"
        "cbz r2, 14f\n"
        "stmia r2!, {r8-r11}\n"
        "str r2, [sp, #44]\n"
        "14:\n"
        "ldr r2, [sp, #32]\n"
        "lsls r2, r2, #30\n" /* C: not narrow */
        "bcs 14f\n"
        "cmp r1, #0\n"
        "b 12b\n"
        "14:\n" /* one row, whatever its shift */
        "cmp r1, #0\n"
        "it ne\n"
        "ldmiane r0!, {r5, r6}\n"
        "cmp r6, #0\n"
        "itt lt\n"
        "mvnlt r2, r6\n"
        "lsllt r8, r8, r2\n" ROUNDED_HIGH("r8")
        "cmp r6, #0\n"
        "blt 15f\n" AWAY_FROM_ZERO("r8")
        "asr r8, r8, r6\n"
        "adds r8, r8, #1\n"
        "asr r8, r8, #1\n"
        "15:\n"
        "add r8, r8, r7, asr #1\n"
        "ssat r8, #8, r8\n"
        "strb r8, [lr], #1\n"
        "mov r8, r9\n"
        "mov r9, r10\n"
        "mov r10, r11\n"
        "tst lr, #3\n"
        "bne 14b\n"
        "b 13b\n"

        ".balign 4\n"
        "6:\n" /* a group, layout CANONICAL */
        "ldrd r1, r2, [sp, #16]\n"
        "ldr r8, [sp, #24]\n"
        "mov r9, r8\n"
        "mov r10, r8\n"
        "mov r11, r8\n"
        "10:\n"
        "ldrsb lr, [r1], #1\n" CANONICAL("ldrb", "0")
        "ldrsb lr, [r1], #1\n"
        "sub lr, lr, #127\n" CANONICAL("ldrsb", "1")
        "adds r0, #2\n"
        "tst r1, #2\n"
        "it eq\n"
        "addeq r0, #12\n" /* four columns are done */
        "cmp r1, r2\n"
        "bne 10b\n"
        "b 8b\n");
}
/* clang-format on */

void tfin_fully_connected(const tfin_node *node, const uint8_t *plan, uint8_t *arena)
{
    groups(node, plan, arena);
    clamp_outputs(node, arena);
}

#else
typedef int tfin_not_for_this_core; /* ISO C requires a declaration */
#endif
