/* SPDX-License-Identifier: Apache-2.0 */
/* DENSITY: a table per input gives a term; outputs are the terms, accumulator 0 is their sum. */
#include "net_operators.h"

int tfin_density_check(const tfin_node *node, const uint8_t *plan)
{
    const tfin_density_node *d = (const tfin_density_node *)(const void *)node;
    /* at most 65500 tables of 256: below 2^24 */
    return d->flags == 0 && d->inputs == d->outputs && d->shift <= 6u &&
           (d->zero[0] | d->zero[1] | d->zero[2]) == 0 && tfin_net_accumulator_count(plan) != 0 &&
           tfin_net_inside(d->constants, (uint32_t)d->inputs << (8u - d->shift),
                           tfin_plan_u32(plan, TFIN_PLAN_SIZE));
}

void tfin_density(const tfin_node *node, const uint8_t *plan, uint8_t *arena)
{
    const tfin_density_node *d = (const tfin_density_node *)(const void *)node;
    const uint8_t *table = plan + d->constants;
    const uint8_t *x = arena + d->input;
    uint8_t *y = arena + d->output;
    uint32_t shift = d->shift;
    uint32_t entries = 256u >> shift;
    uint32_t sum = 0;
    for (uint32_t n = d->inputs; n != 0; n--, table += entries) {
        uint32_t term = table[(*x++ ^ 0x80u) >> shift];
        *y++ = (uint8_t)(term ^ 0x80u);
#ifdef TFIN_TEST_NO_ROUNDING
        sum += term + (term == 77u); /* a wrong answer on purpose: the tests must notice */
#else
        sum += term;
#endif
    }
    tfin_net_accumulators(plan, arena)[0] = (int32_t)sum;
}

int32_t tfin_density_change(const tfin_node *node, const uint8_t *plan, uint32_t index, int8_t from,
                            int8_t to)
{
    const tfin_density_node *d = (const tfin_density_node *)(const void *)node;
    const uint8_t *table = plan + d->constants + (index << (8u - d->shift));
    return (int32_t)table[((uint8_t)to ^ 0x80u) >> d->shift] -
           (int32_t)table[((uint8_t)from ^ 0x80u) >> d->shift];
}
