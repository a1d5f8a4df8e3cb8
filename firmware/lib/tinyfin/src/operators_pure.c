/* SPDX-License-Identifier: Apache-2.0 */
/* Operators without state. Registers are within +-(2^62 - 1), so a sum of two of them fits in int64. */
#include "internal.h"

#define RATIO_LIMIT ((int64_t)1 << 40)
#define MUL_LIMIT ((int64_t)1 << 30)

static int64_t field(const context *x, uint32_t index)
{
    const uint8_t *entry = x->engine->schema + 8 + SCHEMA_ENTRY * index;
    uint64_t v;
    uint8_t type = entry[0];
    if ((x->present >> index & 1u) == 0) {
        v = tfin_u64(entry + 8);
    } else {
        const uint8_t *p = (const uint8_t *)x->event->record + tfin_u16(entry + 2);
        v = type == 0 || type == 3 ? (uint64_t)(int64_t)tfin_i32(p) : tfin_u64(p);
    }
    return type == 2 ? (int64_t)(v & (uint64_t)REGISTER_MAX) : (int64_t)v;
}

static int64_t local_time(const context *x, uint32_t what)
{
    uint32_t hour = x->t_local / 3600u % 24u;
    uint32_t day = (x->t_local / 86400u + 5u) % 7u; /* 2000-01-01 was a Saturday; Monday is 0 */
    switch (what) {
    case 0: return x->t;
    case 1: return x->t_local;
    case 2: return hour;
    case 3: return day;
    default: return 24u * day + hour;
    }
}

static int64_t ratio(const op *o, int64_t a, int64_t b)
{
    int64_t d = tfin_clamp64(b, -RATIO_LIMIT, RATIO_LIMIT) + o->p1;
    /* |a| <= 2^40 and p0 < 2^15: the product stays below 2^55 */
    return d > 0 ? tfin_floor_div(tfin_clamp64(a, -RATIO_LIMIT, RATIO_LIMIT) * o->p0, d) : o->p2;
}

static uint32_t bits_set(uint64_t v)
{
    uint32_t n = 0;
    while (v != 0) {
        v &= v - 1u;
        n++;
    }
    return n;
}

static int64_t table_count(const op *o, const context *x, int64_t a)
{
    const uint8_t *p = x->pool + o->p0;
    int64_t n = 0;
    for (uint32_t i = 0; i < o->p2; i++) {
        int64_t v = tfin_i64(p + 8u * i);
        switch (o->code) {
        case BUCKET: n += v <= a; break;
        case DIVISIBLE: n += a != 0 && a % v == 0; break;
        default: n |= v == a; break; /* IN */
        }
    }
    return n;
}

static int64_t compare(uint32_t how, int64_t a, int64_t b)
{
    switch (how) {
    case 0: return a < b;
    case 1: return a <= b;
    case 2: return a == b;
    case 3: return a != b;
    case 4: return a >= b;
    default: return a > b;
    }
}

static int64_t outcome(const op *o, const context *x)
{
    switch (o->p2) {
    case 0: return x->result;
    case 1: return x->response;
    case 2: return x->action_taken;
    default: return x->outcome_s;
    }
}

int64_t tfin_pure(const op *o, const context *x)
{
    int64_t a = o->a == NO_REGISTER ? 0 : x->r[o->a];
    int64_t b = o->b == NO_REGISTER ? o->p0 : x->r[o->b];
    switch (o->code) {
    case FIELD: return field(x, o->p2);
    case PRESENT: return x->present >> o->p2 & 1u;
    case CONST: return o->p0;
    case TIME: return local_time(x, o->p2);
    case LOG2: return tfin_log2_q8(a);
    case BUCKET:
    case DIVISIBLE:
    case IN: return table_count(o, x, a);
    case LOOKUP: return a >= 0 && a < o->p2 ? tfin_i16(x->pool + o->p0 + 2 * a) : o->p1;
    case COMPARE: return compare(o->p2, a, b);
    case AND: return a != 0 && b != 0;
    case OR: return a != 0 || b != 0;
    case NOT: return a == 0;
    case ADD: return a + b;
    case SUB: return a - b;
    case MIN: return a < b ? a : b;
    case MAX: return a > b ? a : b;
    case ABS: return a < 0 ? -a : a;
    case DIV: return tfin_floor_div(a, o->p0);
    case RATIO: return ratio(o, a, b);
    case POPCOUNT: return bits_set((uint64_t)a & tfin_u64(x->pool + o->p0));
    case SELECT: return x->r[o->c] != 0 ? a : b;
    case OUTCOME: return outcome(o, x);
    default: /* MUL */
        return tfin_clamp64(a, -MUL_LIMIT, MUL_LIMIT) * tfin_clamp64(b, -MUL_LIMIT, MUL_LIMIT);
    }
}
