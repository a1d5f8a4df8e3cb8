/* SPDX-License-Identifier: Apache-2.0 */
/* SOFTMAX, int8 to int8. */
#include "net_operators.h"

int tfin_softmax_check(const tfin_node *node, const uint8_t *plan)
{
    const tfin_softmax_node *s = (const tfin_softmax_node *)(const void *)node;
    return s->flags == 0 && s->inputs == s->outputs && (uint32_t)s->rows * s->depth == s->outputs &&
           s->depth <= TFIN_SOFTMAX_DEPTH_MAX && s->entries - 1u < 256u &&
           tfin_net_inside(s->constants, 4u * s->entries, tfin_plan_u32(plan, TFIN_PLAN_SIZE));
}

/* 2^62 / half by Newton's iteration as gemmlowp does it, at most 2^31 - 1; half is in [2^30, 2^31).
 * Numbers with two integer bits. */
static int32_t reciprocal(int32_t half)
{
    /* 48/17 - 32/17 half */
    int32_t x = (int32_t)(1515870810u + (uint32_t)tfin_high_mul(half, -1010580540));
    for (int i = 0; i < 3; i++) {
        int32_t error = (int32_t)(0x20000000u - (uint32_t)tfin_high_mul(half, x));
        x = (int32_t)((uint32_t)x + ((uint32_t)tfin_high_mul(x, error) << 2));
    }
    return x >= 1 << 30 ? INT32_MAX : (int32_t)((uint32_t)x << 1);
}

static void row(const tfin_softmax_node *s, const uint8_t *exps, const int8_t *x, int8_t *y)
{
    int32_t max = -128;
    uint32_t sum = 0; /* 12 integer bits, 19 behind the point; at most 511 ones fit */
    for (uint32_t i = 0; i < s->depth; i++) {
        max = x[i] > max ? x[i] : max;
    }
    for (uint32_t i = 0; i < s->depth; i++) {
        uint32_t below = (uint32_t)(max - x[i]);
        if (below < s->entries) {
            sum += (tfin_plan_u32(exps, 4u * below) + (1u << 11)) >> 12;
        }
    }
    uint32_t exponent = 35; /* a sane sum ends at 31 or less */
    for (; (sum >> 31) == 0 && exponent > 4u; sum <<= 1) {
        exponent--;
    }
    int32_t scale = reciprocal((int32_t)(sum >> 1));
    exponent = exponent > 31u ? 31u : exponent;
    for (uint32_t i = 0; i < s->depth; i++) {
        uint32_t below = (uint32_t)(max - x[i]);
        uint32_t v = 0;
        if (below < s->entries) {
            v = (uint32_t)tfin_high_mul(scale, (int32_t)tfin_plan_u32(exps, 4u * below));
#ifdef TFIN_TEST_NO_ROUNDING
            v = v >> exponent; /* a wrong answer on purpose: the tests must notice */
#else
            v = (v + (1u << (exponent - 1u))) >> exponent;
#endif
            v = v > 255u ? 255u : v;
        }
        y[i] = (int8_t)((int32_t)v - 128);
    }
}

void tfin_softmax(const tfin_node *node, const uint8_t *plan, uint8_t *arena)
{
    const tfin_softmax_node *s = (const tfin_softmax_node *)(const void *)node;
    const int8_t *x = (const int8_t *)(arena + s->input);
    int8_t *y = (int8_t *)(arena + s->output);
    for (uint32_t n = s->rows; n != 0; n--, x += s->depth, y += s->depth) {
        row(s, plan + s->constants, x, y);
    }
}
