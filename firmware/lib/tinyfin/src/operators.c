/* SPDX-License-Identifier: Apache-2.0 */
/* Dispatch to the families, and the operators that are too small for a file of their own. */
#include "internal.h"

static int counts(const op *o, const context *x)
{
    return o->c == NO_REGISTER || x->r[o->c] != 0;
}

static uint32_t history_mask(const op *o)
{
    return o->p2 == 32 ? UINT32_MAX : (1u << o->p2) - 1u;
}

static uint32_t ones(uint32_t v)
{
    uint32_t n = 0;
    for (; v != 0; v &= v - 1u) {
        n++;
    }
    return n;
}

static int64_t since(const op *o, const context *x, const uint8_t *s)
{
    uint32_t last = tfin_u32(s);
    if (last == 0) {
        return o->p0;
    }
    int64_t gap = (int64_t)x->t - ((int64_t)last - 1);
    return tfin_clamp64(gap, 0, o->p0);
}

static int64_t previous(const op *o, const uint8_t *s)
{
    int wide = o->p3 == 8;
    if (tfin_u32(s + (wide ? 8 : 4)) == 0) {
        return o->p0;
    }
    return wide ? tfin_i64(s) : tfin_i32(s);
}

int64_t tfin_read(const op *o, const context *x, const uint8_t *s, const uint8_t *labels)
{
    int with_self = (o->flags & FLAG_SELF) != 0;
    int counted = counts(o, x);
    int self = with_self && counted;
    switch (o->code) {
    case WINDOW: return tfin_window_read(o, x, s, self ? (o->a == NO_REGISTER ? 1 : x->r[o->a]) : 0);
    case LAST_N: {
        uint32_t bits = tfin_u32(s);
        return ones((with_self ? bits << 1 | (uint32_t)counted : bits) & history_mask(o));
    }
    case RUN: return with_self ? (counted ? (int64_t)tfin_u32(s) + 1 : 0) : tfin_u32(s);
    case SINCE: return since(o, x, s);
    case MEAN: return tfin_mean_read(o, s);
    case DEVIATION: return tfin_deviation_read(o, x, s);
    case SHARE: return tfin_share_read(o, x, s);
    case RARITY: return tfin_rarity_read(o, x, s);
    case REPEAT: return tfin_repeat_read(o, x, s, self);
    case MODE: return tfin_mode_read(o, x, s, self);
    case PREVIOUS: return previous(o, s);
    case DISTINCT: return tfin_distinct_read(o, x, s, self);
    case KNOWN: return tfin_known_read(o, x->t, labels);
    default: return x->card_known; /* SEEN */
    }
}

static uint32_t previous_commit(const op *o, const context *x, uint8_t *s)
{
    int64_t v = x->r[o->a];
    uint32_t saturated = 0;
    if (o->p3 == 8) {
        tfin_put64(s, (uint64_t)v);
    } else {
        int64_t fits = tfin_clamp64(v, INT32_MIN, INT32_MAX);
        saturated = fits != v;
        tfin_put32(s, (uint32_t)(int32_t)fits);
    }
    tfin_put32(s + (o->p3 == 8 ? 8 : 4), 1);
    return saturated;
}

uint32_t tfin_commit(const op *o, const context *x, uint8_t *s)
{
    int counted = counts(o, x);
    int gate = o->b == NO_REGISTER || x->r[o->b] != 0;
    if (o->code == LAST_N) {
        if (gate) {
            tfin_put32(s, (tfin_u32(s) << 1 | (uint32_t)counted) & history_mask(o));
        }
        return 0;
    }
    if (o->code == RUN) {
        if (gate) {
            uint32_t run = tfin_u32(s);
            tfin_put32(s, counted ? (run < 65535u ? run + 1u : run) : 0);
        }
        return 0;
    }
    if (!counted) {
        return 0;
    }
    switch (o->code) {
    case WINDOW: return tfin_window_commit(o, x, s);
    case SINCE: {
        uint32_t last = tfin_u32(s);
        tfin_put32(s, last > x->t + 1u ? last : x->t + 1u);
        return 0;
    }
    case MEAN: tfin_mean_commit(o, x, s); return 0;
    case DEVIATION: tfin_deviation_commit(o, x, s); return 0;
    case SHARE: tfin_share_commit(o, x, s); return 0;
    case RARITY: tfin_rarity_commit(o, x, s); return 0;
    case REPEAT:
    case MODE: tfin_repeat_commit(o, x, s); return 0;
    case PREVIOUS: return previous_commit(o, x, s);
    case DISTINCT: tfin_distinct_commit(o, x, s); return 0;
    default: return 0; /* KNOWN and SEEN: only notices and the card table change them */
    }
}
