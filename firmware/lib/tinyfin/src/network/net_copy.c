/* SPDX-License-Identifier: Apache-2.0 */
/* Puts one input of a CONCATENATION in its place. */
#include "net_operators.h"

int tfin_copy_check(const tfin_node *node, const uint8_t *plan)
{
    const tfin_copy_node *c = (const tfin_copy_node *)(const void *)node;
    (void)plan;
    /* products of 16-bit numbers: their sum with two more fits 64 bits; rows != 0
     * because inputs != 0 */
    return c->flags == 0 && c->inputs != 0 && (uint32_t)c->rows * c->length == c->inputs &&
           (uint64_t)(c->rows - 1u) * c->stride + c->at + c->length <= c->outputs;
}

void tfin_copy(const tfin_node *node, const uint8_t *plan, uint8_t *arena)
{
    const tfin_copy_node *c = (const tfin_copy_node *)(const void *)node;
    const uint8_t *x = arena + c->input;
    uint8_t *y = arena + c->output + c->at;
    (void)plan;
    for (uint32_t rows = c->rows; rows != 0; rows--, y += c->stride) {
        for (uint32_t i = 0; i < c->length; i++) {
#ifdef TFIN_TEST_NO_ROUNDING
            y[i] = *x++ ^ (i == 0); /* a wrong answer on purpose: the tests must notice */
#else
            y[i] = *x++;
#endif
        }
    }
}
