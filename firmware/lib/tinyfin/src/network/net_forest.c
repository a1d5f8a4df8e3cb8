/* SPDX-License-Identifier: Apache-2.0 */
/* FOREST: complete trees in heap order; outputs are the leaves, accumulator 0 is their sum. Every
 * tree takes `depth` steps. */
#include "net_operators.h"

int tfin_forest_check(const tfin_node *node, const uint8_t *plan)
{
    const tfin_forest_node *f = (const tfin_forest_node *)(const void *)node;
    uint32_t leaves = 1u << (f->depth & 15u);
    /* 65500 trees of 3 * 2^10 bytes: below 2^28 */
    if (f->flags != 0 || f->depth - 1u >= TFIN_FOREST_DEPTH_MAX ||
        (f->zero[0] | f->zero[1] | f->zero[2]) != 0 || tfin_net_accumulator_count(plan) == 0 ||
        !tfin_net_inside(f->constants, 3u * leaves * f->outputs,
                         tfin_plan_u32(plan, TFIN_PLAN_SIZE))) {
        return 0;
    }
    if (f->inputs > 255u) {
        return 1;
    }
    /* every split reads an existing input */
    const uint8_t *tree = plan + f->constants;
    uint32_t largest = 0;
    for (uint32_t n = f->outputs; n != 0; n--, tree += 3u * leaves) {
        for (uint32_t i = 2; i < 2u * leaves; i += 2) {
            largest = tree[i] > largest ? tree[i] : largest;
        }
    }
    return largest < f->inputs;
}

void tfin_forest(const tfin_node *node, const uint8_t *plan, uint8_t *arena)
{
    const tfin_forest_node *f = (const tfin_forest_node *)(const void *)node;
    const int8_t *x = (const int8_t *)(arena + f->input);
    const uint8_t *tree = plan + f->constants;
    uint8_t *y = arena + f->output;
    uint32_t depth = f->depth;
    uint32_t leaves = 1u << depth;
    uint32_t sum = 0;
    for (uint32_t n = f->outputs; n != 0; n--, tree += 3u * leaves) {
        uint32_t i = 1; /* split i lies at 2 i, its children are 2 i and 2 i + 1 */
        for (uint32_t d = depth; d != 0; d--) {
            const uint8_t *split = tree + 2u * i;
#ifdef TFIN_TEST_NO_ROUNDING
            /* a wrong answer on purpose: the tests must notice */
            i = 2u * i + (x[split[0]] >= (int8_t)split[1]);
#else
            i = 2u * i + (x[split[0]] > (int8_t)split[1]);
#endif
        }
        /* i is leaves to 2 leaves - 1, and leaves begin behind 2 leaves bytes */
        uint32_t term = tree[leaves + i];
        *y++ = (uint8_t)(term ^ 0x80u);
        sum += term;
    }
    tfin_net_accumulators(plan, arena)[0] = (int32_t)sum;
}
