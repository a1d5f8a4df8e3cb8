/* SPDX-License-Identifier: Apache-2.0 */
/* Checks a plan, and runs its nodes. */
#include "net_operators.h"

/* A constant: the call of a kernel that is left out is not compiled. */
#define LINKED(kernel) ((TFIN_KERNELS & (uint32_t)(kernel)) != 0)

static int check_fully_connected(const tfin_node *node, const uint8_t *plan)
{
    uint32_t flags = node->flags;
    uint32_t inputs = 4u * tfin_fc_blocks(node);
    uint32_t groups = (node->outputs + 3u) >> 2;
    uint32_t row_bytes = inputs + ((flags & TFIN_FC_PER_CHANNEL) != 0 ? 12u : 4u);
    /* row_bytes < 2^16 and 4 groups <= 2^16: their product fits 32 bits */
    if (flags > 7u || node->zero != 0 || row_bytes > 0xFFFFu ||
        !tfin_net_inside(node->constants, 4u * row_bytes * groups,
                         tfin_plan_u32(plan, TFIN_PLAN_SIZE)) ||
        !tfin_net_inside(node->scratch, 2u * inputs, tfin_net_arena_size(plan)) ||
        ((flags & TFIN_FC_ACCUMULATORS) != 0 && node->outputs > tfin_net_accumulator_count(plan))) {
        return 0;
    }
    /* Every {multiplier_q32, shift1}: top bit set, low bit clear; -32 to 31, or 0 to 31 when
     * narrow. Faults are gathered, not branched on: a layer may have many rows. */
    const uint8_t *at = tfin_fc_multiplier(node);
    uint32_t rows = 1;
    uint32_t skip = 0;
    if ((flags & TFIN_FC_PER_CHANNEL) != 0) {
        rows = 4;
        skip = 4u * (inputs + 4u);
        at = plan + node->constants + skip;
    } else {
        groups = 1;
    }
    uint32_t offset = (flags & TFIN_FC_NARROW) != 0 ? 0u : 32u;
    uint32_t multipliers = 0;
    uint32_t shifts = 0;
    for (; groups != 0; groups--, at += skip) {
        for (const uint8_t *end = at + 8u * rows; at != end; at += 8) {
            multipliers |= tfin_plan_u32(at, 0) ^ 0x80000000u;
            shifts |= tfin_plan_u32(at, 4) + offset;
        }
    }
    return (multipliers & 0x80000001u) == 0 && shifts < 32u + offset;
}

static int check_table(const tfin_node *node, const uint8_t *plan)
{
    return node->flags == 0 && node->inputs == node->outputs &&
           tfin_net_inside(node->constants, 256, tfin_plan_u32(plan, TFIN_PLAN_SIZE));
}

/* Returns the node's kernel, or 0 when it breaks a rule. `left` is at least TFIN_TABLE_BYTES. Not
 * inlined, because that is smaller. */
__attribute__((noinline)) static uint32_t check_node(const tfin_node *node, const uint8_t *plan,
                                                     uint32_t left)
{
    uint32_t arena = tfin_net_arena_size(plan);
    if (!tfin_net_inside(node->input, 4u * tfin_fc_blocks(node), arena) ||
        !tfin_net_inside(node->output, node->outputs, arena)) {
        return 0;
    }
#define CHECK(op, kernel, size, check)                                                        \
    case op:                                                                                  \
        return LINKED(kernel) && node->bytes == (size) && left >= (size) && check(node, plan) \
                   ? (uint32_t)(kernel)                                                       \
                   : 0u
    switch (node->opcode) {
        CHECK(TFIN_OP_FULLY_CONNECTED, TFIN_KERNEL_FULLY_CONNECTED, TFIN_FC_BYTES,
              check_fully_connected);
        CHECK(TFIN_OP_TABLE, TFIN_KERNEL_TABLE, TFIN_TABLE_BYTES, check_table);
        CHECK(TFIN_OP_SOFTMAX, TFIN_KERNEL_SOFTMAX, TFIN_SOFTMAX_BYTES, tfin_softmax_check);
        CHECK(TFIN_OP_ADD, TFIN_KERNEL_ADD, TFIN_ADD_BYTES, tfin_add_check);
        CHECK(TFIN_OP_MUL, TFIN_KERNEL_MUL, TFIN_MUL_BYTES, tfin_mul_check);
        CHECK(TFIN_OP_SQUARED_DIFFERENCE, TFIN_KERNEL_SQUARED_DIFFERENCE, TFIN_ADD_BYTES,
              tfin_squared_difference_check);
        CHECK(TFIN_OP_REDUCE, TFIN_KERNEL_REDUCE, TFIN_REDUCE_BYTES, tfin_reduce_check);
        CHECK(TFIN_OP_COPY, TFIN_KERNEL_COPY, TFIN_COPY_BYTES, tfin_copy_check);
        CHECK(TFIN_OP_DENSITY, TFIN_KERNEL_DENSITY, TFIN_DENSITY_BYTES, tfin_density_check);
        CHECK(TFIN_OP_FOREST, TFIN_KERNEL_FOREST, TFIN_FOREST_BYTES, tfin_forest_check);
    default: return 0;
    }
#undef CHECK
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
    if (tfin_net_layout(plan) > 31u || (TFIN_LAYOUTS >> tfin_net_layout(plan) & 1u) == 0) {
        return TFIN_E_LAYOUT;
    }
    uint32_t needed = tfin_plan_u32(plan, TFIN_PLAN_KERNELS);
    if ((needed & ~(kernels & TFIN_KERNELS)) != 0) {
        return TFIN_E_KERNEL;
    }
    uint32_t arena = tfin_net_arena_size(plan);
    uint32_t nodes = tfin_plan_u32(plan, TFIN_PLAN_NODES);
    uint32_t accumulators = tfin_net_accumulator_count(plan);
    uint32_t at = TFIN_PLAN_HEADER_BYTES;

    if (nodes == 0 || ((arena | plan_size) & 15u) != 0 || accumulators > 0xFFFFu ||
        !tfin_net_inside(tfin_plan_u32(plan, TFIN_PLAN_INPUT), tfin_net_input_length(plan),
                         arena) ||
        !tfin_net_inside(tfin_plan_u32(plan, TFIN_PLAN_OUTPUT), tfin_net_output_length(plan),
                         arena) ||
        (accumulators != 0 && !tfin_net_inside(tfin_plan_u32(plan, TFIN_PLAN_ACCUMULATORS),
                                               16u * ((accumulators + 3u) >> 2), arena))) {
        return TFIN_E_PLAN;
    }
    do {
        const tfin_node *node = (const tfin_node *)(const void *)(plan + at);
        uint32_t left = plan_size - at;
        if (left < TFIN_TABLE_BYTES || (needed & check_node(node, plan, left)) == 0) {
            return TFIN_E_PLAN;
        }
        at += node->bytes;
    } while (--nodes != 0);
    return TFIN_OK;
}

static void run_table(const tfin_node *node, const uint8_t *plan, uint8_t *arena)
{
    const uint8_t *table = plan + node->constants;
    const uint8_t *x = arena + node->input;
    uint8_t *y = arena + node->output;
    for (uint32_t n = node->outputs; n != 0; n--) {
        *y++ = table[*x++ ^ 0x80u];
    }
}

void tfin_net_run(const uint8_t *plan, uint8_t *arena)
{
    const tfin_node *node = (const tfin_node *)(const void *)(plan + TFIN_PLAN_HEADER_BYTES);
#define RUN(op, kernel, run)        \
    case op:                        \
        if (LINKED(kernel)) {       \
            run(node, plan, arena); \
        }                           \
        break
    for (uint32_t nodes = tfin_plan_u32(plan, TFIN_PLAN_NODES); nodes != 0; nodes--) {
        switch (node->opcode) {
            RUN(TFIN_OP_FULLY_CONNECTED, TFIN_KERNEL_FULLY_CONNECTED, tfin_fully_connected);
            RUN(TFIN_OP_TABLE, TFIN_KERNEL_TABLE, run_table);
            RUN(TFIN_OP_SOFTMAX, TFIN_KERNEL_SOFTMAX, tfin_softmax);
            RUN(TFIN_OP_ADD, TFIN_KERNEL_ADD, tfin_add);
            RUN(TFIN_OP_MUL, TFIN_KERNEL_MUL, tfin_mul);
            RUN(TFIN_OP_SQUARED_DIFFERENCE, TFIN_KERNEL_SQUARED_DIFFERENCE,
                tfin_squared_difference);
            RUN(TFIN_OP_REDUCE, TFIN_KERNEL_REDUCE, tfin_reduce_run);
            RUN(TFIN_OP_COPY, TFIN_KERNEL_COPY, tfin_copy);
            RUN(TFIN_OP_DENSITY, TFIN_KERNEL_DENSITY, tfin_density);
            RUN(TFIN_OP_FOREST, TFIN_KERNEL_FOREST, tfin_forest);
        default: break;
        }
        node = (const tfin_node *)(const void *)((const uint8_t *)node + node->bytes);
    }
#undef RUN
}

int tfin_net_terms_known(const uint8_t *plan)
{
    const tfin_node *node = (const tfin_node *)(const void *)(plan + TFIN_PLAN_HEADER_BYTES);
    return LINKED(TFIN_KERNEL_DENSITY) && node->opcode == TFIN_OP_DENSITY &&
           tfin_plan_u32(plan, TFIN_PLAN_NODES) == 1u &&
           node->input == tfin_plan_u32(plan, TFIN_PLAN_INPUT) &&
           node->inputs == tfin_net_input_length(plan);
}

int32_t tfin_net_change(const uint8_t *plan, uint32_t index, int8_t from, int8_t to)
{
    if (!LINKED(TFIN_KERNEL_DENSITY)) {
        return 0;
    }
    return tfin_density_change((const tfin_node *)(const void *)(plan + TFIN_PLAN_HEADER_BYTES),
                               plan, index, from, to);
}
