/* SPDX-License-Identifier: Apache-2.0 */
/* WINDOW: a ring of buckets. Memory is fixed, an event costs the same whatever came before. */
#include "../internal.h"

static uint32_t first_bucket(uint32_t width)
{
    return width == 8 ? 8 : 4;
}

/* the twin has its own, without branches, for cores with wide words */
#ifndef TFIN_OWN_RING
static uint32_t ring_at(uint32_t epoch, uint32_t n)
{
    return epoch % n;
}

/* 64 buckets of 32 bits stay below 2^38; only those of 64 bits need a limit at each step. */
static uint64_t add_straight(uint64_t sum, const uint8_t *p, uint32_t width, uint32_t n)
{
    const uint8_t *end = p + width * n;
    switch (width) {
    case 1:
        for (; p != end; p += 1) {
            sum += *p;
        }
        break;
    case 2:
        for (; p != end; p += 2) {
            sum += tfin_u16(p);
        }
        break;
    case 4:
        for (; p != end; p += 4) {
            sum += tfin_u32(p);
        }
        break;
    default:
        for (; p != end; p += 8) {
            sum += tfin_u64(p);
            sum = sum > (uint64_t)REGISTER_MAX ? (uint64_t)REGISTER_MAX : sum;
        }
        break;
    }
    return sum;
}

/* Adds up the `count` <= n buckets of the ring that end at bucket `at`. */
static uint64_t ring_sum(uint64_t sum, const uint8_t *p, uint32_t width, uint32_t n, uint32_t at,
                         uint32_t count)
{
    /* these are at the ring's start, up to `at`, the others at its end */
    uint32_t below = count <= at ? count : at + 1u;
    sum = add_straight(sum, p + width * (at + 1u - below), width, below);
    return add_straight(sum, p + width * (n - (count - below)), width, count - below);
}

/* Clears them. */
static void ring_clear(uint8_t *p, uint32_t width, uint32_t n, uint32_t at, uint32_t count)
{
    uint32_t below = count <= at ? count : at + 1u;
    memset(p + width * (at + 1u - below), 0, width * below);
    if (count != below) {
        memset(p + width * (n - (count - below)), 0, width * (count - below));
    }
}
#endif

int64_t tfin_window_read(const op *o, const uint8_t *s, uint32_t now, int64_t self)
{
    uint64_t sum = self > 0 ? (uint64_t)self : 0;
    uint32_t head = tfin_u32(s) - 1u;
    if (head != UINT32_MAX) {
        uint32_t n = o->p2;
        uint32_t width = o->p3;
        uint32_t high = head < now ? head : now; /* newest epoch of both the window and the ring */
        uint32_t apart = head < now ? now - head : head - now;
        if (apart < n) {
            uint32_t held = n - apart;
            held = held <= high ? held : high + 1u;
            sum = ring_sum(sum, s + first_bucket(width), width, n, ring_at(high, n), held);
        }
    }
    return (int64_t)(sum > (uint64_t)REGISTER_MAX ? (uint64_t)REGISTER_MAX : sum);
}

uint32_t tfin_window_commit(const op *o, uint8_t *s, uint32_t now, int64_t a)
{
    uint32_t n = o->p2;
    uint32_t width = o->p3;
    uint8_t *p = s + first_bucket(width);
    uint32_t at = ring_at(now, n);
    uint32_t head_plus_1 = tfin_u32(s);
    uint32_t head = head_plus_1 == 0 ? now : head_plus_1 - 1u;
    if (now > head) {
        ring_clear(p, width, n, at, now - head < n ? now - head : n);
        head = now;
    }
    tfin_put32(s, head + 1u);
    if (head - now >= n) {
        return 0;
    }
    a = a > 0 ? a : 0;
    p += width * at;
    if (width == 8) {
        uint64_t sum = tfin_u64(p) + (uint64_t)a;
        tfin_put64(p, sum > (uint64_t)REGISTER_MAX ? (uint64_t)REGISTER_MAX : sum);
        return sum > (uint64_t)REGISTER_MAX;
    }
    uint32_t limit = UINT32_MAX >> (32u - 8u * width);
    uint32_t sum = width == 1 ? *p : (width == 2 ? tfin_u16(p) : tfin_u32(p));
    uint32_t saturates = a > (int64_t)(limit - sum);
    sum = saturates ? limit : sum + (uint32_t)a;
    if (width == 1) {
        *p = (uint8_t)sum;
    } else if (width == 2) {
        tfin_put16(p, (uint16_t)sum);
    } else {
        tfin_put32(p, sum);
    }
    return saturates;
}
