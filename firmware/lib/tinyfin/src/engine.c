/* SPDX-License-Identifier: Apache-2.0 */
/* What happens to an event: clock, features, pending table, network, verdict; later outcome and
 * notice. */
#include "internal.h"
#include "network/net_plan.h"

/* The state and labels of an unknown card. */
static const uint8_t no_card[MAX_CARD_SLOT] __attribute__((aligned(8)));

void tfin_count(uint8_t *head, uint32_t counter, uint32_t by)
{
    uint32_t v = tfin_u32(head + counter);
    tfin_put32(head + counter, v + by < v ? UINT32_MAX : v + by);
}

/* Another call that changes the state ends an unfinished import. The imported bytes are not checked
 * yet, so nothing may run on them, and the bytes still to come do not contain the change. */
static void abandon_import(tfin_engine *e)
{
    if (e->import_next != 0) {
        (void)tfin_reset(e);
    }
}

/* Moves the clock to the time that a call claims. Where that is not allowed, the clock stays and
 * event_flags says so. */
static uint32_t tick(tfin_engine *e, uint32_t t)
{
    uint32_t last = tfin_u32(e->state + HEAD_LAST_T);
#ifdef TFIN_SABOTAGE_LEAP
    int stays = t < last;
#else
    /* 2^32 - 1 is not a time, so that t + 1 is never 0 */
    int stays = t < last || (t - last > e->leap_s[0] && last != 0) || t == UINT32_MAX;
#endif
    if (stays) {
        tfin_count(e->state, HEAD_CLAMPS, 1);
        e->event_flags = TFIN_FLAG_CLOCK;
        return last;
    }
    e->leap_s[0] = e->leap_s[1];
    tfin_put32(e->state + HEAD_LAST_T, t);
    return t;
}

/* The same for an outcome or a notice, which is refused if its time is too far ahead. */
static TFIN_NOINLINE int tick_or_refuse(tfin_engine *e, uint32_t *t)
{
    uint32_t last = tfin_u32(e->state + HEAD_LAST_T);
    uint32_t claimed = *t;
    *t = tick(e, claimed);
    return *t == last && claimed > last ? TFIN_E_TIME : TFIN_OK;
}

int tfin_rebase_time(tfin_engine *e, uint32_t t_mono_s)
{
    int rc = tfin_usable(e);
    if (rc != TFIN_OK || t_mono_s == UINT32_MAX) {
        return rc != TFIN_OK ? rc : TFIN_E_ARGUMENT;
    }
    abandon_import(e);
    if (t_mono_s < tfin_u32(e->state + HEAD_LAST_T)) {
        (void)tfin_reset(e);
    }
    tfin_put32(e->state + HEAD_LAST_T, t_mono_s);
    e->leap_s[0] = e->leap_s[1];
    return TFIN_OK;
}

/* ---- cards */

static uint8_t *card_set(const tfin_engine *e, uint64_t token)
{
    uint32_t set = tfin_folded(token) & (tfin_u16(e->program + PROG_CARD_SETS) - 1u);
    return e->state + e->layout.cards +
           set * e->program[PROG_CARD_WAYS] * tfin_u16(e->program + PROG_CARD_SLOT);
}

static uint8_t *find_card(const tfin_engine *e, uint64_t token)
{
    uint32_t slot = tfin_u16(e->program + PROG_CARD_SLOT);
    if (slot == 0 || token == 0) {
        return NULL;
    }
    uint8_t *p = card_set(e, token);
    for (uint32_t way = 0; way < e->program[PROG_CARD_WAYS]; way++, p += slot) {
        if (tfin_u32(p + SLOT_USED) != 0 && tfin_u64(p + SLOT_TOKEN) == token) {
            return p;
        }
    }
    return NULL;
}

/* The card's slot. If it has none, it gets a free one or that of the least recently used card. Null
 * without a card table or a token. */
static uint8_t *take_card(const tfin_engine *e, uint64_t token)
{
    uint32_t slot = tfin_u16(e->program + PROG_CARD_SLOT);
    if (slot == 0 || token == 0) {
        return NULL;
    }
    uint8_t *card = find_card(e, token);
    if (card == NULL) {
        uint32_t oldest = UINT32_MAX;
        uint8_t *p = card_set(e, token);
        for (uint32_t way = 0; way < e->program[PROG_CARD_WAYS]; way++, p += slot) {
            uint32_t used = tfin_u32(p + SLOT_USED); /* 0 = free: the first free way wins */
            if (card == NULL || used < oldest) {
                oldest = used;
                card = p;
            }
        }
        if (oldest != 0) {
            tfin_count(e->state, HEAD_EVICTIONS, 1);
        }
        memset(card, 0, slot);
        tfin_put64(card + SLOT_TOKEN, token);
    }
    uint32_t used = tfin_u32(e->state + HEAD_CARD_TICK) + 1u;
    tfin_put32(e->state + HEAD_CARD_TICK, used);
    tfin_put32(card + SLOT_USED, used);
    return card;
}

static uint32_t card_labels_at(const tfin_engine *e)
{
    return tfin_u16(e->program + PROG_CARD_SLOT) -
           (LABELS_ENTRIES + LABEL_SIZE * (uint32_t)tfin_u16(e->program + PROG_CARD_LABELS));
}

/* Clears the token in the kept registers of this entry. */
static void erase_kept(const tfin_engine *e, uint8_t *entry, uint64_t value)
{
    const uint8_t *k = e->program + tfin_u32(e->program + PROG_KEPT_AT);
    for (uint32_t n = tfin_u16(e->program + PROG_KEPT); n != 0; n--, k += 4) {
        uint8_t *kept = entry + (tfin_u16(k + 2) & 0x7FFFu);
        if (k[1] == 8 && tfin_u64(kept) == value) {
            tfin_put64(kept, 0);
        }
    }
}

int tfin_erase_card(tfin_engine *e, uint64_t token)
{
    int rc = tfin_usable(e);
    if (rc != TFIN_OK) {
        return rc;
    }
    abandon_import(e);
    uint8_t *card = find_card(e, token);
    if (card != NULL) {
        memset(card, 0, tfin_u16(e->program + PROG_CARD_SLOT));
    }
    uint64_t value = token & (uint64_t)REGISTER_MAX;
    uint8_t *p = e->state + e->layout.pending;
    for (uint32_t i = 0; i < tfin_u16(e->program + PROG_PENDING);
         i++, p += tfin_u16(e->program + PROG_PENDING_SIZE)) {
        if (tfin_u32(p + PENDING_SEQUENCE) != 0 && tfin_u64(p + PENDING_TOKEN) == token) {
            tfin_put64(p + PENDING_TOKEN, 0);
            erase_kept(e, p, value);
        }
    }
    const op *o = tfin_ops(e->program, PROG_SCORE_AT);
    for (uint32_t n = tfin_u16(e->program + PROG_SCORE_OPS); n != 0; n--, o++) {
        if (o->key == KEY_TERMINAL) {
            tfin_erase_value(o, e->state + e->layout.terminal + o->state, value);
        }
    }
    /* registers, features, the copy of an entry that was pushed out */
    memset(e->state + e->layout.features, 0, e->memory_bytes - e->layout.features);
    e->has_verdict = 0;
    return TFIN_OK;
}

/* ---- features */

static uint64_t token_of(const tfin_engine *e, const context *x)
{
    uint32_t index = e->program[PROG_TOKEN_FIELD];
    if (index == NO_FIELD || (x->present >> index & 1u) == 0) {
        return 0;
    }
    return tfin_u64(x->record + tfin_schema_fields(e->schema)[index].offset);
}

static uint32_t write_features(const tfin_engine *e, const int64_t *r)
{
    const uint8_t *p = e->program + tfin_u32(e->program + PROG_FEATURES_AT);
    int16_t *features =
        (int16_t *)(void *)__builtin_assume_aligned(e->state + e->layout.features, 2);
    uint32_t saturated = 0;
    for (uint32_t n = tfin_u16(e->program + PROG_FEATURES); n != 0; n--, p += 4) {
        int64_t v = r[*p];
        int16_t f = (int16_t)v;
        if (v != f) {
            f = v < 0 ? INT16_MIN : INT16_MAX;
            saturated++;
        }
        *features++ = f;
    }
    return saturated;
}

/* ---- pending table */

/* The entry of this id, or null. *place: the first free entry, else the oldest. */
static uint8_t *find_pending(const tfin_engine *e, uint64_t id, uint8_t **place)
{
    uint32_t size = tfin_u16(e->program + PROG_PENDING_SIZE);
    uint8_t *p = e->state + e->layout.pending;
    uint32_t oldest = UINT32_MAX;
    *place = p;
    for (uint32_t n = tfin_u16(e->program + PROG_PENDING); n != 0; n--, p += size) {
        uint32_t sequence = tfin_u32(p + PENDING_SEQUENCE);
        if (sequence != 0 && tfin_u64(p + PENDING_ID) == id) {
            return p;
        }
        if (sequence < oldest) {
            oldest = sequence;
            *place = p;
        }
    }
    return NULL;
}

/* 1 when the value did not fit. */
static uint32_t put_kept(uint8_t *p, uint32_t width, int64_t v)
{
    if (width == 8) {
        tfin_put64(p, (uint64_t)v); /* a register is within the limit */
        return 0;
    }
    uint32_t unused = 32u - 8u * width;
    int32_t fits = (int32_t)((uint32_t)v << unused) >> unused;
    uint32_t saturates = v != fits;
    if (saturates) {
        fits = (INT32_MAX >> unused) ^ (v < 0 ? -1 : 0);
    }
    if (width == 1) {
        *p = (uint8_t)fits;
    } else if (width == 2) {
        tfin_put16(p, (uint16_t)fits);
    } else {
        tfin_put32(p, (uint32_t)fits);
    }
    return saturates;
}

static int64_t get_kept(const uint8_t *p, uint32_t width)
{
    switch (width) {
    case 1: return (int8_t)*p;
    case 2: return tfin_i16(p);
    case 4: return tfin_i32(p);
    /* an imported image may hold any 64 bits */
    default: return tfin_clamp64(tfin_i64(p), -REGISTER_MAX, REGISTER_MAX);
    }
}

static int64_t *registers(const tfin_engine *e)
{
    return (int64_t *)(void *)__builtin_assume_aligned(e->state + e->layout.registers, 8);
}

/* Fills an entry, all but the kept registers. A free entry is all zero. */
static void open_pending(const tfin_engine *e, const context *x, uint8_t *entry, uint64_t id,
                         uint64_t token)
{
    uint32_t sequence = tfin_u32(e->state + HEAD_PENDING_SEQUENCE) + 1u;
    tfin_put32(e->state + HEAD_PENDING_SEQUENCE, sequence);
    tfin_put64(entry + PENDING_ID, id);
    tfin_put32(entry + PENDING_SEQUENCE, sequence);
    tfin_put32(entry + PENDING_T, x->t);
    tfin_put64(entry + PENDING_TOKEN, token);
}

static void write_pending(const tfin_engine *e, const context *x, uint8_t *entry, uint64_t id,
                          uint64_t token)
{
    open_pending(e, x, entry, id, token);
    const uint8_t *k = e->program + tfin_u32(e->program + PROG_KEPT_AT);
    uint32_t saturated = 0;
    for (uint32_t n = tfin_u16(e->program + PROG_KEPT); n != 0; n--, k += 4) {
        saturated += put_kept(entry + (tfin_u16(k + 2) & 0x7FFFu), k[1], x->r[k[0]]);
    }
    tfin_count(e->state, HEAD_SATURATIONS, saturated);
}

static void count_commit(const tfin_engine *e, uint32_t t, uint32_t saturated)
{
    tfin_count(e->state, HEAD_SATURATIONS, saturated);
    if (tfin_u32(e->state + HEAD_COMMITTED) == 0) {
        tfin_put32(e->state + HEAD_FIRST_T, t);
    }
    tfin_count(e->state, HEAD_COMMITTED, 1);
}

static void commit(tfin_engine *e, const uint8_t *entry, const tfin_outcome *outcome,
                   uint32_t outcome_s)
{
    const uint8_t *program = e->program;
    uint32_t t = tfin_u32(entry + PENDING_T);
    context x = {.r = registers(e),
                 .pool = program + tfin_u32(program + PROG_POOL_AT),
                 .t = t,
                 .outcome_s = outcome_s,
                 .id = tfin_folded(tfin_u64(entry + PENDING_ID))};
    x.outcome[0] = outcome->result;
    x.outcome[1] = outcome->response;
    x.outcome[2] = outcome->action_taken;
    const uint8_t *k = program + tfin_u32(program + PROG_KEPT_AT);
    for (uint32_t n = tfin_u16(program + PROG_KEPT); n != 0; n--, k += 4) {
        x.r[k[0]] = get_kept(entry + (tfin_u16(k + 2) & 0x7FFFu), k[1]);
    }
    tfin_run(tfin_ops(program, PROG_OUTCOME_AT), tfin_u16(program + PROG_OUTCOME_OPS), &x);
    uint8_t *card = take_card(e, tfin_u64(entry + PENDING_TOKEN));
    uint8_t *const state[3] = {NULL, e->state + e->layout.terminal,
                               card == NULL ? NULL : card + SLOT_STATE};
    uint32_t saturated = tfin_commit(tfin_ops(program, PROG_SCORE_AT),
                                     tfin_u16(program + PROG_SCORE_OPS), &x, state);
    count_commit(e, t, saturated);
}

/* ---- score */

/* The presence mask, less what the schema does not know; or an error when the record is too short
 * for a field it claims. */
static int read_mask(const tfin_engine *e, const tfin_event *event, uint32_t *present)
{
    uint32_t fields = e->schema->field_count;
    if (event->record_size < 8u) {
        return TFIN_E_RECORD;
    }
    uint32_t mask = tfin_u32(event->record) & (fields == 32u ? UINT32_MAX : (1u << fields) - 1u);
    if (event->record_size < e->schema->record_bytes) {
        for (uint32_t i = 0; i < fields; i++) {
            const tfin_field *f = tfin_schema_fields(e->schema) + i;
            if ((mask >> i & 1u) != 0 &&
                f->offset + tfin_field_bytes(f->type) > event->record_size) {
                return TFIN_E_RECORD;
            }
        }
    }
    *present = mask;
    return TFIN_OK;
}

/* 1 if the model uses host fields and the event has none of them. */
static int lacks_host(const tfin_engine *e, uint32_t present)
{
    if ((tfin_u16(e->decision + DECISION_FLAGS) & WANTS_HOST) == 0) {
        return 0;
    }
    for (uint32_t i = 0; i < e->schema->field_count; i++) {
        if ((present >> i & 1u) != 0 &&
            (tfin_schema_fields(e->schema)[i].flags & TFIN_FIELD_HOST) != 0) {
            return 0;
        }
    }
    return 1;
}

static int is_cold(const tfin_engine *e, uint32_t t)
{
    uint32_t committed = tfin_u32(e->state + HEAD_COMMITTED);
    return committed < tfin_u32(e->decision + DECISION_COLD_EVENTS) &&
           (committed == 0 ||
            t - tfin_u32(e->state + HEAD_FIRST_T) < tfin_u32(e->decision + DECISION_COLD_S));
}

static void remember(tfin_engine *e, const context *x, uint8_t *place, uint64_t id, uint64_t token)
{
    if (tfin_u32(place + PENDING_SEQUENCE) == 0) {
        write_pending(e, x, place, id, token);
        return;
    }
    /* The registers hold the new event: it must be written down before the old one is
     * committed with them. */
    uint8_t *old = e->state + e->layout.spare;
    memcpy(old, place, tfin_u16(e->program + PROG_PENDING_SIZE));
    memset(place, 0, tfin_u16(e->program + PROG_PENDING_SIZE));
    write_pending(e, x, place, id, token);
    tfin_outcome timed_out = {.result = TFIN_RESULT_TIMED_OUT, .response = -1};
    tfin_count(e->state, HEAD_PENDING_OVERFLOWS, 1);
    commit(e, old, &timed_out, 0);
}

/* Everything of a score before the operators: checks, clock, card. */
static int begin(tfin_engine *e, const tfin_event *event, context *x, uint64_t *token)
{
    if (event == NULL || event->record == NULL || ((uintptr_t)event->record & 7u) != 0) {
        return TFIN_E_ARGUMENT;
    }
    int rc = tfin_usable(e);
    rc = rc == TFIN_OK ? read_mask(e, event, &x->present) : rc;
    if (rc != TFIN_OK) {
        return rc;
    }
    abandon_import(e);
    e->event_flags = 0;
    x->pool = e->program + tfin_u32(e->program + PROG_POOL_AT);
    x->schema = e->schema;
    x->record = event->record;
    x->t = tick(e, event->t_mono_s);
    x->t_local = event->t_local_s;
    *token = token_of(e, x);
    const uint8_t *card = find_card(e, *token);
    x->card_known = card != NULL;
    x->state[KEY_TERMINAL] = e->state + e->layout.terminal;
    x->labels[KEY_TERMINAL] = e->state + e->layout.terminal_labels;
    x->state[KEY_CARD] = card == NULL ? no_card : card + SLOT_STATE;
    x->labels[KEY_CARD] = card == NULL ? no_card : card + card_labels_at(e);
    return TFIN_OK;
}

/* Counters and flags of a scored event. */
static void count_score(tfin_engine *e, const context *x, uint32_t saturated)
{
    if (saturated != 0) {
        tfin_count(e->state, HEAD_SATURATIONS, saturated);
        e->event_flags |= TFIN_FLAG_SATURATED;
    }
    if (e->plan != NULL && is_cold(e, x->t)) {
        e->event_flags |= TFIN_FLAG_COLD;
    }
    if (e->plan != NULL && lacks_host(e, x->present)) {
        e->event_flags |= TFIN_FLAG_NO_HOST;
    }
    tfin_count(e->state, HEAD_SCORED, 1);
}

static void answer(tfin_engine *e, uint64_t id, tfin_verdict *v)
{
    /* one by one: a call of memset takes longer */
    v->id = id;
    v->score_q32 = 0;
    v->raw = 0;
    v->flags = e->event_flags;
    v->action = TFIN_ACTION_ACCEPT;
    v->reason_count = 0;
    v->reasons[0] = v->reasons[1] = v->reasons[2] = 0;
    v->reserved = 0;
    e->has_verdict = 1;
    if (e->plan != NULL) {
        tfin_judge(e, v);
        tfin_decide(e, v);
    }
}

int tfin_score(tfin_engine *e, const tfin_event *event, tfin_verdict *v)
{
    context x;
    uint64_t token;
    int rc = v == NULL ? TFIN_E_ARGUMENT : begin(e, event, &x, &token);
    if (rc != TFIN_OK) {
        return rc;
    }
    x.r = registers(e);
    tfin_run(tfin_ops(e->program, PROG_SCORE_AT), tfin_u16(e->program + PROG_SCORE_OPS), &x);
    count_score(e, &x, write_features(e, x.r));
    uint8_t *place;
    if (find_pending(e, event->id, &place) == NULL) {
        remember(e, &x, place, event->id, token);
    }
    answer(e, event->id, v);
    return TFIN_OK;
}

/* ---- outcome, notice */

/* The pending entry of this id, and its outcome's time. Nothing that is refused moves the clock. */
static int begin_outcome(tfin_engine *e, uint64_t id, uint32_t *t, uint8_t **entry)
{
    uint8_t *place;
    abandon_import(e);
    *entry = find_pending(e, id, &place);
    if (*entry == NULL) {
        tfin_count(e->state, HEAD_UNKNOWN_OUTCOMES, 1);
        return TFIN_E_UNKNOWN_ID;
    }
    return tick_or_refuse(e, t);
}

int tfin_apply_outcome(tfin_engine *e, const tfin_outcome *outcome)
{
    if (outcome == NULL || outcome->result > TFIN_RESULT_REVERSED ||
        outcome->action_taken > TFIN_ACTION_DECLINE) {
        return TFIN_E_ARGUMENT;
    }
    uint8_t *entry;
    uint32_t t = outcome->t_mono_s;
    int rc = tfin_usable(e);
    rc = rc == TFIN_OK ? begin_outcome(e, outcome->id, &t, &entry) : rc;
    if (rc != TFIN_OK) {
        return rc;
    }
    commit(e, entry, outcome, t - tfin_u32(entry + PENDING_T));
    memset(entry, 0, tfin_u16(e->program + PROG_PENDING_SIZE));
    return TFIN_OK;
}

/* Of a label that entered its ring: one that comes again is then known, or too old. */
static void count_evidence(const tfin_engine *e, uint32_t key, uint8_t *state, uint32_t t,
                           uint32_t tag, int change)
{
    const op *o = tfin_ops(e->program, PROG_SCORE_AT);
    const uint8_t *pool = e->program + tfin_u32(e->program + PROG_POOL_AT);
    uint32_t n = change == LABEL_KNOWN || change == LABEL_TOO_OLD
                     ? 0
                     : tfin_u16(e->program + PROG_SCORE_OPS);
    for (; n != 0; n--, o++) {
        if (o->code == COMPROMISED && o->key == key) {
            tfin_compromised_notice(o, state + o->state, pool + o->p0, t, tag, change);
        }
    }
}

int tfin_apply_notice(tfin_engine *e, const tfin_notice *notice)
{
    if (notice == NULL || notice->fraud > 1u) {
        return TFIN_E_ARGUMENT;
    }
    int rc = tfin_usable(e);
    if (rc != TFIN_OK) {
        return rc;
    }
    abandon_import(e);
    uint32_t now = notice->t_mono_s;
    rc = tick_or_refuse(e, &now);
    if (rc != TFIN_OK) {
        return rc;
    }
    uint32_t t = notice->t_tx_mono_s < now ? notice->t_tx_mono_s : now;
    uint32_t tag = tfin_folded(notice->id) << 1 | notice->fraud;
    uint32_t terminal_labels = tfin_u16(e->program + PROG_TERMINAL_LABELS);
    uint32_t card_labels = tfin_u16(e->program + PROG_CARD_LABELS);
    int accepted = 0;
    int dropped = 0;
    if (terminal_labels != 0) {
        int change = tfin_labels_insert(e->state + e->layout.terminal_labels, terminal_labels, t,
                                        tag, &dropped);
        count_evidence(e, KEY_TERMINAL, e->state + e->layout.terminal, t, tag, change);
        accepted |= change;
        tfin_count(e->state, HEAD_LABEL_OVERFLOWS, (uint32_t)dropped);
    }
    uint8_t *card = card_labels == 0 ? NULL : find_card(e, notice->token);
    if (card != NULL) {
        int change = tfin_labels_insert(card + card_labels_at(e), card_labels, t, tag, &dropped);
        count_evidence(e, KEY_CARD, card + SLOT_STATE, t, tag, change);
        accepted |= change;
        tfin_count(e->state, HEAD_LABEL_OVERFLOWS, (uint32_t)dropped);
    }
    tfin_count(e->state, accepted ? HEAD_NOTICES : HEAD_NOTICE_DUPLICATES, 1);
    return TFIN_OK;
}

/* ---- what was learned, kept by the application */

uint32_t tfin_waiting_size(const tfin_engine *e)
{
    return tfin_usable(e) == TFIN_OK ? tfin_u16(e->program + PROG_PENDING_SIZE) : 0;
}

int tfin_export_waiting(const tfin_engine *e, uint64_t id, void *out, uint32_t size)
{
    int rc = tfin_usable(e);
    if (rc != TFIN_OK || out == NULL || size != tfin_waiting_size(e)) {
        return rc != TFIN_OK ? rc : TFIN_E_ARGUMENT;
    }
    uint8_t *place;
    const uint8_t *entry = find_pending(e, id, &place);
    if (entry == NULL) {
        return TFIN_E_UNKNOWN_ID;
    }
    return tfin_export_state(e, STATE_HEADER + (uint32_t)(entry - e->state), out, size);
}

int tfin_pushed_out(const tfin_engine *e, uint64_t id, uint64_t *oldest)
{
    uint8_t *place;
    if (tfin_usable(e) != TFIN_OK || find_pending(e, id, &place) != NULL ||
        tfin_u32(place + PENDING_SEQUENCE) == 0) {
        return 0;
    }
    *oldest = tfin_u64(place + PENDING_ID);
    return 1;
}

/* The clock as it was then, whatever the limits say: they were looked at then. */
static void restore_clock(tfin_engine *e, uint32_t t)
{
    if (t > tfin_u32(e->state + HEAD_LAST_T) && t != UINT32_MAX) {
        tfin_put32(e->state + HEAD_LAST_T, t);
    }
}

int tfin_restore_outcome(tfin_engine *e, const void *waiting, uint32_t size,
                         const tfin_outcome *outcome)
{
    static const tfin_outcome timed_out = {.result = TFIN_RESULT_TIMED_OUT, .response = -1};
    int rc = tfin_usable(e);
    if (rc != TFIN_OK || waiting == NULL || ((uintptr_t)waiting & 7u) != 0 ||
        size != tfin_waiting_size(e) ||
        (outcome != NULL &&
         (outcome->result > TFIN_RESULT_REVERSED || outcome->action_taken > TFIN_ACTION_DECLINE))) {
        return rc != TFIN_OK ? rc : TFIN_E_ARGUMENT;
    }
    abandon_import(e);
    const uint8_t *entry = waiting;
    uint8_t *place;
    uint8_t *same = find_pending(e, tfin_u64(entry + PENDING_ID), &place);
    if (same != NULL) {
        memset(same, 0, size);
    }
    uint32_t t = tfin_u32(entry + PENDING_T);
    restore_clock(e, t);
    if (outcome == NULL) {
        tfin_count(e->state, HEAD_PENDING_OVERFLOWS, 1);
        commit(e, entry, &timed_out, 0);
    } else {
        restore_clock(e, outcome->t_mono_s);
        commit(e, entry, outcome, outcome->t_mono_s > t ? outcome->t_mono_s - t : 0);
    }
    return TFIN_OK;
}

int tfin_restore_notice(tfin_engine *e, const tfin_notice *notice)
{
    int rc = tfin_usable(e);
    if (rc != TFIN_OK || notice == NULL) {
        return rc != TFIN_OK ? rc : TFIN_E_ARGUMENT;
    }
    abandon_import(e);
    restore_clock(e, notice->t_mono_s);
    rc = tfin_apply_notice(e, notice);
    tfin_boot(e); /* that the next event may come after a long time is not used up by it */
    return rc;
}

/* ---- looking inside */

enum { COUNTERS_BYTES = HEAD_EVICTIONS + 4 - HEAD_SCORED };
typedef char tfin_stats_are_the_heads_counters[sizeof(tfin_stats) == COUNTERS_BYTES ? 1 : -1];

const int16_t *tfin_features(const tfin_engine *e, uint32_t *count)
{
    const int16_t *features = NULL;
    uint32_t number = 0;
    if (tfin_usable(e) == TFIN_OK) {
        features = (const int16_t *)(const void *)__builtin_assume_aligned(
            e->state + e->layout.features, 2);
        number = e->has_verdict ? tfin_u16(e->program + PROG_FEATURES) : 0;
    }
    if (count != NULL) {
        *count = number;
    }
    return features;
}

/* Bytes of the arena whose place and number are at `at` of the plan; null and 0 without a
 * network or an open pack. */
static const int8_t *arena_part(const tfin_engine *e, uint32_t at, uint32_t *count)
{
    const uint8_t *plan = tfin_network_plan(e);
    const int8_t *part = NULL;
    uint32_t number = 0;
    if (plan != NULL) {
        part = (const int8_t *)tfin_arena(e) + tfin_plan_u32(plan, at);
        number = tfin_plan_u32(plan, at + 4u);
    }
    if (count != NULL) {
        *count = number;
    }
    return part;
}

const int8_t *tfin_network_input(const tfin_engine *e, uint32_t *count)
{
    return arena_part(e, TFIN_PLAN_INPUT, count);
}

const int8_t *tfin_network_output(const tfin_engine *e, uint32_t *count)
{
    return arena_part(e, TFIN_PLAN_OUTPUT, count);
}

int tfin_infer(tfin_engine *e, const int8_t *input, uint32_t count, int32_t *raw)
{
    if (e == NULL || input == NULL || raw == NULL) {
        return TFIN_E_ARGUMENT;
    }
    if (e->open != TFIN_OPEN) {
        return TFIN_E_CLOSED;
    }
    if (e->plan == NULL) {
        return TFIN_E_NO_MODEL;
    }
    if (count != tfin_net_input_length(e->plan)) {
        return TFIN_E_ARGUMENT;
    }
    uint8_t *arena = tfin_arena(e);
    memcpy(tfin_net_input(e->plan, arena), input, count);
    tfin_net_run(e->plan, arena);
    *raw = tfin_raw_score(e);
    return TFIN_OK;
}

int tfin_get_stats(const tfin_engine *e, tfin_stats *s)
{
    int rc = tfin_usable(e);
    if (rc != TFIN_OK || s == NULL) {
        return rc != TFIN_OK ? rc : TFIN_E_ARGUMENT;
    }
    /* the counters lie there in the order of tfin_stats */
    memcpy(s, e->state + HEAD_SCORED, sizeof *s);
    return TFIN_OK;
}
