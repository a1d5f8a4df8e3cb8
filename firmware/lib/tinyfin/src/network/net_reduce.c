/* SPDX-License-Identifier: Apache-2.0 */
/* SUM and MEAN over the last axes. */
#include "net_operators.h"

int tfin_reduce_check(const tfin_node *node, const uint8_t *plan)
{
    const tfin_reduce *r = (const tfin_reduce *)(const void *)node;
    (void)plan;
    return r->flags <= 1u && r->zero == 0 && (uint32_t)r->count * r->outputs == r->inputs &&
           tfin_scale_ok(&r->scale);
}

void tfin_reduce_run(const tfin_node *node, const uint8_t *plan, uint8_t *arena)
{
    const tfin_reduce *r = (const tfin_reduce *)(const void *)node;
    const int8_t *x = (const int8_t *)(arena + r->input);
    int8_t *y = (int8_t *)(arena + r->output);
    (void)plan;
    for (uint32_t n = r->outputs; n != 0; n--) {
        uint32_t sum = r->start;
        for (uint32_t k = r->count; k != 0; k--) {
            int32_t code = *x++;
            sum += (uint32_t)code;
        }
        *y++ = tfin_rescale_int8((int32_t)sum, &r->scale, r->zero_point, -128, 127);
    }
}
