/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The operators other than FULLY_CONNECTED and TABLE: their nodes, and what binary ones share.
 * docs/formats/plan.md has bytes and formulas.
 *
 * Each operator is a file of its own with a check and a run function; net.c names neither of a
 * kernel that TFIN_KERNELS leaves out. A check may take for granted what net.c has checked of every
 * node: its size, `input` readable for `inputs` bytes, `output` writable for `outputs` bytes.
 */
#ifndef TFIN_NET_OPERATORS_H
#define TFIN_NET_OPERATORS_H

#include "net_plan.h"
#include "net_rescale.h"

enum tfin_binary_flag {
    TFIN_BINARY_CONSTANT = 1,     /* the second operand is in the plan */
    TFIN_BINARY_MINUS_SECOND = 2, /* ADD only: first - second */
    TFIN_BINARY_MINUS_FIRST = 4   /* ADD only: second - first */
};

/* ADD and SQUARED_DIFFERENCE. MUL ends before first_scale. Operands shorter
 * than the output repeat. */
typedef struct __attribute__((may_alias)) tfin_binary {
    TFIN_NODE_HEAD
    uint32_t second; /* in the arena or the plan, a multiple of 8 */
    uint16_t second_count;
    int8_t zero_point;
    uint8_t zero;
    int8_t first_zero_point;
    int8_t second_zero_point;
    int8_t activation_min;
    int8_t activation_max;
    tfin_scale scale;
    tfin_scale first_scale;
    tfin_scale second_scale;
} tfin_binary;

/* SUM and MEAN: each output is made from `count` inputs that follow one another. Bit 0 of `flags`
 * distinguishes MEAN from SUM for a reader of the plan; the engine ignores it. */
typedef struct __attribute__((may_alias)) tfin_reduce {
    TFIN_NODE_HEAD
    uint32_t start; /* -count * zero point of the input, modulo 2^32 */
    uint16_t count;
    int8_t zero_point;
    uint8_t zero;
    tfin_scale scale;
} tfin_reduce;

/* The constants are uint32_t[entries]: exp of 0, -1, -2, ... input codes, of 2^31. Codes further
 * off count as nothing. */
typedef struct __attribute__((may_alias)) tfin_softmax_node {
    TFIN_NODE_HEAD
    uint32_t constants;
    uint16_t rows;
    uint16_t depth;
    uint32_t entries;
} tfin_softmax_node;

/* Copies `rows` times `length` bytes to output + at, + at + stride, ... */
typedef struct __attribute__((may_alias)) tfin_copy_node {
    TFIN_NODE_HEAD
    uint16_t rows;
    uint16_t length;
    uint16_t stride;
    uint16_t at;
} tfin_copy_node;

/* The constants are uint8_t[inputs][256 >> shift]: the terms. Output k is its input's term less
 * 128, accumulator 0 the sum of the terms. */
typedef struct __attribute__((may_alias)) tfin_density_node {
    TFIN_NODE_HEAD
    uint32_t constants;
    uint8_t shift;
    uint8_t zero[3];
} tfin_density_node;

/* The constants are trees of 3 * 2^depth bytes: two of nothing, 2^depth - 1 splits {uint8_t
 * input, int8_t threshold}, 2^depth leaves. Output t is the leaf of tree t less 128, accumulator
 * 0 the sum of the leaves. */
typedef struct __attribute__((may_alias)) tfin_forest_node {
    TFIN_NODE_HEAD
    uint32_t constants;
    uint8_t depth;
    uint8_t zero[3];
} tfin_forest_node;

#define TFIN_SOFTMAX_BYTES 28u
#define TFIN_MUL_BYTES 36u
#define TFIN_ADD_BYTES 52u
#define TFIN_REDUCE_BYTES 32u
#define TFIN_COPY_BYTES 24u
#define TFIN_DENSITY_BYTES 24u
#define TFIN_FOREST_BYTES 24u
#define TFIN_FOREST_DEPTH_MAX 10u
#define TFIN_SOFTMAX_DEPTH_MAX 511u

/* 1 when a node of an operator keeps that operator's rules; and what runs it,
 * which trusts the check. */
typedef int tfin_node_check(const tfin_node *node, const uint8_t *plan);
typedef void tfin_node_run(const tfin_node *node, const uint8_t *plan, uint8_t *arena);

/* In net_binary.c: checks what ADD, MUL and SQUARED_DIFFERENCE have in common; `flags` are those
 * that the operator knows. */
int tfin_binary_check(const tfin_binary *node, const uint8_t *plan, uint32_t flags);

/* Walks the output of an operator; `raw` makes the int32 that node->scale brings to int8. Inlined
 * with the one `raw` it is given: nothing in the engine is called through a pointer. */
typedef int32_t tfin_binary_raw(const tfin_binary *node, int32_t first, int32_t second);
__attribute__((always_inline)) static inline void
tfin_binary_run(const tfin_node *head, const uint8_t *plan, uint8_t *arena, tfin_binary_raw *raw)
{
    const tfin_binary *node = (const tfin_binary *)(const void *)head;
    const int8_t *first = (const int8_t *)(arena + node->input);
    const int8_t *second =
        (const int8_t *)(((node->flags & TFIN_BINARY_CONSTANT) != 0 ? plan : arena) + node->second);
    int8_t *y = (int8_t *)(arena + node->output);
    uint32_t i = 0, k = 0;
    for (uint32_t n = node->outputs; n != 0; n--) {
        int32_t v =
            raw(node, first[i] - node->first_zero_point, second[k] - node->second_zero_point);
        *y++ = tfin_rescale_int8(v, &node->scale, node->zero_point, node->activation_min,
                                 node->activation_max);
        i = i + 1u == node->inputs ? 0 : i + 1u;
        k = k + 1u == node->second_count ? 0 : k + 1u;
    }
}

tfin_node_check tfin_add_check, tfin_mul_check, tfin_squared_difference_check, tfin_reduce_check,
    tfin_softmax_check, tfin_copy_check, tfin_density_check, tfin_forest_check;
tfin_node_run tfin_add, tfin_mul, tfin_squared_difference, tfin_reduce_run, tfin_softmax, tfin_copy,
    tfin_density, tfin_forest;

/* What accumulator 0 would change by if input `index` were `to` instead of `from`. */
int32_t tfin_density_change(const tfin_node *node, const uint8_t *plan, uint32_t index, int8_t from,
                            int8_t to);

#endif
