/* SPDX-License-Identifier: Apache-2.0 */
#ifdef TFIN_PORT_FLASH
#include "state_log.h"

#include <stddef.h>
#include <string.h>

#include "bytes.h"

/* A half: the header twice, the image, then records. Sizes are multiples of the program unit. */
typedef struct header {
    uint32_t magic;
    uint32_t version;
    uint32_t sequence;
    uint32_t image_bytes;
    uint32_t alone; /* 1: what the other half holds is to be erased */
    uint32_t zero[2];
    uint32_t crc; /* over the bytes before it */
} header;

enum {
    MAGIC = 0x4C534654,
    VERSION = 1,
    HEADER_BYTES = sizeof(header),
    IMAGE_AT = 2 * HEADER_BYTES
};
_Static_assert(HEADER_BYTES == 32, "a header is one program unit of the widest flash");

/* A record: kind, 0, bytes of its payload (2), payload, CRC-32 (4) over all before. */
enum { OUTCOME = 0xA1, PUSHED_OUT, NOTICE, NOTES = 0xA8, LAST_NOTE = 0xAF };
enum { HEAD_BYTES = 4, CRC_BYTES = 4, OUTCOME_BYTES = 8, NOTICE_BYTES = 25 };
enum { CLOCK_AT = 64, PIECE = 32 };

enum { REST, ERASE, IMAGE, IMAGE_NOTES, COPY_1, COPY_2, ERASE_OLD };

static uint32_t in_units(const tfin_state_log *log, uint32_t bytes)
{
    uint32_t unit = log->map->program_bytes;
    return (bytes + unit - 1u) / unit * unit;
}

static const tfin_flash_area *area_of(const tfin_state_log *log, uint32_t half)
{
    return &log->map->state[half];
}

static uint32_t records_at(const tfin_state_log *log)
{
    return IMAGE_AT + in_units(log, tfin_state_size(log->engine));
}

/* The largest record of an event: each 8 bytes of what waits take a mask more. */
static uint32_t record_bytes(const tfin_engine *e)
{
    uint32_t waiting = tfin_waiting_size(e);
    uint32_t outcome = OUTCOME_BYTES + waiting + waiting / 8u;
    return HEAD_BYTES + CRC_BYTES + (outcome > NOTICE_BYTES ? outcome : NOTICE_BYTES);
}

uint32_t tfin_state_log_work_bytes(const tfin_engine *e, uint32_t note_bytes)
{
    uint32_t note = HEAD_BYTES + note_bytes + CRC_BYTES;
    return tfin_waiting_size(e) + (note > record_bytes(e) ? note : record_bytes(e));
}

/* Space behind an image for all notes, and the largest of them. */
static uint32_t space_of_notes(const tfin_state_log *log, uint32_t *largest)
{
    uint32_t sum = 0;
    *largest = 0;
    for (uint32_t i = 0; i < log->note_count; i++) {
        uint32_t most = log->notes[i].most;
        *largest = most > *largest ? most : *largest;
        sum += in_units(log, HEAD_BYTES + most + CRC_BYTES);
    }
    return sum;
}

/* Bytes of the buffer of a record. */
static uint32_t most_of_record(const tfin_state_log *log)
{
    return log->work_bytes - tfin_waiting_size(log->engine);
}

static uint8_t *record_of(const tfin_state_log *log)
{
    return log->work + tfin_waiting_size(log->engine);
}

/* Whether there is space for the state of the engine, in flash and in the work memory. */
static int fits(const tfin_state_log *log)
{
    uint32_t largest;
    uint32_t notes_bytes = space_of_notes(log, &largest);
    return log->work_bytes >= tfin_state_log_work_bytes(log->engine, largest) &&
           log->map->state[0].size >=
               records_at(log) + notes_bytes + 4u * record_bytes(log->engine);
}

static void feed(const tfin_state_log *log)
{
    if (log->trust != NULL && log->trust->progress != NULL) {
        log->trust->progress(log->trust->progress_context);
    }
}

/* Programs and reads back; what the last unit has beyond `size` becomes 0. */
static int write(const tfin_state_log *log, uint32_t half, uint32_t at, const void *data,
                 uint32_t size)
{
    const uint8_t *from = data;
    uint32_t address = area_of(log, half)->address + at;
    uint32_t unit = log->map->program_bytes;
    for (uint32_t i = 0; i < size; i += unit) {
        uint8_t bytes[PIECE] = {0};
        uint8_t back[PIECE];
        memcpy(bytes, from + i, size - i < unit ? size - i : unit);
        if (!tfin_port_flash_program(address + i, bytes) ||
            !tfin_port_flash_read(address + i, back, unit) || memcmp(bytes, back, unit) != 0) {
            return 0;
        }
    }
    return 1;
}

/* ------------------------------------------------------------------------------------- records */

static uint32_t space(const tfin_state_log *log)
{
    return area_of(log, log->half)->size - log->end;
}

/* An image of the state as it is now. */
static void renew(tfin_state_log *log, uint32_t alone)
{
    log->wanted = 1;
    log->alone = (uint8_t)alone;
    while (tfin_state_log_step(log)) {
        feed(log);
    }
}

/* Where the payload of an event is written to. */
static tfin_writer begin_payload(const tfin_state_log *log)
{
    uint8_t *record = record_of(log);
    tfin_writer w = {record + HEAD_BYTES, record + most_of_record(log), 0};
    return w;
}

/* Completes the record whose payload ends at `w`; its size. */
static uint32_t end_record(const tfin_state_log *log, uint32_t kind, tfin_writer *w)
{
    uint8_t *record = record_of(log);
    tfin_writer head = {record, record + HEAD_BYTES, 0};
    uint32_t size = (uint32_t)(w->at - record);
    tfin_put(&head, kind, 2);
    tfin_put(&head, size - HEAD_BYTES, 2);
    tfin_put(w, tfin_crc32(0, record, size), CRC_BYTES);
    return size + CRC_BYTES;
}

/* Makes the record of a note; its size, or 0 when there is nothing to keep, or it is too large. */
static uint32_t make_note(const tfin_state_log *log, uint32_t index)
{
    const tfin_state_note *note = &log->notes[index];
    uint32_t size = note->size();
    if (size == 0 || size + HEAD_BYTES + CRC_BYTES > most_of_record(log)) {
        return 0;
    }
    tfin_writer w = begin_payload(log);
    note->put(w.at);
    w.at += size;
    return end_record(log, NOTES + index, &w);
}

/* The engine's clock: that of an event may have gone back. */
static void put_clock(const tfin_state_log *log, tfin_writer *w)
{
    uint8_t t[4] = {0};
    (void)tfin_export_state(log->engine, CLOCK_AT, t, sizeof t);
    tfin_put_bytes(w, t, sizeof t);
}

/* An event happened: the record with this payload is appended, or an image that has the event is
 * written. */
static void keep(tfin_state_log *log, uint32_t kind, tfin_writer *w)
{
    uint32_t size = end_record(log, kind, w);
    log->grows = (uint8_t)(log->grows && space(log) >= in_units(log, size) &&
                           write(log, log->half, log->end, record_of(log), size));
    if (!log->grows) {
        renew(log, 0);
        return;
    }
    log->end += in_units(log, size);
    log->events++;
    if (space(log) < 2u * record_bytes(log->engine)) {
        log->wanted = 1;
    }
}

/* What waits, without its zero bytes: for each 8 bytes a mask of those that are not, and those. */
static void put_waiting(const tfin_state_log *log, tfin_writer *w)
{
    uint32_t size = tfin_waiting_size(log->engine);
    for (uint32_t i = 0; i < size; i += 8u) {
        uint32_t mask = 0;
        for (uint32_t k = 0; k < 8u; k++) {
            mask |= (uint32_t)(log->work[i + k] != 0) << k;
        }
        tfin_put(w, mask, 1);
        for (uint32_t k = 0; k < 8u; k++) {
            tfin_put(w, log->work[i + k], mask >> k & 1u);
        }
    }
}

static void get_waiting(const tfin_state_log *log, tfin_reader *r)
{
    uint32_t size = tfin_waiting_size(log->engine);
    for (uint32_t i = 0; i < size; i += 8u) {
        uint32_t mask = (uint32_t)tfin_get(r, 1);
        for (uint32_t k = 0; k < 8u; k++) {
            log->work[i + k] = (uint8_t)tfin_get(r, mask >> k & 1u);
        }
    }
}

/* ---------------------------------------------------------------------------------------- calls */

static int writes_image(const tfin_state_log *log)
{
    return log->job >= IMAGE && log->job <= COPY_2;
}

/* What is written of an image is of the state of now: the next change comes behind it. */
static void settle(tfin_state_log *log)
{
    while (writes_image(log)) {
        (void)tfin_state_log_step(log);
        feed(log);
    }
}

int tfin_state_log_score(tfin_state_log *log, const tfin_event *event, tfin_verdict *verdict)
{
    uint64_t oldest;
    if (event == NULL || !tfin_state_log_works(log)) {
        return tfin_score(log->engine, event, verdict);
    }
    settle(log);
    int pushed_out = tfin_pushed_out(log->engine, event->id, &oldest) &&
                     tfin_export_waiting(log->engine, oldest, log->work,
                                         tfin_waiting_size(log->engine)) == TFIN_OK;
    int rc = tfin_score(log->engine, event, verdict);
    if (rc == TFIN_OK && pushed_out) {
        tfin_writer w = begin_payload(log);
        put_waiting(log, &w);
        keep(log, PUSHED_OUT, &w);
    }
    /* its outcome will follow, and can then be appended */
    log->wanted |= (uint8_t)(rc == TFIN_OK && !log->grows);
    return rc;
}

int tfin_state_log_outcome(tfin_state_log *log, const tfin_outcome *outcome)
{
    if (outcome == NULL || !tfin_state_log_works(log)) {
        return tfin_apply_outcome(log->engine, outcome);
    }
    settle(log);
    (void)tfin_export_waiting(log->engine, outcome->id, log->work, tfin_waiting_size(log->engine));
    int rc = tfin_apply_outcome(log->engine, outcome);
    if (rc == TFIN_OK) {
        tfin_writer w = begin_payload(log);
        put_clock(log, &w);
        tfin_put(&w, outcome->result, 1);
        tfin_put(&w, outcome->action_taken, 1);
        tfin_put(&w, (uint16_t)outcome->response, 2);
        put_waiting(log, &w);
        keep(log, OUTCOME, &w);
    }
    return rc;
}

int tfin_state_log_notice(tfin_state_log *log, const tfin_notice *notice)
{
    int works = tfin_state_log_works(log);
    if (works) {
        settle(log);
    }
    int rc = tfin_apply_notice(log->engine, notice);
    if (rc == TFIN_OK && works) {
        tfin_writer w = begin_payload(log);
        tfin_put(&w, notice->id, 8);
        tfin_put(&w, notice->token, 8);
        put_clock(log, &w);
        tfin_put(&w, notice->t_tx_mono_s, 4);
        tfin_put(&w, notice->fraud, 1);
        keep(log, NOTICE, &w);
    }
    return rc;
}

int tfin_state_log_erase_card(tfin_state_log *log, uint64_t token)
{
    if (tfin_state_log_works(log)) {
        settle(log);
        memset(log->work, 0, log->work_bytes);
    }
    int rc = tfin_erase_card(log->engine, token);
    if (rc == TFIN_OK && log->map != NULL && !tfin_state_log_save(log)) {
        rc = TFIN_STATE_LOG_FLASH;
    }
    return rc;
}

void tfin_state_log_keep_notes(tfin_state_log *log)
{
    if (!tfin_state_log_works(log)) {
        return;
    }
    settle(log);
    for (uint32_t i = 0; i < log->note_count && log->grows; i++) {
        uint32_t size = make_note(log, i);
        if (size == 0) {
            continue;
        }
        /* without space, or on flash that does not take it, the next image has it */
        log->grows = (uint8_t)(space(log) >= in_units(log, size) &&
                               write(log, log->half, log->end, record_of(log), size));
        log->wanted |= (uint8_t)!log->grows;
        log->end += log->grows ? in_units(log, size) : 0;
    }
    if (space(log) < 2u * record_bytes(log->engine)) {
        log->wanted = 1;
    }
}

#ifdef TFIN_SHADOW_STATE
void tfin_state_log_follow(tfin_state_log *log, tfin_engine *engine)
{
    tfin_engine *before = log->engine;
    if (engine == before || !tfin_state_log_works(log)) {
        return;
    }
    settle(log);
    log->engine = engine;
    if (fits(log)) {
        renew(log, 0);
    } else {
        log->engine = before;
    }
}
#endif

int tfin_state_log_save(tfin_state_log *log)
{
    if (!tfin_state_log_works(log)) {
        return 0;
    }
    settle(log);
    renew(log, 1);
    return tfin_state_log_works(log);
}

/* ---------------------------------------------------------------------------------------- steps */

static int is_erased(const tfin_state_log *log, const void *data, uint32_t size)
{
    const uint8_t *bytes = data;
    while (size-- != 0) {
        if (bytes[size] != log->map->erased) {
            return 0;
        }
    }
    return 1;
}

static int read(const tfin_state_log *log, uint32_t half, uint32_t at, void *out, uint32_t size)
{
    return tfin_port_flash_read(area_of(log, half)->address + at, out, size);
}

/* The other half is blank from `at` to `end`, as far as can be seen. */
static int other_is_blank(const tfin_state_log *log, uint32_t at, uint32_t end)
{
    for (; at < end; at += PIECE) {
        uint8_t bytes[PIECE];
        if (!read(log, 1u - log->half, at, bytes, PIECE) || !is_erased(log, bytes, PIECE)) {
            return 0;
        }
    }
    return 1;
}

/* The image cannot be written: from the beginning. */
static void fail(tfin_state_log *log)
{
    log->failures++;
    log->wanted = 1;
    log->job = REST;
}

static void erase_unit(tfin_state_log *log)
{
    const tfin_flash_area *area = area_of(log, 1u - log->half);
    uint32_t end = log->at + area->erase_bytes;
    if (!tfin_port_flash_erase(area->address + log->at) || !other_is_blank(log, log->at, end)) {
        fail(log); /* old records behind a new image would count */
        return;
    }
    log->at = end;
    if (log->at == area->size) {
        log->job = log->job == ERASE ? IMAGE : REST;
        log->at = 0;
    }
}

static void write_image(tfin_state_log *log)
{
    uint32_t total = tfin_state_size(log->engine);
    uint32_t size = total - log->at < PIECE ? total - log->at : PIECE;
    uint8_t piece[PIECE];
    if (tfin_export_state(log->engine, log->at, piece, size) != TFIN_OK ||
        !write(log, 1u - log->half, IMAGE_AT + log->at, piece, size)) {
        fail(log);
        return;
    }
    log->at += size;
    if (log->at == total) {
        log->at = records_at(log);
        log->note = 0;
        log->job = IMAGE_NOTES;
    }
}

static void write_note(tfin_state_log *log)
{
    if (log->note == log->note_count) {
        log->job = COPY_1;
        return;
    }
    uint32_t size = make_note(log, log->note);
    if (size != 0 && !write(log, 1u - log->half, log->at, record_of(log), size)) {
        fail(log);
        return;
    }
    log->at += in_units(log, size);
    log->note++;
}

static void write_header(tfin_state_log *log)
{
    header h = {.magic = MAGIC,
                .version = VERSION,
                .sequence = log->sequence + 1u,
                .image_bytes = tfin_state_size(log->engine),
                .alone = log->alone};
    h.crc = tfin_crc32(0, &h, offsetof(header, crc));
    if (!write(log, 1u - log->half, log->job == COPY_1 ? 0 : HEADER_BYTES, &h, sizeof h)) {
        /* a second header that was begun counts at the next boot: nothing goes behind the other */
        log->grows = (uint8_t)(log->grows && log->job == COPY_1);
        fail(log);
        return;
    }
    if (log->job == COPY_1) {
        log->job = COPY_2;
        return;
    }
    log->half = (uint8_t)(1u - log->half);
    log->sequence++;
    log->end = log->at;
    log->events = 0;
    log->failures = 0;
    log->grows = 1;
    log->wanted = 0;
    log->at = 0;
    log->job = log->alone ? ERASE_OLD : REST;
    log->alone = 0;
}

int tfin_state_log_step(tfin_state_log *log)
{
    uint8_t nothing;
    if (!tfin_state_log_works(log)) {
        return 0;
    }
    if (tfin_export_state(log->engine, CLOCK_AT, &nothing, 0) != TFIN_OK) {
        /* an image is being imported: it is saved when it is complete */
        log->job = writes_image(log) ? REST : log->job;
        return 0;
    }
    switch (log->job) {
    case ERASE:
    case ERASE_OLD: erase_unit(log); break;
    case IMAGE: write_image(log); break;
    case IMAGE_NOTES: write_note(log); break;
    case COPY_1:
    case COPY_2: write_header(log); break;
    default:
        if (!log->wanted) {
            return 0;
        }
        log->job = ERASE;
        log->at = 0;
    }
    return log->job != REST || log->wanted;
}

/* --------------------------------------------------------------------------------- coming back */

/* What a half's header says; sequence 0 without a valid one. Returns whether the second copy was
 * begun: the first one was certain by then. */
static int read_header(tfin_state_log *log, uint32_t half, header *found)
{
    int second = 0;
    found->sequence = 0;
    for (uint32_t copy = 0; copy < 2; copy++) {
        header h; /* one reading decides: a second one may differ */
        int readable = read(log, half, copy * HEADER_BYTES, &h, sizeof h);
        if (readable && is_erased(log, &h, sizeof h)) {
            continue;
        }
        log->found = TFIN_STATE_LOST;
        second = copy == 1;
        if (readable && h.magic == MAGIC && h.version == VERSION &&
            h.image_bytes == tfin_state_size(log->engine) &&
            h.crc == tfin_crc32(0, &h, offsetof(header, crc))) {
            *found = h;
        }
    }
    return second;
}

static int import_image(const tfin_state_log *log, uint32_t half)
{
    uint8_t piece[2 * PIECE]; /* an image's header comes in one piece */
    uint32_t total = tfin_state_size(log->engine);
    for (uint32_t at = 0, size; at < total; at += size) {
        size = total - at < sizeof piece ? total - at : (uint32_t)sizeof piece;
        if (!read(log, half, IMAGE_AT + at, piece, size) ||
            tfin_import_state(log->engine, at, piece, size) != TFIN_OK) {
            return 0;
        }
    }
    feed(log);
    return 1;
}

static uint32_t payload_of(const uint8_t *record)
{
    return record[2] | (uint32_t)record[3] << 8;
}

/* Does what a record says; 0 when it says nothing that can be done. */
static int restore(tfin_state_log *log, const uint8_t *record, uint32_t size)
{
    tfin_engine *e = log->engine;
    tfin_reader r = {record + HEAD_BYTES, record + size, 0};
    tfin_outcome outcome = {0};
    if (record[0] >= NOTES && record[0] <= LAST_NOTE) {
        uint32_t index = record[0] - (uint32_t)NOTES;
        if (index < log->note_count) {
            log->notes[index].take(r.at, size - HEAD_BYTES);
        }
        return 1;
    }
    if (record[0] == NOTICE) {
        tfin_notice n;
        n.id = tfin_get(&r, 8);
        n.token = tfin_get(&r, 8);
        n.t_mono_s = (uint32_t)tfin_get(&r, 4);
        n.t_tx_mono_s = (uint32_t)tfin_get(&r, 4);
        n.fraud = (uint8_t)tfin_get(&r, 1);
        return !r.bad && r.at == r.end && tfin_restore_notice(e, &n) == TFIN_OK;
    }
    if (record[0] == OUTCOME) {
        outcome.t_mono_s = (uint32_t)tfin_get(&r, 4);
        outcome.result = (uint8_t)tfin_get(&r, 1);
        outcome.action_taken = (uint8_t)tfin_get(&r, 1);
        outcome.response = (int16_t)tfin_get(&r, 2);
    } else if (record[0] != PUSHED_OUT) {
        return 0;
    }
    get_waiting(log, &r);
    return !r.bad && r.at == r.end &&
           tfin_restore_outcome(e, log->work, tfin_waiting_size(e),
                                record[0] == OUTCOME ? &outcome : NULL) == TFIN_OK;
}

/* The events behind the image, to the first record that is none: that is where a cut came. The last
 * of them may read otherwise tomorrow. So nothing is appended to them; the next event goes behind a
 * new image. */
static void restore_events(tfin_state_log *log)
{
    uint8_t *record = record_of(log);
    uint32_t end = area_of(log, log->half)->size;
    for (uint32_t at = records_at(log); at + HEAD_BYTES + CRC_BYTES <= end;) {
        if (!read(log, log->half, at, record, HEAD_BYTES)) {
            return;
        }
        uint32_t size = HEAD_BYTES + payload_of(record);
        if (size + CRC_BYTES > most_of_record(log) || size + CRC_BYTES > end - at ||
            !read(log, log->half, at, record, size + CRC_BYTES) ||
            size != HEAD_BYTES + payload_of(record)) {
            return;
        }
        tfin_reader crc = {record + size, record + size + CRC_BYTES, 0};
        if (tfin_get(&crc, CRC_BYTES) != tfin_crc32(0, record, size) ||
            !restore(log, record, size)) {
            return;
        }
        int is_event = record[0] < NOTES;
        log->events = (uint16_t)(log->events + is_event);
        log->restored = (uint16_t)(log->restored + is_event);
        feed(log);
        at += in_units(log, size + CRC_BYTES);
    }
}

void tfin_state_log_open(tfin_state_log *log, const tfin_flash_map *map, tfin_engine *engine,
                         void *work, uint32_t work_bytes, const tfin_trust *trust,
                         const tfin_state_note *notes, uint32_t note_count)
{
    memset(log, 0, sizeof *log);
    log->engine = engine;
    log->trust = trust;
    log->work = work;
    log->work_bytes = (uint16_t)work_bytes;
    log->notes = notes;
    log->note_count = (uint8_t)note_count;
    log->map = map;
    if (map == NULL || tfin_state_size(engine) == 0) {
        log->map = NULL;
        return;
    }
    if (!fits(log)) {
        log->map = NULL;
        return;
    }
    header h[2];
    int second[2];
    for (uint32_t half = 0; half < 2; half++) {
        second[half] = read_header(log, half, &h[half]);
    }
    uint32_t newer = h[1].sequence > h[0].sequence;
    log->sequence = h[newer].sequence;
    /* An image without a second header may not be there tomorrow. Nothing was appended to it, and
     * the half before it says the same. */
    uint32_t half = second[newer] ? newer : 1u - newer;
    for (uint32_t tried = 0; tried < 2; tried++, half = 1u - half) {
        if (h[half].sequence != 0 && import_image(log, half)) {
            log->found = TFIN_STATE_FOUND;
            log->half = (uint8_t)half;
            restore_events(log);
            if (h[half].alone && !other_is_blank(log, 0, map->state[0].size)) {
                log->job = ERASE_OLD;
            }
            return;
        }
    }
    (void)tfin_reset(engine);
    log->half = 1;
}

#endif
