/* SPDX-License-Identifier: Apache-2.0 */
#ifdef TFIN_PORT_FLASH
#include "audit.h"

#include <stddef.h>
#include <string.h>

/* As it lies in flash; 32 bytes, the largest program unit of any chip. */
typedef struct record {
    uint32_t sequence; /* from 1; one more than that of the record before it */
    uint32_t t_s;
    uint8_t kind; /* enum tfin_audit_kind */
    uint8_t detail;
    uint16_t note; /* of a verdict its score, else the journal's sequence number */
    uint32_t value;
    uint32_t alias;
    uint8_t pack[4]; /* how the id of a pack begins */
    uint8_t mac[8];
} record;

enum { RECORD_BYTES = sizeof(record), MAC_BYTES = 8, DAY_S = 86400, GIVES_UP = 4 };
enum { RENEWAL = 2 }; /* what an opening adds to the journal's sequence number */
enum { VERIFY = 2 };  /* added to the action GO_ONLINE */
/* no more goes into this unit; the next one was erased in this boot; the key is being replaced */
enum { CLOSED = 1, CLEAN = 2, RENEWING = 4 };
_Static_assert(RECORD_BYTES == 32, "a record is one program unit of the widest flash");

static uint32_t places_of(const tfin_flash_map *map)
{
    return map->audit.erase_bytes / RECORD_BYTES;
}

static uint32_t units_of(const tfin_audit *a)
{
    const tfin_flash_area *area = &a->slots->journal.map->audit;
    return area->size / area->erase_bytes;
}

static uint32_t next_unit(const tfin_audit *a)
{
    return (a->unit + 1u) % units_of(a);
}

/* Whose turn it is by the key. */
static uint32_t unit_of_key(const tfin_audit *a)
{
    return tfin_keys_audit_step(&a->slots->journal) % units_of(a);
}

static uint32_t address_of(const tfin_audit *a, uint32_t unit, uint32_t place)
{
    const tfin_flash_area *area = &a->slots->journal.map->audit;
    return area->address + unit * area->erase_bytes + place * RECORD_BYTES;
}

static int erase(const tfin_audit *a, uint32_t unit)
{
    return tfin_port_flash_erase(address_of(a, unit, 0));
}

static int make_mac(const tfin_audit *a, const uint8_t before[MAC_BYTES], const record *r,
                    uint8_t mac[MAC_BYTES])
{
    uint8_t message[RECORD_BYTES];
    memcpy(message, before, MAC_BYTES);
    memcpy(message + MAC_BYTES, r, offsetof(record, mac));
    return tfin_keys_mac(&a->slots->journal, TFIN_SECRET_AUDIT, message, sizeof message, mac,
                         MAC_BYTES);
}

int tfin_audit_read_head(const tfin_audit *a, tfin_audit_head *head)
{
    record r;
    if (a->slots == NULL) {
        return 0;
    }
    if (a->next == 0) {
        return tfin_keys_audit_head(&a->slots->journal, head);
    }
    if (!tfin_port_flash_read(address_of(a, a->unit, a->next - 1u), &r, sizeof r)) {
        return 0;
    }
    head->sequence = r.sequence;
    memcpy(head->mac, r.mac, MAC_BYTES);
    return 1;
}

/* Programs a record and reads it back. */
static int write(const tfin_audit *a, uint32_t place, const record *r)
{
    record back;
    uint32_t address = address_of(a, a->unit, place);
    uint32_t unit = a->slots->journal.map->program_bytes;
    for (uint32_t at = 0; at < RECORD_BYTES; at += unit) {
        if (!tfin_port_flash_program(address + at, (const uint8_t *)r + at)) {
            return 0;
        }
    }
    return tfin_port_flash_read(address, &back, sizeof back) && memcmp(&back, r, sizeof back) == 0;
}

/* A failure closes the unit: the place may hold anything. */
static int append(tfin_audit *a, record *r)
{
    const tfin_journal *j = &a->slots->journal;
    tfin_audit_head head;
    if (r->kind != TFIN_AUDIT_VERDICT) {
        a->noted = (uint16_t)j->now.sequence;
        r->note = a->noted;
    }
    if ((a->state & (CLOSED | RENEWING)) == 0 && a->next < places_of(j->map)) {
        if (tfin_audit_read_head(a, &head)) {
            r->sequence = head.sequence + 1u;
            if (make_mac(a, head.mac, r, r->mac) && write(a, a->next, r)) {
                a->next++;
                return 1;
            }
        }
        a->state |= CLOSED;
    }
    a->lost = (uint8_t)(a->lost + (a->lost < UINT8_MAX));
    return 0;
}

/* ------------------------------------------------------------------------------------- records */

/* All but a verdict and the first one of a unit: with the tags of both packs. */
static void note(tfin_audit *a, uint32_t t_s, uint32_t kind, uint32_t detail, uint32_t value)
{
    record r = {.t_s = t_s, .kind = (uint8_t)kind, .detail = (uint8_t)detail, .value = value};
    if (a->slots != NULL) {
        memcpy(&r.alias, a->slots->journal.now.active, sizeof r.alias);
        memcpy(r.pack, a->slots->journal.now.other, sizeof r.pack);
        (void)append(a, &r);
    }
}

void tfin_audit_verdict(tfin_audit *a, uint32_t t_s, const tfin_verdict *v, uint64_t token)
{
    uint8_t message[5 + 4 + 8] = "alias";
    const uint32_t day = t_s / DAY_S;
    const tfin_slots *s = a->slots;
    if (s == NULL || (v->action == TFIN_ACTION_ACCEPT && (v->flags & TFIN_FLAG_CONTROL) == 0)) {
        return;
    }
    record r = {.t_s = t_s, .kind = TFIN_AUDIT_VERDICT};
    uint32_t verify = (v->flags & TFIN_FLAG_VERIFY) != 0 ? VERIFY : 0;
    r.detail = (uint8_t)(v->action | verify | (uint32_t)v->flags << 2);
    r.note = (uint16_t)(v->score_q32 >> 16);
    for (uint32_t i = 0; i < 2u && i < v->reason_count; i++) {
        r.value |= (uint32_t)v->reasons[i] << 16u * i;
    }
    memcpy(message + 5, &day, 4);
    memcpy(message + 9, &token, 8);
    if (token != 0) {
        (void)tfin_keys_mac(&s->journal, TFIN_SECRET_REPORT, message, sizeof message,
                            (uint8_t *)&r.alias, sizeof r.alias);
    }
    memcpy(r.pack,
           s->running == tfin_slots_active(s) ? s->journal.now.active : s->journal.now.other,
           sizeof r.pack);
    (void)append(a, &r);
}

void tfin_audit_obeyed(tfin_audit *a, uint32_t t_s, enum tfin_command_kind kind,
                       const uint8_t *payload)
{
    uint32_t value;
    memcpy(&value, payload + 4, sizeof value);
    note(a, t_s, TFIN_AUDIT_OBEYED + (uint32_t)kind, 0, value);
}

void tfin_audit_state(tfin_audit *a, uint32_t t_s, enum tfin_audit_state what)
{
    note(a, t_s, TFIN_AUDIT_STATE, (uint32_t)what, 0);
}

void tfin_audit_probation(tfin_audit *a, uint32_t t_s, const tfin_probation *probation)
{
    /* of an image: docs/formats/probation.md */
    enum { AT_EVENTS = 16 + 44, AT_ALERTS = 16 + 48, AT_PHASE = 16 + 52 };
    uint8_t image[TFIN_PROBATION_IMAGE_BYTES];
    if (tfin_probation_export(probation, image) == TFIN_OK) {
        uint32_t events = image[AT_EVENTS] | (uint32_t)image[AT_EVENTS + 1] << 8;
        uint32_t alerts = image[AT_ALERTS] | (uint32_t)image[AT_ALERTS + 1] << 8;
        note(a, t_s, TFIN_AUDIT_PROBATION,
             image[AT_PHASE] | (uint32_t)tfin_probation_result(probation) << 2,
             events | alerts << 16);
    }
}

void tfin_audit_level(tfin_audit *a, uint32_t t_s, uint32_t level, uint32_t counted)
{
    note(a, t_s, TFIN_AUDIT_LEVEL, level, counted);
}

/* --------------------------------------------------------------------------------------- units */

static void fail(tfin_audit *a)
{
    a->state = CLOSED;
    if (++a->failures == GIVES_UP) {
        a->slots = NULL;
    }
}

/* The first record of the unit whose turn it is by the key. */
static void enter(tfin_audit *a, enum tfin_audit_kind kind, uint32_t t_s)
{
    tfin_audit_head head = {0};
    record r = {.t_s = t_s, .kind = (uint8_t)kind, .detail = a->lost};
    r.value = tfin_keys_audit_step(&a->slots->journal);
    (void)tfin_keys_audit_head(&a->slots->journal, &head);
    memcpy(&r.alias, head.mac, sizeof r.alias);
    memcpy(r.pack, head.mac + sizeof r.alias, sizeof r.pack);
    a->unit = (uint8_t)unit_of_key(a);
    a->next = 0;
    a->state = 0;
    if (append(a, &r)) {
        a->lost = 0;
        a->failures = 0;
    } else {
        fail(a);
    }
}

/* A step to the next unit; `last`: the record that it goes on from, null when this one has none. */
static void move(tfin_audit *a, const void *last, enum tfin_audit_kind kind, uint32_t t_s)
{
    if ((a->state & RENEWING) != 0) {
        if (a->unit != unit_of_key(a)) { /* a change that the journal gave up may stand */
            enter(a, kind, t_s);
        } else {
            fail(a);
        }
    } else if ((a->state & CLEAN) != 0) {
        a->state |= RENEWING;
        (void)tfin_slots_renew(a->slots, tfin_keys_step_audit, last);
    } else if (erase(a, next_unit(a))) {
        a->state |= CLEAN;
    } else {
        fail(a);
    }
}

int tfin_audit_step(tfin_audit *a, uint32_t t_s)
{
    if (a->slots == NULL || tfin_slots_busy(a->slots)) {
        return 0;
    }
    if ((a->state & RENEWING) == 0 && a->noted != (uint16_t)a->slots->journal.now.sequence) {
        uint32_t value; /* phase, detail and reason of the journal */
        memcpy(&value, &a->slots->journal.now, sizeof value);
        note(a, t_s, TFIN_AUDIT_SLOTS, 0, value);
        return 1;
    }
    uint32_t places = places_of(a->slots->journal.map);
    if (a->state == 0 && places - a->next > places / 8u) {
        return 0;
    }
    const void *last =
        a->next != 0 ? tfin_port_flash_at(address_of(a, a->unit, a->next - 1u)) : NULL;
    move(a, last, TFIN_AUDIT_UNIT, t_s);
    return 1;
}

/* ---------------------------------------------------------------------------------------- boot */

/* Follows the chain through the present unit. A record may stand twice: then it was the last one at
 * a boot, and the chain goes on behind the second one, also from one before a record that a cut
 * left and that reads only now. */
static void find_end(tfin_audit *a, record *last)
{
    record before = {0}, r;
    tfin_audit_head head = {0};
    uint8_t mac[MAC_BYTES];
    memset(last, 0, sizeof *last);
    (void)tfin_keys_audit_head(&a->slots->journal, &head);
    last->sequence = head.sequence;
    memcpy(last->mac, head.mac, MAC_BYTES);
    for (uint32_t place = 0; place < places_of(a->slots->journal.map); place++) {
        if (!tfin_port_flash_read(address_of(a, a->unit, place), &r, sizeof r)) {
            continue; /* one reading decides: a second one may differ */
        }
        int again =
            a->next != 0 && (memcmp(&r, last, sizeof r) == 0 || memcmp(&r, &before, sizeof r) == 0);
        if (!again) {
            if (r.sequence != last->sequence + 1u || !make_mac(a, last->mac, &r, mac) ||
                memcmp(mac, r.mac, MAC_BYTES) != 0) {
                continue;
            }
            before = *last;
            a->noted = r.kind != TFIN_AUDIT_VERDICT ? r.note : a->noted;
        }
        *last = r;
        a->next = (uint16_t)(place + 1u);
    }
}

/* The place behind the last record may be one where a cut had begun. There is no other when the
 * last boot was the one that wrote the newest number of the journal. */
static int go_on(tfin_audit *a, const record *last)
{
    uint32_t place = a->next + 1u;
    if ((uint16_t)(a->slots->journal.opened - a->noted) != RENEWAL ||
        place + 1u >= places_of(a->slots->journal.map) || !write(a, place, last)) {
        return 0;
    }
    a->next = (uint16_t)(place + 1u);
    return 1;
}

void tfin_audit_open(tfin_audit *a, tfin_slots *slots, enum tfin_slots_cause cause,
                     uint32_t boot_nonce, uint32_t t_s)
{
    uint8_t id[8];
    record last;
    memset(a, 0, sizeof *a);
    if (slots->journal.map == NULL || slots->journal.map->audit.size == 0 ||
        !tfin_keys_id(&slots->journal, id)) {
        return;
    }
    a->slots = slots;
    a->unit = (uint8_t)unit_of_key(a);
    find_end(a, &last);
    if (a->next == 0 && erase(a, a->unit)) {
        enter(a, TFIN_AUDIT_UNIT_AT_BOOT, t_s);
    } else if (a->next == 0 || !go_on(a, &last)) {
        a->state = CLOSED;
    }
    while (a->state != 0 && a->slots != NULL) {
        move(a, a->next != 0 ? &last : NULL, TFIN_AUDIT_UNIT_AT_BOOT, t_s);
        tfin_slots_settle(slots);
    }
    note(a, t_s, TFIN_AUDIT_RESTART, (uint32_t)cause | (uint32_t)slots->journal.now.reason << 4,
         boot_nonce);
}

/* --------------------------------------------------------------------------------------- AUDIT */

int tfin_audit_read(const tfin_audit *a, const tfin_flash_map *map, uint32_t first, tfin_writer *w)
{
    record r;
    uint32_t places = map->audit.size / RECORD_BYTES;
    if (first > places) {
        return 0;
    }
    tfin_put(w, first, 2);
    tfin_put(w, places, 2);
    tfin_put(w, places_of(map), 2);
    tfin_put(w, a->slots != NULL, 1);
    for (; first < places && w->end - w->at >= RECORD_BYTES; first++) {
        if (!tfin_port_flash_read(map->audit.address + first * RECORD_BYTES, &r, sizeof r)) {
            memset(&r, 0xA5, sizeof r); /* it is there, and cannot be read */
        }
        tfin_put_bytes(w, &r, sizeof r);
    }
    return 1;
}

#endif
