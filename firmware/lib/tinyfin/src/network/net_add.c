/* SPDX-License-Identifier: Apache-2.0 */
/* ADD and SUB. */
#include "net_operators.h"

int tfin_add_check(const tfin_node *node, const uint8_t *plan)
{
    const tfin_binary *b = (const tfin_binary *)(const void *)node;
    return tfin_binary_check(b, plan, 7u) && tfin_scale_ok(&b->first_scale) &&
           tfin_scale_ok(&b->second_scale);
}

static inline int32_t raw(const tfin_binary *node, int32_t first, int32_t second)
{
    /* codes less zero points have at most 9 bits: 29 with the shift */
    uint32_t a = (uint32_t)tfin_rescale((int32_t)((uint32_t)first << 20), &node->first_scale);
    uint32_t b = (uint32_t)tfin_rescale((int32_t)((uint32_t)second << 20), &node->second_scale);
    a = (node->flags & TFIN_BINARY_MINUS_FIRST) != 0 ? 0u - a : a;
    b = (node->flags & TFIN_BINARY_MINUS_SECOND) != 0 ? 0u - b : b;
    return (int32_t)(a + b);
}

void tfin_add(const tfin_node *node, const uint8_t *plan, uint8_t *arena)
{
    tfin_binary_run(node, plan, arena, raw);
}
