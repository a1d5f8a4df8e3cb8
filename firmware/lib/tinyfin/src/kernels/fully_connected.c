/* SPDX-License-Identifier: Apache-2.0 */
/* FULLY_CONNECTED in portable C. */
#include "../network/net_plan.h"

/*
 * TFLM's requantisation, and what is computed here instead.
 *
 * With x = acc << max(shift, 0), m in [2^30, 2^31) and e = max(-shift, 0), TFLM (gemmlowp's
 * double rounding) takes
 *
 *   v = SaturatingRoundingDoublingHighMul(x, m)
 *     = trunc((x*m + (x*m >= 0 ? 2^30 : 1 - 2^30)) / 2^31)
 *   r = RoundingDivideByPOT(v, e)
 *     = (v >> e) + ((v & mask) > (mask >> 1) + (v < 0)),  mask = 2^e - 1
 *
 * 1. v = (x*m + 2^30) >> 31. For p = x*m >= 0 truncation is the floor. For p < 0,
 *    trunc((p + 1 - 2^30) / 2^31) is the ceiling of a negative number, and
 *    ceil(a / n) = floor((a + n - 1) / n): floor((p + 2^30) / 2^31). It saturates only
 *    for x = m = -2^31; m > 0.
 * 2. For e >= 1: r = (((v + (v >> 31)) >> (e - 1)) + 1) >> 1. r rounds halves away from zero. For
 *    v >= 0 that is floor(v / 2^e + 1/2), and floor((floor(v / 2^(e-1)) + 1) / 2) equals it. For
 *    v < 0 it is ceil(v / 2^e - 1/2) = floor((v - 1) / 2^e + 1/2): the same with v - 1. m < 2^31
 *    keeps |v| < 2^31, so neither v - 1 nor the + 1 leaves 32 bits.
 *
 * The plan stores multiplier_q32 = 2m (unsigned) and shift1 = e - 1 (below 0: no right shift, and
 * -1 - shift1 to the left).
 */
#if defined(TFIN_FAMILY_MVE) || defined(TFIN_FAMILY_ARMV6M) || defined(TFIN_FAMILY_ARMV7M) || \
    defined(TFIN_FAMILY_RV32) || defined(TFIN_FAMILY_LX106)
/* These families' kernels leave nothing to this one. */
typedef int tfin_no_portable_kernel; /* ISO C requires a declaration */
#else
static int32_t requantise(int32_t acc, uint32_t multiplier_q32, int32_t shift1)
{
    int32_t left = shift1 < -1 ? -1 - shift1 : 0;
    int32_t x = (int32_t)((uint32_t)acc << left);
#ifdef TFIN_TEST_SINGLE_ROUNDING
    /* A wrong answer on purpose: the tests must notice. */
    int32_t total = 32 + (shift1 < 0 ? 0 : shift1 + 1);
    return (int32_t)(((int64_t)x * (int64_t)multiplier_q32 + ((int64_t)1 << (total - 1))) >> total);
#else
#ifdef TFIN_FAMILY_DSP
    int32_t v;
    /* proof in fully_connected_dsp.c */
    __asm__("smmlar %0, %1, %2, %1" : "=r"(v) : "r"(x), "r"(multiplier_q32));
#else
    int32_t v = (int32_t)(((int64_t)x * (int32_t)(multiplier_q32 >> 1) + (1 << 30)) >> 31);
#endif
    if (shift1 >= 0) {
        v = (((v + (v >> 31)) >> shift1) + 1) >> 1;
    }
    return v;
#endif
}

/* Ends a row: adds its bias, keeps the accumulator if asked to, requantises, clamps, stores. `bias`
 * is the row's in its group. */
static void finish(const tfin_node *node, const uint8_t *plan, uint8_t *arena, uint32_t row,
                   uint32_t sum, const uint8_t *bias)
{
    const uint8_t *scale = tfin_fc_multiplier(node);
    int32_t acc = (int32_t)(sum + tfin_plan_u32(bias, 0));
#ifdef TFIN_SABOTAGE_KERNEL
    acc += (row & 3u) == 3u ? 64 : 0; /* wrong on purpose: the last row of a group */
#endif
    if ((node->flags & TFIN_FC_PER_CHANNEL) != 0) {
        scale = bias + 16u + 4u * (row & 3u); /* behind four biases, twice as long */
    }
    if ((node->flags & TFIN_FC_ACCUMULATORS) != 0) {
        tfin_net_accumulators(plan, arena)[row] = acc;
    }
    int32_t y = requantise(acc, tfin_plan_u32(scale, 0), (int32_t)tfin_plan_u32(scale, 4));
    y = (int32_t)((uint32_t)y + (uint32_t)(int32_t)node->zero_point);
    y = y < node->activation_min ? node->activation_min : y;
    y = y > node->activation_max ? node->activation_max : y;
    arena[node->output + row] = (uint8_t)y;
}

/* Bytes of even columns are weight + 128 (unsigned) and meet x; bytes of odd columns are the weight
 * and meet x - 127. The surplus 128 * sum(x of even columns) leaves through `start`, the 127 is in
 * the bias. Sums are modulo 2^32, as a 32-bit accumulator's are. */
#define EVEN(w, x) ((uint32_t)((int32_t)(w) * (x)))
#define ODD(w, x) ((uint32_t)((int32_t)(int8_t)(w) * (x)))

#if TFIN_LAYOUTS == 7u /* a host: it answers for every core */
/* What row `row` of a group sums in layouts ROWS and COLUMNS, modulo 2^32. */
static uint32_t plain_sum(uint32_t layout, const uint8_t *w, const int8_t *x, uint32_t inputs,
                          uint32_t row)
{
    uint32_t sum = 0;
    for (uint32_t k = 0; k < inputs; k++) {
        sum += layout == TFIN_LAYOUT_ROWS ? (uint32_t)((int8_t)w[row * inputs + k] * x[k])
                                          : (uint32_t)((w[4u * k + row] - 128) * (x[k] + 128));
    }
    return sum;
}
#endif

void tfin_fully_connected_portable(const tfin_node *node, const uint8_t *plan, uint8_t *arena)
{
    const int8_t *input = (const int8_t *)(arena + node->input);
    const int8_t *end = input + 4u * tfin_fc_blocks(node);
    const uint8_t *w = plan + node->constants;
    uint32_t tail = (node->flags & TFIN_FC_PER_CHANNEL) != 0 ? 48u : 16u; /* biases, multipliers */
    uint32_t start = 0;

    for (const int8_t *x = input; x != end; x += 2) {
        start -= 128u * (uint32_t)(int32_t)*x;
    }
#ifdef TFIN_FAMILY_DSP /* there this kernel only stands in for the fast one: small is better */
    for (uint32_t row = 0; row < node->outputs; row++) {
        const uint8_t *v = w;
        uint32_t sum = start;
        for (const int8_t *x = input; x != end; x += 4, v += 16) {
            for (uint32_t k = 0; k < 4u; k += 2u) {
                sum += EVEN(v[k], x[k]) + ODD(v[k + 1u], x[k + 1u] - 127);
            }
        }
        finish(node, plan, arena, row, sum, v);
        w += 4; /* the next row of this group, or the next group */
        if ((row & 3u) == 3u) {
            w = v - 12 + tail;
        }
    }
#else
    for (uint32_t row = 0; row < node->outputs; row += 4u) {
        uint32_t sum[4] = {start, start, start, start};
#if TFIN_LAYOUTS == 7u
        if (tfin_net_layout(plan) != TFIN_LAYOUT_CANONICAL) {
            uint32_t inputs = (uint32_t)(end - input);
            for (uint32_t i = 0; i < 4u; i++) {
                sum[i] = plain_sum(tfin_net_layout(plan), w, input, inputs, i);
            }
            w += 4u * inputs;
        } else
#endif
        {
            for (const int8_t *x = input; x != end; x += 4) {
                int32_t x0 = x[0], x1 = x[1] - 127, x2 = x[2], x3 = x[3] - 127;
                sum[0] += EVEN(w[0], x0) + ODD(w[1], x1) + EVEN(w[2], x2) + ODD(w[3], x3);
                sum[1] += EVEN(w[4], x0) + ODD(w[5], x1) + EVEN(w[6], x2) + ODD(w[7], x3);
                sum[2] += EVEN(w[8], x0) + ODD(w[9], x1) + EVEN(w[10], x2) + ODD(w[11], x3);
                sum[3] += EVEN(w[12], x0) + ODD(w[13], x1) + EVEN(w[14], x2) + ODD(w[15], x3);
                w += 16;
            }
        }
        for (uint32_t i = 0; i < 4u && row + i < node->outputs; i++) {
            finish(node, plan, arena, row + i, sum[i], w + 4u * i);
        }
        w += tail;
    }
#endif
}

#ifndef TFIN_FAMILY_DSP
void tfin_fully_connected(const tfin_node *node, const uint8_t *plan, uint8_t *arena)
{
    tfin_fully_connected_portable(node, plan, arena);
}
#endif
#endif
