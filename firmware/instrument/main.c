/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The instrument: engine and network on a target, fed in bulk. The host loads a tape into memory
 * behind the image (an emulator's loader, or a programmer), the image works it off, compares every
 * answer with the tape's, and prints what it found and counted. One image serves every pack and
 * every network. tinyfin/measure/instrument.py writes tapes and reads the lines.
 *
 * A tape is a row of records, each aligned to 16: u32 tag, u32 payload bytes, u32 a, u32 b,
 * payload. Lines are words and decimal numbers; tick counts are as in port.h.
 */
#include <string.h>

#include "answers.h"
#include "boot.h"
#include "events.h"
#include "port.h"
#include "tinyfin_monitor.h"
#include "tinyfin_network.h"
#include "tinyfin_port.h"
#include "tinyfin_probation.h"

enum tag {
    TAG_END = 0,
    /* payload: a pack, which is verified and bound. a: 1 prints what that costs */
    TAG_PACK = 1,
    /* payload: an EVENTS payload of a bytes, padded to 4, then b digests, one
     * after each scored event */
    TAG_EVENTS = 2,
    /* a: digest of the state, b: CRC-32 of its image; then a cold start */
    TAG_STATE = 3,
    /* payload: a plan, which is checked */
    TAG_PLAN = 4,
    /* payload: a inputs of the plan, then as many outputs. b: 1 prints ticks of each */
    TAG_ROWS = 5,
    /* a: operator that is off by one from here on; only in a build with TFIN_INSTRUMENT_PROBE */
    TAG_SABOTAGE = 6,
    /* a: 1 prints ticks of every scored event */
    TAG_MEASURE = 7,
    /* payload: a public keys that are trusted from here on, in addition to the development key */
    TAG_KEYS = 8,
    /* payload: the state image that the guest must have now; it starts cold and takes it back */
    TAG_RESTART = 9,
    /* payload: u64 token of a card to forget */
    TAG_ERASE = 10,
    /* payload: a inputs of the open pack's network; prints the ticks of all runs together, each
     * as tfin_bind runs it */
    TAG_INFER = 11,
    /* payload: the monitor image that the guest must have now; it begins a new one */
    TAG_MONITOR = 12,
    /* payload: a pack, which is verified and scores in the shadow of the open one from here on;
     * without payload the open pack itself */
    TAG_SHADOW = 13,
    /* payload: the image of the probation that the guest must have now */
    TAG_PROBATION = 14
};

/* before the first record: u32 magic, u32 bytes, u32 CRC-32 of the records, u32 0 */
#define TAPE_MAGIC 0x50415454u
#define STACK_BYTES 2304u
#define MAX_INPUTS 128u /* of a pack: one per feature */

static tfin_engine engine;
static tfin_fields fields;
static tfin_events events;
static uint64_t record[TFIN_MAX_RECORD_WORDS];
static int32_t values_before[TFIN_MAX_FIELDS];
static uint8_t *memory;
static uint32_t memory_size;
static uint32_t measure;
static const uint8_t *keys;
static uint8_t key_count;
static uint32_t scored;
static uint32_t digest;
static uint32_t differing;
static tfin_monitor monitor;
static tfin_probation probation;
static const uint8_t *opened;
static uint32_t opened_size;
static uint32_t monitor_at; /* in memory */
static uint32_t hash_ticks, hash_bytes, verify_ticks;
static const uint8_t *plan;

/* ------------------------------------------------------------------------------------- counting */

static uint32_t since(uint32_t before)
{
    return (tfin_port_ticks() - before) & tfin_port_tick_mask;
}

/* The integrity pass is counted apart, so that what is left of opening can be reported: the linker
 * (--wrap) puts these before the port's functions. */
void __real_tfin_port_hash_update(tfin_port_hash *hash, const uint8_t *data, size_t size);
void __wrap_tfin_port_hash_update(tfin_port_hash *hash, const uint8_t *data, size_t size);
uint32_t __real_tfin_port_verify(const uint8_t signature[64], const uint8_t key[32],
                                 const uint8_t *message, size_t size);
uint32_t __wrap_tfin_port_verify(const uint8_t signature[64], const uint8_t key[32],
                                 const uint8_t *message, size_t size);

void __wrap_tfin_port_hash_update(tfin_port_hash *hash, const uint8_t *data, size_t size)
{
    uint32_t before = tfin_port_ticks();
    __real_tfin_port_hash_update(hash, data, size);
    hash_ticks += since(before);
    hash_bytes += (uint32_t)size;
}

uint32_t __wrap_tfin_port_verify(const uint8_t signature[64], const uint8_t key[32],
                                 const uint8_t *message, size_t size)
{
    uint32_t before = tfin_port_ticks();
    uint32_t rc = __real_tfin_port_verify(signature, key, message, size);
    verify_ticks += since(before);
    return rc;
}

#ifdef TFIN_INSTRUMENT_PROBE
/* Called by every operator of the feature program as it ends (TFIN_SABOTAGE_OPERATOR is this call):
 * ticks since the one before. */
uint32_t tfin_instrument_probe(uint32_t code);

enum { CODES = 64 };
static uint32_t sabotaged = 255;
static uint32_t last_ticks;
static uint32_t worst[CODES];
/* of a score without reasons, after its last operator: maps, network, decision */
static uint32_t worst_rest;

uint32_t tfin_instrument_probe(uint32_t code)
{
    uint32_t ticks = since(last_ticks);
    if (code < CODES && ticks > worst[code]) {
        worst[code] = ticks;
    }
    last_ticks = tfin_port_ticks();
    return sabotaged;
}
#endif

/* ------------------------------------------------------------------------------------- printing */

static void print(const char *word)
{
    for (; *word != 0; word++) {
        tfin_port_write((const uint8_t *)word, 1);
    }
}

static void print_number(int64_t value)
{
    uint8_t digits[20];
    uint32_t at = sizeof digits;
    uint32_t left = (uint32_t)(value < 0 ? -value : value);
    do {
        digits[--at] = (uint8_t)('0' + left % 10u);
        left /= 10u;
    } while (left != 0);
    print(value < 0 ? " -" : " ");
    tfin_port_write(digits + at, sizeof digits - at);
}

static void line(const char *word, int64_t a, int64_t b, int64_t c)
{
    print(word);
    print_number(a);
    print_number(b);
    print_number(c);
    print("\n");
}

static void differs(const char *what, uint32_t where, uint32_t wanted, uint32_t got)
{
    if (differing++ == 0) {
        print("differs ");
        line(what, where, wanted, got);
    }
}

/* -------------------------------------------------------------------------------------- working */

/* Ticks of the slowest inference: of the present input, and of inputs of which no kernel can skip
 * a part. */
static uint32_t measure_inference(void)
{
    static const int8_t dense[] = {127, -128, 1, -77};
    static int8_t filled[MAX_INPUTS];
    uint32_t count;
    uint32_t slowest = 0;
    const int8_t *input = tfin_network_input(&engine, &count);
    for (uint32_t i = 0; i <= sizeof dense && count <= sizeof filled; i++) {
        int32_t raw;
        if (i == 0) {
            memcpy(filled, input, count);
        } else {
            memset(filled, dense[i - 1], count);
        }
        uint32_t before = tfin_port_ticks();
        (void)tfin_infer(&engine, filled, count, &raw);
        uint32_t ticks = since(before);
        slowest = ticks > slowest ? ticks : slowest;
    }
    return slowest;
}

/* Behind the engine's memory. A pack without the sections has none. */
static void open_monitor(void)
{
    int32_t bytes = tfin_monitor_bytes(&engine);
    uint32_t needed = monitor_at + (uint32_t)bytes;
    if (bytes != 0 &&
        (bytes < 0 || needed > memory_size ||
         tfin_monitor_open(&monitor, &engine, memory + monitor_at, (size_t)bytes) != TFIN_OK)) {
        differs("counts", scored, needed, memory_size);
    }
}

/* The counts are an image's behind its header, which the import checks. */
static void compare_monitor(const uint8_t *wanted, uint32_t size)
{
    const uint8_t *counts = memory + monitor_at;
    uint32_t body = size - TFIN_MONITOR_HEADER;
    if (tfin_monitor_size(&monitor) != size ||
        memcmp(counts, wanted + TFIN_MONITOR_HEADER, body) != 0 ||
        tfin_monitor_import(&monitor, wanted, size) != TFIN_OK) {
        differs("monitor", scored, tfin_crc32(0, wanted + TFIN_MONITOR_HEADER, body),
                tfin_crc32(0, counts, body));
    }
    open_monitor();
}

static void open_pack(const uint8_t *pack, uint32_t size, uint32_t report)
{
    static const uint32_t record_of_pack = 0;
    tfin_trust trust;
    memset(&trust, 0, sizeof trust);
    trust.record = &record_of_pack;
    trust.allow_development_key = 1;
    trust.keys = keys;
    trust.key_count = key_count;
    hash_ticks = hash_bytes = verify_ticks = 0;
    uint32_t before = tfin_port_ticks();
    tfin_verified verified;
    int rc = tfin_verify(&verified, pack, size, &trust);
    uint32_t verifying = since(before);
    before = tfin_port_ticks();
    rc = rc == TFIN_OK ? tfin_bind(&engine, &verified, memory, memory_size) : rc;
    uint32_t binding = since(before);
    print("opened");
    print_number(rc);
    line("", tfin_memory_size(pack, size), memory_size, (int64_t)sizeof engine);
    if (rc != TFIN_OK) {
        differing++;
        return;
    }
    opened = pack;
    opened_size = size;
    tfin_fields_open(&fields, &engine, record, values_before);
    memset(&probation, 0, sizeof probation);
    scored = digest = 0;
    memset(&monitor, 0, sizeof monitor);
    monitor_at = ((uint32_t)tfin_memory_size(pack, size) + 15u) & ~15u;
    open_monitor();
    if (report) {
        line("verified", verifying, hash_ticks, verify_ticks);
        line("bound", binding, 0, 0);
        line("hashed", hash_bytes, measure_inference(), 0);
    }
}

static void begin_shadow(const uint8_t *pack, uint32_t size)
{
    static const uint32_t record_of_pack = 0;
    tfin_trust trust;
    memset(&trust, 0, sizeof trust);
    trust.record = &record_of_pack;
    trust.allow_development_key = 1;
    trust.keys = keys;
    trust.key_count = key_count;
    tfin_verified verified;
    int rc = size != 0 ? tfin_verify(&verified, pack, size, &trust)
                       : tfin_verify(&verified, opened, opened_size, &trust);
    rc = rc == TFIN_OK ? tfin_probation_shadow(&probation, &engine, &verified) : rc;
    line("shadow", rc, (int64_t)sizeof probation, 0);
    differing += rc != TFIN_OK;
}

static void compare_probation(const uint8_t *wanted, uint32_t size)
{
    uint8_t image[TFIN_PROBATION_IMAGE_BYTES];
    if (tfin_probation_export(&probation, image) != TFIN_OK || size != sizeof image ||
        memcmp(image, wanted, size) != 0) {
        differs("probation", scored, tfin_crc32(0, wanted, size),
                tfin_crc32(0, image, sizeof image));
    }
}

static void infer_all(const int8_t *rows, uint32_t length, uint32_t count)
{
    int32_t raw;
    uint32_t before = tfin_port_ticks();
    for (uint32_t i = 0; i < count; i++, rows += length) {
        (void)tfin_infer(&engine, rows, length, &raw);
    }
    line("inferred", since(before), count, 0);
}

static void add_to_digest(const tfin_verdict *v)
{
    uint8_t bytes[20];
    tfin_writer w = {bytes, bytes + sizeof bytes, 0};
    digest = tfin_digest_scored(digest, &engine);
    tfin_put(&w, v->score_q32, 4);
    tfin_put(&w, (uint32_t)v->raw, 4);
    tfin_put(&w, v->flags, 2);
    tfin_put(&w, v->action, 1);
    tfin_put(&w, v->reason_count, 1);
    for (uint32_t i = 0; i < TFIN_MAX_REASONS; i++) {
        tfin_put(&w, i < v->reason_count ? v->reasons[i] : 0, 2);
    }
    tfin_put(&w, 0, 2);
    digest = tfin_crc32(digest, bytes, sizeof bytes);
}

static void score(const uint8_t *wanted)
{
    tfin_verdict verdict;
    uint32_t before = tfin_port_ticks();
#ifdef TFIN_INSTRUMENT_PROBE
    last_ticks = before;
#endif
    int rc = tfin_score(&engine, &events.is.event, &verdict);
    uint32_t ticks = since(before);
#ifdef TFIN_INSTRUMENT_PROBE
    uint32_t rest = since(last_ticks);
    if (rc == TFIN_OK && verdict.reason_count == 0 && rest > worst_rest) {
        worst_rest = rest;
    }
#endif
    if (rc != TFIN_OK) {
        differs("score", scored, 0, (uint32_t)-rc);
        return;
    }
    add_to_digest(&verdict);
    uint32_t expected;
    memcpy(&expected, wanted, 4);
    if (digest != expected) {
        differs("verdict", scored, expected, digest);
    }
    before = tfin_port_ticks();
    (void)tfin_probation_count(&probation, &verdict);
    if (measure && tfin_probation_result(&probation) != TFIN_PROBATION_NONE) {
        line("counted", since(before), 0, 0);
    }
    before = tfin_port_ticks();
    (void)tfin_monitor_count(&monitor, &verdict);
    uint32_t counting = since(before);
    if (measure) {
        line("score", ticks, verdict.reason_count, counting);
    }
    scored++;
}

static void take_events(const uint8_t *payload, uint32_t size, uint32_t scores)
{
    const uint8_t *wanted = payload + ((size + 3u) & ~3u);
    uint32_t done = 0;
    int rc = tfin_events_begin(&events, &fields, payload, size) ? 1 : -1;
    while (rc > 0 && (rc = tfin_events_next(&events)) > 0) {
        if (events.kind <= TFIN_KIND_SCORE_OUTCOME && done < scores) {
            score(wanted + 4u * done++);
        }
        uint32_t before = tfin_port_ticks();
#ifdef TFIN_INSTRUMENT_PROBE
        last_ticks = before;
#endif
        if (events.kind == TFIN_KIND_SCORE_OUTCOME || events.kind == TFIN_KIND_OUTCOME) {
            (void)tfin_apply_outcome(&engine, &events.outcome);
            if (measure) {
                line("outcome", since(before), 0, 0);
            }
        } else if (events.kind == TFIN_KIND_NOTICE) {
            (void)tfin_apply_notice(&engine, &events.is.notice);
            if (measure) {
                line("notice", since(before), 0, 0);
            }
        } else if (events.kind == TFIN_KIND_CLOCK) {
            (void)tfin_rebase_time(&engine, events.is.clock_s);
        }
    }
    if (rc < 0 || done != scores) {
        differs("tape", scored, scores, done);
    }
}

static uint32_t export_ticks; /* of the image read last, in pieces of 64 bytes */

static uint32_t image_crc(void)
{
    uint8_t piece[64];
    uint32_t crc = 0;
    uint32_t total = tfin_state_size(&engine);
    export_ticks = 0;
    for (uint32_t at = 0; at < total; at += sizeof piece) {
        uint32_t size = total - at < sizeof piece ? total - at : (uint32_t)sizeof piece;
        uint32_t before = tfin_port_ticks();
        (void)tfin_export_state(&engine, at, piece, size);
        export_ticks += since(before);
        crc = tfin_crc32(crc, piece, size);
    }
    return crc;
}

static void restart(const uint8_t *image, uint32_t size)
{
    uint32_t wanted = tfin_crc32(0, image, size);
    uint32_t crc = image_crc();
    if (crc != wanted) {
        differs("image", scored, wanted, crc);
    }
    (void)tfin_reset(&engine);
    int rc = tfin_import_state(&engine, 0, image, size);
    if (rc != TFIN_OK) {
        differs("import", scored, 0, (uint32_t)-rc);
    }
}

static void erase(const uint8_t *token)
{
    uint64_t value;
    memcpy(&value, token, sizeof value);
    (void)tfin_erase_card(&engine, value);
}

static void compare_state(uint32_t wanted_digest, uint32_t wanted_crc)
{
    uint32_t crc = image_crc();
    if (measure) {
        line("exported", export_ticks, tfin_state_size(&engine), 0);
    }
    if (tfin_state_digest(&engine) != wanted_digest) {
        differs("state", scored, wanted_digest, tfin_state_digest(&engine));
    } else if (crc != wanted_crc) {
        differs("image", scored, wanted_crc, crc);
    }
    (void)tfin_reset(&engine);
    digest = 0;
}

static void check_plan(const uint8_t *p, uint32_t size)
{
    int rc = tfin_net_check(p, size, TFIN_KERNELS_ALL);
    uint32_t arena = rc == TFIN_OK ? tfin_net_arena_size(p) : 0;
    plan = rc == TFIN_OK && arena <= memory_size ? p : NULL;
    line("plan", rc, arena, memory_size);
    differing += plan == NULL;
}

static void run_rows(const uint8_t *rows, uint32_t count, uint32_t report)
{
    uint32_t wrong = 0;
    if (plan == NULL) {
        return;
    }
    uint32_t inputs = tfin_net_input_length(plan);
    uint32_t outputs = tfin_net_output_length(plan);
    for (uint32_t row = 0; row < count; row++) {
        /* a run needs nothing of the one before */
        memset(memory, (int)(0x5Au + row), tfin_net_arena_size(plan));
        memcpy(tfin_net_input(plan, memory), rows + row * inputs, inputs);
        uint32_t before = tfin_port_ticks();
        tfin_net_run(plan, memory);
        uint32_t ticks = since(before);
        const uint8_t *wanted = rows + count * inputs + row * outputs;
        const uint8_t *got = (const uint8_t *)tfin_net_output(plan, memory);
        for (uint32_t i = 0; i < outputs; i++) {
            wrong += wanted[i] != got[i];
        }
        if (report) {
            line("row", ticks, 0, 0);
        }
    }
    line("rows", count, wrong, 0);
    differing += wrong;
}

static void work(const uint8_t *at, const uint8_t *end)
{
    while (end - at >= 16) {
        uint32_t head[4];
        memcpy(head, at, sizeof head);
        const uint8_t *payload = at + 16;
        switch (head[0]) {
        case TAG_PACK: open_pack(payload, head[1], head[2]); break;
        case TAG_EVENTS: take_events(payload, head[2], head[3]); break;
        case TAG_STATE: compare_state(head[2], head[3]); break;
        case TAG_PLAN: check_plan(payload, head[1]); break;
        case TAG_ROWS: run_rows(payload, head[2], head[3]); break;
        case TAG_RESTART: restart(payload, head[1]); break;
        case TAG_ERASE: erase(payload); break;
        case TAG_MONITOR: compare_monitor(payload, head[1]); break;
        case TAG_SHADOW: begin_shadow(payload, head[1]); break;
        case TAG_PROBATION: compare_probation(payload, head[1]); break;
        case TAG_MEASURE: measure = head[2]; break;
        case TAG_INFER: infer_all((const int8_t *)payload, head[1] / head[2], head[2]); break;
        case TAG_KEYS:
            keys = payload;
            key_count = (uint8_t)head[2];
            break;
#ifdef TFIN_INSTRUMENT_PROBE
        case TAG_SABOTAGE: sabotaged = head[2]; break;
#endif
        default: return;
        }
        at = payload + ((head[1] + 15u) & ~15u);
    }
}

int main(void)
{
    /* a loader takes the zeroed variables for part of the image */
    uintptr_t image_end =
        (uintptr_t)tfin_ld_data_image + (uintptr_t)tfin_ld_bss_end - (uintptr_t)tfin_ld_data;
    const uint8_t *tape = (const uint8_t *)((image_end + 1023u) & ~(uintptr_t)1023u);
    uint32_t head[4];
    memory = (uint8_t *)tfin_ld_bss_end;
    memory_size =
        ((uint32_t)((uintptr_t)tfin_ld_stack_top - (uintptr_t)tfin_ld_bss_end) - STACK_BYTES) &
        ~15u;
    memcpy(head, tape, sizeof head);
    print("\n");
    line("tinyfin-instrument", TFIN_VERSION, tfin_port_tick_hz, memory_size);
    if (head[0] != TAPE_MAGIC || tfin_crc32(0, tape + 16, head[1]) != head[2]) {
        line("unreadable", head[0], head[1], head[2]);
        return 2;
    }
    work(tape + 16, tape + 16 + head[1]);
#ifdef TFIN_INSTRUMENT_PROBE
    for (uint32_t i = 0; i < CODES; i++) {
        if (worst[i] != 0) {
            line("operator", i, worst[i], 0);
        }
    }
#endif
#ifdef TFIN_INSTRUMENT_PROBE
    line("rest", worst_rest, 0, 0);
#endif
    line("done", differing, scored, 0);
    return differing == 0 ? 0 : 1;
}
