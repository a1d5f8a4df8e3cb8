/* SPDX-License-Identifier: Apache-2.0 */
/* What ADD, MUL and SQUARED_DIFFERENCE have in common. */
#include "net_operators.h"

int tfin_binary_check(const tfin_binary *node, const uint8_t *plan, uint32_t flags)
{
    uint32_t room = (node->flags & TFIN_BINARY_CONSTANT) != 0 ? tfin_plan_u32(plan, TFIN_PLAN_SIZE)
                                                              : tfin_net_arena_size(plan);
    return (node->flags & ~flags) == 0 && node->zero == 0 &&
           tfin_net_inside(node->second, node->second_count, room) && tfin_scale_ok(&node->scale);
}
