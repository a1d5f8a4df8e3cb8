/* SPDX-License-Identifier: Apache-2.0 */
#include "net_rescale.h"

int tfin_scale_ok(const tfin_scale *scale)
{
    return scale->multiplier_q31 >= 0 && scale->shift >= -31 && scale->shift <= 30;
}

/* The proof that two shifts do what gemmlowp's rounding steps do is in fully_connected.c. */
int32_t tfin_rescale(int32_t x, const tfin_scale *scale)
{
    int32_t shift = scale->shift;
    if (shift > 0) {
        x = (int32_t)((uint32_t)x << shift);
    }
    int32_t v = tfin_high_mul(x, scale->multiplier_q31);
    if (shift < 0) {
#ifdef TFIN_TEST_NO_ROUNDING
        v >>= -shift; /* a wrong answer on purpose: the tests must notice */
#else
        v = (((v + (v >> 31)) >> (-1 - shift)) + 1) >> 1;
#endif
    }
    return v;
}

int8_t tfin_rescale_int8(int32_t x, const tfin_scale *scale, int8_t zero_point, int8_t min,
                         int8_t max)
{
    int32_t y = (int32_t)((uint32_t)tfin_rescale(x, scale) + (uint32_t)(int32_t)zero_point);
    y = y < min ? min : y;
    return (int8_t)(y > max ? max : y);
}
