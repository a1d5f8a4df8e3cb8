/* SPDX-License-Identifier: Apache-2.0 */
#ifdef TFIN_PORT_FLASH /* nothing of it is in an image whose port keeps no packs */
#include "transfer.h"

#include <string.h>

#include "config.h"
#include "frame.h"
#include "port.h"
#include "tinyfin_pack.h"
#include "wire.h"

enum { HEADER_BYTES = TFIN_PACK_HEADER_BYTES, AT_SCHEMA = 40, SCHEMA_BYTES = 16 };

_Static_assert(TFIN_WIRE_FRAME_BYTES - TFIN_FRAME_HEAD >= TFIN_SLOTS_WORK_BYTES,
               "a frame that holds a header has room to verify its pack");

int tfin_transfer_open(tfin_transfer *t, tfin_engine *engine, void *memory, uint32_t memory_bytes,
                       tfin_trust *trust, const tfin_effects *effects, uint32_t boot_nonce)
{
    memset(t, 0, sizeof *t);
    const tfin_flash_map *map = tfin_port_flash_map();
    if (map == NULL) {
        return tfin_open(engine, tinyfin_pack, TINYFIN_PACK_BYTES, memory, memory_bytes, trust);
    }
    tfin_commands_open(&t->commands, &t->slots, effects, boot_nonce);
    enum tfin_slots_cause cause = tfin_port_power_was_lost() ? TFIN_CAUSE_POWER : TFIN_CAUSE_OTHER;
    return tfin_slots_open(&t->slots, map, engine, memory, memory_bytes, trust, tinyfin_pack,
                           TINYFIN_PACK_BYTES, cause);
}

void tfin_transfer_watch(tfin_transfer *t, void *work)
{
    if (tfin_transfer_works(t)) {
        tfin_slots_watch(&t->slots, &t->probation, work);
    }
}

int tfin_transfer_scored(tfin_transfer *t, const tfin_verdict *verdict)
{
    if (t->scored < TFIN_ALIVE_EVENTS) {
        t->scored++;
    }
    return tfin_transfer_works(t) && tfin_slots_watches(&t->slots, &t->probation) &&
           tfin_probation_count(&t->probation, verdict) > 0;
}

void tfin_transfer_probation(const tfin_transfer *t, tfin_writer *w)
{
    uint8_t image[TFIN_PROBATION_IMAGE_BYTES];
    if (tfin_slots_watches(&t->slots, &t->probation) &&
        tfin_probation_export(&t->probation, image) == TFIN_OK) {
        tfin_put_bytes(w, image, sizeof image);
    }
}

static void put_status(const tfin_transfer *t, int result, tfin_writer *w)
{
    tfin_put(w, (uint64_t)result, 1);
    tfin_put_signed(w, result == TFIN_SLOTS_ENGINE ? t->slots.engine_error : 0);
    tfin_put(w, (uint64_t)tfin_slots_phase(&t->slots), 1);
    tfin_put_varint(w, tfin_slots_phase(&t->slots) == TFIN_PHASE_LOADING ? t->slots.next : 0);
}

void tfin_transfer_info(const tfin_transfer *t, tfin_writer *w)
{
    const tfin_slots *s = &t->slots;
    const tfin_flash_map *map = s->journal.map;
    tfin_put(w, 2, 1); /* version of this payload */
    tfin_put(w, s->running, 1);
    tfin_put(w, s->journal.found, 1);
    tfin_put(w, map->program_bytes, 1);
    tfin_put(w, map->worst_erase_ms, 2);
    tfin_put(w, map->slot[0].erase_bytes, 4);
    tfin_put(w, map->slot[0].size, 4);
    tfin_put(w, s->counter, 4);
    tfin_put_bytes(w, &s->journal.now, sizeof s->journal.now);
}

void tfin_transfer_challenge(const tfin_transfer *t, tfin_writer *w)
{
    const tfin_journal *j = &t->slots.journal;
    const tfin_manifest *keys = tfin_keys_manifest(j);
    uint8_t id[8] = {0}, nonce[16];
    if (tfin_commands_nonce(&t->commands, nonce)) {
        (void)tfin_keys_id(j, id);
    }
    tfin_put(w, 1, 1); /* version of this payload */
    tfin_put_bytes(w, id, sizeof id);
    tfin_put_bytes(w, nonce, sizeof nonce);
    tfin_put(w, j->now.commands, 4);
    tfin_put(w, j->now.notices, 2);
    tfin_put(w, keys != NULL ? keys->version : 0, 2);
}

/* The payload lies in the frame buffer, which is larger than its frame. */
static uint8_t *frame_of(const tfin_reader *in)
{
    return (uint8_t *)(uintptr_t)in->at;
}

static int begin(tfin_transfer *t, tfin_reader *in, uint32_t t_s)
{
    if (memcmp(in->at + AT_SCHEMA, (const uint8_t *)tinyfin_pack + AT_SCHEMA, SCHEMA_BYTES) != 0) {
        return TFIN_TRANSFER_SCHEMA;
    }
    return tfin_slots_begin(&t->slots, in->at, t_s);
}

#ifdef TFIN_SEALED
_Static_assert(TFIN_WIRE_FRAME_BYTES - TFIN_FRAME_HEAD - TFIN_FRAME_CRC >=
                   HEADER_BYTES + TFIN_SEAL_ANNOUNCED_BYTES,
               "a frame holds a header and what it is sealed by");

static int begin_sealed(tfin_transfer *t, tfin_reader *in, uint32_t t_s)
{
    tfin_seal seal = {.used = 0};
    if (tfin_left(in) > HEADER_BYTES) {
        if (!tfin_seal_begin(&seal, &t->slots.journal, in->at + HEADER_BYTES)) {
            return TFIN_TRANSFER_SEALING_KEY;
        }
        tfin_seal_apply(&seal, 0, frame_of(in), HEADER_BYTES);
    }
#ifdef TFIN_SEALED_ONLY
    if (!seal.used) {
        return TFIN_TRANSFER_PLAIN;
    }
#endif
    int result = begin(t, in, t_s);
    if (result == TFIN_SLOTS_OK) {
        t->seal = seal;
        t->begins = 1;
    }
    return result;
}

/* The slots do not look at the bytes before their next step. */
static int take_data(tfin_transfer *t, tfin_reader *in, uint32_t offset)
{
    if (t->unknown) {
        return TFIN_SLOTS_PHASE;
    }
    int result = tfin_slots_data(&t->slots, offset, in->at, tfin_left(in));
    if (result == TFIN_SLOTS_OK && t->seal.used) {
        tfin_seal_apply(&t->seal, offset, frame_of(in), tfin_left(in));
    }
    return result;
}

static int take_header(tfin_transfer *t, uint8_t type, tfin_reader *in, uint32_t t_s)
{
    if (type == TFIN_PACK_BEGIN) {
        return begin_sealed(t, in, t_s);
    }
    if (t->unknown) {
        return TFIN_SLOTS_PHASE;
    }
    if (t->seal.used) {
        tfin_seal_apply(&t->seal, 0, frame_of(in), HEADER_BYTES);
    }
    return tfin_slots_end(&t->slots, frame_of(in));
}

static int header_is_whole(uint8_t type, uint32_t size)
{
    return size == HEADER_BYTES ||
           (type == TFIN_PACK_BEGIN && size == HEADER_BYTES + TFIN_SEAL_ANNOUNCED_BYTES);
}

static void note_done(tfin_transfer *t)
{
    if (t->begins) {
        t->unknown = t->slots.result != TFIN_SLOTS_OK;
        t->begins = 0;
    }
}
#else
static int take_data(tfin_transfer *t, tfin_reader *in, uint32_t offset)
{
    return tfin_slots_data(&t->slots, offset, in->at, tfin_left(in));
}

static int take_header(tfin_transfer *t, uint8_t type, tfin_reader *in, uint32_t t_s)
{
    return type == TFIN_PACK_BEGIN ? begin(t, in, t_s) : tfin_slots_end(&t->slots, frame_of(in));
}

static int header_is_whole(uint8_t type, uint32_t size)
{
    (void)type;
    return size == HEADER_BYTES;
}

static void note_done(tfin_transfer *t)
{
    (void)t;
}
#endif

int tfin_transfer_take(tfin_transfer *t, uint8_t type, uint16_t sequence, tfin_reader *in,
                       uint32_t t_s, tfin_writer *answer)
{
    int result;
    if (type == TFIN_PACK_DATA) {
        uint32_t offset = (uint32_t)tfin_get(in, 4);
        if (in->bad || tfin_left(in) == 0) {
            return -1;
        }
        result = take_data(t, in, offset);
    } else if (type == TFIN_SLOT_COMMAND) {
        uint64_t which = tfin_get(in, 1);
        if (in->bad || which > TFIN_SLOTS_TRY) {
            return -1;
        }
        result = tfin_slots_command(&t->slots, (enum tfin_slots_command)which);
    } else if (type >= TFIN_COMMAND_REQUEST) {
        result =
            tfin_commands_take(&t->commands, (enum tfin_command_kind)(type - TFIN_COMMAND_REQUEST),
                               in->at, tfin_left(in));
        if (result < 0) {
            return -1;
        }
    } else if (!header_is_whole(type, tfin_left(in))) {
        return -1;
    } else {
        result = take_header(t, type, in, t_s);
    }
    if (result == TFIN_SLOTS_OK &&
        (tfin_slots_busy(&t->slots) || tfin_commands_busy(&t->commands))) {
        t->sequence = sequence;
        t->answering = 1;
        return 0;
    }
    put_status(t, result, answer);
    return 1;
}

void tfin_transfer_answer(const tfin_transfer *t, tfin_writer *answer)
{
    put_status(t, t->slots.result, answer);
}

enum tfin_transfer_work tfin_transfer_step(tfin_transfer *t)
{
    tfin_slots *s = &t->slots;
    if (!tfin_slots_busy(s) && !tfin_commands_busy(&t->commands)) {
        if (t->scored == TFIN_ALIVE_EVENTS) {
            t->scored++; /* once in a boot */
            (void)tfin_slots_command(s, TFIN_SLOTS_ALIVE);
        }
        tfin_slots_follow(s, &t->probation);
        if (!tfin_slots_busy(s)) {
            return TFIN_TRANSFER_RESTS;
        }
    }
    if (tfin_slots_busy(s) && tfin_slots_step(s)) {
        return TFIN_TRANSFER_WORKS;
    }
    if (tfin_commands_busy(&t->commands)) {
        int result = tfin_commands_step(&t->commands);
        if (result < 0) {
            return TFIN_TRANSFER_WORKS;
        }
        s->result = (uint8_t)result;
    }
    note_done(t);
    int answers = t->answering;
    t->answering = 0;
    return answers ? TFIN_TRANSFER_ANSWERS : TFIN_TRANSFER_RESTS;
}

#endif
