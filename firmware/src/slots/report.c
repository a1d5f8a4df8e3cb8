/* SPDX-License-Identifier: Apache-2.0 */
#ifdef TFIN_PORT_FLASH
#include "report.h"

#include <stddef.h>

enum { MAGIC = 0x50524654, VERSION = 1, ID_BYTES = 8, PACK_BYTES = 8, MAC_BYTES = 16 };
enum { COUNTERS = 1, RESETS, SLOTS, AUDIT, MONITOR }; /* tags of sections */
enum { MOST_SECTION = 255 };
enum { PIECE = 124 }; /* holds 24 varints of 32 bits */

typedef struct output {
    tfin_port_hash hash;
    tfin_writer *answer;
    uint32_t offset; /* of the first byte that goes to the answer */
    uint32_t at;     /* of the next byte */
    uint8_t piece[PIECE];
    tfin_writer w; /* into `piece` */
} output;

static void emit(output *o, const uint8_t *data, uint32_t size)
{
    for (uint32_t i = 0; i < size; i++, o->at++) {
        if (o->at >= o->offset) {
            tfin_put(o->answer, data[i], 1);
        }
    }
}

static void begin_piece(output *o)
{
    o->w = (tfin_writer){o->piece, o->piece + PIECE, 0};
}

static void end_piece(output *o)
{
    uint32_t size = (uint32_t)(o->w.at - o->piece);
    tfin_port_hash_update(&o->hash, o->piece, size);
    emit(o, o->piece, size);
}

static void begin_section(output *o, uint32_t tag)
{
    begin_piece(o);
    tfin_put(&o->w, tag, 2); /* and its length, which is not known yet */
}

static void end_section(output *o)
{
    o->piece[1] = (uint8_t)(o->w.at - o->piece - 2);
    end_piece(o);
}

static void put_slots(const tfin_report *r, output *o)
{
    const tfin_slots *s = r->slots;
    const tfin_journal_record *now = &s->journal.now;
    const tfin_manifest *keys = tfin_keys_manifest(&s->journal);
    tfin_put(&o->w, s->running, 1);
    tfin_put(&o->w, now->places, 1);
    tfin_put(&o->w, now->reason, 1);
    tfin_put_bytes(&o->w, now->active, sizeof now->active);
    tfin_put_bytes(&o->w, now->other, sizeof now->other);
    tfin_put(&o->w, now->floor, 4);
    tfin_put(&o->w, now->commands, 4);
    tfin_put(&o->w, now->notices, 2);
    tfin_put(&o->w, keys != NULL ? keys->version : 0u, 2);
}

static void put_counts(tfin_writer *w, const uint16_t *counts, uint32_t bins)
{
    for (; bins != 0; bins--) {
        tfin_put_varint(w, *counts++);
    }
}

/* In one piece per histogram, so the length is added up first; the first that does not fit ends the
 * section. */
static void emit_monitor(output *o, const tfin_monitor *m)
{
    const uint16_t *counts = NULL;
    uint32_t bins, whole = 0;
    begin_section(o, MONITOR);
    tfin_put(&o->w, tfin_monitor_halvings(m), 1);
    tfin_put(&o->w, tfin_monitor_level(m), 1);
    tfin_put_varint(&o->w, tfin_monitor_events(m));
    uint32_t length = (uint32_t)(o->w.at - o->piece) - 2u;
    for (; (bins = tfin_monitor_histogram(m, whole, &counts)) != 0; whole++) {
        uint8_t trial[3 * 16];
        tfin_writer w = {trial, trial + sizeof trial, 0};
        put_counts(&w, counts, bins);
        if (length + (uint32_t)(w.at - trial) > MOST_SECTION) {
            break;
        }
        length += (uint32_t)(w.at - trial);
    }
    o->piece[1] = (uint8_t)length;
    end_piece(o);
    for (uint32_t i = 0; i < whole; i++) {
        bins = tfin_monitor_histogram(m, i, &counts);
        begin_piece(o);
        put_counts(&o->w, counts, bins);
        end_piece(o);
    }
}

uint32_t tfin_report_piece(const tfin_report *r, uint32_t offset, tfin_writer *answer)
{
    static const uint8_t prefix[] = {'r', 'e', 'p', 'o', 'r', 't'};
    const tfin_journal *j = &r->slots->journal;
    uint8_t id[ID_BYTES], digest[32];
    tfin_audit_head head;
    tfin_writer frame = *answer;
    output o;
    o.answer = answer;
    o.offset = offset;
    o.at = 0;
    tfin_put(answer, 0, 2); /* the size, which is not known yet */
    tfin_put(answer, offset, 2);
    if (!tfin_keys_id(j, id) || !tfin_keys_mac_begin(j, TFIN_SECRET_REPORT, &o.hash)) {
        return 0;
    }
    tfin_port_hash_update(&o.hash, prefix, sizeof prefix);
    begin_piece(&o);
    tfin_put(&o.w, MAGIC, 4);
    tfin_put(&o.w, VERSION, 4);
    tfin_put_bytes(&o.w, id, sizeof id);
    tfin_put(&o.w, r->boot_nonce, 4);
    tfin_put(&o.w, r->number, 4);
    tfin_put_bytes(&o.w, r->pack_id, PACK_BYTES);
    tfin_put(&o.w, r->t_s, 4);
    end_piece(&o);
    begin_section(&o, COUNTERS);
    for (uint32_t i = 0; i < r->counter_count; i++) {
        tfin_put_varint(&o.w, r->counters[i]);
    }
    end_section(&o);
    begin_section(&o, RESETS);
    tfin_put(&o.w, r->cause, 1);
    end_section(&o);
    begin_section(&o, SLOTS);
    put_slots(r, &o);
    end_section(&o);
    if (tfin_audit_read_head(r->audit, &head)) {
        begin_section(&o, AUDIT);
        tfin_put(&o.w, head.sequence, 4);
        tfin_put_bytes(&o.w, head.mac, sizeof head.mac);
        tfin_put(&o.w, r->audit->lost, 1);
        end_section(&o);
    }
    if (r->monitor != NULL && tfin_monitor_size(r->monitor) != 0) {
        emit_monitor(&o, r->monitor);
    }
    tfin_port_hash_end(&o.hash, digest);
    emit(&o, digest, MAC_BYTES);
    tfin_put(&frame, o.at, 2);
    return o.at;
}

#endif
