/* SPDX-License-Identifier: Apache-2.0 */
/* Checks a feature program once, whole; running it then trusts every index. */
#include "internal.h"

typedef struct limits {
    const uint8_t *schema;
    const uint8_t *program;
    uint32_t fields;
    uint32_t registers;
    uint32_t pool_size;
    uint32_t terminal_size;
    uint32_t card_size; /* operator state in a slot, label ring left out */
    uint32_t written[8];
} limits;

static int known(const limits *l, uint8_t r)
{
    return r < l->registers && (l->written[r >> 5] >> (r & 31u) & 1u) != 0;
}

static int known_or_none(const limits *l, uint8_t r)
{
    return r == NO_REGISTER || known(l, r);
}

static void write_register(limits *l, uint8_t r)
{
    l->written[r >> 5] |= 1u << (r & 31u);
}

static int within(uint32_t v, uint32_t low, uint32_t high)
{
    return v >= low && v <= high;
}

static int in_pool(const limits *l, int32_t offset, uint32_t size, uint32_t align)
{
    uint32_t at = (uint32_t)offset;
    return offset >= 0 && at % align == 0 && at <= l->pool_size && size <= l->pool_size - at;
}

static const uint8_t *pool(const limits *l)
{
    return l->program + tfin_u32(l->program + PROG_POOL_AT);
}

static int pure_ok(const op *o, const limits *l, int outcome_phase)
{
    int a = known(l, o->a);
    int b = known(l, o->b);
    int b_or_const = known_or_none(l, o->b);
    switch (o->code) {
    case FIELD:
    case PRESENT: return o->p2 < l->fields && !outcome_phase;
    case CONST: return 1;
    case TIME: return o->p2 <= 4 && !outcome_phase;
    case LOG2:
    case ABS:
    case NOT: return a;
    case BUCKET:
    case IN: return a && within(o->p2, 1, 32) && in_pool(l, o->p0, 8u * o->p2, 8);
    case DIVISIBLE:
        if (!a || !within(o->p2, 1, 8) || !in_pool(l, o->p0, 8u * o->p2, 8)) {
            return 0;
        }
        for (uint32_t i = 0; i < o->p2; i++) {
            if (tfin_i64(pool(l) + o->p0 + 8u * i) < 1) {
                return 0;
            }
        }
        return 1;
    case LOOKUP: return a && within(o->p2, 1, 256) && in_pool(l, o->p0, 2u * o->p2, 2);
    case COMPARE: return a && b_or_const && o->p2 <= 5;
    case AND:
    case OR: return a && b;
    case ADD:
    case SUB:
    case MIN:
    case MAX:
    case MUL: return a && b_or_const;
    case DIV: return a && o->p0 >= 1;
    case RATIO: return a && b && o->p0 >= 1 && o->p0 <= 32767;
    case POPCOUNT: return a && in_pool(l, o->p0, 8, 8);
    case SELECT: return a && b_or_const && known(l, o->c);
    case OUTCOME: return outcome_phase && o->p2 <= 3;
    default: return 0;
    }
}

static int width_ok(uint32_t w)
{
    return w == 4 || w == 8;
}

static int stateful_ok(const op *o, const limits *l)
{
    int a = o->a < l->registers; /* may be made in the outcome phase: checked after it */
    switch (o->code) {
    case WINDOW:
        return o->p0 >= 1 && within(o->p2, 2, 64) && (o->p3 == 1 || o->p3 == 2 || width_ok(o->p3)) &&
               (o->a == NO_REGISTER || a);
    case LAST_N: return within(o->p2, 1, 32);
    case RUN: return 1;
    case SINCE: return o->p0 >= 0;
    case MEAN: return a && within(o->p2, 1, 14) && width_ok(o->p3);
    case DEVIATION:
        return a && within(o->p2, 1, 14) && o->p3 >= 1 && o->p0 >= 1 && o->p0 <= 1 << 22 && o->p1 >= 1 && o->p1 <= 1024;
    case SHARE: return a && within(o->p2, 2, 16) && within(o->p3, 1, 14);
    case RARITY: return a && within(o->p2, 2, 256) && o->p0 >= 2 && o->p0 <= 60000;
    case REPEAT:
    case MODE: return a && within(o->p2, 1, 32);
    case PREVIOUS: return a && width_ok(o->p3);
    case DISTINCT: return a && within(o->p2, 1, 64) && o->p0 >= 0;
    case KNOWN: {
        uint32_t capacity = tfin_u16(l->program + (o->key == KEY_TERMINAL ? PROG_TERMINAL_LABELS : PROG_CARD_LABELS));
        return o->p2 <= 6 && o->p0 >= 0 && capacity != 0;
    }
    case SEEN: return o->key == KEY_CARD;
    default: return 0;
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
    default: return 0;
    }
}

static int uses_width_8(const op *o)
{
    return (o->code == WINDOW || o->code == MEAN || o->code == PREVIOUS) && o->p3 == 8;
}

static int state_ok(const op *o, const limits *l)
{
    uint32_t block = o->key == KEY_TERMINAL ? l->terminal_size : l->card_size;
    uint32_t size = tfin_operator_state_size(o);
    uint32_t align = uses_width_8(o) ? 8 : 4;
#ifdef TFIN_SABOTAGE_BOUNDS
    block = UINT32_MAX;
#endif
    return o->state % align == 0 && o->state <= block && size <= block - o->state;
}

/* What a commit reads must have been kept, or made in the outcome phase. */
static int commit_inputs_ok(const op *o, const limits *l)
{
    return o->code >= KNOWN || (known_or_none(l, o->a) && known_or_none(l, o->b) && known_or_none(l, o->c));
}

/* What a read uses in the score phase must be written already. An operator that never reads itself with it may take an outcome register. */
static int read_inputs_ok(const op *o, const limits *l)
{
    int self = (o->flags & FLAG_SELF) != 0;
    switch (o->code) {
    case DEVIATION:
    case SHARE:
    case RARITY: return known(l, o->a);
    case REPEAT: return known(l, o->a) && (!self || known_or_none(l, o->c));
    case MODE:
    case DISTINCT:
    case WINDOW: return !self || (known_or_none(l, o->a) && known_or_none(l, o->c));
    case LAST_N:
    case RUN: return !self || known_or_none(l, o->c);
    default: return 1;
    }
}

static int operands_in_range(const op *o, const limits *l)
{
    return o->out < l->registers && (o->a == NO_REGISTER || o->a < l->registers) &&
           (o->b == NO_REGISTER || o->b < l->registers) && (o->c == NO_REGISTER || o->c < l->registers) &&
           o->when < 32u && o->flags < 8u;
}

static int score_op_ok(const op *o, const limits *l)
{
    if (!operands_in_range(o, l)) {
        return 0;
    }
    if (o->code <= LAST_PURE) {
        return o->key == KEY_NONE && pure_ok(o, l, 0);
    }
    int keyed = o->key == KEY_TERMINAL || (o->key == KEY_CARD && tfin_u16(l->program + PROG_CARD_SLOT) != 0);
    return keyed && stateful_ok(o, l) && read_inputs_ok(o, l) && state_ok(o, l);
}

static int array_inside(const uint8_t *program, uint32_t size, uint32_t at_field, uint32_t count, uint32_t each)
{
    uint32_t at = tfin_u32(program + at_field);
    return at >= PROG_HEADER && at % 8u == 0 && at <= size && count * each <= size - at;
}

static int keep_ok(const uint8_t *program, limits *l)
{
    uint32_t entry_size = tfin_u16(program + PROG_PENDING_SIZE);
    const uint8_t *k = program + tfin_u32(program + PROG_KEPT_AT);
    limits after = *l;
    memset(after.written, 0, sizeof after.written);
    for (uint32_t i = 0; i < tfin_u16(program + PROG_KEPT); i++, k += 4) {
        uint32_t width = k[1];
        uint32_t at = tfin_u16(k + 2) & 0x7FFFu;
        int width_known = width == 1 || width == 2 || width_ok(width);
        if (!known(l, k[0]) || !width_known || at < PENDING_KEPT || at % width != 0 || at + width > entry_size) {
            return 0;
        }
        write_register(&after, k[0]);
    }
    *l = after;
    return 1;
}

static int header_ok(const uint8_t *schema, const uint8_t *p, uint32_t size)
{
    uint32_t slot = tfin_u16(p + PROG_CARD_SLOT);
    uint32_t sets = tfin_u16(p + PROG_CARD_SETS);
    uint32_t ways = p[PROG_CARD_WAYS];
    uint32_t entry = tfin_u16(p + PROG_PENDING_SIZE);
    uint32_t token = p[PROG_TOKEN_FIELD];
    uint32_t card_labels = tfin_u16(p + PROG_CARD_LABELS);
    uint32_t ring = card_labels == 0 ? 0 : LABELS_ENTRIES + LABEL_SIZE * card_labels;
    int cards = slot == 0 ? sets == 0 && card_labels == 0
                          : slot % 8u == 0 && slot >= SLOT_STATE + ring && slot <= MAX_CARD_SLOT && sets != 0 &&
                                sets <= 4096u && (sets & (sets - 1u)) == 0 && within(ways, 1, 16);
    uint32_t zero = tfin_u16(p + 30) | tfin_u32(p + 56) | tfin_u32(p + 60);
    return tfin_u16(p + PROG_FORMAT) == 1 && within(tfin_u16(p + PROG_REGISTERS), 1, MAX_REGISTERS) &&
           tfin_u16(p + PROG_KEPT) <= 64u && within(tfin_u16(p + PROG_FEATURES), 1, MAX_FEATURES) &&
           within(tfin_u16(p + PROG_PENDING), 1, 256) && entry % 8u == 0 && within(entry, PENDING_KEPT, 1024) &&
           tfin_u32(p + PROG_TERMINAL_SIZE) % 8u == 0 && tfin_u32(p + PROG_TERMINAL_SIZE) <= 65536u && cards &&
           (token == NO_FIELD || (token < tfin_u16(schema) && schema[8 + SCHEMA_ENTRY * token] == 2)) &&
           tfin_u16(p + PROG_TERMINAL_LABELS) <= 128u && card_labels <= 16u && zero == 0 &&
           array_inside(p, size, PROG_SCORE_AT, tfin_u16(p + PROG_SCORE_OPS), OP_SIZE) &&
           array_inside(p, size, PROG_OUTCOME_AT, tfin_u16(p + PROG_OUTCOME_OPS), OP_SIZE) &&
           array_inside(p, size, PROG_KEPT_AT, tfin_u16(p + PROG_KEPT), 4) &&
           array_inside(p, size, PROG_FEATURES_AT, tfin_u16(p + PROG_FEATURES), 4) &&
           tfin_u32(p + PROG_POOL_SIZE) <= 65536u &&
           array_inside(p, size, PROG_POOL_AT, tfin_u32(p + PROG_POOL_SIZE), 1);
}

int tfin_program_check(const uint8_t *schema, const uint8_t *program, uint32_t size)
{
    if (size < PROG_HEADER || !header_ok(schema, program, size)) {
        return TFIN_E_PROGRAM;
    }
    uint32_t slot = tfin_u16(program + PROG_CARD_SLOT);
    uint32_t card_labels = tfin_u16(program + PROG_CARD_LABELS);
    limits l = {.schema = schema, .program = program};
    l.fields = tfin_u16(schema);
    l.registers = tfin_u16(program + PROG_REGISTERS);
    l.pool_size = tfin_u32(program + PROG_POOL_SIZE);
    l.terminal_size = tfin_u32(program + PROG_TERMINAL_SIZE);
    l.card_size = slot == 0 ? 0 : slot - SLOT_STATE - (card_labels == 0 ? 0 : LABELS_ENTRIES + LABEL_SIZE * card_labels);

    const op *score = tfin_ops(program, PROG_SCORE_AT);
    uint32_t count = tfin_u16(program + PROG_SCORE_OPS);
    for (uint32_t i = 0; i < count; i++) {
        if (!score_op_ok(&score[i], &l)) {
            return TFIN_E_PROGRAM;
        }
        write_register(&l, score[i].out);
    }
    const uint8_t *features = program + tfin_u32(program + PROG_FEATURES_AT);
    for (uint32_t i = 0; i < tfin_u16(program + PROG_FEATURES); i++) {
        if (!known(&l, features[4u * i])) {
            return TFIN_E_PROGRAM;
        }
    }
    if (!keep_ok(program, &l)) {
        return TFIN_E_PROGRAM;
    }
    const op *after = tfin_ops(program, PROG_OUTCOME_AT);
    for (uint32_t i = 0; i < tfin_u16(program + PROG_OUTCOME_OPS); i++) {
        const op *o = &after[i];
        if (!operands_in_range(o, &l) || o->code > LAST_PURE || o->key != KEY_NONE || !pure_ok(o, &l, 1)) {
            return TFIN_E_PROGRAM;
        }
        write_register(&l, o->out);
    }
    for (uint32_t i = 0; i < count; i++) {
        if (score[i].code > LAST_PURE && score[i].when != 0 && !commit_inputs_ok(&score[i], &l)) {
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
    return arena <= MAX_MEMORY_BYTES && total <= MAX_MEMORY_BYTES ? (int32_t)total : TFIN_E_PROGRAM; /* the arena alone could wrap the total */
}
