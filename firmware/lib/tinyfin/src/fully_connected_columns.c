/* SPDX-License-Identifier: Apache-2.0 */
/*
 * FULLY_CONNECTED in layout COLUMNS for cores that multiply without SIMD: ARMv7-M (Cortex-M3), rv32im, Xtensa lx106.
 *
 * A word is one column of four rows, u = weight + 128 in [0, 255]; inputs are x' = x + 128 in [0, 255], expanded once per layer. -128 * sum(x') starts
 * every sum; the rest is in the bias. Sums are modulo 2^32, as 32-bit accumulators are.
 *
 * ARMv7-M: under the mask 0xFF0000FF a word is u0 + 2^24 u3, turned by 16 bits u2 + 2^24 u1, and one UMLAL by x' serves two rows: a 64-bit register
 * pair holds A + 2^24 B. A and B are separated after 256 columns at most: 256 * 255 * 255 < 2^24. That is 23 instructions for 16
 * multiply-accumulates with loads and loop (1.44 each; floor 1.31: without the loop).
 *
 * rv32im and lx106: load a byte, multiply, add, for each weight, and one load of x' for four: 55 instructions for 16 with the loop (3.44 each; floor 3.25).
 * No byte has a sign to extend, which the lx106 cannot do while loading.
 *
 * Requantisation (fully_connected.c): v = (acc * multiplier_q32 + 2^31) >> 32, multiplier_q32 unsigned with its top bit set.
 * ARMv7-M: one SMLAL, with multiplier_q32 read as multiplier_q32 - 2^32 and acc * 2^32 added again: the pair starts as (2^31, acc).
 * rv32im: MULHSU, and the top bit of MUL is the carry of rounding. lx106, which has the low half of a product only: 16-bit halves
 * acc = 2^16 h + l, h signed, and multiplier_q32 = 2^16 H + L, as in fully_connected_armv6m.c, whose bounds hold here. |v| <= |acc|.
 *
 * Layout CANONICAL works too: bytes of even columns are unsigned and meet x, those of odd columns are signed and meet x - 127.
 */
#include "net.h"

#ifdef TFIN_KERNEL_COLUMNS

#ifdef __arm__
#ifdef TFIN_SABOTAGE_KERNEL /* wrong on purpose: row 1 is counted as row 0 */
#define ROW1 "r8"
#else
#define ROW1 "r9"
#endif

/* One column. */
#define COLUMN(word)                  \
    "ldrb lr, [r1], #1\n"             \
    "and r3, r12, " word ", ror #16\n" \
    "and " word ", r12, " word "\n"   \
    "umlal r4, r5, " word ", lr\n"    \
    "umlal r6, r7, r3, lr\n"

/* Adds `blocks` (at most 64) blocks of four columns to the sums of four rows. Returns what follows the weights. */
__attribute__((naked, noinline)) static const uint8_t *columns(const uint8_t *w __attribute__((unused)),
                                                               const uint8_t *x __attribute__((unused)),
                                                               uint32_t blocks __attribute__((unused)),
                                                               uint32_t *sums __attribute__((unused)))
{
    __asm__ volatile(
        ".syntax unified\n"
        "push {r3-r11, lr}\n"
        "add r2, r1, r2, lsl #2\n"
        "mov r12, #0xFF\n"
        "orr r12, r12, #0xFF000000\n"
        "movs r4, #0\n"
        "movs r5, #0\n"
        "movs r6, #0\n"
        "movs r7, #0\n"
        "1:\n"
        "ldmia r0!, {r8-r11}\n"
        COLUMN("r8") COLUMN("r9") COLUMN("r10") COLUMN("r11")
        "cmp r1, r2\n"
        "bne 1b\n"
        "ldr r3, [sp]\n"
        "ldm r3, {r8-r11}\n"
        "bic lr, r4, #0xFF000000\n"
        "add r8, r8, lr\n"
        "bic lr, r6, #0xFF000000\n"
        "add r10, r10, lr\n"
        "add r11, r11, r4, lsr #24\n"
        "add r11, r11, r5, lsl #8\n"
        "add " ROW1 ", " ROW1 ", r6, lsr #24\n"
        "add " ROW1 ", " ROW1 ", r7, lsl #8\n"
        "stm r3, {r8-r11}\n"
        "pop {r3-r11, pc}\n");
}

#define BLOCKS_AT_ONCE 64u

/* (acc * multiplier_q32 + 2^31) >> 32 */
static inline int32_t rounded_high(int32_t acc, uint32_t multiplier_q32)
{
    uint32_t rest = 0x80000000u;
    int32_t v = acc;
    __asm__("smlal %0, %1, %2, %3" : "+r"(rest), "+r"(v) : "r"(acc), "r"(multiplier_q32));
    return v;
}

#else

static const uint8_t *columns(const uint8_t *w, const uint8_t *x, uint32_t blocks, uint32_t *sums)
{
    uint32_t a = sums[0], b = sums[1], c = sums[2], d = sums[3];
    const uint8_t *end = x + 4u * blocks;
    do {
        uint32_t factor = x[0];
        a += w[0] * factor, b += w[1] * factor, c += w[2] * factor, d += w[3] * factor;
        factor = x[1];
        a += w[4] * factor, b += w[5] * factor, c += w[6] * factor, d += w[7] * factor;
        factor = x[2];
        a += w[8] * factor, b += w[9] * factor, c += w[10] * factor, d += w[11] * factor;
        factor = x[3];
#ifdef TFIN_SABOTAGE_KERNEL /* wrong on purpose: the last row meets the weights of the one before */
        a += w[12] * factor, b += w[13] * factor, c += w[14] * factor, d += w[14] * factor;
#else
        a += w[12] * factor, b += w[13] * factor, c += w[14] * factor, d += w[15] * factor;
#endif
        x += 4;
        w += 16;
    } while (x != end);
    sums[0] = a, sums[1] = b, sums[2] = c, sums[3] = d;
    return w;
}

/* (acc * multiplier_q32 + 2^31) >> 32 */
static inline int32_t rounded_high(int32_t acc, uint32_t multiplier_q32)
{
#ifdef __riscv
    int32_t v;
    __asm__("mulhsu %0, %1, %2" : "=r"(v) : "r"(acc), "r"(multiplier_q32));
    return v + (int32_t)((uint32_t)acc * multiplier_q32 >> 31);
#else
    uint32_t l = (uint32_t)acc & 0xFFFFu;
    int32_t h = acc >> 16;
    uint32_t low = multiplier_q32 & 0xFFFFu;
    uint32_t high = multiplier_q32 >> 16;
    int32_t t = h * (int32_t)low + (int32_t)(l * low >> 16);
    uint32_t u = l * high + ((uint32_t)t & 0xFFFFu) + 0x8000u;
    return h * (int32_t)high + (t >> 16) + (int32_t)(u >> 16);
#endif
}
#endif

/* The same for the canonical layout; x is the input itself. */
__attribute__((noinline)) static const uint8_t *canonical(const uint8_t *w, const uint8_t *x, uint32_t blocks, uint32_t *sums)
{
    const uint8_t *end = x + 4u * blocks;
    do {
        int32_t even0 = (int8_t)x[0], odd0 = (int8_t)x[1] - 127, even1 = (int8_t)x[2], odd1 = (int8_t)x[3] - 127;
        for (uint32_t row = 0; row < 4u; row++, w += 4) {
            sums[row] += (uint32_t)(w[0] * even0 + (int8_t)w[1] * odd0 + w[2] * even1 + (int8_t)w[3] * odd1);
        }
        x += 4;
    } while (x != end);
    return w;
}

void tfin_fully_connected(const tfin_node *node, const uint8_t *plan, uint8_t *arena)
{
    int by_columns = tfin_net_layout(plan) != TFIN_LAYOUT_CANONICAL;
    uint32_t blocks = tfin_fc_blocks(node);
    const uint8_t *x = arena + node->input;
    uint8_t *expanded = arena + node->scratch;
    uint32_t start = 0;
    for (uint32_t i = 0; i < 4u * blocks; i += 4u) {
        uint32_t word = tfin_plan_u32(x, i) ^ 0x80808080u;
        __builtin_memcpy(__builtin_assume_aligned(expanded + i, 4), &word, sizeof word);
        uint32_t even = word & 0x00FF00FFu; /* canonical: x + 128 of even columns only, 128 too much for each */
        uint32_t pairs = even + (by_columns ? word >> 8 & 0x00FF00FFu : 0u);
        start -= (pairs & 0xFFFFu) + (pairs >> 16);
    }
    start *= 128u;
    if (by_columns) {
        x = expanded;
    } else {
        start += 32768u * blocks;
    }

    const uint8_t *w = plan + node->constants;
    const uint8_t *scale = tfin_fc_multiplier(node);
    uint32_t stride = (node->flags & TFIN_FC_PER_CHANNEL) != 0 ? 8u : 0u;
    int32_t *kept = (node->flags & TFIN_FC_ACCUMULATORS) != 0 ? tfin_net_accumulators(plan, arena) : NULL;
    int32_t zero_point = node->zero_point;
    int32_t low = node->activation_min;
    int32_t high = node->activation_max;
    uint8_t *y = arena + node->output;
    const uint8_t *end = y + node->outputs;

    while (y < end) {
        uint32_t sums[4] = {start, start, start, start};
#ifdef BLOCKS_AT_ONCE
        const uint8_t *from = x;
        for (uint32_t left = blocks; left != 0;) {
            uint32_t some = left < BLOCKS_AT_ONCE ? left : BLOCKS_AT_ONCE;
            w = by_columns ? columns(w, from, some, sums) : canonical(w, from, some, sums);
            from += 4u * some;
            left -= some;
        }
#else
        w = by_columns ? columns(w, x, blocks, sums) : canonical(w, x, blocks, sums);
#endif
        if (stride != 0) {
            scale = w + 16;
        }
        for (uint32_t i = 0; i < 4u; i++, w += 4) {
            int32_t acc = (int32_t)(sums[i] + tfin_plan_u32(w, 0));
            if (kept != NULL) {
                *kept++ = acc;
            }
            uint32_t multiplier_q32 = tfin_plan_u32(scale, 0);
            int32_t shift1 = (int32_t)tfin_plan_u32(scale, 4);
            scale += stride;
            if (shift1 < 0) {
                acc = (int32_t)((uint32_t)acc << (uint32_t)~shift1);
            }
            int32_t v = rounded_high(acc, multiplier_q32);
            if (shift1 >= 0) {
#ifndef TFIN_TEST_SINGLE_ROUNDING /* without it wrong on purpose: the tests must notice */
                v += v >> 31;
#endif
                v = ((v >> shift1) + 1) >> 1;
            }
            v = (int32_t)((uint32_t)v + (uint32_t)zero_point);
            v = v < low ? low : v;
            v = v > high ? high : v;
            *y++ = (uint8_t)v;
        }
        w += 4u * stride;
    }
}

#else
typedef int tfin_not_by_columns; /* ISO C wants a declaration */
#endif
