/* SPDX-License-Identifier: Apache-2.0 */
/* Checks a plan once and walks its nodes. */
#include "net.h"

#include "tinyfin.h"

#if defined(__GNUC__)
#define NOINLINE __attribute__((noinline)) /* many calls: a third of the size */
#else
#define NOINLINE
#endif

#define MAX_WIDTH 65500u /* (MAX_WIDTH + 12) * MAX_WIDTH < 2^32 */

/* [at, at + bytes) lies in [0, size) and at is a multiple of 8. */
NOINLINE static int inside(uint32_t at, uint32_t bytes, uint32_t size)
{
#ifdef TFIN_TEST_NO_BOUNDS
    (void)bytes; /* wrong on purpose: the fuzz test must notice */
    return (at & 7u) == 0 && at <= size;
#else
    return (at & 7u) == 0 && at <= size && bytes <= size - at;
#endif
}

/* u32 multiplier_q32, i32 shift1: 0 to 30 when narrow, else -31 to 30. */
NOINLINE static int multiplier_ok(const uint8_t *at, uint32_t flags)
{
    uint32_t left = (flags & TFIN_FC_NARROW) != 0 ? 0u : 31u;
    return (tfin_plan_u32(at, 0) & 0x80000001u) == 0x80000000u && tfin_plan_u32(at, 4) + left <= left + 30u;
}

static int multipliers_ok(const tfin_node *node, const uint8_t *plan)
{
    if ((node->flags & TFIN_FC_PER_CHANNEL) == 0) {
        return multiplier_ok((const uint8_t *)&node->multiplier_q32, node->flags);
    }
    const uint8_t *at = plan + node->constants;
    for (uint32_t left = node->outputs; left != 0;) {
        uint32_t rows = left >= 4u ? 4u : 1u;
        at += rows * 4u * (tfin_fc_blocks(node) + 1u);
        left -= rows;
        for (; rows != 0; rows--, at += 8) {
            if (!multiplier_ok(at, node->flags)) {
                return 0;
            }
        }
    }
    return 1;
}

/* Returns the node's kernel, or 0 when it breaks a rule. */
static uint32_t check_node(const tfin_node *node, const uint8_t *plan, uint32_t left)
{
    uint32_t size = tfin_plan_u32(plan, TFIN_PLAN_SIZE);
    uint32_t arena = tfin_net_arena_size(plan);
    uint32_t fc = node->opcode == TFIN_OP_FULLY_CONNECTED;
    uint32_t inputs = 4u * tfin_fc_blocks(node);
    uint32_t outputs = node->outputs;
    uint32_t constants = 256;

    if (node->bytes != (fc ? TFIN_FC_BYTES : TFIN_TABLE_BYTES) || node->bytes > left || inputs - 1u >= MAX_WIDTH ||
        outputs - 1u >= MAX_WIDTH || !inside(node->input, inputs, arena) || !inside(node->output, outputs, arena)) {
        return 0;
    }
    if (fc) {
        constants = (inputs + ((node->flags & TFIN_FC_PER_CHANNEL) != 0 ? 12u : 4u)) * outputs;
        if (node->flags > 7u || node->zero != 0 || !inside(node->scratch, 2u * inputs, arena) ||
            ((node->flags & TFIN_FC_ACCUMULATORS) != 0 && outputs > tfin_net_accumulator_count(plan))) {
            return 0;
        }
    } else if (node->opcode != TFIN_OP_TABLE || node->flags != 0 || node->inputs != outputs) {
        return 0;
    }
    if (!inside(node->constants, constants, size) || (fc && !multipliers_ok(node, plan))) {
        return 0;
    }
    return fc ? TFIN_KERNEL_FULLY_CONNECTED : TFIN_KERNEL_TABLE;
}

int tfin_net_check(const uint8_t *plan, uint32_t plan_size, uint32_t kernels)
{
    if (((uintptr_t)plan & 15u) != 0) {
        return TFIN_E_ALIGN;
    }
    if (plan_size < TFIN_PLAN_HEADER_BYTES || tfin_plan_u32(plan, 0) != TFIN_PLAN_MAGIC ||
        (uint16_t)tfin_plan_u32(plan, TFIN_PLAN_FORMAT_LAYOUT) != TFIN_PLAN_FORMAT ||
        tfin_plan_u32(plan, TFIN_PLAN_SIZE) != plan_size) {
        return TFIN_E_PLAN;
    }
    if (tfin_plan_u32(plan, TFIN_PLAN_FORMAT_LAYOUT) >> 16 != TFIN_LAYOUT_CANONICAL) {
        return TFIN_E_LAYOUT;
    }
    uint32_t needed = tfin_plan_u32(plan, TFIN_PLAN_KERNELS);
    if ((needed & ~kernels) != 0) {
        return TFIN_E_KERNEL;
    }
    uint32_t arena = tfin_net_arena_size(plan);
    uint32_t nodes = tfin_plan_u32(plan, TFIN_PLAN_NODES);
    uint32_t accumulators = tfin_net_accumulator_count(plan);
    uint32_t at = TFIN_PLAN_HEADER_BYTES;

    if (nodes == 0 || ((arena | plan_size) & 15u) != 0 || accumulators > MAX_WIDTH ||
        tfin_net_input_length(plan) == 0 || tfin_net_output_length(plan) == 0 ||
        !inside(tfin_plan_u32(plan, TFIN_PLAN_INPUT), tfin_net_input_length(plan), arena) ||
        !inside(tfin_plan_u32(plan, TFIN_PLAN_OUTPUT), tfin_net_output_length(plan), arena) ||
        !inside(tfin_plan_u32(plan, TFIN_PLAN_ACCUMULATORS), 4u * accumulators, arena)) {
        return TFIN_E_PLAN;
    }
    for (uint32_t reserved = 48; reserved != TFIN_PLAN_HEADER_BYTES; reserved += 4u) {
        if (tfin_plan_u32(plan, reserved) != 0) {
            return TFIN_E_PLAN;
        }
    }
    for (; nodes != 0; nodes--) {
        const tfin_node *node = (const tfin_node *)(const void *)(plan + at);
        uint32_t kernel = plan_size - at < TFIN_TABLE_BYTES ? 0u : check_node(node, plan, plan_size - at);
        if ((needed & kernel) == 0) {
            return TFIN_E_PLAN;
        }
        at += node->bytes;
    }
    return TFIN_OK;
}

void tfin_net_run(const uint8_t *plan, uint8_t *arena)
{
    const tfin_node *node = (const tfin_node *)(const void *)(plan + TFIN_PLAN_HEADER_BYTES);
    for (uint32_t nodes = tfin_plan_u32(plan, TFIN_PLAN_NODES); nodes != 0; nodes--) {
        if (node->opcode == TFIN_OP_FULLY_CONNECTED) {
            tfin_fully_connected(node, plan, arena);
        } else {
            const uint8_t *table = plan + node->constants;
            const uint8_t *x = arena + node->input;
            uint8_t *y = arena + node->output;
            for (uint32_t n = node->outputs; n != 0; n--) {
                *y++ = table[*x++ ^ 0x80u];
            }
        }
        node = (const tfin_node *)(const void *)((const uint8_t *)node + node->bytes);
    }
}
