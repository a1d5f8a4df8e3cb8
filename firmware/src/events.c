/* SPDX-License-Identifier: Apache-2.0 */
#include "events.h"

#include <string.h>

/* an event's first byte */
enum {
    HEAD_KIND = 0x03,
    HEAD_SAME_PRESENT = 0x04, /* score */
    HEAD_ALL_SENT = 0x08,     /* score */
    HEAD_SAME_OFFSET = 0x10,  /* score */
    HEAD_SAME_SENT = 0x80,    /* score; not with ALL_SENT */
    HEAD_FRAUD = 0x04,        /* notice */
    HEAD_TOKEN = 0x08,        /* notice */
    HEAD_SAME_AGE = 0x10,     /* notice */
    HEAD_CLOCK = 0x82, /* sets the clock: the kind of an outcome with a bit that no outcome has */
    HEAD_ID = 0x60,
    HEAD_ID_NEXT = 0x00,
    HEAD_ID_DELTA = 0x20,
    HEAD_ID_WHOLE = 0x40,
    HEAD_ID_SAME = 0x60
};

/* what a head may hold, per kind */
static const uint8_t head_allowed[4] = {0xFF, 0xFF, 0x63, 0x7F};

void tfin_fields_open(tfin_fields *fields, const tfin_engine *engine, uint64_t *record,
                      int32_t *before)
{
    const tfin_schema *schema = tfin_event_schema(engine);
    fields->field = tfin_schema_fields(schema);
    fields->count = schema->field_count;
    fields->record_size = schema->record_bytes;
    fields->record = record;
    fields->before = before;
}

int tfin_events_begin(tfin_events *e, const tfin_fields *fields, const uint8_t *payload,
                      uint32_t size)
{
    memset(e, 0, sizeof *e);
    memset(fields->record, 0, fields->record_size);
    memset(fields->before, 0, fields->count * sizeof *fields->before);
    e->in = (tfin_reader){payload, payload + size, 0};
    e->fields = fields;
    e->flags = (uint8_t)tfin_get(&e->in, 1);
    e->count = (uint8_t)tfin_get(&e->in, 1);
    e->last_t_s = (uint32_t)tfin_get(&e->in, 4);
    if ((e->flags & TFIN_EVENTS_PLAIN) != 0) {
        uint64_t plain = tfin_get_varint(&e->in);
        e->in.bad |= plain >> fields->count != 0;
        e->plain = (uint32_t)plain;
    }
    return !e->in.bad && (e->flags & (uint8_t)~(TFIN_EVENTS_TICKS | TFIN_EVENTS_PLAIN |
                                                TFIN_EVENTS_CHECKPOINT)) == 0;
}

static uint64_t read_id(tfin_events *e, uint8_t head, uint64_t *last)
{
    uint64_t id = *last;
    switch (head & HEAD_ID) {
    case HEAD_ID_NEXT: id++; break;
    case HEAD_ID_DELTA: id += tfin_get_varint(&e->in); break;
    case HEAD_ID_WHOLE: id = tfin_get(&e->in, 8); break;
    default: break;
    }
    *last = id;
    return id;
}

static uint32_t read_time(tfin_events *e)
{
    e->last_t_s += (uint32_t)tfin_get_varint(&e->in);
    return e->last_t_s;
}

static void read_field(tfin_events *e, uint32_t i)
{
    const tfin_field *field = &e->fields->field[i];
    uint8_t *at = (uint8_t *)e->fields->record + field->offset;
    int64_t last = 0;
    int64_t value;
    if (field->type == TFIN_TYPE_U64) {
        uint64_t whole = tfin_get(&e->in, 8);
        memcpy(at, &whole, sizeof whole);
        return;
    }
    if (field->type == TFIN_TYPE_I64) {
        memcpy(&last, at, sizeof last);
    } else {
        int32_t narrow;
        memcpy(&narrow, at, sizeof narrow);
        last = narrow;
    }
    if ((e->plain >> i & 1u) != 0) {
        value = (int64_t)tfin_get(&e->in, 2);
    } else {
        uint64_t delta = (uint64_t)tfin_get_signed(&e->in);
        value = delta == 0 ? e->fields->before[i] : (int64_t)((uint64_t)last + delta);
        if (last >= INT32_MIN && last <= INT32_MAX) {
            e->fields->before[i] = (int32_t)last;
        }
    }
    if (field->type == TFIN_TYPE_I64) {
        memcpy(at, &value, sizeof value);
        return;
    }
    if (value < INT32_MIN || value > INT32_MAX) {
        e->in.bad = 1;
        return;
    }
    int32_t narrow = (int32_t)value;
    memcpy(at, &narrow, sizeof narrow);
}

static void read_score(tfin_events *e, uint8_t head)
{
    e->is.event.id = read_id(e, head, &e->last_id);
    e->is.event.t_mono_s = read_time(e);
    if ((head & HEAD_SAME_OFFSET) == 0) {
        e->last_offset_s += (uint32_t)tfin_get_signed(&e->in);
    }
    e->is.event.t_local_s = e->is.event.t_mono_s + e->last_offset_s;
    uint64_t present = e->last_present;
    if ((head & HEAD_SAME_PRESENT) == 0) {
        present ^= tfin_get_varint(&e->in);
    }
    uint64_t sent = present;
    if ((head & HEAD_SAME_SENT) != 0) {
        sent = e->last_sent;
        e->in.bad |= (head & HEAD_ALL_SENT) != 0;
    } else if ((head & HEAD_ALL_SENT) == 0) {
        sent = tfin_get_varint(&e->in) ^ e->last_sent;
    }
    if (present >> e->fields->count != 0 || (sent & ~present) != 0) {
        e->in.bad = 1;
        return;
    }
    for (uint32_t i = 0; i < e->fields->count; i++) {
        if ((sent >> i & 1u) != 0) {
            read_field(e, i);
        }
    }
    e->last_present = (uint32_t)present;
    e->last_sent = (uint32_t)sent;
    memcpy(e->fields->record, &e->last_present, sizeof e->last_present);
    e->is.event.record = e->fields->record;
    e->is.event.record_size = e->fields->record_size;
}

/* bits of the code: 0 to 2 result, 3 to 4 action taken, 5 to 6 response (none, 0, or it follows) */
static void read_outcome(tfin_events *e, uint64_t id, int with_score)
{
    e->outcome.id = id;
    uint64_t time = tfin_get_varint(&e->in);
    e->last_t_s += (uint32_t)(time >> 1);
    e->outcome.t_mono_s = e->last_t_s;
    if ((time & 1u) != 0) {
        e->last_code = (uint8_t)tfin_get(&e->in, 1);
    }
    uint32_t code = e->last_code;
    uint32_t response = code >> 5;
    e->outcome.result = code & 7u;
    e->outcome.action_taken = code >> 3 & 3u;
    e->outcome.response = response == 0 ? -1 : 0;
    if (response == 2) {
        int64_t value = tfin_get_signed(&e->in);
        e->in.bad |= value < INT16_MIN || value > INT16_MAX;
        e->outcome.response = (int16_t)value;
    }
    e->in.bad |= response > 2 || (e->outcome.action_taken == TFIN_ACTION_AS_ADVISED && !with_score);
}

static void read_notice(tfin_events *e, uint8_t head)
{
    e->is.notice.id = read_id(e, head, &e->last_notice_id);
    e->is.notice.t_mono_s = read_time(e);
    e->is.notice.fraud = (head & HEAD_FRAUD) != 0;
    e->is.notice.token = (head & HEAD_TOKEN) != 0 ? tfin_get(&e->in, 8) : 0;
    if ((head & HEAD_SAME_AGE) == 0) {
        e->last_age_s += (uint32_t)tfin_get_signed(&e->in);
    }
    e->is.notice.t_tx_mono_s = e->is.notice.t_mono_s - e->last_age_s;
}

int tfin_events_next(tfin_events *e)
{
    if (e->taken == e->count) {
        return tfin_left(&e->in) == 0 && !e->in.bad ? 0 : -1;
    }
    e->taken++;
    uint8_t head = (uint8_t)tfin_get(&e->in, 1);
    e->kind = head & HEAD_KIND;
    if (head == HEAD_CLOCK) {
        e->kind = TFIN_KIND_CLOCK;
        e->is.clock_s = read_time(e);
        return e->in.bad ? -1 : 1;
    }
    if ((head & (uint8_t)~head_allowed[e->kind]) != 0) {
        return -1;
    }
    if (e->kind == TFIN_KIND_NOTICE) {
        read_notice(e, head);
    } else if (e->kind == TFIN_KIND_OUTCOME) {
        read_outcome(e, read_id(e, head, &e->last_id), 0);
    } else {
        read_score(e, head);
        if (e->kind == TFIN_KIND_SCORE_OUTCOME) {
            read_outcome(e, e->is.event.id, 1);
        }
    }
    return e->in.bad ? -1 : 1;
}
