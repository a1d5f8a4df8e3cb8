/* SPDX-License-Identifier: Apache-2.0 */
/* TFLM's requantisation for all operators but FULLY_CONNECTED, whose kernels have their own. */
#ifndef TFIN_NET_RESCALE_H
#define TFIN_NET_RESCALE_H

#include <stdint.h>

/* TFLM's multiplier (0 to 2^31 - 1) and shift (-31 to 30): x * multiplier * 2^(shift - 31). */
typedef struct __attribute__((may_alias)) tfin_scale {
    int32_t multiplier_q31;
    int32_t shift;
} tfin_scale;

/* TFLM's MultiplyByQuantizedMultiplier, rounded twice; and whether a scale from a plan is one. */
int32_t tfin_rescale(int32_t x, const tfin_scale *scale);
int tfin_scale_ok(const tfin_scale *scale);

/* x rescaled, + zero_point, clamped. */
int8_t tfin_rescale_int8(int32_t x, const tfin_scale *scale, int8_t zero_point, int8_t min,
                         int8_t max);

/* SaturatingRoundingDoublingHighMul without its one saturation:
 * (a * b + 2^30) / 2^31, rounded down. */
static inline int32_t tfin_high_mul(int32_t a, int32_t b)
{
    return (int32_t)(((int64_t)a * b + (1 << 30)) >> 31);
}

#endif
