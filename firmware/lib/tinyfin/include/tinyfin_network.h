/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The network alone: runs a plan without a pack, or the plan of an open pack without the rest. For
 * instruments that measure or compare networks; a product needs tinyfin.h alone.
 *
 * A *plan* is a compiled network (docs/formats/plan.md): read-only, position-independent, aligned
 * to 16. Its *arena* (activations and scratch) belongs to the caller, is aligned to 8 or better,
 * and holds nothing that the next run needs.
 *
 *   [example]
 *   if (tfin_net_check(plan, sizeof plan, TFIN_KERNELS_ALL) == TFIN_OK &&
 *       tfin_net_arena_size(plan) <= sizeof arena) {
 *       memcpy(tfin_net_input(plan, arena), input, tfin_net_input_length(plan));
 *       tfin_net_run(plan, arena);
 *       memcpy(output, tfin_net_output(plan, arena), tfin_net_output_length(plan));
 *   }
 *   [/example]
 */
#ifndef TINYFIN_NETWORK_H
#define TINYFIN_NETWORK_H

#include "tinyfin.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Validates a plan, whole, once: every offset, size, count, shift and opcode. The functions below
 * may only be called for a plan for which this returned TFIN_OK. `kernels` is what the caller
 * allows, of TFIN_KERNELS. After TFIN_OK, tfin_net_run reads nothing outside plan[0, plan_size) and
 * arena[0, tfin_net_arena_size(plan)), and writes nothing outside that arena, whatever the bytes
 * are. Returns TFIN_OK, TFIN_E_ALIGN, TFIN_E_PLAN, TFIN_E_LAYOUT or TFIN_E_KERNEL. */
int tfin_net_check(const uint8_t *plan, uint32_t plan_size, uint32_t kernels);

/* Runs the network: the input is already in the arena (tfin_net_input). Afterwards the output is
 * there too, and the input still is. */
void tfin_net_run(const uint8_t *plan, uint8_t *arena);

/* The plan of the open pack, which has been checked. Null without a network, and when the engine is
 * not open. */
const uint8_t *tfin_network_plan(const tfin_engine *engine);

/* Offsets in a plan's header, of 32-bit numbers. */
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

/* A u32 of a plan; `at` is a multiple of 4 and so is the plan's base. */
static inline uint32_t tfin_plan_u32(const uint8_t *plan, uint32_t at)
{
    uint32_t value;
    /* one load, also when freestanding */
    __builtin_memcpy(&value, __builtin_assume_aligned(plan + at, 4), sizeof value);
    return value;
}

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

/* The arena in which the engine runs that plan; null without. After tfin_score and tfin_infer it
 * holds their input: tfin_net_run gives their output again. */
static inline uint8_t *tfin_network_arena(const tfin_engine *engine)
{
    const uint8_t *plan = tfin_network_plan(engine);
    return plan == NULL ? NULL
                        : (uint8_t *)(uintptr_t)tfin_network_input(engine, NULL) -
                              tfin_plan_u32(plan, TFIN_PLAN_INPUT);
}

/* ------------------------------------------------------------------------- another interpreter */

/* What the engine asks of a network: tfin_net_check, tfin_net_run and the two functions below. A
 * project that compiles none of the library's src/network and src/kernels brings all four itself;
 * features, read-out, calibration, decision and golden vectors stay the engine's. firmware/tflm
 * does so with TensorFlow Lite Micro. tfin_net_run leaves the output and, when the plan has
 * accumulators, the int32 sums of the last dense layer where the plan's header says. */

/* 1 when the score is a sum of terms, one per input, and what an input adds to it is known without
 * a run: the plan is one DENSITY over the input. 0: reasons are made by running the network. */
int tfin_net_terms_known(const uint8_t *plan);

/* What accumulator 0 would change by if input `index` were `to` instead of `from`; only when
 * tfin_net_terms_known, and index < the input's length. */
int32_t tfin_net_change(const uint8_t *plan, uint32_t index, int8_t from, int8_t to);

#ifdef __cplusplus
}
#endif
#endif
