/* SPDX-License-Identifier: Apache-2.0 */
/* WINDOW: a ring of buckets. Memory is fixed, an event costs the same whatever came before. */
#include "internal.h"

static uint32_t first_bucket(uint32_t width)
{
    return width == 8 ? 8 : 4;
}

static uint64_t bucket_get(const uint8_t *s, uint32_t width, uint32_t i)
{
    const uint8_t *p = s + first_bucket(width) + width * i;
    switch (width) {
    case 1: return *p;
    case 2: return tfin_u16(p);
    case 4: return tfin_u32(p);
    default: return tfin_u64(p);
    }
}

static void bucket_put(uint8_t *s, uint32_t width, uint32_t i, uint64_t v)
{
    uint8_t *p = s + first_bucket(width) + width * i;
    switch (width) {
    case 1: *p = (uint8_t)v; break;
    case 2: tfin_put16(p, (uint16_t)v); break;
    case 4: tfin_put32(p, (uint32_t)v); break;
    default: tfin_put64(p, v); break;
    }
}

int64_t tfin_window_read(const op *o, const context *x, const uint8_t *s, int64_t self)
{
    uint32_t n = o->p2;
    uint32_t now = x->t / (uint32_t)o->p0;
    uint32_t head_plus_1 = tfin_u32(s);
    uint64_t sum = self > 0 ? (uint64_t)self : 0;
    if (head_plus_1 != 0) {
        uint32_t head = head_plus_1 - 1u;
        uint32_t low = now >= n ? now - n + 1u : 0;            /* oldest epoch of the window */
        uint32_t held = head >= n ? head - n + 1u : 0;         /* oldest epoch in the ring */
        uint32_t high = head < now ? head : now;
        uint32_t from = low > held ? low : held;
        if (from <= high) {
            uint32_t i = from % n;
            for (uint32_t k = high - from + 1u; k != 0; k--) { /* at most n rounds of less than 2^62: saturate each */
                sum += bucket_get(s, o->p3, i);
                sum = sum > (uint64_t)REGISTER_MAX ? (uint64_t)REGISTER_MAX : sum;
                i = i + 1u == n ? 0 : i + 1u;
            }
        }
    }
    return (int64_t)(sum > (uint64_t)REGISTER_MAX ? (uint64_t)REGISTER_MAX : sum);
}

uint32_t tfin_window_commit(const op *o, const context *x, uint8_t *s)
{
    uint32_t n = o->p2;
    uint32_t width = o->p3;
    uint32_t now = x->t / (uint32_t)o->p0;
    uint32_t head_plus_1 = tfin_u32(s);
    uint32_t head = head_plus_1 == 0 ? now : head_plus_1 - 1u;
    if (now > head) {
        uint32_t steps = now - head < n ? now - head : n;
        for (uint32_t k = 0; k < steps; k++) {
            bucket_put(s, width, (now - k) % n, 0);
        }
        head = now;
    }
    tfin_put32(s, head + 1u);
    if (head - now >= n) {
        return 0;
    }
    int64_t add = o->a == NO_REGISTER ? 1 : x->r[o->a];
    uint64_t limit = width == 8 ? (uint64_t)REGISTER_MAX : ((uint64_t)1 << (8u * width)) - 1u;
    uint64_t sum = bucket_get(s, width, now % n) + (add > 0 ? (uint64_t)add : 0);
    bucket_put(s, width, now % n, sum > limit ? limit : sum);
    return sum > limit;
}
