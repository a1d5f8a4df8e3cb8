/* SPDX-License-Identifier: Apache-2.0 */
/* Checks a whole feature program, once. Running it then trusts every index. */
#include "../internal.h"

/* Of each of the 256 register numbers: valid, written already, or no register. */
enum {
    REGISTER = 1,
    WRITTEN = 2,
    NONE = 4,
    ANY = REGISTER | NONE,
    WRITTEN_OR_NONE = WRITTEN | NONE
};

typedef struct limits {
    const tfin_schema *schema;
    const uint8_t *program;
    uint32_t fields;
    uint32_t pool_size;
    uint32_t block[3]; /* operator state by key; a card's without its label ring; 0 without cards */
    uint8_t is[256];
} limits;

/* The rule for an operator's p0 to p3, in addition to the range of p2. */
enum kind {
    PLAIN,
    NOT_NEGATIVE, /* p0 */
    POSITIVE,     /* p0 */
    A_FIELD,
    NUMBERS,  /* p2 of 8 bytes in the pool at p0 */
    DIVISORS, /* as NUMBERS, each positive */
    HALVES,   /* p2 of 2 bytes in the pool at p0 */
    A_MASK,   /* 8 bytes in the pool at p0 */
    A_RATIO,
    A_WINDOW,
    OF_WIDTH, /* p3 is 4 or 8 */
    A_DEVIATION,
    A_SHARE,
    A_RARITY,
    OF_LABELS,
    OF_CARD,
    OF_DAYS /* 3 + 2 * p1 of 2 bytes in the pool at p0 */
};

/* One row per operator: what reading in the score phase requires of a, b and c, and with SELF also
 * of a and c; phases (1 score, 2 outcome). */
typedef struct rule {
    uint8_t a, b, c, self_a, self_c, phases, kind, p2_from;
    uint16_t p2_span;
} rule;

#define P2(from, to) (from), (to) - (from)
#define FREE P2(0, 65535)
enum { BOTH = 3, SCORE = 1, AFTER = 2 };
enum { GAP = WINDOW - LAST_PURE - 1, RULES = LAST_STATEFUL - GAP + 1 };
#define STATEFUL(code) [(code) - GAP]

static const rule rules[RULES] = {
    [FIELD] = {ANY, ANY, ANY, ANY, ANY, SCORE, A_FIELD, FREE},
    [PRESENT] = {ANY, ANY, ANY, ANY, ANY, SCORE, A_FIELD, FREE},
    [CONST] = {ANY, ANY, ANY, ANY, ANY, BOTH, PLAIN, FREE},
    [TIME] = {ANY, ANY, ANY, ANY, ANY, SCORE, PLAIN, P2(0, 4)},
    [LOG2] = {WRITTEN, ANY, ANY, ANY, ANY, BOTH, PLAIN, FREE},
    [BUCKET] = {WRITTEN, ANY, ANY, ANY, ANY, BOTH, NUMBERS, P2(1, 32)},
    [LOOKUP] = {WRITTEN, ANY, ANY, ANY, ANY, BOTH, HALVES, P2(1, 256)},
    [COMPARE] = {WRITTEN, WRITTEN_OR_NONE, ANY, ANY, ANY, BOTH, PLAIN, P2(0, 5)},
    [AND] = {WRITTEN, WRITTEN, ANY, ANY, ANY, BOTH, PLAIN, FREE},
    [OR] = {WRITTEN, WRITTEN, ANY, ANY, ANY, BOTH, PLAIN, FREE},
    [NOT] = {WRITTEN, ANY, ANY, ANY, ANY, BOTH, PLAIN, FREE},
    [ADD] = {WRITTEN, WRITTEN_OR_NONE, ANY, ANY, ANY, BOTH, PLAIN, FREE},
    [SUB] = {WRITTEN, WRITTEN_OR_NONE, ANY, ANY, ANY, BOTH, PLAIN, FREE},
    [MIN] = {WRITTEN, WRITTEN_OR_NONE, ANY, ANY, ANY, BOTH, PLAIN, FREE},
    [MAX] = {WRITTEN, WRITTEN_OR_NONE, ANY, ANY, ANY, BOTH, PLAIN, FREE},
    [ABS] = {WRITTEN, ANY, ANY, ANY, ANY, BOTH, PLAIN, FREE},
    [DIV] = {WRITTEN, ANY, ANY, ANY, ANY, BOTH, POSITIVE, FREE},
    [RATIO] = {WRITTEN, WRITTEN, ANY, ANY, ANY, BOTH, A_RATIO, FREE},
    [DIVISIBLE] = {WRITTEN, ANY, ANY, ANY, ANY, BOTH, DIVISORS, P2(1, 8)},
    [POPCOUNT] = {WRITTEN, ANY, ANY, ANY, ANY, BOTH, A_MASK, FREE},
    [SELECT] = {WRITTEN, WRITTEN_OR_NONE, WRITTEN, ANY, ANY, BOTH, PLAIN, FREE},
    [OUTCOME] = {ANY, ANY, ANY, ANY, ANY, AFTER, PLAIN, P2(0, 3)},
    [MUL] = {WRITTEN, WRITTEN_OR_NONE, ANY, ANY, ANY, BOTH, PLAIN, FREE},
    [IN] = {WRITTEN, ANY, ANY, ANY, ANY, BOTH, NUMBERS, P2(1, 32)},
    STATEFUL(WINDOW) = {ANY, ANY, ANY, WRITTEN_OR_NONE, WRITTEN_OR_NONE, SCORE, A_WINDOW,
                        P2(2, 64)},
    STATEFUL(LAST_N) = {ANY, ANY, ANY, ANY, WRITTEN_OR_NONE, SCORE, PLAIN, P2(1, 32)},
    STATEFUL(RUN) = {ANY, ANY, ANY, ANY, WRITTEN_OR_NONE, SCORE, PLAIN, FREE},
    STATEFUL(SINCE) = {ANY, ANY, ANY, ANY, ANY, SCORE, NOT_NEGATIVE, FREE},
    STATEFUL(MEAN) = {REGISTER, ANY, ANY, ANY, ANY, SCORE, OF_WIDTH, P2(1, 14)},
    STATEFUL(DEVIATION) = {WRITTEN, ANY, ANY, ANY, ANY, SCORE, A_DEVIATION, P2(1, 14)},
    STATEFUL(SHARE) = {WRITTEN, ANY, ANY, ANY, ANY, SCORE, A_SHARE, P2(2, 16)},
    STATEFUL(RARITY) = {WRITTEN, ANY, ANY, ANY, ANY, SCORE, A_RARITY, P2(2, 256)},
    STATEFUL(REPEAT) = {WRITTEN, ANY, ANY, ANY, WRITTEN_OR_NONE, SCORE, PLAIN, P2(1, 32)},
    STATEFUL(MODE) = {REGISTER, ANY, ANY, WRITTEN, WRITTEN_OR_NONE, SCORE, PLAIN, P2(1, 32)},
    STATEFUL(PREVIOUS) = {REGISTER, ANY, ANY, ANY, ANY, SCORE, OF_WIDTH, FREE},
    STATEFUL(DISTINCT) = {REGISTER, ANY, ANY, WRITTEN, WRITTEN_OR_NONE, SCORE, NOT_NEGATIVE,
                          P2(1, 64)},
    STATEFUL(KNOWN) = {ANY, ANY, ANY, ANY, ANY, SCORE, OF_LABELS, P2(0, 6)},
    STATEFUL(SEEN) = {ANY, ANY, ANY, ANY, ANY, SCORE, OF_CARD, FREE},
    STATEFUL(COMPROMISED) = {REGISTER, ANY, ANY, ANY, ANY, SCORE, OF_DAYS, P2(2, 128)},
};

static int within(uint32_t v, uint32_t low, uint32_t high)
{
    return v - low <= high - low;
}

static int p0_within(const op *o, int32_t low, int32_t high)
{
    return o->p0 >= low && o->p0 <= high;
}

static int in_pool(const limits *l, const op *o, uint32_t size, uint32_t align)
{
    uint32_t at = (uint32_t)o->p0; /* a negative one is beyond any pool */
    return (at & (align - 1u)) == 0 && at <= l->pool_size && size <= l->pool_size - at;
}

static int divisors_ok(const limits *l, const op *o)
{
    const uint8_t *p = l->program + tfin_u32(l->program + PROG_POOL_AT) + o->p0;
    for (const uint8_t *end = p + 8u * o->p2; p != end; p += 8) {
        if (tfin_i64(p) < 1) {
            return 0;
        }
    }
    return 1;
}

static int durations_ok(const limits *l, const op *o)
{
    const uint8_t *p = l->program + tfin_u32(l->program + PROG_POOL_AT) + o->p0 + 6;
    for (const uint8_t *end = p + 4u * (uint32_t)o->p1; p != end; p += 4) {
        if (tfin_i16(p) < 1) {
            return 0;
        }
    }
    return 1;
}

static int has_labels(const op *o, const limits *l)
{
    return tfin_u16(l->program +
                    (o->key == KEY_TERMINAL ? PROG_TERMINAL_LABELS : PROG_CARD_LABELS)) != 0;
}

static int width_ok(uint32_t w)
{
    return w == 4 || w == 8;
}

static int parameters_ok(const op *o, const limits *l, uint32_t kind)
{
    switch (kind) {
    case PLAIN: return 1;
    case NOT_NEGATIVE: return o->p0 >= 0;
    case POSITIVE: return o->p0 >= 1;
    case A_FIELD: return o->p2 < l->fields;
    case NUMBERS: return in_pool(l, o, 8u * o->p2, 8);
    case DIVISORS: return in_pool(l, o, 8u * o->p2, 8) && divisors_ok(l, o);
    case HALVES: return in_pool(l, o, 2u * o->p2, 2);
    case A_MASK: return in_pool(l, o, 8, 8);
    case A_RATIO: return p0_within(o, 1, 32767);
    case A_WINDOW: return o->p0 >= 1 && (o->p3 == 1 || o->p3 == 2 || width_ok(o->p3));
    case OF_WIDTH: return width_ok(o->p3);
    case A_DEVIATION: return o->p3 >= 1 && p0_within(o, 1, 1 << 22) && o->p1 >= 1 && o->p1 <= 1024;
    case A_SHARE: return within(o->p3, 1, 14);
    case A_RARITY: return p0_within(o, 2, 60000);
    case OF_LABELS: return o->p0 >= 0 && has_labels(o, l);
    case OF_DAYS:
        return o->p1 >= 1 && o->p1 <= 4 && o->p3 <= 64u &&
               in_pool(l, o, 6u + 4u * (uint32_t)o->p1, 2) && durations_ok(l, o) &&
               has_labels(o, l);
    default: return o->key == KEY_CARD;
    }
}

uint32_t tfin_operator_state_size(const op *o)
{
    uint32_t n = o->p2;
    switch (o->code) {
    case WINDOW: return tfin_round_up((o->p3 == 8 ? 8u : 4u) + n * o->p3, 4);
    case LAST_N:
    case RUN:
    case SINCE: return 4;
    case MEAN:
    case PREVIOUS: return o->p3 == 8 ? 12 : 8;
    case DEVIATION: return 12;
    case SHARE:
    case RARITY: return tfin_round_up(2u + 2u * n, 4);
    case REPEAT:
    case MODE: return 8u + 4u * n;
    case DISTINCT: return 8u * n;
    case COMPROMISED: return tfin_round_up(4u + 2u * n, 4) + 4u * o->p3;
    default: return 0;
    }
}

static int uses_width_8(const op *o)
{
    return (o->code == WINDOW || o->code == MEAN || o->code == PREVIOUS) && o->p3 == 8;
}

static int state_ok(const op *o, const limits *l)
{
    uint32_t block = l->block[o->key];
    uint32_t size = tfin_operator_state_size(o);
    uint32_t align = uses_width_8(o) ? 8 : 4;
#ifdef TFIN_SABOTAGE_BOUNDS
    block = UINT32_MAX;
#endif
    return (o->state & (align - 1u)) == 0 && o->state <= block && size <= block - o->state;
}

/* A key that has state; KEY_NONE for a pure operator. */
static int key_ok(const op *o, const limits *l)
{
    if (o->code <= LAST_PURE) {
        return o->key == KEY_NONE;
    }
    return (o->key == KEY_TERMINAL ||
            (o->key == KEY_CARD && tfin_u16(l->program + PROG_CARD_SLOT) != 0)) &&
           state_ok(o, l);
}

/* Checks an operator of a phase, and marks the register that it writes. */
static int op_ok(const op *o, limits *l, uint32_t phase)
{
    uint32_t code = o->code;
    if (code > LAST_STATEFUL || (code > LAST_PURE && code < WINDOW)) {
        return 0;
    }
    const rule *r = &rules[code > LAST_PURE ? code - GAP : code];
    uint8_t *out = &l->is[o->out];
    if ((r->phases & phase) == 0 || (l->is[o->a] & r->a) == 0 || (l->is[o->b] & r->b) == 0 ||
        (l->is[o->c] & r->c) == 0 || (*out & REGISTER) == 0 || o->when >= 32u || o->flags >= 8u ||
        o->p2 - (uint32_t)r->p2_from > r->p2_span) {
        return 0;
    }
    if ((o->flags & FLAG_SELF) != 0 &&
        ((l->is[o->a] & r->self_a) == 0 || (l->is[o->c] & r->self_c) == 0)) {
        return 0;
    }
    *out |= WRITTEN;
    return parameters_ok(o, l, r->kind) && key_ok(o, l);
}

/* A commit may read registers that were kept, or written in the outcome phase. */
static int commit_ok(const op *o, const limits *l)
{
    return o->code <= LAST_PURE || o->when == 0 ||
           ((l->is[o->a] & WRITTEN_OR_NONE) != 0 && (l->is[o->b] & WRITTEN_OR_NONE) != 0 &&
            (l->is[o->c] & WRITTEN_OR_NONE) != 0);
}

static int array_inside(const uint8_t *program, uint32_t size, uint32_t at_field, uint32_t count,
                        uint32_t each)
{
    uint32_t at = tfin_u32(program + at_field);
    return at >= PROG_HEADER && at % 8u == 0 && at <= size && count * each <= size - at;
}

/* The outcome phase knows only the kept registers. */
static int keep_ok(const uint8_t *program, limits *l)
{
    enum { KEPT = 8 };
    uint32_t entry_size = tfin_u16(program + PROG_PENDING_SIZE);
    const uint8_t *k = program + tfin_u32(program + PROG_KEPT_AT);
    for (uint32_t n = tfin_u16(program + PROG_KEPT); n != 0; n--, k += 4) {
        uint32_t width = k[1];
        uint32_t at = tfin_u16(k + 2) & 0x7FFFu;
        int width_known = width == 1 || width == 2 || width_ok(width);
        if ((l->is[k[0]] & WRITTEN) == 0 || !width_known || at < PENDING_KEPT ||
            (at & (width - 1u)) != 0 || at + width > entry_size) {
            return 0;
        }
        l->is[k[0]] |= KEPT;
    }
    for (uint32_t i = 0; i < tfin_u16(program + PROG_REGISTERS); i++) {
        l->is[i] = (l->is[i] & KEPT) != 0 ? REGISTER | WRITTEN : REGISTER;
    }
    return 1;
}

static int header_ok(const tfin_schema *schema, const uint8_t *p, uint32_t size)
{
    uint32_t slot = tfin_u16(p + PROG_CARD_SLOT);
    uint32_t sets = tfin_u16(p + PROG_CARD_SETS);
    uint32_t ways = p[PROG_CARD_WAYS];
    uint32_t entry = tfin_u16(p + PROG_PENDING_SIZE);
    uint32_t token = p[PROG_TOKEN_FIELD];
    uint32_t card_labels = tfin_u16(p + PROG_CARD_LABELS);
    uint32_t ring = card_labels == 0 ? 0 : LABELS_ENTRIES + LABEL_SIZE * card_labels;
    int cards = slot == 0 ? sets == 0 && card_labels == 0
                          : slot % 8u == 0 && slot >= SLOT_STATE + ring && slot <= MAX_CARD_SLOT &&
                                sets != 0 && sets <= 4096u && (sets & (sets - 1u)) == 0 &&
                                within(ways, 1, 16);
    uint32_t zero =
        tfin_u16(p + 30) | (tfin_u32(p + PROG_LEAP) | tfin_u32(p + PROG_BOOT_LEAP)) >> 31;
    return tfin_u16(p + PROG_FORMAT) == 1 &&
           within(tfin_u16(p + PROG_REGISTERS), 1, MAX_REGISTERS) &&
           tfin_u16(p + PROG_KEPT) <= 64u && within(tfin_u16(p + PROG_FEATURES), 1, MAX_FEATURES) &&
           within(tfin_u16(p + PROG_PENDING), 1, 256) && entry % 8u == 0 &&
           within(entry, PENDING_KEPT, 1024) && tfin_u32(p + PROG_TERMINAL_SIZE) % 8u == 0 &&
           tfin_u32(p + PROG_TERMINAL_SIZE) <= 65536u && cards &&
           (token == NO_FIELD || (token < schema->field_count &&
                                  tfin_schema_fields(schema)[token].type == TFIN_TYPE_U64)) &&
           tfin_u16(p + PROG_TERMINAL_LABELS) <= 128u && card_labels <= 16u && zero == 0 &&
           tfin_u16(p + PROG_SCORE_OPS) <= MAX_OPS && tfin_u16(p + PROG_OUTCOME_OPS) <= MAX_OPS &&
           array_inside(p, size, PROG_SCORE_AT, tfin_u16(p + PROG_SCORE_OPS), OP_SIZE) &&
           array_inside(p, size, PROG_OUTCOME_AT, tfin_u16(p + PROG_OUTCOME_OPS), OP_SIZE) &&
           array_inside(p, size, PROG_KEPT_AT, tfin_u16(p + PROG_KEPT), 4) &&
           array_inside(p, size, PROG_FEATURES_AT, tfin_u16(p + PROG_FEATURES), 4) &&
           tfin_u32(p + PROG_POOL_SIZE) <= 65536u &&
           array_inside(p, size, PROG_POOL_AT, tfin_u32(p + PROG_POOL_SIZE), 1);
}

int tfin_program_check(const tfin_schema *schema, const uint8_t *program, uint32_t size)
{
    if (size < PROG_HEADER || !header_ok(schema, program, size)) {
        return TFIN_E_PROGRAM;
    }
    uint32_t slot = tfin_u16(program + PROG_CARD_SLOT);
    uint32_t card_labels = tfin_u16(program + PROG_CARD_LABELS);
    limits l = {.schema = schema, .program = program, .fields = schema->field_count};
    l.pool_size = tfin_u32(program + PROG_POOL_SIZE);
    l.block[KEY_TERMINAL] = tfin_u32(program + PROG_TERMINAL_SIZE);
    l.block[KEY_CARD] =
        slot == 0 ? 0
                  : slot - SLOT_STATE -
                        (card_labels == 0 ? 0 : LABELS_ENTRIES + LABEL_SIZE * card_labels);
    memset(l.is, REGISTER, tfin_u16(program + PROG_REGISTERS));
    l.is[NO_REGISTER] = NONE;

    const op *score = tfin_ops(program, PROG_SCORE_AT);
    const op *end = score + tfin_u16(program + PROG_SCORE_OPS);
    for (const op *o = score; o != end; o++) {
        if (!op_ok(o, &l, SCORE)) {
            return TFIN_E_PROGRAM;
        }
    }
    const uint8_t *feature = program + tfin_u32(program + PROG_FEATURES_AT);
    for (uint32_t n = tfin_u16(program + PROG_FEATURES); n != 0; n--, feature += 4) {
        if ((l.is[*feature] & WRITTEN) == 0) {
            return TFIN_E_PROGRAM;
        }
    }
    if (!keep_ok(program, &l)) {
        return TFIN_E_PROGRAM;
    }
    const op *after = tfin_ops(program, PROG_OUTCOME_AT);
    for (const op *last = after + tfin_u16(program + PROG_OUTCOME_OPS); after != last; after++) {
        if (!op_ok(after, &l, AFTER)) {
            return TFIN_E_PROGRAM;
        }
    }
    for (const op *o = score; o != end; o++) {
        if (!commit_ok(o, &l)) {
            return TFIN_E_PROGRAM;
        }
    }
    return TFIN_OK;
}

int32_t tfin_lay_out(const uint8_t *p, uint32_t arena, layout *out)
{
    uint32_t labels = tfin_u16(p + PROG_TERMINAL_LABELS);
    uint32_t entry = tfin_u16(p + PROG_PENDING_SIZE);
    uint32_t slots = (uint32_t)tfin_u16(p + PROG_CARD_SETS) * p[PROG_CARD_WAYS];
    out->pending = HEAD_SIZE;
    out->terminal = out->pending + (uint32_t)tfin_u16(p + PROG_PENDING) * entry;
    out->terminal_labels = out->terminal + tfin_u32(p + PROG_TERMINAL_SIZE);
    out->cards = out->terminal_labels + (labels == 0 ? 0 : LABELS_ENTRIES + LABEL_SIZE * labels);
    out->body = out->cards + slots * tfin_u16(p + PROG_CARD_SLOT);
    out->features = tfin_round_up(out->body, TFIN_ALIGN);
    out->spare = out->features + tfin_round_up(2u * tfin_u16(p + PROG_FEATURES), TFIN_ALIGN);
    out->registers = out->spare + tfin_round_up(entry, TFIN_ALIGN);
    uint32_t registers = tfin_round_up(8u * tfin_u16(p + PROG_REGISTERS), TFIN_ALIGN);
    uint32_t total = out->registers + (registers > arena ? registers : arena);
    /* the arena alone could wrap the total */
    return arena <= MAX_MEMORY_BYTES && total <= MAX_MEMORY_BYTES ? (int32_t)total : TFIN_E_PROGRAM;
}
