/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The EVENTS payload: events of any schema, packed. Fields come from the open pack, so one image
 * serves every pack. Format: docs/formats/wire.md.
 */
#ifndef TFIN_EVENTS_H
#define TFIN_EVENTS_H

#include "bytes.h"
#include "tinyfin.h"

/* What a record of any schema takes: the mask and 32 fields, in words of 8 bytes. */
enum { TFIN_MAX_RECORD_WORDS = 1 + TFIN_MAX_FIELDS };

/* The record's fields, as the pack declares them, and where events are read to. */
typedef struct tfin_fields {
    const tfin_field *field;
    uint32_t count;
    uint32_t record_size; /* bytes */
    uint64_t *record;     /* the event's, of that size; also holds each field's last value */
    /* per field the value before the last one, of those that 32 bits hold */
    int32_t *before;
} tfin_fields;

enum tfin_event_kind {
    TFIN_KIND_SCORE,
    TFIN_KIND_SCORE_OUTCOME,
    TFIN_KIND_OUTCOME,
    TFIN_KIND_NOTICE,
    TFIN_KIND_CLOCK
};

/* of an outcome that comes with its score: what the verdict says */
enum { TFIN_ACTION_AS_ADVISED = 3 };

typedef struct tfin_events {
    tfin_reader in;
    const tfin_fields *fields;
    uint64_t last_id; /* of scores and outcomes */
    uint64_t last_notice_id;
    uint32_t last_t_s;
    uint32_t last_offset_s;
    uint32_t last_age_s;
    uint32_t last_present;
    uint32_t last_sent;
    uint32_t plain;    /* fields that come as u16, not as differences */
    uint8_t last_code; /* of an outcome */
    uint8_t flags;
    uint8_t count; /* events in the frame */
    uint8_t taken; /* events read so far */
    /* what was read */
    uint8_t kind;
    tfin_outcome outcome;
    union { /* by kind; a score may come with its outcome */
        tfin_event event;
        tfin_notice notice;
        uint32_t clock_s; /* what the clock is to be set to */
    } is;
} tfin_events;

/* flags of a frame: answer with ticks per score; a mask of plain fields follows t0 */
enum { TFIN_EVENTS_TICKS = 1, TFIN_EVENTS_PLAIN = 2, TFIN_EVENTS_CHECKPOINT = 4 };

/* Takes the fields of the open pack. `record` and `before` have space for its record and its
 * fields. */
void tfin_fields_open(tfin_fields *fields, const tfin_engine *engine, uint64_t *record,
                      int32_t *before);

/* 0 when the payload's head cannot be read. */
int tfin_events_begin(tfin_events *events, const tfin_fields *fields, const uint8_t *payload,
                      uint32_t size);

/* 1: an event was read. 0: there are no more, and every byte was used. -1: the
 * payload breaks its rules. */
int tfin_events_next(tfin_events *events);

#endif
