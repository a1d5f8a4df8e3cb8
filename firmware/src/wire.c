/* SPDX-License-Identifier: Apache-2.0 */
#include "wire.h"

#include <string.h>

#include "answers.h"
#include "bytes.h"
#include "config.h"
#include "events.h"
#include "frame.h"
#include "port.h"
#include "terminal.h"
#include "tinyfin_network.h"

#if defined TFIN_SEALED_ONLY && !defined TFIN_SEALED
#error "TFIN_SEALED_ONLY adds to TFIN_SEALED: define both"
#endif

#if TFIN_WIRE_FRAME_BYTES < 160
#error "TFIN_WIRE_FRAME_BYTES: HELLO needs 160"
#endif
#if (TFIN_WIRE_WINDOW & (TFIN_WIRE_WINDOW - 1)) != 0 || TFIN_WIRE_WINDOW > 64
#error "TFIN_WIRE_WINDOW must be a power of two, at most 64"
#endif
#if TFIN_WIRE_EVENTS > 255 || TFIN_WIRE_SCORES > TFIN_WIRE_EVENTS
#error "TFIN_WIRE_EVENTS is at most 255, TFIN_WIRE_SCORES at most TFIN_WIRE_EVENTS"
#endif

#if TFIN_MONITOR_BYTES + TFIN_MONITOR_HEADER + 7 > TFIN_WIRE_FRAME_BYTES
#error "TFIN_MONITOR_BYTES: MONITOR must fit into a frame with 31 bytes more"
#endif

#define INPUT_BYTES (TINYFIN_INPUT_COUNT > 0 ? TINYFIN_INPUT_COUNT : 1)

/* A rig may do everything. In the field strangers can reach the line: TFIN_RELEASE answers
 * HELLO and STATS alone, with packs in slots SLOT_INFO, PACK_..., AUDIT_READ and REPORT_READ, and
 * with a root key what is signed. TFIN_RELEASE_REPLAY adds what an acceptance test needs: EVENTS,
 * CHECKPOINT and REBOOT. */
#ifndef TFIN_RELEASE
enum { RIG = 1, REPLAY = 1 };
#elif defined TFIN_RELEASE_REPLAY
enum { RIG = 0, REPLAY = 1 };
#else
enum { RIG = 0, REPLAY = 0 };
#endif
/* Commands obey keys that the root key signed; a release has no root key but its maker's. */
enum { COMMANDS = RIG || TINYFIN_ROOT_KEY };
#if defined TFIN_RELEASE_REPLAY && !defined TFIN_RELEASE
#error "TFIN_RELEASE_REPLAY adds to TFIN_RELEASE: define both"
#endif

/* Whether images of the state are sealed, and whether they are given as they are. */
#ifndef TFIN_SEALED
enum { SEALED = 0, PLAIN = RIG };
#elif !defined TFIN_SEALED_ONLY
enum { SEALED = 1, PLAIN = RIG };
#else
enum { SEALED = 1, PLAIN = 0 };
#endif

enum { IMAGE_PIECE = 64, PLAIN_READ_BYTES = 6 };
enum { AT_PACK_TOTAL = 8 }; /* of a pack's header: docs/formats/pack.md */

typedef struct answer {
    uint16_t size; /* 0: none */
    uint8_t frame[TFIN_WIRE_ANSWER_BYTES];
} answer;

static tfin_terminal *const own = &tfin_the_terminal;
static tfin_fields fields;
static uint64_t record[TINYFIN_RECORD_BYTES / 8];
/* a field takes 4 bytes or 8 of the record */
static int32_t before[(TINYFIN_RECORD_BYTES - 8) / 4];
static tfin_events events;
static int8_t infer_input[INPUT_BYTES];

#ifdef TFIN_PORT_FLASH
/* a payload begins where a pack's header may */
enum { READ_BEHIND = 32 }; /* of data that is programmed, tfin_slots_data may read as much */
static uint8_t rx_memory[TFIN_ALIGN + TFIN_WIRE_FRAME_BYTES + READ_BEHIND]
    __attribute__((aligned(TFIN_ALIGN)));
static uint8_t *const rx_frame = rx_memory + TFIN_ALIGN - TFIN_FRAME_HEAD;
#else
static uint8_t rx_frame[TFIN_WIRE_FRAME_BYTES];
#endif
static uint8_t *const tx_frame = tfin_scratch;
static tfin_deframer rx;
static answer answers[TFIN_WIRE_WINDOW]; /* by sequence, modulo the window */

static uint32_t session;   /* 0: none */
static uint32_t ended;     /* the session before it */
static uint16_t expected;  /* sequence number of the next ordered frame */
static uint16_t kept;      /* ordered frames answered in this session, at most the window */
static uint8_t complained; /* BAD_FRAME was said, and no good frame has come since */
static uint32_t repeated;
static uint32_t out_of_order;

static uint32_t speed = TFIN_PORT_BAUD; /* of the line */
static uint8_t doubted;        /* bytes came at another speed than that, and no frame yet */
static uint32_t looked_at;     /* in ticks, when the doubt was looked at last */
static uint32_t doubted_ticks; /* how long it lasts */
static uint32_t looks;         /* how often it was looked at */

/* -------------------------------------------------------------------------------------- answers */

static tfin_writer begin(uint8_t *frame, uint32_t capacity, uint8_t type, uint16_t sequence)
{
    tfin_writer w = {frame, frame + capacity - TFIN_FRAME_CRC, 0};
    tfin_put(&w, type, 1);
    tfin_put(&w, sequence, 2);
    return w;
}

static tfin_writer begin_reply(uint8_t type, uint16_t sequence)
{
    return begin(tx_frame, sizeof tfin_scratch, type, sequence);
}

static void send_reply(const tfin_writer *w)
{
    tfin_frame_send(tx_frame, (uint32_t)(w->at - tx_frame));
}

static void send_error(uint16_t sequence, enum tfin_wire_error code, int engine_error)
{
    tfin_writer w = begin_reply(TFIN_ERROR, sequence);
    tfin_put(&w, (uint64_t)code, 1);
    tfin_put_signed(&w, engine_error);
    tfin_put(&w, expected, 2);
    tfin_put(&w, own->boot_nonce, 4);
    tfin_put_text(&w, engine_error != 0 ? tfin_error_name(engine_error) : "");
    send_reply(&w);
}

static tfin_writer begin_kept(uint8_t type)
{
    answer *a = &answers[expected & (TFIN_WIRE_WINDOW - 1)];
    return begin(a->frame, sizeof a->frame, type, expected);
}

/* From here on the frame counts as done: its number is used up and its answer is kept. */
static void send_kept(const tfin_writer *w)
{
    answer *a = &answers[expected & (TFIN_WIRE_WINDOW - 1)];
    a->size = (uint16_t)(w->at - a->frame);
    expected++;
    if (kept < TFIN_WIRE_WINDOW) {
        kept++;
    }
    tfin_frame_send(a->frame, a->size);
}

static void acknowledge(int engine_error)
{
    tfin_writer w = begin_kept(TFIN_ACK);
    tfin_put_signed(&w, engine_error);
    send_kept(&w);
}

/* ---------------------------------------------------------------------------------------- HELLO */

static int can_reboot(void)
{
    return REPLAY && (tfin_port_abilities & TFIN_PORT_REBOOT) != 0;
}

static int can_exit(void)
{
    return RIG && (tfin_port_abilities & TFIN_PORT_EXIT) != 0;
}

static int can_change_speed(void)
{
    return RIG && (tfin_port_abilities & TFIN_PORT_SPEED) != 0 && tfin_port_tick_hz != 0;
}

static void send_hello(uint16_t sequence)
{
    uint32_t capabilities = 0;
    if (RIG && (tfin_port_abilities & TFIN_PORT_STACK) != 0) {
        capabilities |= TFIN_CAN_STACK;
    }
    if (can_reboot()) {
        capabilities |= TFIN_CAN_REBOOT;
    }
    if (can_exit()) {
        capabilities |= TFIN_CAN_EXIT;
    }
    if (tfin_port_tick_hz != 0) {
        capabilities |= TFIN_CAN_TICKS;
    }
    if (RIG && own->open_error == TFIN_OK && TINYFIN_INPUT_COUNT > 0) {
        capabilities |= TFIN_CAN_INFER;
    }
    if (REPLAY) {
        capabilities |= TFIN_CAN_REPLAY;
    }
    if (RIG) {
        capabilities |= TFIN_CAN_STATE;
    }
    if (can_change_speed()) {
        capabilities |= TFIN_CAN_SPEED;
    }
    if (tfin_terminal_monitor_size() != 0) {
        capabilities |= TFIN_CAN_MONITOR;
    }
#ifdef TFIN_PORT_FLASH
    if (tfin_transfer_works(&own->transfer)) {
        capabilities |= TFIN_CAN_INSTALL | (COMMANDS ? (uint32_t)TFIN_CAN_COMMAND : 0u);
        capabilities |=
            TFIN_CAN_REPORT | (tfin_port_flash_map()->audit.size ? (uint32_t)TFIN_CAN_AUDIT : 0u);
        capabilities |= SEALED ? (uint32_t)TFIN_CAN_SEAL : 0u;
    }
#endif
    static const uint8_t nothing[16];
    int opened = own->open_error == TFIN_OK;
#ifdef TFIN_PORT_FLASH
    const uint8_t *pack = opened && tfin_transfer_works(&own->transfer)
                              ? tfin_slots_running(&own->transfer.slots, tinyfin_pack)
                              : tinyfin_pack;
#else
    const uint8_t *pack = tinyfin_pack;
#endif
    tfin_reader total = {pack + AT_PACK_TOTAL, pack + AT_PACK_TOTAL + 4, 0};
    const uint8_t *plan = opened ? tfin_network_plan(&own->engine) : 0;
    uint32_t inputs = plan != 0 ? tfin_net_input_length(plan) : 0;
    tfin_hello hello = {
        .capabilities = capabilities,
        .session = session,
        .boot_nonce = own->boot_nonce,
        .expected = expected,
        .open_error = own->open_error,
        .pack_id = opened ? tfin_pack_id(&own->engine) : nothing,
        .model_id = tfin_model_id(pack),
        .state_bytes = opened ? tfin_state_size(&own->engine) : 0,
        .memory_bytes = TINYFIN_MEMORY_BYTES,
        .pack_bytes = (uint32_t)tfin_get(&total, 4),
        .frame_bytes = TFIN_WIRE_FRAME_BYTES,
        .receive_bytes = tfin_port_receive_bytes,
        .window = TFIN_WIRE_WINDOW,
        .events = TFIN_WIRE_EVENTS,
        .scores = TFIN_WIRE_SCORES,
        .fields = fields.count,
        /* one feature per input */
        .features = plan != 0 ? inputs : TINYFIN_FEATURE_COUNT,
        .inputs = inputs,
        .outputs = plan != 0 ? tfin_net_output_length(plan) : 0,
    };
    tfin_writer w = begin_reply(TFIN_HELLO, sequence);
    tfin_put_hello(&w, &hello);
    send_reply(&w);
}

static void on_hello(uint16_t sequence, tfin_reader *in)
{
    uint64_t version = tfin_get(in, 1);
    uint32_t wanted = (uint32_t)tfin_get(in, 4);
    uint16_t first = (uint16_t)tfin_get(in, 2);
    if (in->bad || wanted == 0) {
        send_error(sequence, TFIN_WIRE_MALFORMED, 0);
        return;
    }
    if (version != TFIN_WIRE_VERSION) {
        send_error(sequence, TFIN_WIRE_VERSION_REFUSED, 0);
        return;
    }
    /* a late copy of this request, or of the one before, must not turn the sequence back */
    if (wanted != session && wanted != ended) {
        ended = session;
        session = wanted;
        expected = first;
        kept = 0;
    }
    send_hello(sequence);
}

/* --------------------------------------------------------------------------------------- EVENTS */

/* Reads every event without doing anything, so that a malformed frame changes nothing. */
static int check_events(const uint8_t *payload, uint32_t size)
{
    tfin_events *e = &events;
    if (!tfin_events_begin(e, &fields, payload, size)) {
        return TFIN_WIRE_MALFORMED;
    }
    uint32_t scores = 0;
    int rc;
    while ((rc = tfin_events_next(e)) > 0) {
        scores += e->kind <= TFIN_KIND_SCORE_OUTCOME;
    }
    if (rc < 0) {
        return TFIN_WIRE_MALFORMED;
    }
    return e->count > TFIN_WIRE_EVENTS || scores > TFIN_WIRE_SCORES ? TFIN_WIRE_TOO_MANY : 0;
}

enum { VERDICT_SAME_FLAGS = 0x10, VERDICT_FAILED = 0x20 };

static void put_verdict(tfin_writer *w, const tfin_verdict *v, uint16_t *last_flags)
{
    uint32_t head = (uint32_t)v->action | (uint32_t)v->reason_count << 2;
    if (v->flags == *last_flags) {
        head |= VERDICT_SAME_FLAGS;
    }
    tfin_put(w, head, 1);
    tfin_put(w, v->score_q32, 4);
    tfin_put_signed(w, v->raw);
    if (v->flags != *last_flags) {
        tfin_put_varint(w, v->flags);
        *last_flags = v->flags;
    }
    for (uint32_t i = 0; i < v->reason_count && i < TFIN_MAX_REASONS; i++) {
        tfin_put_varint(w, v->reasons[i]);
    }
}

enum {
    ANSWER_TICKS = 1,
    ANSWER_ERRORS = 2,
    ANSWER_CHECKPOINT = 4,
    HEAD_BYTES = 6,
    CHECKPOINT_BYTES = 8
};

static void on_events(const uint8_t *payload, uint32_t size)
{
    tfin_events *e = &events;
    uint8_t failed_at[TFIN_WIRE_EVENTS];
    int8_t failed_with[TFIN_WIRE_EVENTS];
    uint32_t failures = 0;
    uint16_t last_flags = 0;

    (void)tfin_events_begin(e, &fields, payload, size);
    uint8_t ticks_wanted = (e->flags & TFIN_EVENTS_TICKS) != 0 && tfin_port_tick_hz != 0;
    tfin_writer w = begin_kept(TFIN_VERDICTS);
    int checkpoint = (e->flags & TFIN_EVENTS_CHECKPOINT) != 0;
    uint8_t *head = w.at;
    w.at += HEAD_BYTES + (checkpoint ? CHECKPOINT_BYTES : 0);
    while (tfin_events_next(e) > 0) {
        int rc = TFIN_OK;
        if (e->kind <= TFIN_KIND_SCORE_OUTCOME) {
            tfin_verdict verdict;
            uint32_t start = tfin_port_ticks();
            rc = tfin_terminal_score(&e->is.event, &verdict);
            uint32_t ticks = (tfin_port_ticks() - start) & tfin_port_tick_mask;
            if (rc != TFIN_OK) {
                tfin_put(&w, VERDICT_FAILED, 1);
                tfin_put_signed(&w, rc);
                continue;
            }
            own->digest = tfin_digest_scored(own->digest, &own->engine);
            own->scored++;
            put_verdict(&w, &verdict, &last_flags);
            if (ticks_wanted) {
                tfin_put_varint(&w, ticks);
            }
            tfin_terminal_scored(&verdict);
            if (e->kind == TFIN_KIND_SCORE_OUTCOME) {
                if (e->outcome.action_taken == TFIN_ACTION_AS_ADVISED) {
                    e->outcome.action_taken = verdict.action;
                }
                rc = tfin_terminal_outcome(&e->outcome);
            }
        } else if (e->kind == TFIN_KIND_OUTCOME) {
            rc = tfin_terminal_outcome(&e->outcome);
        } else if (e->kind == TFIN_KIND_CLOCK) {
            rc = tfin_terminal_set_clock(e->is.clock_s);
        } else {
            rc = tfin_terminal_notice(&e->is.notice);
        }
        if (rc != TFIN_OK) {
            failed_at[failures] = (uint8_t)(e->taken - 1);
            failed_with[failures++] = (int8_t)rc;
        }
    }
    for (uint32_t i = 0; i < failures; i++) {
        tfin_put(&w, failed_at[i], 1);
        tfin_put_signed(&w, failed_with[i]);
    }
    tfin_writer h = {head, head + HEAD_BYTES + CHECKPOINT_BYTES, 0};
    tfin_put(&h,
             (ticks_wanted ? ANSWER_TICKS : 0u) | (failures > 0 ? ANSWER_ERRORS : 0u) |
                 (checkpoint ? ANSWER_CHECKPOINT : 0u),
             1);
    tfin_put(&h, e->count, 1);
    tfin_put(&h, own->digest, 4);
    if (checkpoint) {
        tfin_put(&h, tfin_state_digest(&own->engine), 4);
        tfin_put(&h, own->scored, 4);
    }
    send_kept(&w);
}

/* ---------------------------------------------------------------------------------------- state */

/* The image comes as runs: varint k, then for even k: k/2 bytes that follow,
 * for odd k: k/2 zeros. */
static int write_image(tfin_reader *in, int apply)
{
    uint8_t piece[IMAGE_PIECE];
    uint32_t filled = 0;
    uint64_t at = tfin_get_varint(in);
    uint32_t first = (uint32_t)at;
    uint32_t total = tfin_state_size(&own->engine);
    int rc = TFIN_OK;
    while (rc == TFIN_OK && tfin_left(in) > 0) {
        uint64_t run = tfin_get_varint(in);
        uint8_t zeros = run & 1u;
        run >>= 1;
        if (in->bad || run > total - filled || at > total - filled - run ||
            (!zeros && run > tfin_left(in))) {
            in->bad = 1;
            break;
        }
        while (rc == TFIN_OK && run > 0) {
            uint32_t size = IMAGE_PIECE - filled;
            size = run < size ? (uint32_t)run : size;
            if (zeros) {
                memset(piece + filled, 0, size);
            } else {
                memcpy(piece + filled, in->at, size);
                in->at += size;
            }
            filled += size;
            run -= size;
            if (filled == IMAGE_PIECE) {
                rc = apply ? tfin_import_state(&own->engine, (uint32_t)at, piece, filled) : TFIN_OK;
                at += filled;
                filled = 0;
            }
        }
    }
    if (rc == TFIN_OK && filled > 0 && apply) {
        rc = tfin_import_state(&own->engine, (uint32_t)at, piece, filled);
        at += filled;
    }
    return apply ? tfin_terminal_imported(first, (uint32_t)at, rc) : rc;
}

static void on_state_write(uint16_t sequence, const tfin_reader *in)
{
    tfin_reader trial = *in;
    (void)write_image(&trial, 0);
    if (trial.bad) {
        send_error(sequence, TFIN_WIRE_MALFORMED, 0);
        return;
    }
    tfin_reader real = *in;
    acknowledge(write_image(&real, 1));
}

static void on_state_read(uint16_t sequence, tfin_reader *in)
{
    uint32_t offset = (uint32_t)tfin_get(in, 4);
    uint32_t size = (uint32_t)tfin_get(in, 2);
    uint32_t total = tfin_state_size(&own->engine);
    if (in->bad || offset > total || size > total - offset ||
        size > TFIN_WIRE_FRAME_BYTES - TFIN_FRAME_HEAD - TFIN_FRAME_CRC - 4) {
        send_error(sequence, TFIN_WIRE_RANGE, 0);
        return;
    }
    tfin_writer w = begin_reply(TFIN_STATE_DATA, sequence);
    tfin_put(&w, offset, 4);
    int rc = tfin_export_state(&own->engine, offset, w.at, size);
    if (rc != TFIN_OK) {
        send_error(sequence, TFIN_WIRE_RANGE, rc);
        return;
    }
    w.at += size;
    send_reply(&w);
}

#ifdef TFIN_SEALED
static void on_sealed_state_read(uint16_t sequence, tfin_reader *in)
{
    uint8_t nonce[TFIN_SEAL_NONCE_BYTES];
    tfin_seal seal;
    uint32_t offset = (uint32_t)tfin_get(in, 4);
    uint32_t size = (uint32_t)tfin_get(in, 2);
    uint32_t total = tfin_state_size(&own->engine);
    if (!tfin_transfer_works(&own->transfer)) { /* no journal, which keys are looked for in */
        send_error(sequence, TFIN_WIRE_NOT_OFFERED, 0);
        return;
    }
    if (tfin_left(in) != TFIN_SEAL_ID_BYTES || offset > total || size > total - offset ||
        size > TFIN_WIRE_FRAME_BYTES - TFIN_FRAME_HEAD - TFIN_FRAME_CRC - 4 - sizeof nonce) {
        send_error(sequence, TFIN_WIRE_RANGE, 0);
        return;
    }
    if (!tfin_seal_state(&seal, &own->transfer.slots.journal, in->at, &own->engine, nonce)) {
        send_error(sequence, TFIN_WIRE_SEALING_KEY, 0);
        return;
    }
    tfin_writer w = begin_reply(TFIN_STATE_DATA, sequence);
    tfin_put(&w, offset, 4);
    tfin_put_bytes(&w, nonce, sizeof nonce);
    (void)tfin_export_state(&own->engine, offset, w.at, size);
    tfin_seal_apply(&seal, offset, w.at, size);
    w.at += size;
    send_reply(&w);
}
#endif

static void on_checkpoint(uint16_t sequence)
{
    tfin_writer w = begin_reply(TFIN_CHECKPOINT, sequence);
    tfin_put(&w, expected, 2);
    tfin_put(&w, tfin_state_digest(&own->engine), 4);
    tfin_put(&w, own->digest, 4);
    tfin_put(&w, own->scored, 4);
    send_reply(&w);
}

/* ------------------------------------------------------------------------ details and inference */

static const void *detail(uint32_t what, uint32_t *size)
{
    uint32_t count = 0;
    const void *data = 0;
    switch (what) {
    case 0:
        data = tfin_features(&own->engine, &count);
        count *= 2u;
        break;
    case 1: data = tfin_network_input(&own->engine, &count); break;
    case 2: data = tfin_network_output(&own->engine, &count); break;
    default: break;
    }
    *size = count;
    return data;
}

static void on_detail(uint16_t sequence, tfin_reader *in)
{
    uint32_t what = (uint32_t)tfin_get(in, 1);
    uint32_t offset = (uint32_t)tfin_get(in, 2);
    uint32_t total;
    const void *data = detail(what, &total);
    if (in->bad || what > 2 || offset > total) {
        send_error(sequence, TFIN_WIRE_RANGE, 0);
        return;
    }
    tfin_writer w = begin_reply(TFIN_DETAIL, sequence);
    tfin_put_detail(&w, what, offset, data, total);
    send_reply(&w);
}

static void on_infer(uint16_t sequence, tfin_reader *in)
{
    uint32_t flags = (uint32_t)tfin_get(in, 1);
    uint32_t offset = (uint32_t)tfin_get(in, 2);
    uint32_t size = tfin_left(in);
    if (in->bad || TINYFIN_INPUT_COUNT == 0 || offset > INPUT_BYTES ||
        size > INPUT_BYTES - offset) {
        send_error(sequence, TFIN_WIRE_RANGE, TINYFIN_INPUT_COUNT == 0 ? TFIN_E_NO_MODEL : 0);
        return;
    }
    if (size > 0) {
        memcpy(infer_input + offset, in->at, size);
    }
    tfin_writer w = begin_reply(TFIN_INFERRED, sequence);
    if ((flags & TFIN_INFER_RUN) == 0) {
        send_reply(&w);
        return;
    }
    int32_t raw = 0;
    uint32_t ticks = 0;
    uint32_t stack = 0;
    uint32_t outputs;
    int rc = tfin_infer(&own->engine, infer_input, TINYFIN_INPUT_COUNT, &raw);
    const int8_t *output = tfin_network_output(&own->engine, &outputs);
    if (rc == TFIN_OK && (flags & TFIN_INFER_MEASURE) != 0) {
        ticks = tfin_measure_network(tfin_network_plan(&own->engine),
                                     tfin_network_arena(&own->engine), &stack);
    }
    tfin_put_inferred(&w, rc, raw, ticks, stack, output, outputs);
    send_reply(&w);
}

/* -------------------------------------------------------------------------------------- numbers */

/* as STATS has them, and the one that a request itself counts up */
enum { COUNTERS = 16, GOOD_FRAMES = 10 };

static void read_counters(uint32_t all[COUNTERS])
{
    tfin_stats stats;
    memset(&stats, 0, sizeof stats);
    (void)tfin_get_stats(&own->engine, &stats);
    const uint32_t values[COUNTERS] = {stats.scored,
                                       stats.committed,
                                       stats.clock_clamps,
                                       stats.saturations,
                                       stats.pending_overflows,
                                       stats.unknown_outcomes,
                                       stats.notices,
                                       stats.notice_duplicates,
                                       stats.label_overflows,
                                       stats.evictions,
                                       rx.good,
                                       rx.damaged,
                                       rx.overlong,
                                       repeated,
                                       out_of_order,
                                       tfin_port_receive_overruns()};
    memcpy(all, values, sizeof values);
}

static void on_stats(uint16_t sequence)
{
    uint32_t all[COUNTERS];
    read_counters(all);
    tfin_writer w = begin_reply(TFIN_STATS, sequence);
    tfin_put(&w, COUNTERS, 1);
    for (uint32_t i = 0; i < COUNTERS; i++) {
        tfin_put(&w, all[i], 4);
    }
    send_reply(&w);
}

#ifdef TFIN_MONITORED
static void on_monitor(uint16_t sequence)
{
    uint32_t size = tfin_terminal_monitor_size();
    tfin_writer w = begin_reply(TFIN_MONITOR, sequence);
    if (tfin_monitor_export(&own->monitor, w.at, size) != TFIN_OK) {
        send_error(sequence, TFIN_WIRE_NOT_OFFERED, 0);
        return;
    }
    w.at += size;
    send_reply(&w);
}
#else
static void on_monitor(uint16_t sequence)
{
    send_error(sequence, TFIN_WIRE_NOT_OFFERED, 0);
}
#endif

static void on_stack(uint16_t sequence)
{
    tfin_writer w = begin_reply(TFIN_STACK, sequence);
    tfin_put(&w, tfin_port_stack_bytes(), 4);
    tfin_put(&w, tfin_port_stack_painted_free(), 4);
    send_reply(&w);
}

/* ---------------------------------------------------------------------------------------- speed */

static void doubt(void)
{
    doubted = 1;
    doubted_ticks = 0;
    looks = 0;
    looked_at = tfin_port_ticks();
}

/* A host that starts again speaks at TFIN_PORT_BAUD, and one that asked for a speed that the cable
 * does not carry goes back to it: after a second without a frame, so does this side. The number of
 * looks ends a doubt where the tick counter stands still. */
static void look_at_speed(void)
{
    if (!doubted) {
        return;
    }
    uint32_t now = tfin_port_ticks();
    doubted_ticks += (now - looked_at) & tfin_port_tick_mask;
    looked_at = now;
    looks++;
    if ((doubted_ticks >= tfin_port_tick_hz || looks >= TFIN_PORT_SEND_TURNS) &&
        tfin_port_set_baud(TFIN_PORT_BAUD)) {
        speed = TFIN_PORT_BAUD;
        doubted = 0;
    }
}

static void on_speed(uint16_t sequence, tfin_reader *in)
{
    uint32_t wanted = (uint32_t)tfin_get(in, 4);
    if (in->bad) {
        send_error(sequence, TFIN_WIRE_MALFORMED, 0);
        return;
    }
    /* the answer leaves at the present speed, and says whether the port can do the other one:
     * there and back again, while the host waits and nothing is on the line */
    int can = wanted != speed && tfin_port_set_baud(wanted) && tfin_port_set_baud(speed);
    tfin_writer w = begin_reply(TFIN_SPEED, sequence);
    tfin_put(&w, can ? wanted : speed, 4);
    send_reply(&w);
    if (can && tfin_port_set_baud(wanted)) {
        speed = wanted;
        doubt();
    }
}

/* ------------------------------------------------------------------------------------- dispatch */

static void on_ordered(uint8_t type, uint16_t sequence, tfin_reader *in)
{
    uint16_t behind = (uint16_t)(expected - sequence);
    if (behind > 0 && behind <= kept) {
        answer *a = &answers[sequence & (TFIN_WIRE_WINDOW - 1)];
        repeated++;
        tfin_frame_send(a->frame, a->size);
        return;
    }
    if (behind != 0) {
        out_of_order++;
        send_error(sequence, TFIN_WIRE_SEQUENCE, 0);
        return;
    }
    if (type == TFIN_EVENTS) {
        int problem = check_events(in->at, tfin_left(in));
        if (problem != 0) {
            send_error(sequence, (enum tfin_wire_error)problem, 0);
            return;
        }
        on_events(in->at, tfin_left(in));
    } else if (RIG && type == TFIN_STATE_RESET) {
        acknowledge(tfin_terminal_reset());
    } else if (RIG) {
        on_state_write(sequence, in);
    }
}

static int offered(uint8_t type)
{
    switch (type) {
    case TFIN_STATS_REQUEST:
    case TFIN_MONITOR_READ: return 1;
    case TFIN_EVENTS:
    case TFIN_CHECKPOINT_REQUEST: return REPLAY;
    case TFIN_STATE_READ: return PLAIN || SEALED;
    case TFIN_REBOOT: return can_reboot();
    case TFIN_EXIT: return can_exit();
    case TFIN_SPEED_REQUEST: return can_change_speed();
    default: return RIG;
    }
}

#ifdef TFIN_PORT_FLASH
static int put_report(uint32_t offset, tfin_writer *w)
{
    uint32_t counters[COUNTERS];
    uint32_t count = 0;
    read_counters(counters);
    for (uint32_t i = 0; i < COUNTERS; i++) {
        if (i != GOOD_FRAMES) { /* asking for the next piece must not change the report */
            counters[count++] = counters[i];
        }
    }
    return tfin_terminal_report(counters, count, offset, w);
}

static void on_slots(uint8_t type, uint16_t sequence, tfin_reader *in)
{
    tfin_writer w = begin_reply(TFIN_PACK_STATUS, sequence);
    if (type == TFIN_SLOT_INFO_REQUEST) {
        w = begin_reply(TFIN_SLOT_INFO, sequence);
        tfin_transfer_info(&own->transfer, &w);
#ifdef TFIN_STATE_LOG
        tfin_put(&w,
                 (uint64_t)own->state_log.found |
                     (tfin_state_log_works(&own->state_log) ? 0x80u : 0u),
                 1);
        tfin_put(&w, own->state_log.sequence, 4);
        tfin_put(&w, own->state_log.events, 2);
        tfin_put(&w, own->state_log.restored, 2);
#endif
    } else if (type == TFIN_CHALLENGE_REQUEST) {
        w = begin_reply(TFIN_CHALLENGE, sequence);
        tfin_transfer_challenge(&own->transfer, &w);
    } else if (type == TFIN_PROBATION_READ) {
        w = begin_reply(TFIN_PROBATION, sequence);
        tfin_transfer_probation(&own->transfer, &w);
    } else if (type >= TFIN_AUDIT_READ) {
        uint32_t first = (uint32_t)tfin_get(in, 2);
        int is_audit = type == TFIN_AUDIT_READ;
        w = begin_reply(is_audit ? TFIN_AUDIT : TFIN_REPORT, sequence);
        if (in->bad || !(is_audit ? tfin_audit_read(&own->audit, tfin_port_flash_map(), first, &w)
                                  : put_report(first, &w))) {
            send_error(sequence, in->bad ? TFIN_WIRE_MALFORMED : TFIN_WIRE_RANGE, 0);
            return;
        }
    } else {
        int rc =
            tfin_transfer_take(&own->transfer, type, sequence, in, tfin_terminal_clock_s(), &w);
        if (rc < 0) {
            send_error(sequence, TFIN_WIRE_MALFORMED, 0);
        }
        if (rc <= 0) {
            return;
        }
    }
    send_reply(&w);
}
#endif

static void restart(void)
{
    /* a UART holds two bytes that it was given and has not sent: when these are in it, the answer
     * is out */
    static const uint8_t delimiters[2] = {0, 0};
    tfin_port_write(delimiters, sizeof delimiters);
    tfin_port_reset();
}

static void on_frame(uint8_t type, uint16_t sequence, tfin_reader *in)
{
    int ordered = type == TFIN_EVENTS || type == TFIN_STATE_RESET || type == TFIN_STATE_WRITE;
    if (type == TFIN_HELLO_REQUEST) {
        on_hello(sequence, in);
        return;
    }
#ifdef TFIN_PORT_FLASH
    if (type >= TFIN_SLOT_INFO_REQUEST && type <= TFIN_PROBATION_READ) {
        if (session == 0) {
            send_error(sequence, TFIN_WIRE_NO_SESSION, 0);
        } else if (!tfin_transfer_works(&own->transfer) || (!RIG && type == TFIN_SLOT_COMMAND) ||
                   (!COMMANDS && type >= TFIN_CHALLENGE_REQUEST && type < TFIN_AUDIT_READ) ||
                   (type == TFIN_AUDIT_READ && tfin_port_flash_map()->audit.size == 0)) {
            send_error(sequence, TFIN_WIRE_NOT_OFFERED, 0);
        } else {
            on_slots(type, sequence, in);
        }
        return;
    }
#endif
    int known = type >= TFIN_HELLO_REQUEST &&
                (type <= TFIN_EXIT || type == TFIN_SPEED_REQUEST || type == TFIN_MONITOR_READ);
    if (!known) {
        send_error(sequence, TFIN_WIRE_UNKNOWN, 0);
        return;
    }
    if (!offered(type)) {
        send_error(sequence, TFIN_WIRE_NOT_OFFERED, 0);
        return;
    }
    if (type == TFIN_REBOOT || type == TFIN_EXIT) {
        tfin_writer w = begin_reply(TFIN_ACK, sequence);
        tfin_put_signed(&w, 0);
        send_reply(&w);
        if (REPLAY && type == TFIN_REBOOT) {
            restart();
        }
        if (RIG) {
            tfin_port_exit((int)tfin_get(in, 1));
        }
    }
    if (session == 0) {
        send_error(sequence, TFIN_WIRE_NO_SESSION, 0);
        return;
    }
    if (RIG && type == TFIN_STACK_REQUEST) {
        on_stack(sequence);
        return;
    }
    if (RIG && type == TFIN_SPEED_REQUEST) {
        on_speed(sequence, in);
        return;
    }
    if (own->open_error != TFIN_OK) {
        send_error(sequence, TFIN_WIRE_NO_PACK, own->open_error);
        return;
    }
    if (REPLAY && ordered) {
        on_ordered(type, sequence, in);
        return;
    }
    switch (type) {
    case TFIN_STATE_READ:
#ifdef TFIN_SEALED
        if (tfin_left(in) > PLAIN_READ_BYTES) {
            on_sealed_state_read(sequence, in);
            break;
        }
#endif
        if (PLAIN) {
            on_state_read(sequence, in);
        } else if (SEALED) {
            send_error(sequence, TFIN_WIRE_NOT_OFFERED, 0);
        }
        break;
    case TFIN_CHECKPOINT_REQUEST:
        if (REPLAY) {
            on_checkpoint(sequence);
        }
        break;
    case TFIN_DETAIL_READ:
        if (RIG) {
            on_detail(sequence, in);
        }
        break;
    case TFIN_INFER:
        if (RIG) {
            on_infer(sequence, in);
        }
        break;
    case TFIN_MONITOR_READ: on_monitor(sequence); break;
    default: on_stats(sequence); break;
    }
}

void tfin_wire_start(void)
{
    tfin_deframer_open(&rx, rx_frame, TFIN_WIRE_FRAME_BYTES);
    if (tfin_terminal_open(sizeof record) == TFIN_OK) {
        tfin_fields_open(&fields, &own->engine, record, before);
    }
    static const uint8_t delimiter = 0; /* ends whatever a boot loader has said on this line */
    tfin_port_write(&delimiter, 1);
    send_hello(0);
}

int tfin_wire_idle(void)
{
    look_at_speed();
    return doubted;
}

enum tfin_wire_work tfin_wire_step(void)
{
#ifdef TFIN_PORT_FLASH
    switch (tfin_transfer_step(&own->transfer)) {
    case TFIN_TRANSFER_WORKS:
        return tfin_transfer_reads(&own->transfer) ? TFIN_WIRE_HOLDS : TFIN_WIRE_WORKS;
    case TFIN_TRANSFER_ANSWERS: {
        tfin_writer w = begin_reply(TFIN_PACK_STATUS, own->transfer.sequence);
        tfin_transfer_answer(&own->transfer, &w);
        send_reply(&w);
        if (own->transfer.commands.reboot) {
            restart();
        }
        break;
    }
    default: break;
    }
#endif
    return tfin_terminal_step() ? TFIN_WIRE_WORKS : TFIN_WIRE_RESTS;
}

void tfin_wire_byte(uint8_t byte)
{
    if (RIG && speed != TFIN_PORT_BAUD) {
        if (!doubted) {
            doubt();
        }
        look_at_speed();
    }
    enum tfin_deframed what = tfin_deframe(&rx, byte);
    if (what == TFIN_FRAME_GOOD) {
        complained = 0;
        doubted = 0;
        tfin_reader in = {rx_frame + TFIN_FRAME_HEAD, rx_frame + rx.size, 0};
        on_frame(rx_frame[0], (uint16_t)(rx_frame[1] | (uint32_t)rx_frame[2] << 8), &in);
    } else if (what == TFIN_FRAME_BAD && session != 0 && !complained) {
        complained = 1;
        send_error(expected, TFIN_WIRE_BAD_FRAME, 0);
    }
}

tfin_engine *tfin_wire_engine(void)
{
    return &own->engine;
}

void tfin_wire_log(uint8_t level, const char *text)
{
    tfin_writer w = begin_reply(TFIN_LOG, 0);
    tfin_put(&w, level, 1);
    tfin_put_text(&w, text);
    send_reply(&w);
}
