/* SPDX-License-Identifier: Apache-2.0 */
#ifdef TFIN_PORT_FLASH /* nothing of it is in an image whose port keeps no packs */
#include "slots.h"

#include <string.h>

#include "keys.h"
#include "tinyfin_build.h"
#include "tinyfin_port.h"

enum { HEADER_BYTES = TFIN_PACK_HEADER_BYTES, SIGNED_BYTES = 160 };
enum { AT_TOTAL = 8, AT_KERNELS = 32 };
/* detail of a trial: the last boot worked; a boot of this trial did */
enum { TRIES = 3, TRIES_MASK = 0x0F, ALIVE = 0x10, WORKED = 0x20 };
enum { REASON_MASK = 0x1F, INSTALLS_SHIFT = 5, INSTALLS_A_DAY = 4, DAY_S = 86400 };
enum { TAG_BYTES = sizeof((tfin_journal_record *)0)->active };

enum job {
    AT_REST,
    CHECK,        /* whether an install may begin */
    MARK,         /* a record, and nothing after it */
    MARK_ERASING, /* before anything of the slot is erased */
    ERASE,
    MARK_LOADING,
    DATA,
    MARK_HEADER, /* from here on the slot is no beginning of a pack that could be continued */
    HEADER,
    VERIFY,
    MARK_SHEET
};

static uint32_t u32_at(const uint8_t *p)
{
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

enum tfin_slots_phase tfin_slots_phase(const tfin_slots *s)
{
    return (enum tfin_slots_phase)(s->journal.now.places >> 4);
}

enum tfin_slots_place tfin_slots_active(const tfin_slots *s)
{
    return (enum tfin_slots_place)(s->journal.now.places & 3u);
}

enum tfin_slots_place tfin_slots_other(const tfin_slots *s)
{
    return (enum tfin_slots_place)(s->journal.now.places >> 2 & 3u);
}

uint32_t tfin_slots_tries(const tfin_slots *s)
{
    return s->journal.now.detail & TRIES_MASK;
}

const void *tfin_slots_running(const tfin_slots *s, const void *factory)
{
    if (s->running >= TFIN_SLOT_FACTORY) {
        return s->running == TFIN_SLOT_FACTORY ? factory : NULL;
    }
    return tfin_port_flash_at(s->journal.map->slot[s->running].address);
}

static const tfin_flash_area *slot_of(const tfin_slots *s)
{
    return &s->journal.map->slot[tfin_slots_other(s)];
}

/* A hash takes 200 bytes of stack, which a check of a signature after it must not find taken. */
__attribute__((noinline)) static void id_of(const uint8_t *header, uint8_t *id, uint32_t size)
{
    uint8_t digest[32];
    tfin_port_hash hash;
    tfin_port_hash_begin(&hash);
    tfin_port_hash_update(&hash, header, SIGNED_BYTES);
    tfin_port_hash_end(&hash, digest);
    memcpy(id, digest, size);
}

static void tag_of(const uint8_t *header, uint8_t tag[TAG_BYTES])
{
    id_of(header, tag, TAG_BYTES);
}

static void set_places(tfin_slots *s, uint32_t active, uint32_t other, uint32_t phase)
{
    s->journal.now.places = (uint8_t)(active | other << 2 | phase << 4);
    s->watched = 0;
#ifdef TFIN_SHADOW_STATE
    if (phase != TFIN_PHASE_TRIAL && s->apart != NULL) {
        memset(s->apart, 0, sizeof *s->apart);
    }
#endif
}

static void set_reason(tfin_slots *s, enum tfin_slots_reason reason)
{
    s->journal.now.reason =
        (uint8_t)((s->journal.now.reason & ~(uint32_t)REASON_MASK) | (uint32_t)reason);
}

/* What journal.now has become is written; then the job goes on. */
static int mark(tfin_slots *s, enum job job)
{
    s->job = (uint8_t)job;
    s->result = TFIN_SLOTS_OK;
    tfin_journal_write(&s->journal);
    return TFIN_SLOTS_OK;
}

static int give_up(tfin_slots *s, enum tfin_slots_reason reason)
{
    set_places(s, tfin_slots_active(s), TFIN_SLOT_NONE, TFIN_PHASE_NONE);
    set_reason(s, reason);
    s->known = 0;
    return mark(s, MARK);
}

/* The header verified before the load, so a digest or a signature that does not is what became of
 * it in flash, or another END: that pack may come again. */
static void give_up_damaged(tfin_slots *s, int rc)
{
    if (rc == TFIN_E_DIGEST || rc == TFIN_E_SIGNATURE) {
        memset(s->journal.now.other, 0, TAG_BYTES);
    }
    (void)give_up(s, TFIN_REASON_DAMAGED);
}

/* ----------------------------------------------------------------------------------------- boot */

void tfin_slots_settle(tfin_slots *s)
{
    while (tfin_journal_step(&s->journal)) {
    }
    s->job = AT_REST;
}

typedef struct opening {
    tfin_engine *engine;
    void *memory;
    const void *factory;
    size_t factory_size;
} opening;

static int open_place(tfin_slots *s, const opening *o, enum tfin_slots_place place,
                      const uint8_t *tag)
{
    const void *pack = o->factory;
    size_t size = o->factory_size;
    if (place != TFIN_SLOT_FACTORY) {
        const tfin_flash_area *slot = &s->journal.map->slot[place];
        pack = tfin_port_flash_at(slot->address);
        size = slot->size;
    }
    tfin_keys_trust(&s->journal, s->trust); /* a record may have moved the sheet */
    int rc = tfin_open(o->engine, pack, size, o->memory, s->memory_bytes, s->trust);
    if (rc == TFIN_OK && tag != NULL && memcmp(tfin_pack_id(o->engine), tag, TAG_BYTES) != 0) {
        rc = TFIN_E_DIGEST;
    }
    if (rc == TFIN_OK) {
        s->running = (uint8_t)place;
        s->counter = tfin_security_counter(o->engine);
    }
    return rc;
}

/* Whether this boot runs the pack in trial; if not, it has been given up. */
static int try_trial(tfin_slots *s, const opening *o, enum tfin_slots_cause cause)
{
    tfin_journal_record *now = &s->journal.now;
    int costs =
        cause == TFIN_CAUSE_FAULT || (cause == TFIN_CAUSE_OTHER && (now->detail & ALIVE) == 0);
    uint32_t tries = tfin_slots_tries(s) - (costs != 0);
    if (tries == 0) {
        (void)give_up(s, TFIN_REASON_TRIES_USED_UP);
    } else {
        uint32_t detail = (now->detail & WORKED) | tries;
        if (now->detail != detail) {
            now->detail = (uint8_t)detail;
            (void)mark(s, MARK);
            tfin_slots_settle(s);
        }
        int rc = open_place(s, o, tfin_slots_other(s), now->other);
        if (rc == TFIN_OK) {
            return 1;
        }
        give_up_damaged(s, rc);
    }
    tfin_slots_settle(s);
    return 0;
}

static void raise_floor(tfin_slots *s)
{
    if (s->trust->minimum_security_counter < s->journal.now.floor) {
        s->trust->minimum_security_counter = s->journal.now.floor;
    }
}

int tfin_slots_open(tfin_slots *s, const tfin_flash_map *map, tfin_engine *engine, void *memory,
                    size_t memory_size, tfin_trust *trust, const void *factory, size_t factory_size,
                    enum tfin_slots_cause cause)
{
    const opening o = {engine, memory, factory, factory_size};
    memset(s, 0, sizeof *s);
    s->trust = trust;
    s->engine = engine;
    s->memory_bytes = (uint32_t)memory_size;
    s->running = TFIN_SLOT_NONE;
    tfin_journal_open(&s->journal, map);
    raise_floor(s);
    tfin_journal_record *now = &s->journal.now;
    if (s->journal.found != TFIN_JOURNAL_FOUND) {
        int rc = open_place(s, &o, TFIN_SLOT_FACTORY, NULL);
        set_places(s, TFIN_SLOT_FACTORY, TFIN_SLOT_NONE, TFIN_PHASE_NONE);
        set_reason(s, s->journal.found == TFIN_JOURNAL_LOST ? TFIN_REASON_JOURNAL_LOST
                                                            : TFIN_REASON_NONE);
        if (rc == TFIN_OK) {
            now->floor = s->counter;
            memcpy(now->active, tfin_pack_id(engine), TAG_BYTES);
        }
        (void)mark(s, MARK);
        tfin_slots_settle(s);
        raise_floor(s);
        return rc;
    }
    if (tfin_slots_phase(s) == TFIN_PHASE_TRIAL && try_trial(s, &o, cause)) {
        return TFIN_OK;
    }
    enum tfin_slots_place active = tfin_slots_active(s);
    if (active != TFIN_SLOT_FACTORY && open_place(s, &o, active, now->active) == TFIN_OK) {
        return TFIN_OK;
    }
    int rc = open_place(s, &o, TFIN_SLOT_FACTORY, NULL);
    if (rc == TFIN_OK && active == TFIN_SLOT_FACTORY) { /* of an image that came since, too */
        memcpy(now->active, tfin_pack_id(engine), TAG_BYTES);
    }
    return rc;
}

/* ------------------------------------------------------------------------------------- install */

int tfin_slots_busy(const tfin_slots *s)
{
    return s->job != AT_REST;
}

int tfin_slots_reads(const tfin_slots *s)
{
    return s->job == CHECK || s->job >= DATA;
}

/* The erase unit where a load goes on after a restart: the one that holds the last byte that was
 * written. The unit that the cut left half written is this one or the next, so both are erased
 * again, with all behind them; but first the journal says so. Otherwise a second cut could leave
 * a later unit that reads as if the load had come further than to the one that it spoiled. */
static uint8_t unit_to_resume(const tfin_slots *s)
{
    const tfin_flash_area *slot = slot_of(s);
    uint8_t piece[32];
    uint32_t at = (s->total + (uint32_t)sizeof piece - 1u) & ~((uint32_t)sizeof piece - 1u);
    while (at > HEADER_BYTES) {
        at -= (uint32_t)sizeof piece;
        int readable = tfin_port_flash_read(slot->address + at, piece, sizeof piece);
        for (uint32_t i = 0; i < sizeof piece; i++) {
            if (!readable || piece[i] != s->journal.map->erased) {
                uint32_t unit = at / slot->erase_bytes;
                return (uint8_t)(unit < UINT8_MAX ? unit : UINT8_MAX);
            }
        }
    }
    return 0;
}

static uint32_t free_slot(const tfin_slots *s)
{
    return tfin_slots_active(s) == TFIN_SLOT_0 ? TFIN_SLOT_1 : TFIN_SLOT_0;
}

void tfin_slots_set_day(tfin_slots *s, uint16_t day)
{
    tfin_journal_record *now = &s->journal.now;
    if (day > now->day) {
        now->day = day;
        now->reason &= REASON_MASK;
    }
}

/* Counts an install that erases a slot. 0 when there were enough of them today. A clock that stands
 * or runs backwards begins no new day. */
static int count_install(tfin_slots *s)
{
    tfin_journal_record *now = &s->journal.now;
    tfin_slots_set_day(s, s->day);
    if (now->reason >> INSTALLS_SHIFT == INSTALLS_A_DAY) {
        return 0;
    }
    now->reason = (uint8_t)(now->reason + (1u << INSTALLS_SHIFT));
    return 1;
}

int tfin_slots_begin(tfin_slots *s, const void *header, uint32_t t_s)
{
    if (tfin_slots_busy(s)) {
        return TFIN_SLOTS_BUSY;
    }
    if (tfin_slots_phase(s) >= TFIN_PHASE_SHADOW || free_slot(s) == s->running) {
        return TFIN_SLOTS_PHASE;
    }
    s->data = header;
    s->day = (uint16_t)(t_s / DAY_S);
    s->job = CHECK;
    return TFIN_SLOTS_OK;
}

int tfin_slots_data(tfin_slots *s, uint32_t offset, const void *data, uint32_t size)
{
    if (tfin_slots_busy(s)) {
        return TFIN_SLOTS_BUSY;
    }
    if (tfin_slots_phase(s) != TFIN_PHASE_LOADING || !s->known) {
        return TFIN_SLOTS_PHASE;
    }
    if (offset != s->next || size == 0 || size > s->total - offset ||
        (size % 32u != 0 && size != s->total - offset)) {
        return TFIN_SLOTS_OFFSET;
    }
    s->data = data;
    s->end = offset + size;
    s->job = DATA;
    s->result = TFIN_SLOTS_OK;
    return TFIN_SLOTS_OK;
}

int tfin_slots_end(tfin_slots *s, void *header)
{
    uint8_t tag[TAG_BYTES];
    if (tfin_slots_busy(s)) {
        return TFIN_SLOTS_BUSY;
    }
    if (tfin_slots_phase(s) != TFIN_PHASE_LOADING || !s->known || s->next != s->total) {
        return TFIN_SLOTS_PHASE;
    }
    tag_of(header, tag);
    if (memcmp(tag, s->journal.now.other, TAG_BYTES) != 0) {
        return TFIN_SLOTS_OTHER_HEADER;
    }
    s->data = header;
    s->known = 0;
    s->journal.now.detail = 0;
    set_places(s, tfin_slots_active(s), tfin_slots_other(s), TFIN_PHASE_ERASING);
    return mark(s, MARK_HEADER);
}

/* ----------------------------------------------------------------------------- trial and after */

/* Of the other pack, which is STAGED. */
static int can_shadow(const tfin_slots *s)
{
    const void *pack = tfin_port_flash_at(slot_of(s)->address);
    uint32_t size = slot_of(s)->size;
#ifdef TFIN_SHADOW_STATE
    if (s->apart != NULL && tfin_probation_possible_apart(s->engine, pack, size)) {
        return 1;
    }
#endif
    return tfin_probation_possible(s->engine, pack, size);
}

int tfin_slots_command(tfin_slots *s, enum tfin_slots_command command)
{
    tfin_journal_record *now = &s->journal.now;
    uint32_t active = tfin_slots_active(s), other = tfin_slots_other(s);
    enum tfin_slots_phase phase = tfin_slots_phase(s);
    int runs_in_trial = phase == TFIN_PHASE_TRIAL && s->running == other;
    if (tfin_slots_busy(s)) {
        return TFIN_SLOTS_BUSY;
    }
    switch (command) {
    case TFIN_SLOTS_ACTIVATE:
    case TFIN_SLOTS_TRY:
        if (phase != TFIN_PHASE_STAGED &&
            (phase != TFIN_PHASE_SHADOW || command != TFIN_SLOTS_TRY)) {
            break;
        }
        if (command == TFIN_SLOTS_ACTIVATE && s->running == active && can_shadow(s)) {
            set_places(s, active, other, TFIN_PHASE_SHADOW);
            return mark(s, MARK);
        }
        set_places(s, active, other, TFIN_PHASE_TRIAL);
        now->detail = TRIES | ALIVE;
        return mark(s, MARK);
    case TFIN_SLOTS_CONFIRM:
        if (!runs_in_trial) {
            break;
        }
        if ((now->detail & WORKED) == 0) {
            return TFIN_SLOTS_NOT_ALIVE;
        }
        set_places(s, other, TFIN_SLOT_NONE, TFIN_PHASE_NONE);
        set_reason(s, TFIN_REASON_CONFIRMED);
        memcpy(now->active, now->other, TAG_BYTES);
        memset(now->other, 0, TAG_BYTES);
        if (now->floor < s->counter) {
            now->floor = s->counter;
        }
        return mark(s, MARK);
    case TFIN_SLOTS_REVERT:
        return phase == TFIN_PHASE_TRIAL ? give_up(s, TFIN_REASON_REVERTED) : TFIN_SLOTS_PHASE;
    case TFIN_SLOTS_ABORT:
        if (phase == TFIN_PHASE_NONE || phase == TFIN_PHASE_TRIAL) {
            break;
        }
        return give_up(s, TFIN_REASON_ABORTED);
    case TFIN_SLOTS_ALIVE:
        if (!runs_in_trial) {
            break;
        }
        if ((now->detail & ALIVE) != 0) {
            return TFIN_SLOTS_OK;
        }
        now->detail |= ALIVE | WORKED;
        return mark(s, MARK);
    case TFIN_SLOTS_FAIL:
        if (phase != TFIN_PHASE_SHADOW && !runs_in_trial) {
            break;
        }
        return give_up(s, phase == TFIN_PHASE_SHADOW ? TFIN_REASON_SHADOW : TFIN_REASON_TRIAL);
    default: break;
    }
    return TFIN_SLOTS_PHASE;
}

void tfin_slots_watch(tfin_slots *s, tfin_probation *probation, void *work)
{
    memset(probation, 0, sizeof *probation);
    if (tfin_slots_phase(s) == TFIN_PHASE_TRIAL && s->running == tfin_slots_other(s)) {
        s->watched = tfin_probation_trial(probation, s->engine) == TFIN_OK;
    }
    if (tfin_slots_phase(s) != TFIN_PHASE_SHADOW || s->running != tfin_slots_active(s)) {
        return;
    }
    const void *pack = tfin_port_flash_at(slot_of(s)->address);
    uint8_t tag[TAG_BYTES];
    tfin_keys_trust(&s->journal, s->trust);
    int rc = tfin_verify(work, pack, slot_of(s)->size, s->trust);
    tag_of(pack, tag);
    if (rc == TFIN_OK && memcmp(tag, s->journal.now.other, TAG_BYTES) != 0) {
        rc = TFIN_E_DIGEST;
    }
    if (rc == TFIN_OK) {
        rc = tfin_probation_shadow(probation, s->engine, work);
    }
#ifdef TFIN_SHADOW_STATE
    if (rc == TFIN_E_STATE_LAYOUT && s->apart != NULL) {
        rc = tfin_bind(s->apart, work, s->apart_memory, s->memory_bytes);
        rc = rc == TFIN_OK ? tfin_probation_apart(probation, s->engine, s->apart) : rc;
    }
#endif
    if (rc != TFIN_OK) {
        give_up_damaged(s, rc);
        tfin_slots_settle(s);
    }
    s->watched = rc == TFIN_OK;
}

int tfin_slots_watches(const tfin_slots *s, const tfin_probation *probation)
{
    return s->watched && probation->engine != NULL;
}

void tfin_slots_follow(tfin_slots *s, const tfin_probation *probation)
{
    enum tfin_probation_result result = tfin_probation_result(probation);
    if (tfin_slots_busy(s) || result <= TFIN_PROBATION_GOES_ON ||
        !tfin_slots_watches(s, probation)) {
        return;
    }
    int shadows = tfin_slots_phase(s) == TFIN_PHASE_SHADOW;
    if (result != TFIN_PROBATION_PASSED) {
        (void)tfin_slots_command(s, TFIN_SLOTS_FAIL);
    } else if (tfin_probation_advances(probation)) {
        (void)tfin_slots_command(s, shadows ? TFIN_SLOTS_TRY : TFIN_SLOTS_CONFIRM);
    }
}

int tfin_slots_record(tfin_slots *s)
{
    return tfin_slots_busy(s) ? TFIN_SLOTS_BUSY : mark(s, MARK);
}

int tfin_slots_renew(tfin_slots *s, tfin_sheet_change *change, const void *context)
{
    if (tfin_slots_busy(s)) {
        return TFIN_SLOTS_BUSY;
    }
    (void)mark(s, MARK_SHEET);
    tfin_journal_renew(&s->journal, change, context);
    return TFIN_SLOTS_OK;
}

int tfin_slots_allow(tfin_slots *s)
{
    if (tfin_slots_phase(s) != TFIN_PHASE_NONE) {
        return TFIN_SLOTS_PHASE;
    }
    memset(s->journal.now.other, 0, TAG_BYTES);
    s->journal.now.reason &= REASON_MASK;
    return tfin_slots_record(s);
}

/* A slot that is complete says it in full. */
int tfin_slots_other_is(const tfin_slots *s, const uint8_t *pack_id)
{
    uint8_t id[16];
    memcpy(id, pack_id, sizeof id);
    if (tfin_slots_phase(s) >= TFIN_PHASE_STAGED) {
        id_of(tfin_port_flash_at(slot_of(s)->address), id, sizeof id);
    }
    return memcmp(id, pack_id, sizeof id) == 0 &&
           memcmp(s->journal.now.other, pack_id, TAG_BYTES) == 0;
}

/* ---------------------------------------------------------------------------------------- steps */

static int done(tfin_slots *s, enum tfin_slots_result result)
{
    s->job = AT_REST;
    s->result = (uint8_t)result;
    return 0;
}

/* Whether the install may begin. Called from a step, not when the header comes: the check of a
 * signature takes the deepest stack, and here the least is in use. */
__attribute__((noinline)) static int check(tfin_slots *s)
{
    tfin_journal_record *now = &s->journal.now;
    enum tfin_slots_phase phase = tfin_slots_phase(s);
    uint32_t slot = free_slot(s);
    uint8_t tag[TAG_BYTES];
    tfin_keys_trust(&s->journal, s->trust);
    int rc = tfin_verify_header(s->data, s->trust);
    if (rc != TFIN_OK) {
        s->engine_error = (int8_t)rc;
        return done(s, TFIN_SLOTS_ENGINE);
    }
    uint32_t total = u32_at(s->data + AT_TOTAL);
    if (total > s->journal.map->slot[slot].size) {
        return done(s, TFIN_SLOTS_TOO_LARGE);
    }
    if ((u32_at(s->data + AT_KERNELS) & ~TFIN_KERNELS) != 0) {
        return done(s, TFIN_SLOTS_KERNELS);
    }
    tag_of(s->data, tag);
    int is_other = memcmp(tag, now->other, TAG_BYTES) == 0;
    /* an active pack that no longer opens may come again, into the other slot */
    int runs = memcmp(tag, now->active, TAG_BYTES) == 0 && s->running == tfin_slots_active(s);
    if (runs || (is_other && phase == TFIN_PHASE_STAGED)) {
        return done(s, TFIN_SLOTS_HERE);
    }
    if (is_other && phase == TFIN_PHASE_NONE) {
        return done(s, TFIN_SLOTS_REFUSED);
    }
    if (is_other && phase == TFIN_PHASE_LOADING && s->known) {
        return done(s, TFIN_SLOTS_OK);
    }
    if (!is_other) {
        if (!count_install(s)) {
            return done(s, TFIN_SLOTS_TOO_OFTEN);
        }
        memcpy(now->other, tag, TAG_BYTES);
        now->detail = 0;
    }
    s->total = total;
    s->known = 0;
    if (is_other && phase == TFIN_PHASE_LOADING) {
        now->detail = unit_to_resume(s);
    }
    set_places(s, tfin_slots_active(s), slot, TFIN_PHASE_ERASING);
    set_reason(s, TFIN_REASON_NONE);
    (void)mark(s, MARK_ERASING);
    return 1;
}

/* The last unit first: what a cut leaves does not look like the beginning of a pack. */
static int erase_unit(tfin_slots *s)
{
    const tfin_flash_area *slot = slot_of(s);
    s->end -= slot->erase_bytes;
    if (!tfin_port_flash_erase(slot->address + s->end)) {
        return done(s, TFIN_SLOTS_FLASH);
    }
    if (s->end == s->journal.now.detail * slot->erase_bytes) {
        set_places(s, tfin_slots_active(s), tfin_slots_other(s), TFIN_PHASE_LOADING);
        (void)mark(s, MARK_LOADING);
    }
    return 1;
}

static int program_data(tfin_slots *s)
{
    if (!tfin_port_flash_program(slot_of(s)->address + s->next, s->data)) {
        s->known = 0; /* the unit may hold anything, so the load is resumed as after a restart */
        return done(s, TFIN_SLOTS_FLASH);
    }
    s->data += s->journal.map->program_bytes;
    s->next += s->journal.map->program_bytes;
    if (s->next < s->end) {
        return 1;
    }
    s->next = s->end;
    return done(s, TFIN_SLOTS_OK);
}

static int program_header(tfin_slots *s)
{
    if (!tfin_port_flash_program(slot_of(s)->address + s->next, s->data + s->next)) {
        return done(s, TFIN_SLOTS_FLASH);
    }
    s->next += s->journal.map->program_bytes;
    if (s->next == HEADER_BYTES) {
        s->job = VERIFY;
    }
    return 1;
}

static int verify(tfin_slots *s)
{
    const tfin_flash_area *slot = slot_of(s);
    /* of tfin_slots_end, which may write there */
    tfin_verified *verified = (tfin_verified *)(uintptr_t)s->data;
    tfin_keys_trust(&s->journal, s->trust);
    int rc = tfin_verify(verified, tfin_port_flash_at(slot->address), slot->size, s->trust);
    if (rc == TFIN_OK && verified->memory_bytes > s->memory_bytes) {
        rc = TFIN_E_MEMORY;
    }
    if (rc == TFIN_OK) {
        set_places(s, tfin_slots_active(s), tfin_slots_other(s), TFIN_PHASE_STAGED);
        (void)mark(s, MARK);
        return 1;
    }
    give_up_damaged(s, rc);
    s->engine_error = (int8_t)rc;
    s->result = TFIN_SLOTS_ENGINE;
    return 1;
}

int tfin_slots_step(tfin_slots *s)
{
    const tfin_flash_area *slot;
    if (tfin_journal_step(&s->journal)) {
        return 1;
    }
    if (s->journal.failures == TFIN_JOURNAL_GIVES_UP) {
        s->journal.failures = 0; /* the next one may be taken again */
        return done(s, TFIN_SLOTS_FLASH);
    }
    switch (s->job) {
    case CHECK: return check(s);
    case MARK:
    case MARK_SHEET: raise_floor(s); return done(s, (enum tfin_slots_result)s->result);
    case MARK_ERASING:
        slot = slot_of(s);
        s->end = s->total + slot->erase_bytes - 1u;
        s->end -= s->end % slot->erase_bytes;
        s->job = ERASE;
        return 1;
    case ERASE: return erase_unit(s);
    case MARK_LOADING:
        s->next = s->journal.now.detail * slot_of(s)->erase_bytes;
        s->next = s->next < HEADER_BYTES ? HEADER_BYTES : s->next;
        s->known = 1;
        return done(s, TFIN_SLOTS_OK);
    case DATA: return program_data(s);
    case MARK_HEADER:
        s->next = 0;
        s->job = HEADER;
        return 1;
    case HEADER: return program_header(s);
    case VERIFY: return verify(s);
    default: return 0;
    }
}

#endif
