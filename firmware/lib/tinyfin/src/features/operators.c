/* SPDX-License-Identifier: Apache-2.0 */
/* The interpreter: one dispatch for each operator, and the operators that are too small for a file
 * of their own. Only results that may leave +-(2^62 - 1) are limited. The limits that program.c
 * checks keep the others inside. */
#include "../internal.h"

#define RATIO_LIMIT ((int64_t)1 << 40)
#define MUL_LIMIT ((int64_t)1 << 30)

/* A test proves that it would notice an operator that is off by one. */
static int64_t sabotage(const op *o)
{
#ifdef TFIN_SABOTAGE_OPERATOR
    return o->code == TFIN_SABOTAGE_OPERATOR;
#else
    (void)o;
    return 0;
#endif
}

static int64_t limited(int64_t v)
{
    return tfin_clamp64(v, -REGISTER_MAX, REGISTER_MAX);
}

/* Cores divide 32 bits in hardware or in a fraction of the time; few values need more. */
int64_t tfin_floor_div(int64_t a, int64_t positive)
{
    if (tfin_fits_32(a) && tfin_fits_32(positive)) {
        int32_t q = (int32_t)a / (int32_t)positive;
        return q * (int32_t)positive > (int32_t)a ? q - 1 : q;
    }
    int64_t q = a / positive;
    return q * positive > a ? q - 1 : q;
}

static int64_t field(const context *x, uint32_t index)
{
    const tfin_field *f = tfin_schema_fields(x->schema) + index;
    const uint8_t *p = (const uint8_t *)&f->missing;
    uint8_t type = f->type;
    if ((x->present >> index & 1u) != 0) {
        p = x->record + f->offset;
        if (type == TFIN_TYPE_I32 || type == TFIN_TYPE_ENUM) {
            return tfin_i32(p);
        }
    }
    return type == TFIN_TYPE_U64 ? (int64_t)(tfin_u64(p) & (uint64_t)REGISTER_MAX)
                                 : limited(tfin_i64(p));
}

static uint32_t local_time(const context *x, uint32_t what)
{
    uint32_t hours = x->t_local / 3600u;
    uint32_t day = (hours / 24u + 5u) % 7u; /* 2000-01-01 was a Saturday; Monday is 0 */
    switch (what) {
    case 0: return x->t;
    case 1: return x->t_local;
    case 2: return hours % 24u;
    case 3: return day;
    default: return 24u * day + hours % 24u;
    }
}

static int64_t ratio(const op *o, int64_t a, int64_t b)
{
    int64_t d = tfin_clamp64(b, -RATIO_LIMIT, RATIO_LIMIT) + o->p1;
    /* |a| <= 2^40 and p0 < 2^15: the product stays below 2^55 */
    return d > 0 ? tfin_floor_div(tfin_clamp64(a, -RATIO_LIMIT, RATIO_LIMIT) * o->p0, d) : o->p2;
}

static uint32_t ones(uint32_t v)
{
    v -= v >> 1 & 0x55555555u;
    v = (v & 0x33333333u) + (v >> 2 & 0x33333333u);
    return ((v + (v >> 4)) & 0x0F0F0F0Fu) * 0x01010101u >> 24;
}

/* TABLE has a row per relation and a column each for less, equal and greater. */
static uint32_t compare(uint32_t how, int64_t a, int64_t b)
{
    enum { TABLE = 1 | 3 << 3 | 2 << 6 | 5 << 9 | 6 << 12 | 4 << 15 }; /* < <= == != >= > */
    uint32_t column = a < b ? 0 : (a == b ? 1 : 2);
    return (uint32_t)TABLE >> (3u * how + column) & 1u;
}

static uint32_t table_count(const op *o, const uint8_t *p, int64_t a)
{
    uint32_t n = 0;
    for (const uint8_t *end = p + 8u * o->p2; p != end; p += 8) {
        int64_t v = tfin_i64(p);
        if (o->code == IN) {
            if (v == a) {
                return 1;
            }
        } else if (o->code == BUCKET) {
            n += v <= a;
        } else {
            n += a != 0 &&
                 (tfin_fits_32(a) && tfin_fits_32(v) ? (int32_t)a % (int32_t)v == 0 : a % v == 0);
        }
    }
    return n;
}

static int32_t lookup(const op *o, const uint8_t *table, int64_t a)
{
    return a >= 0 && a < o->p2 ? tfin_i16(table + 2 * a) : o->p1;
}

static uint32_t history_mask(const op *o)
{
    return UINT32_MAX >> (32u - o->p2);
}

static int64_t since(const op *o, uint32_t t, const uint8_t *s)
{
    uint32_t last = tfin_u32(s);
    if (last == 0) {
        return o->p0;
    }
    uint32_t gap = t >= last - 1u ? t - (last - 1u) : 0;
    return gap < (uint32_t)o->p0 ? (int32_t)gap : o->p0;
}

static int64_t previous(const op *o, const uint8_t *s)
{
    int wide = o->p3 == 8;
    if (tfin_u32(s + (wide ? 8 : 4)) == 0) {
        return o->p0;
    }
    return wide ? limited(tfin_i64(s)) : tfin_i32(s); /* an imported image may hold any 64 bits */
}

static int64_t history(const op *o, const uint8_t *s, uint32_t counted)
{
    uint32_t v = tfin_u32(s);
    if ((o->flags & FLAG_SELF) != 0) {
        if (o->code == RUN) {
            return counted ? (int64_t)v + 1 : 0;
        }
        v = v << 1 | counted;
    }
    return o->code == RUN ? v : ones(v & history_mask(o));
}

static uint32_t previous_commit(const op *o, uint8_t *s, int64_t v)
{
    if (o->p3 == 8) {
        tfin_put64(s, (uint64_t)v);
        tfin_put32(s + 8, 1);
        return 0;
    }
    tfin_put32(s, (uint32_t)(v < INT32_MIN ? INT32_MIN : (v > INT32_MAX ? INT32_MAX : v)));
    tfin_put32(s + 4, 1);
    return !tfin_fits_32(v);
}

static void history_commit(const op *o, uint8_t *s, uint32_t counted)
{
    uint32_t v = tfin_u32(s);
    uint32_t run = counted ? v + (v < 65535u) : 0;
    tfin_put32(s, o->code == RUN ? run : (v << 1 | counted) & history_mask(o));
}

static void since_commit(uint8_t *s, uint32_t t)
{
    if (tfin_u32(s) < t + 1u) {
        tfin_put32(s, t + 1u);
    }
}

static uint32_t popcount(uint64_t bits)
{
    return ones((uint32_t)bits) + ones((uint32_t)(bits >> 32));
}

static int64_t mul(int64_t a, int64_t b)
{
    return tfin_clamp64(a, -MUL_LIMIT, MUL_LIMIT) * tfin_clamp64(b, -MUL_LIMIT, MUL_LIMIT);
}

/* 1 when the reading includes the present event. */
static uint32_t self(const op *o, const int64_t *r)
{
    return (o->flags & FLAG_SELF) != 0 && (o->c == NO_REGISTER || r[o->c] != 0);
}

static int64_t amount(const op *o, const int64_t *r)
{
    return o->a == NO_REGISTER ? 1 : r[o->a];
}

/* The operands. lanes.c of the twin defines these in another way. */
#define A r[o->a]
#define C r[o->c]
#define COUNTED (o->c == NO_REGISTER || C != 0)
#define SELF self(o, r)
#define AMOUNT amount(o, r)
#define EPOCH (x->t / (uint32_t)o->p0)

/* X(operator, reading), by what they have: no b, an optional b, state. */
#define PURE(X)                                                        \
    X(FIELD, field(x, o->p2))                                          \
    X(PRESENT, x->present >> o->p2 & 1u)                               \
    X(CONST, o->p0)                                                    \
    X(TIME, local_time(x, o->p2))                                      \
    X(LOG2, tfin_log2_q8(A))                                           \
    X(BUCKET, table_count(o, x->pool + o->p0, A))                      \
    X(LOOKUP, lookup(o, x->pool + o->p0, A))                           \
    X(NOT, A == 0)                                                     \
    X(ABS, A < 0 ? -A : A)                                             \
    X(DIV, tfin_floor_div(A, o->p0))                                   \
    X(DIVISIBLE, table_count(o, x->pool + o->p0, A))                   \
    X(POPCOUNT, popcount(((uint64_t)A) & tfin_u64(x->pool + o->p0)))   \
    X(OUTCOME, o->p2 == 3 ? (int64_t)x->outcome_s : x->outcome[o->p2]) \
    X(IN, table_count(o, x->pool + o->p0, A))
#define BINARY(X)                    \
    X(COMPARE, compare(o->p2, a, b)) \
    X(AND, a != 0 && b != 0)         \
    X(OR, (a | b) != 0)              \
    X(ADD, limited(a + b))           \
    X(SUB, limited(a - b))           \
    X(MIN, a < b ? a : b)            \
    X(MAX, a > b ? a : b)            \
    X(RATIO, ratio(o, a, b))         \
    X(SELECT, C != 0 ? a : b)        \
    X(MUL, mul(a, b))
#define STATEFUL(X)                                             \
    X(WINDOW, tfin_window_read(o, s, EPOCH, SELF ? AMOUNT : 0)) \
    X(LAST_N, history(o, s, COUNTED))                           \
    X(RUN, history(o, s, COUNTED))                              \
    X(SINCE, since(o, x->t, s))                                 \
    X(MEAN, tfin_mean_read(o, s))                               \
    X(DEVIATION, tfin_deviation_read(o, s, A))                  \
    X(SHARE, tfin_share_read(o, s, A))                          \
    X(RARITY, tfin_rarity_read(o, s, A))                        \
    X(REPEAT, tfin_repeat_read(o, s, A, SELF))                  \
    X(MODE, tfin_mode_read(o, s, A, SELF))                      \
    X(PREVIOUS, previous(o, s))                                 \
    X(DISTINCT, tfin_distinct_read(o, s, A, x->t, SELF))        \
    X(KNOWN, tfin_known_read(o, x->labels[o->key], x->t))       \
    X(SEEN, x->card_known)                                      \
    X(COMPROMISED, tfin_compromised_read(o, s, x->pool + o->p0, x->t))
/* X(operator, what an event that counts does to its state); a: AMOUNT */
#define COMMITS(X)                                             \
    X(WINDOW, saturated += tfin_window_commit(o, s, EPOCH, a)) \
    X(SINCE, since_commit(s, x->t))                            \
    X(MEAN, tfin_mean_commit(o, s, a))                         \
    X(DEVIATION, tfin_deviation_commit(o, s, a))               \
    X(SHARE, tfin_share_commit(o, s, a))                       \
    X(RARITY, tfin_rarity_commit(o, s, a))                     \
    X(REPEAT, tfin_repeat_commit(o, s, a))                     \
    X(MODE, tfin_repeat_commit(o, s, a))                       \
    X(PREVIOUS, saturated += previous_commit(o, s, a))         \
    X(DISTINCT, tfin_distinct_commit(o, s, a, x->t))           \
    X(COMPROMISED, tfin_compromised_commit(o, s, x->pool + o->p0, a, x->id))

static int64_t operand_b(const op *o, const int64_t *r)
{
    return o->b == NO_REGISTER ? o->p0 : r[o->b];
}

#define X(code, value) \
    case code: return value;

static int64_t binary(const op *o, const int64_t *r)
{
    int64_t a = A;
    int64_t b = operand_b(o, r);
    switch (o->code) {
        BINARY(X)
    default: return 0;
    }
}

static int64_t stateful(const op *o, const context *x)
{
    const int64_t *r = x->r;
    const uint8_t *s = x->state[o->key] + o->state;
    switch (o->code) {
        STATEFUL(X)
    default: return 0;
    }
}

static int64_t evaluate(const op *o, const context *x)
{
    const int64_t *r = x->r;
    switch (o->code) {
        PURE(X)
#undef X
#define X(code, value) case code:
        BINARY(X) return binary(o, r);
    default: return stateful(o, x);
    }
}
#undef X

void tfin_run(const op *o, uint32_t count, const context *x)
{
    for (const op *end = o + count; o != end; o++) {
        x->r[o->out] = evaluate(o, x) + sabotage(o);
    }
}

uint32_t tfin_commit(const op *o, uint32_t count, const context *x, uint8_t *const state[3])
{
    const int64_t *r = x->r;
    uint32_t result = 1u << x->outcome[0];
    uint32_t saturated = 0;
    for (const op *end = o + count; o != end; o++) {
        if ((o->when & result) == 0 || o->code <= LAST_PURE || state[o->key] == NULL) {
            continue;
        }
        uint8_t *s = state[o->key] + o->state;
        uint32_t counted = COUNTED;
        if (o->code == LAST_N || o->code == RUN) {
            if (o->b == NO_REGISTER || r[o->b] != 0) {
                history_commit(o, s, counted);
            }
            continue;
        }
        if (!counted) {
            continue;
        }
        int64_t a = AMOUNT;
        switch (o->code) {
#define X(code, what) \
    case code: what; break;
            COMMITS(X)
#undef X
        default: break; /* KNOWN and SEEN: only notices and the card table change them */
        }
    }
    return saturated;
}
