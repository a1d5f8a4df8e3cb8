/* SPDX-License-Identifier: Apache-2.0 */
/* Checks a plan once and walks its nodes. */
#include "net.h"

#include "tinyfin.h"

enum { OP_FULLY_CONNECTED = 1, OP_TABLE = 2 };
enum { FC_BYTES = 40, TABLE_BYTES = 20 };

/* Fields of a node, from its start. A node begins with u8 opcode, u8 flags, u16 bytes. */
enum {
    NODE_INPUT = 4,
    NODE_OUTPUT = 8,
    FC_LENGTHS = 12, /* u16 inputs, u16 outputs */
    FC_WEIGHTS = 16,
    FC_MULTIPLIER = 20,
    FC_SHIFT1 = 24,
    FC_ZERO_POINT = 28, /* i8 zero point, i8 activation min, i8 activation max, u8 zero */
    FC_ACTIVATION_MIN = 29,
    FC_SCRATCH = 32,
    FC_ACCUMULATORS = 36,
    TABLE_LENGTH = 12,
    TABLE_TABLE = 16
};

#define ROUND_UP_4(n) (((n) + 3u) & ~3u)

/* [at, at + bytes) lies in [0, size) and at is a multiple of `align`. */
static int inside(uint32_t at, uint32_t bytes, uint32_t size, uint32_t align)
{
#ifdef TFIN_TEST_NO_BOUNDS
    (void)bytes; /* wrong on purpose: the fuzz test must notice */
    return (at & (align - 1u)) == 0 && at <= size;
#else
    return at <= size && bytes <= size - at && (at & (align - 1u)) == 0;
#endif
}

/* u32 multiplier_q32, i32 shift1 */
static int multiplier_ok(const uint8_t *at, uint32_t flags)
{
    uint32_t multiplier_q32 = tfin_plan_u32(at, 0);
    int32_t shift1 = (int32_t)tfin_plan_u32(at, 4);
    int32_t least = (flags & TFIN_FC_NARROW) != 0 ? 0 : -31;
    return (multiplier_q32 & 0x80000001u) == 0x80000000u && shift1 >= least && shift1 <= 30;
}

static int check_fully_connected(const uint8_t *plan, uint32_t size, const uint8_t *node)
{
    uint32_t flags = node[1];
    uint32_t arena = tfin_net_arena_size(plan);
    uint32_t inputs = ROUND_UP_4(tfin_plan_u32(node, FC_LENGTHS) & 0xFFFFu);
    uint32_t outputs = tfin_plan_u32(node, FC_LENGTHS) >> 16;
    uint32_t weights = tfin_plan_u32(node, FC_WEIGHTS);
    uint32_t row_bytes = inputs + ((flags & TFIN_FC_PER_CHANNEL) != 0 ? 12u : 4u);

    /* row_bytes * outputs < 2^32: at most (65500 + 12) * 65500 */
    if ((flags & ~7u) != 0 || inputs == 0 || inputs > 65500u || outputs == 0 || outputs > 65500u ||
        (int8_t)node[FC_ACTIVATION_MIN] > (int8_t)node[FC_ACTIVATION_MIN + 1] || node[FC_ACTIVATION_MIN + 2] != 0 ||
        !inside(tfin_plan_u32(node, NODE_INPUT), inputs, arena, 8) ||
        !inside(tfin_plan_u32(node, NODE_OUTPUT), outputs, arena, 8) ||
        !inside(tfin_plan_u32(node, FC_SCRATCH), 2u * inputs, arena, 8) ||
        !inside(weights, row_bytes * outputs, size, 16)) {
        return 0;
    }
    if ((flags & TFIN_FC_ACCUMULATORS) != 0 && !inside(tfin_plan_u32(node, FC_ACCUMULATORS), 4u * outputs, arena, 8)) {
        return 0;
    }
    if ((flags & TFIN_FC_PER_CHANNEL) == 0) {
        return multiplier_ok(node + FC_MULTIPLIER, flags);
    }
    const uint8_t *at = plan + weights;
    while (outputs != 0) {
        uint32_t rows = outputs >= 4u ? 4u : 1u;
        at += rows * (inputs + 4u);
        outputs -= rows;
        for (; rows != 0; rows--, at += 8) {
            if (!multiplier_ok(at, flags)) {
                return 0;
            }
        }
    }
    return 1;
}

static int check_table(const uint8_t *plan, uint32_t size, const uint8_t *node)
{
    uint32_t arena = tfin_net_arena_size(plan);
    uint32_t length = tfin_plan_u32(node, TABLE_LENGTH);
    return node[1] == 0 && length != 0 && inside(tfin_plan_u32(node, NODE_INPUT), length, arena, 8) &&
           inside(tfin_plan_u32(node, NODE_OUTPUT), length, arena, 8) &&
           inside(tfin_plan_u32(node, TABLE_TABLE), 256, size, 16);
}

int tfin_net_check(const uint8_t *plan, uint32_t plan_size, uint32_t kernels)
{
    if (((uintptr_t)plan & 15u) != 0) {
        return TFIN_E_ALIGN;
    }
    if (plan_size < TFIN_PLAN_HEADER_BYTES || tfin_plan_u32(plan, 0) != TFIN_PLAN_MAGIC ||
        (tfin_plan_u32(plan, TFIN_PLAN_FORMAT_LAYOUT) & 0xFFFFu) != TFIN_PLAN_FORMAT ||
        tfin_plan_u32(plan, TFIN_PLAN_SIZE) != plan_size || (plan_size & 15u) != 0) {
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
    uint32_t nodes = tfin_plan_u32(plan, TFIN_PLAN_COUNT_FLAGS) & 0xFFFFu;
    uint32_t flags = tfin_plan_u32(plan, TFIN_PLAN_COUNT_FLAGS) >> 16;
    uint32_t count = tfin_net_accumulator_count(plan);
    uint32_t at = tfin_plan_u32(plan, TFIN_PLAN_NODES);
    uint32_t used = 0;

    if (nodes == 0 || (arena & 15u) != 0 || arena > 0x7FFFFFF0u || flags != (count != 0 ? 1u : 0u) || count > 65535u ||
        at != TFIN_PLAN_HEADER_BYTES || tfin_net_input_length(plan) == 0 || tfin_net_output_length(plan) == 0 ||
        !inside(tfin_plan_u32(plan, TFIN_PLAN_INPUT), tfin_net_input_length(plan), arena, 8) ||
        !inside(tfin_plan_u32(plan, TFIN_PLAN_OUTPUT), tfin_net_output_length(plan), arena, 8) ||
        !inside(tfin_plan_u32(plan, TFIN_PLAN_ACCUMULATORS), 4u * count, arena, 8) ||
        (tfin_plan_u32(plan, 52) | tfin_plan_u32(plan, 56) | tfin_plan_u32(plan, 60)) != 0) {
        return TFIN_E_PLAN;
    }
    for (; nodes != 0; nodes--) {
        if (!inside(at, TABLE_BYTES, plan_size, 4)) {
            return TFIN_E_PLAN;
        }
        const uint8_t *node = plan + at;
        uint32_t bytes = tfin_plan_u32(node, 0) >> 16;
        int good;
        if (!inside(at, bytes, plan_size, 4)) {
            return TFIN_E_PLAN;
        }
        if (node[0] == OP_FULLY_CONNECTED && bytes == FC_BYTES) {
            used |= TFIN_KERNEL_FULLY_CONNECTED;
            good = check_fully_connected(plan, plan_size, node);
        } else if (node[0] == OP_TABLE && bytes == TABLE_BYTES) {
            used |= TFIN_KERNEL_TABLE;
            good = check_table(plan, plan_size, node);
        } else {
            good = 0;
        }
        if (!good) {
            return TFIN_E_PLAN;
        }
        at += bytes;
    }
    return used == needed ? TFIN_OK : TFIN_E_PLAN;
}

static void run_fully_connected(const uint8_t *plan, const uint8_t *node, uint8_t *arena)
{
    uint32_t lengths = tfin_plan_u32(node, FC_LENGTHS);
    uint32_t codes = tfin_plan_u32(node, FC_ZERO_POINT);
    tfin_fc fc;
    fc.flags = node[1];
    fc.input = (const int8_t *)(arena + tfin_plan_u32(node, NODE_INPUT));
    fc.output = (int8_t *)(arena + tfin_plan_u32(node, NODE_OUTPUT));
    fc.blocks = ((lengths & 0xFFFFu) + 3u) >> 2;
    fc.outputs = lengths >> 16;
    fc.weights = plan + tfin_plan_u32(node, FC_WEIGHTS);
    fc.multiplier_q32 = tfin_plan_u32(node, FC_MULTIPLIER);
    fc.shift1 = (int32_t)tfin_plan_u32(node, FC_SHIFT1);
    fc.zero_point = (int8_t)codes;
    fc.activation_min = (int8_t)(codes >> 8);
    fc.activation_max = (int8_t)(codes >> 16);
    fc.scratch = arena + tfin_plan_u32(node, FC_SCRATCH);
    fc.accumulators = NULL;
    if ((fc.flags & TFIN_FC_ACCUMULATORS) != 0) {
        fc.accumulators = (int32_t *)(void *)__builtin_assume_aligned(arena + tfin_plan_u32(node, FC_ACCUMULATORS), 8);
    }
    tfin_fully_connected(&fc);
}

static void run_table(const uint8_t *plan, const uint8_t *node, uint8_t *arena)
{
    const uint8_t *table = plan + tfin_plan_u32(node, TABLE_TABLE);
    const uint8_t *x = arena + tfin_plan_u32(node, NODE_INPUT);
    uint8_t *y = arena + tfin_plan_u32(node, NODE_OUTPUT);
    for (uint32_t length = tfin_plan_u32(node, TABLE_LENGTH); length != 0; length--) {
        *y++ = table[*x++ ^ 0x80u];
    }
}

void tfin_net_run(const uint8_t *plan, uint8_t *arena)
{
    const uint8_t *node = plan + TFIN_PLAN_HEADER_BYTES;
    for (uint32_t nodes = tfin_plan_u32(plan, TFIN_PLAN_COUNT_FLAGS) & 0xFFFFu; nodes != 0; nodes--) {
        if (node[0] == OP_FULLY_CONNECTED) {
            run_fully_connected(plan, node, arena);
            node += FC_BYTES;
        } else {
            run_table(plan, node, arena);
            node += TABLE_BYTES;
        }
    }
}
