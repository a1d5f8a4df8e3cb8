/* SPDX-License-Identifier: Apache-2.0 */
/* MUL. */
#include "net_operators.h"

int tfin_mul_check(const tfin_node *node, const uint8_t *plan)
{
    return tfin_binary_check((const tfin_binary *)(const void *)node, plan, TFIN_BINARY_CONSTANT);
}

static inline int32_t raw(const tfin_binary *node, int32_t first, int32_t second)
{
    (void)node;
    return first * second;
}

void tfin_mul(const tfin_node *node, const uint8_t *plan, uint8_t *arena)
{
    tfin_binary_run(node, plan, arena, raw);
}
