/* SPDX-License-Identifier: Apache-2.0 */
/* MEAN, DEVIATION, SHARE: exponentially weighted averages by shifts. Shifts round toward minus
 * infinity, everywhere. */
#include "../internal.h"

#define LIMIT_32 ((int64_t)1 << 22) /* in Q8 below 2^30, so that m - x fits in 32 bits */
#define LIMIT_64 ((int64_t)1 << 46)

static void count_up(uint8_t *p, uint32_t n)
{
    tfin_put32(p, n < 65535u ? n + 1u : n);
}

/* Unsigned, so that a state image with absurd values cannot overflow a signed subtraction. */
static int64_t average(int64_t mean, int64_t x, uint32_t shift)
{
    int64_t step = (int64_t)((uint64_t)x - (uint64_t)mean) >> shift;
    return (int64_t)((uint64_t)mean + (uint64_t)step);
}

int64_t tfin_mean_read(const op *o, const uint8_t *s)
{
    int wide = o->p3 == 8;
    if (tfin_u32(s + (wide ? 8 : 4)) == 0) {
        return o->p1;
    }
    return (wide ? tfin_i64(s) : tfin_i32(s)) >> 8;
}

void tfin_mean_commit(const op *o, uint8_t *s, int64_t a)
{
    int wide = o->p3 == 8;
    int64_t limit = wide ? LIMIT_64 : LIMIT_32;
    int64_t value = tfin_clamp64(a, -limit, limit) * 256;
    uint8_t *count = s + (wide ? 8 : 4);
    uint32_t n = tfin_u32(count);
    int64_t mean = n == 0 ? value : average(wide ? tfin_i64(s) : tfin_i32(s), value, o->p2);
    if (wide) {
        tfin_put64(s, (uint64_t)mean);
    } else {
        tfin_put32(s, (uint32_t)(int32_t)mean);
    }
    count_up(count, n);
}

int64_t tfin_deviation_read(const op *o, const uint8_t *s, int64_t a)
{
    if (tfin_u32(s + 8) < o->p3) {
        return 0;
    }
    int64_t value = tfin_clamp64(a, -LIMIT_32, LIMIT_32) * 256;
    int64_t spread = tfin_i32(s + 4);
    int64_t least = (int64_t)o->p0 * 256;
    return tfin_floor_div((value - tfin_i32(s)) * o->p1, spread > least ? spread : least);
}

void tfin_deviation_commit(const op *o, uint8_t *s, int64_t a)
{
    int64_t value = tfin_clamp64(a, -LIMIT_32, LIMIT_32) * 256;
    uint32_t n = tfin_u32(s + 8);
    int64_t mean = tfin_i32(s);
    int64_t spread = tfin_i32(s + 4);
    if (n == 0) {
        mean = value;
        spread = 0;
    } else {
        spread = average(spread, value > mean ? value - mean : mean - value, o->p2);
        mean = average(mean, value, o->p2);
    }
    tfin_put32(s, (uint32_t)(int32_t)mean);
    tfin_put32(s + 4, (uint32_t)(int32_t)spread);
    count_up(s + 8, n);
}

int32_t tfin_share_read(const op *o, const uint8_t *s, int64_t a)
{
    int invert = (o->flags & FLAG_INVERT) != 0;
    if (a < 0 || a >= o->p2 || tfin_u16(s) == 0) {
        int32_t even = 256 / o->p2;
        return invert ? even : 256 - even;
    }
    int32_t share = tfin_u16(s + 2 + 2 * a);
    return (invert ? share : 32768 - share) >> 7;
}

void tfin_share_commit(const op *o, uint8_t *s, int64_t a)
{
    if (a < 0 || a >= o->p2) {
        return;
    }
    uint32_t n = tfin_u16(s);
    int32_t even = 32768 / o->p2;
    uint8_t *p = s;
    for (uint32_t i = 0; i < o->p2; i++) {
        p += 2;
        int32_t share = n == 0 ? even : tfin_u16(p);
        share += ((i == (uint32_t)a ? 32768 : 0) - share) >> o->p3;
        tfin_put16(p, (uint16_t)share);
    }
    tfin_put16(s, (uint16_t)(n + (n < 65535u)));
}
