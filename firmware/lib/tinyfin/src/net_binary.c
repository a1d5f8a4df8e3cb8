/* SPDX-License-Identifier: Apache-2.0 */
/* What ADD, MUL and SQUARED_DIFFERENCE have in common. */
#include "net_operators.h"

int tfin_binary_check(const tfin_binary *node, const uint8_t *plan, uint32_t flags)
{
    uint32_t room = (node->flags & TFIN_BINARY_CONSTANT) != 0 ? tfin_plan_u32(plan, TFIN_PLAN_SIZE) : tfin_net_arena_size(plan);
    return (node->flags & ~flags) == 0 && node->zero == 0 && tfin_net_inside(node->second, node->second_count, room) &&
           tfin_scale_ok(&node->scale);
}

void tfin_binary_run(const tfin_binary *node, const uint8_t *plan, uint8_t *arena, tfin_binary_raw *raw)
{
    const int8_t *first = (const int8_t *)(arena + node->input);
    const int8_t *second = (const int8_t *)(((node->flags & TFIN_BINARY_CONSTANT) != 0 ? plan : arena) + node->second);
    int8_t *y = (int8_t *)(arena + node->output);
    uint32_t i = 0, k = 0;
    for (uint32_t n = node->outputs; n != 0; n--) {
        int32_t v = raw(node, first[i] - node->first_zero_point, second[k] - node->second_zero_point);
        *y++ = tfin_rescale_int8(v, &node->scale, node->zero_point, node->activation_min, node->activation_max);
        i = i + 1u == node->inputs ? 0 : i + 1u;
        k = k + 1u == node->second_count ? 0 : k + 1u;
    }
}
