/* SPDX-License-Identifier: Apache-2.0 */
/* The engine's own files in one translation unit, and over them lanes: an operator is decoded once
 * and runs over the events of many terminals. operators.c alone defines what an operator computes;
 * here it only takes its operands from another place. */
#include "lanes.h"
#include "window_lanes.h"

#include "crc32.c"
#include "engine.c"
#include "error.c"
#include "features/log2.c"
#include "features/operators.c"
#include "features/operators_average.c"
#include "features/operators_compromised.c"
#include "features/operators_known.c"
#include "features/operators_ring.c"
#include "features/operators_window.c"

#define LANES TFIN_LANES
#define EACH(i, n) for (uint32_t i = 0; i < (n); i++)

/* For every large core of this kind, and again for those that compute on wider registers; which one
 * runs is found out when it starts. */
#if defined(__x86_64__) && defined(__gnu_linux__) && defined(__GNUC__) && !defined(__clang__)
#define EVERY_CORE __attribute__((target_clones("avx2", "default"), noinline))
#else
#define EVERY_CORE __attribute__((noinline))
#endif

typedef int64_t row[LANES];

/* An operator with its operands as rows, which are there also where the program has a
 * constant or nothing. */
typedef struct lane_op {
    op o;
    const int64_t *a, *b, *c;
    int64_t *out;
    uint64_t epoch; /* RECIPROCAL(p0) of a WINDOW */
} lane_op;

struct tfin_lanes {
    uint32_t score_ops, outcome_ops, commit_ops, registers;
    lane_op *score, *outcome, *commits;
    row *rows;
    context x[LANES];
    tfin_engine *e[LANES];
    uint8_t *entry[LANES];
    uint8_t *state[3][LANES]; /* to commit to, by key; null: none */
    uint32_t result[LANES];
    uint32_t saturated[LANES];
    int16_t features[MAX_FEATURES][LANES];
    uint8_t unused[1024]; /* the pending entry of a lane that has none */
};

static uint32_t ops_of(const tfin_engine *e)
{
    return (uint32_t)tfin_u16(e->program + PROG_SCORE_OPS) +
           tfin_u16(e->program + PROG_OUTCOME_OPS);
}

size_t tfin_lanes_size(const tfin_engine *e)
{
    size_t rows = (size_t)tfin_u16(e->program + PROG_REGISTERS) + 1u + ops_of(e);
    return rows * sizeof(row) + sizeof(struct tfin_lanes) + 2u * ops_of(e) * sizeof(lane_op);
}

static const int64_t *operand(const tfin_lanes *l, uint32_t r)
{
    return l->rows[r == NO_REGISTER ? l->registers : r];
}

static void decode(tfin_lanes *l, lane_op *d, const op *o, uint32_t count, row *constants)
{
    EACH(k, count) {
        d[k].o = o[k];
        d[k].a = operand(l, o[k].a);
        d[k].b = operand(l, o[k].b);
        d[k].c = operand(l, o[k].c);
        d[k].out = l->rows[o[k].out];
        d[k].epoch = o[k].code == WINDOW ? RECIPROCAL((uint32_t)o[k].p0) : 0;
        EACH(i, LANES) {
            constants[k][i] = o[k].p0;
        }
        if (o[k].code <= LAST_PURE && o[k].b == NO_REGISTER) {
            d[k].b = constants[k];
        }
    }
}

void tfin_lanes_init(tfin_lanes *l, const tfin_engine *e)
{
    memset(l, 0, tfin_lanes_size(e));
    l->registers = tfin_u16(e->program + PROG_REGISTERS);
    l->score_ops = tfin_u16(e->program + PROG_SCORE_OPS);
    l->outcome_ops = tfin_u16(e->program + PROG_OUTCOME_OPS);
    l->rows = (row *)(void *)(l + 1);
    row *constants = l->rows + l->registers + 1;
    l->score = (lane_op *)(void *)(constants + ops_of(e));
    l->outcome = l->score + l->score_ops;
    l->commits = l->outcome + l->outcome_ops;
    EACH(i, LANES) {
        l->rows[l->registers][i] = 1;
    }
    decode(l, l->score, tfin_ops(e->program, PROG_SCORE_AT), l->score_ops, constants);
    decode(l, l->outcome, tfin_ops(e->program, PROG_OUTCOME_AT), l->outcome_ops,
           constants + l->score_ops);
    EACH(k, l->score_ops) {
        uint8_t code = l->score[k].o.code;
        if (code > LAST_PURE && code != KNOWN && code != SEEN && l->score[k].o.when != 0) {
            l->commits[l->commit_ops++] = l->score[k];
        }
    }
}

#undef A
#undef C
#undef COUNTED
#undef SELF
#undef AMOUNT
#undef EPOCH
#define A pa[i]
#define C pc[i]
#define COUNTED (C != 0)
#define SELF ((o->flags & FLAG_SELF) != 0 && COUNTED)
#define AMOUNT A
#define EPOCH quotient(x->t, epoch)

/* Gives the operators' functions their operands as constants of the loop. */
#define OPERANDS                     \
    const op copy = d->o;            \
    const op *o = &copy;             \
    const int64_t *pa = d->a;        \
    const int64_t *pb = d->b;        \
    const int64_t *pc = d->c;        \
    const uint64_t epoch = d->epoch; \
    (void)pa;                        \
    (void)pb;                        \
    (void)pc;                        \
    (void)epoch

/* The same loop again for what is common, which the compiler then knows of its operator. */
#define SPLIT(name, loop)                                     \
    if (name == WINDOW && o->p3 == 1 && o->p2 <= 8) {         \
        loop                                                  \
    } else if (name == WINDOW && o->p3 == 1 && o->p2 <= 16) { \
        loop                                                  \
    } else if (name == WINDOW && o->p3 == 4) {                \
        loop                                                  \
    } else {                                                  \
        loop                                                  \
    }

typedef void over_lanes(tfin_lanes *, const lane_op *, uint32_t);

#define READ(name)                                                                               \
    EVERY_CORE __attribute__((flatten)) static void read_##name(tfin_lanes *l, const lane_op *d, \
                                                                uint32_t n)
#define X(name, value)                      \
    READ(name)                              \
    {                                       \
        OPERANDS;                           \
        int64_t *out = d->out;              \
        EACH(i, n) {                        \
            const context *x = &l->x[i];    \
            (void)x;                        \
            out[i] = (value) + sabotage(o); \
        }                                   \
    }
PURE(X)
#undef X
#define X(name, value)                                              \
    READ(name)                                                      \
    {                                                               \
        OPERANDS;                                                   \
        int64_t *out = d->out;                                      \
        (void)l;                                                    \
        (void)n; /* rows beyond it hold values of earlier events */ \
        EACH(i, LANES) {                                            \
            int64_t a = pa[i];                                      \
            int64_t b = pb[i];                                      \
            out[i] = (value) + sabotage(o);                         \
        }                                                           \
    }
BINARY(X)
#undef X
#define X(name, value)                                          \
    READ(name)                                                  \
    {                                                           \
        OPERANDS;                                               \
        int64_t *out = d->out;                                  \
        SPLIT(                                                  \
            name, EACH(i, n) {                                  \
                const context *x = &l->x[i];                    \
                const uint8_t *s = x->state[o->key] + o->state; \
                (void)s;                                        \
                out[i] = (value) + sabotage(o);                 \
            })                                                  \
    }
STATEFUL(X)
#undef X

static void run_lanes(tfin_lanes *l, const lane_op *d, uint32_t count, uint32_t n)
{
#define X(name, value) [name] = read_##name,
    static over_lanes *const table[] = {PURE(X) BINARY(X) STATEFUL(X)};
#undef X
    for (const lane_op *end = d + count; d != end; d++) {
        table[d->o.code](l, d, n);
    }
}

#define COMMIT(name)                                                                               \
    EVERY_CORE __attribute__((flatten)) static void commit_##name(tfin_lanes *l, const lane_op *d, \
                                                                  uint32_t n)
#define X(name, what)                                                               \
    COMMIT(name)                                                                    \
    {                                                                               \
        OPERANDS;                                                                   \
        uint8_t *const *state = l->state[o->key];                                   \
        SPLIT(                                                                      \
            name, EACH(i, n) {                                                      \
                if ((o->when & l->result[i]) != 0 && state[i] != NULL && COUNTED) { \
                    const context *x = &l->x[i];                                    \
                    uint8_t *s = state[i] + o->state;                               \
                    int64_t a = AMOUNT;                                             \
                    uint32_t saturated = 0;                                         \
                    (void)x;                                                        \
                    (void)a;                                                        \
                    what;                                                           \
                    l->saturated[i] += saturated;                                   \
                }                                                                   \
            })                                                                      \
    }
COMMITS(X)
#undef X
#define X(name, what)                                                              \
    COMMIT(name)                                                                   \
    {                                                                              \
        OPERANDS;                                                                  \
        uint8_t *const *state = l->state[o->key];                                  \
        EACH(i, n) {                                                               \
            if ((o->when & l->result[i]) != 0 && state[i] != NULL && pb[i] != 0) { \
                history_commit(o, state[i] + o->state, COUNTED);                   \
            }                                                                      \
        }                                                                          \
    }
X(LAST_N, )
X(RUN, )
#undef X

static void commit_lanes(tfin_lanes *l, uint32_t n)
{
#define X(name, what) [name] = commit_##name,
    static over_lanes *const table[] = {COMMITS(X) X(LAST_N, ) X(RUN, )};
#undef X
    EACH(k, l->commit_ops) {
        const lane_op *d = &l->commits[k];
        table[d->o.code](l, d, n);
    }
}

/* First across lanes, where registers are, then lane by lane, where features go. */
EVERY_CORE static void features_of_lanes(tfin_lanes *l, uint32_t n)
{
    const uint8_t *program = l->e[0]->program;
    const uint8_t *p = program + tfin_u32(program + PROG_FEATURES_AT);
    uint32_t count = tfin_u16(program + PROG_FEATURES);
    uint32_t saturated[LANES] = {0};
    EACH(f, count) {
        const int64_t *r = l->rows[p[4u * f]];
        int16_t *out = l->features[f];
        EACH(i, LANES) {
            int64_t fits = tfin_clamp64(r[i], INT16_MIN, INT16_MAX);
            saturated[i] += r[i] != fits;
            out[i] = (int16_t)fits;
        }
    }
    EACH(i, n) {
        uint8_t *out = l->e[i]->state + l->e[i]->layout.features;
        l->saturated[i] = saturated[i];
        EACH(f, count) {
            tfin_put16(out + 2u * f, (uint16_t)l->features[f][i]);
        }
    }
}

/* Without lanes, for one whose pending table is full: the outcome of another event comes first. */
static void remember_one(tfin_lanes *l, uint32_t lane, uint8_t *place, uint64_t id, uint64_t token)
{
    context x = l->x[lane];
    x.r = registers(l->e[lane]);
    EACH(r, l->registers) {
        x.r[r] = l->rows[r][lane];
    }
    remember(l->e[lane], &x, place, id, token);
}

#define WIDTHS(what)         \
    switch (k[1]) {          \
    case 1: what(1); break;  \
    case 2: what(2); break;  \
    case 4: what(4); break;  \
    default: what(8); break; \
    }

static void keep_lanes(tfin_lanes *l, uint32_t n)
{
    const uint8_t *program = l->e[0]->program;
    const uint8_t *k = program + tfin_u32(program + PROG_KEPT_AT);
    uint8_t *entry[LANES];
    uint32_t saturated[LANES] = {0};
    memcpy(entry, l->entry, sizeof entry);
    for (uint32_t left = tfin_u16(program + PROG_KEPT); left != 0; left--, k += 4) {
        const int64_t *r = l->rows[k[0]];
        uint32_t at = tfin_u16(k + 2) & 0x7FFFu;
#define KEEP(width)                                           \
    EACH(i, n) {                                              \
        saturated[i] += put_kept(entry[i] + at, width, r[i]); \
    }
        WIDTHS(KEEP)
    }
    memcpy(l->saturated, saturated, sizeof saturated);
}

static void recall_lanes(tfin_lanes *l, uint32_t n)
{
    const uint8_t *program = l->e[0]->program;
    const uint8_t *k = program + tfin_u32(program + PROG_KEPT_AT);
    for (uint32_t left = tfin_u16(program + PROG_KEPT); left != 0; left--, k += 4) {
        int64_t *r = l->rows[k[0]];
        uint32_t at = tfin_u16(k + 2) & 0x7FFFu;
#define RECALL(width)                             \
    EACH(i, n) {                                  \
        r[i] = get_kept(l->entry[i] + at, width); \
    }
        WIDTHS(RECALL)
    }
}

int tfin_lanes_score(tfin_lanes *l, uint32_t n, tfin_engine *const *engines,
                     const tfin_event *events, tfin_verdict *v)
{
    uint64_t token[LANES];
    if (n == 0) {
        return TFIN_OK;
    }
    EACH(i, n) {
        int rc = begin(engines[i], &events[i], &l->x[i], &token[i]);
        if (rc != TFIN_OK) {
            return rc;
        }
        l->e[i] = engines[i];
    }
    run_lanes(l, l->score, l->score_ops, n);
    features_of_lanes(l, n);
    EACH(i, n) {
        count_score(l->e[i], &l->x[i], l->saturated[i]);
        l->entry[i] = l->unused;
        uint8_t *place;
        if (find_pending(l->e[i], events[i].id, &place) != NULL) {
            continue;
        }
        if (tfin_u32(place + PENDING_SEQUENCE) != 0) {
            remember_one(l, i, place, events[i].id, token[i]);
        } else {
            open_pending(l->e[i], &l->x[i], place, events[i].id, token[i]);
            l->entry[i] = place;
        }
    }
    keep_lanes(l, n);
    EACH(i, n) {
        if (l->entry[i] != l->unused) {
            tfin_count(l->e[i]->state, HEAD_SATURATIONS, l->saturated[i]);
        }
        answer(l->e[i], events[i].id, &v[i]);
    }
    return TFIN_OK;
}

void tfin_lanes_outcome(tfin_lanes *l, uint32_t n, tfin_engine *const *engines,
                        const tfin_outcome *outcomes)
{
    uint32_t m = 0;
    EACH(i, n) {
        tfin_engine *e = engines[i];
        if (outcomes[i].result > TFIN_RESULT_REVERSED ||
            outcomes[i].action_taken > TFIN_ACTION_DECLINE) {
            continue;
        }
        uint8_t *entry;
        uint32_t t = outcomes[i].t_mono_s;
        if (begin_outcome(e, outcomes[i].id, &t, &entry) != TFIN_OK) {
            continue;
        }
        context *x = &l->x[m];
        x->pool = e->program + tfin_u32(e->program + PROG_POOL_AT);
        x->t = tfin_u32(entry + PENDING_T);
        x->outcome_s = t - x->t;
        x->id = tfin_folded(outcomes[i].id);
        x->outcome[0] = outcomes[i].result;
        x->outcome[1] = outcomes[i].response;
        x->outcome[2] = outcomes[i].action_taken;
        l->result[m] = 1u << outcomes[i].result;
        l->saturated[m] = 0;
        l->e[m] = e;
        l->entry[m++] = entry;
    }
    if (m == 0) {
        return;
    }
    recall_lanes(l, m);
    run_lanes(l, l->outcome, l->outcome_ops, m);
    EACH(i, m) {
        uint8_t *card = take_card(l->e[i], tfin_u64(l->entry[i] + PENDING_TOKEN));
        l->state[KEY_TERMINAL][i] = l->e[i]->state + l->e[i]->layout.terminal;
        l->state[KEY_CARD][i] = card == NULL ? NULL : card + SLOT_STATE;
    }
    commit_lanes(l, m);
    uint32_t size = tfin_u16(l->e[0]->program + PROG_PENDING_SIZE);
    EACH(i, m) {
        count_commit(l->e[i], l->x[i].t, l->saturated[i]);
        memset(l->entry[i], 0, size);
    }
}
