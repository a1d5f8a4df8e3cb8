/* SPDX-License-Identifier: Apache-2.0 */
/* SQUARED_DIFFERENCE. */
#include "net_operators.h"

int tfin_squared_difference_check(const tfin_node *node, const uint8_t *plan)
{
    const tfin_binary *b = (const tfin_binary *)(const void *)node;
    return tfin_binary_check(b, plan, TFIN_BINARY_CONSTANT) && tfin_scale_ok(&b->first_scale) &&
           tfin_scale_ok(&b->second_scale);
}

static inline int32_t raw(const tfin_binary *node, int32_t first, int32_t second)
{
    uint32_t a = (uint32_t)tfin_rescale((int32_t)((uint32_t)first << 7), &node->first_scale);
    uint32_t b = (uint32_t)tfin_rescale((int32_t)((uint32_t)second << 7), &node->second_scale);
    return (int32_t)((a - b) * (a - b));
}

void tfin_squared_difference(const tfin_node *node, const uint8_t *plan, uint8_t *arena)
{
    tfin_binary_run(node, plan, arena, raw);
}
