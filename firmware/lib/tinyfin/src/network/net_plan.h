/* SPDX-License-Identifier: Apache-2.0 */
/* Inside the network: the nodes of a plan, the accumulators of a run, the kernel. The bytes are in
 * docs/formats/plan.md; tinyfin_network.h has what is public. */
#ifndef TFIN_NET_PLAN_H
#define TFIN_NET_PLAN_H

#include <stddef.h>

#include "tinyfin_network.h"

#define TFIN_PLAN_MAGIC 0x4E504654u /* "TFPN" */
#define TFIN_PLAN_FORMAT 1
#define TFIN_PLAN_HEADER_BYTES 64u

/* How many accumulators a run leaves behind: 0 when the plan was compiled without them. */
static inline uint32_t tfin_net_accumulator_count(const uint8_t *plan)
{
    return tfin_plan_u32(plan, TFIN_PLAN_ACCUMULATOR_COUNT);
}

/* The arena's bytes are registers of the feature program at other times: what is read there as
 * 32 bits may have been written as 64. */
typedef int32_t __attribute__((may_alias)) tfin_accumulator;

/* Accumulators of the last FULLY_CONNECTED (bias included, before requantisation), or the sum of a
 * DENSITY's or FOREST's terms. Meaningless when there are none. */
static inline tfin_accumulator *tfin_net_accumulators(const uint8_t *plan, uint8_t *arena)
{
    return (tfin_accumulator *)(void *)__builtin_assume_aligned(
        arena + tfin_plan_u32(plan, TFIN_PLAN_ACCUMULATORS), 4);
}

enum tfin_opcode {
    TFIN_OP_FULLY_CONNECTED = 1,
    TFIN_OP_TABLE = 2,
    TFIN_OP_SOFTMAX = 3,
    TFIN_OP_ADD = 4,
    TFIN_OP_MUL = 5,
    TFIN_OP_SQUARED_DIFFERENCE = 6,
    TFIN_OP_REDUCE = 7,
    TFIN_OP_COPY = 8,
    TFIN_OP_DENSITY = 9,
    TFIN_OP_FOREST = 10
};

enum tfin_fc_flag {
    /* every row has its own multiplier_q32 and shift1 */
    TFIN_FC_PER_CHANNEL = 1,
    /* sums fit 24 bits, accumulators 2^30, every shift1 >= 0: see plan.md */
    TFIN_FC_NARROW = 2,
    TFIN_FC_ACCUMULATORS = 4
};

/* How every operator's node begins. `bytes` is the node's own size; `input` and `output` are in the
 * arena, multiples of 8, the input readable up to a multiple of 4. */
#define TFIN_NODE_HEAD \
    uint8_t opcode;    \
    uint8_t flags;     \
    uint16_t bytes;    \
    uint32_t input;    \
    uint32_t output;   \
    uint16_t inputs;   \
    uint16_t outputs;

/* FULLY_CONNECTED and TABLE, where they lie in the plan. A TABLE ends after `constants`; other
 * operators' nodes are in net_operators.h. */
typedef struct __attribute__((may_alias)) tfin_node {
    TFIN_NODE_HEAD
    uint32_t constants;      /* in the plan, a multiple of 8: weights and biases, or the table */
    uint32_t multiplier_q32; /* per-tensor only */
    int32_t shift1;          /* per-tensor only */
    int8_t zero_point;
    int8_t activation_min;
    int8_t activation_max;
    uint8_t zero;
    uint32_t scratch; /* in the arena, a multiple of 8: 8 bytes for every 4 inputs */
} tfin_node;

/* Assembler has these offsets as numbers. */
typedef char tfin_node_is_what_assembler_reads
    [offsetof(tfin_node, flags) == 1 && offsetof(tfin_node, input) == 4 &&
             offsetof(tfin_node, output) == 8 && offsetof(tfin_node, inputs) == 12 &&
             offsetof(tfin_node, outputs) == 14 && offsetof(tfin_node, constants) == 16 &&
             offsetof(tfin_node, multiplier_q32) == 20 && offsetof(tfin_node, shift1) == 24 &&
             offsetof(tfin_node, zero_point) == 28 && offsetof(tfin_node, activation_min) == 29 &&
             offsetof(tfin_node, activation_max) == 30 && offsetof(tfin_node, scratch) == 32
         ? 1
         : -1];

#define TFIN_TABLE_BYTES 20u
#define TFIN_FC_BYTES 36u

/* {multiplier_q32, shift1} of a per-tensor layer, as a row's of a per-channel one. */
static inline const uint8_t *tfin_fc_multiplier(const tfin_node *node)
{
    return (const uint8_t *)node + offsetof(tfin_node, multiplier_q32);
}

/* Inputs in blocks of four columns. */
static inline uint32_t tfin_fc_blocks(const tfin_node *node)
{
    return (node->inputs + 3u) >> 2;
}

/* The layout of a plan. */
static inline uint32_t tfin_net_layout(const uint8_t *plan)
{
    return tfin_plan_u32(plan, TFIN_PLAN_FORMAT_LAYOUT) >> 16;
}

/* [at, at + bytes) lies in [0, size), holds something, and at is a multiple of 8. */
int tfin_net_inside(uint32_t at, uint32_t bytes, uint32_t size);

/* The kernel of this core. One file per family defines it: fully_connected_mve.c (Helium), _dsp.c,
 * _armv7m.c, _armv6m.c, _rv32.c, _lx106.c, or else fully_connected.c. */
void tfin_fully_connected(const tfin_node *node, const uint8_t *plan, uint8_t *arena);

/* The portable kernel, for what the core's own leaves to it. */
void tfin_fully_connected_portable(const tfin_node *node, const uint8_t *plan, uint8_t *arena);

#endif
