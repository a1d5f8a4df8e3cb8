/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The network: runs a plan. docs/formats/plan.md has its bytes.
 *
 * A plan is read-only, position-independent and aligned to 16. Its arena (activations and
 * scratch) belongs to the caller, is aligned to 8 or better, and holds nothing between two
 * runs that the next run needs. tfin_net_check() must have returned 0 for a plan before any
 * other function sees it.
 */
#ifndef TFIN_NET_H
#define TFIN_NET_H

#include <stddef.h>
#include <stdint.h>

#include "tinyfin_build.h"

#define TFIN_PLAN_MAGIC 0x4E504654u /* "TFPN" */
#define TFIN_PLAN_FORMAT 1
#define TFIN_PLAN_HEADER_BYTES 64u

/* Validates a plan, whole, once: every offset, size, count, shift and opcode. `kernels` is
 * what the caller allows, of TFIN_KERNELS. After TFIN_OK, tfin_net_run reads nothing outside
 * plan[0, plan_size) and arena[0, tfin_net_arena_size(plan)), and writes nothing outside
 * that arena, whatever the bytes are. Returns TFIN_OK, TFIN_E_ALIGN, TFIN_E_PLAN,
 * TFIN_E_LAYOUT or TFIN_E_KERNEL. */
int tfin_net_check(const uint8_t *plan, uint32_t plan_size, uint32_t kernels);

/* Runs the network: the input is already in the arena (tfin_net_input). Afterwards the output is
 * there too, and the input still is. */
void tfin_net_run(const uint8_t *plan, uint8_t *arena);

/* The plan is one DENSITY over the input: then the score is a sum of terms, one per input, and what
 * an input adds to it is known without a run. */
int tfin_net_terms_known(const uint8_t *plan);

/* What accumulator 0 would change by if input `index` were `to` instead of `from`; only when
 * tfin_net_terms_known, and index < the input's length. */
int32_t tfin_net_change(const uint8_t *plan, uint32_t index, int8_t from, int8_t to);

/* A u32 of a plan; `at` is a multiple of 4 and so is the plan's base. */
static inline uint32_t tfin_plan_u32(const uint8_t *plan, uint32_t at)
{
    uint32_t value;
    /* one load, also when freestanding */
    __builtin_memcpy(&value, __builtin_assume_aligned(plan + at, 4), sizeof value);
    return value;
}

enum {
    TFIN_PLAN_FORMAT_LAYOUT = 4, /* u16 format, u16 layout */
    TFIN_PLAN_SIZE = 8,
    TFIN_PLAN_KERNELS = 12,
    TFIN_PLAN_ARENA_SIZE = 16,
    TFIN_PLAN_NODES = 20,
    TFIN_PLAN_INPUT = 24,
    TFIN_PLAN_INPUT_LENGTH = 28,
    TFIN_PLAN_OUTPUT = 32,
    TFIN_PLAN_OUTPUT_LENGTH = 36,
    TFIN_PLAN_ACCUMULATORS = 40,
    TFIN_PLAN_ACCUMULATOR_COUNT = 44
};

/* Bytes of arena that the plan needs; a multiple of 16. */
static inline uint32_t tfin_net_arena_size(const uint8_t *plan)
{
    return tfin_plan_u32(plan, TFIN_PLAN_ARENA_SIZE);
}

static inline uint32_t tfin_net_input_length(const uint8_t *plan)
{
    return tfin_plan_u32(plan, TFIN_PLAN_INPUT_LENGTH);
}

static inline uint32_t tfin_net_output_length(const uint8_t *plan)
{
    return tfin_plan_u32(plan, TFIN_PLAN_OUTPUT_LENGTH);
}

static inline int8_t *tfin_net_input(const uint8_t *plan, uint8_t *arena)
{
    return (int8_t *)(arena + tfin_plan_u32(plan, TFIN_PLAN_INPUT));
}

static inline int8_t *tfin_net_output(const uint8_t *plan, uint8_t *arena)
{
    return (int8_t *)(arena + tfin_plan_u32(plan, TFIN_PLAN_OUTPUT));
}

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

/* --------------------------------------------------------------------------- inside the network */

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

/* The kernel of this core. One file per family defines it: fully_connected_mve.c (Helium), _dsp.c,
 * _armv7m.c, _armv6m.c, _rv32.c, _lx106.c, or else fully_connected.c. */
void tfin_fully_connected(const tfin_node *node, const uint8_t *plan, uint8_t *arena);

/* The portable kernel, for what the core's own leaves to it. */
void tfin_fully_connected_portable(const tfin_node *node, const uint8_t *plan, uint8_t *arena);

#endif
