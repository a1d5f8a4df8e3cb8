/* SPDX-License-Identifier: Apache-2.0 */
/* What the kernels of FULLY_CONNECTED for Thumb-2 cores without Helium share: the end of a row, and
 * the clamp that SSAT does not do. */
#ifndef TFIN_FULLY_CONNECTED_SSAT_H
#define TFIN_FULLY_CONNECTED_SSAT_H

#include "../network/net_plan.h"

#ifdef TFIN_TEST_SINGLE_ROUNDING
#define AWAY_FROM_ZERO(a) "" /* wrong on purpose: the tests must notice */
#else
#define AWAY_FROM_ZERO(a) "add " a ", " a ", " a ", asr #31\n"
#endif

/* clang-format off */
/* One row of a narrow layer, its sum with bias in `a`; `rounded_high` makes v of it
 * (fully_connected.c). r5 multiplier_q32 and r6 shift1, fetched first when Z is clear
 * (per-channel); r7 2 * zero point + 1, lr the output. */
#define NARROW_ROW(a, rounded_high)   \
    "it ne\n"                         \
    "ldmiane r0!, {r5, r6}\n"         \
    rounded_high AWAY_FROM_ZERO(a)    \
    "asr " a ", " a ", r6\n"          \
    "add " a ", " a ", r7\n"          \
    "ssat " a ", #8, " a ", asr #1\n" \
    "strb " a ", [lr], #1\n"
/* clang-format on */

/* Outputs are saturated to int8 by then: most layers are done. */
static inline void clamp_outputs(const tfin_node *node, uint8_t *arena)
{
    int32_t low = node->activation_min;
    int32_t high = node->activation_max;
    if (high - low != 255) {
        int8_t *y = (int8_t *)arena + node->output;
        for (const int8_t *end = y + node->outputs; y != end; y++) {
            *y = (int8_t)(*y < low ? low : *y > high ? high : *y);
        }
    }
}

#endif
