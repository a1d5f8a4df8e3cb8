/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A terminal whose power is cut at any flash operation of its state log. The log and the engine are
 * those of an image, the pack is tinyfin_pack; the flash is simulated.
 *
 *     statecut STEPS [SEED]    random walks over many shapes of flash
 *     statecut noise TIMES     boots from flash whose bytes were changed, checksums made good
 *
 * What a cut leaves of the interrupted operation: nothing, a part, noise, all of it, or cells that
 * read now as one thing and now as another, until they are erased. One terminal in two has worn
 * flash: now and then a unit is not programmed, or only in part, and not erased, or only in part;
 * the chip says so or does not. It may give the log up; what it acknowledged before stays.
 *
 * Checked: after every boot the state is that of before the cut, or, when it came during a call,
 * that of before the call, also when one of an image's two headers has rotted; flash is programmed
 * once between two erasures; after an erasure of a card no byte of its token is in flash; what the
 * application counts comes back as it was when it was kept last, or later. Ends with 0, or 1 and
 * what was violated.
 */
#include <stdio.h>
#include <stdlib.h>

#include "internal.h"
#include "state_log.h"
#include "tinyfin_pack.h"

#define HALF_LIMIT (1 << 15)
#define CUT_FLASH_BYTES (2 * HALF_LIMIT)
#include "cut.h"

enum { CARDS = 24, WAITING = 6, WORK = 4096 };

static uint64_t erasures, events, images, came_back, notes_kept, second_sum;
static int worn; /* the flash is */
static uint64_t faults, given_up;
static uint32_t cut_in_job; /* a cut comes in this job of the log; 0: none */
/* of the log: erase, image, notes, first and second header, erase the half before */
enum { JOBS = 6, HEADERS = 4 };

static tfin_engine engine, fresh_engine;
static uint8_t memory[TINYFIN_MEMORY_BYTES] __attribute__((aligned(TFIN_ALIGN)));
static uint8_t fresh_memory[TINYFIN_MEMORY_BYTES];
static uint8_t work[WORK] __attribute__((aligned(8)));
static tfin_state_log state_log;
static uint64_t record[TINYFIN_RECORD_BYTES / 8];

__attribute__((noreturn)) static void violated(const char *rule)
{
    printf("violated: %s\n  after %llu operations, %llu cuts; units of %u, half %u, image %u, "
           "event %u, job %u\n",
           rule, (unsigned long long)operations, (unsigned long long)cuts, map.program_bytes,
           state_log.half, state_log.sequence, state_log.events, state_log.job);
    exit(1);
}

/* --------------------------------------------------------------------------------------- flash */

static int cut_here(void)
{
    operations++;
    if (cut_in_job != 0 && state_log.job == cut_in_job && choose(4) == 0) {
        cut_in_job = 0;
        return 1;
    }
    return cut_in != 0 && --cut_in == 0;
}

/* This operation, of worn flash; more often outside the image, whose units are many, and most of
 * all in the second header, which decides between two halves. */
static int fails(void)
{
    enum { IMAGE = 2, SECOND = 5 };
    uint32_t one_in = state_log.job == IMAGE    ? worn
                      : state_log.job != SECOND ? worn / 8u
                      : state_log.grows         ? 2u
                                                : 8u;
    int now = worn != 0 && choose(one_in) == 0;
    operations += (uint32_t)now;
    faults += (uint32_t)now;
    return now;
}

int tfin_port_flash_program(uint32_t address, const void *data)
{
    uint32_t size = map.program_bytes, unit = address / size;
    uint8_t *now = flash[0] + address, *later = flash[1] + address;
    if (address % size != 0) {
        violated("a unit is programmed at its beginning");
    }
    if (!erased(now, size) || !erased(later, size) || uncertain[unit]) {
        violated("what is programmed was erased before, and surely");
    }
    if (fails()) {
        uint32_t part = choose(size);
        memcpy(now, data, part);
        memcpy(later, data, part);
        return (int)choose(2);
    }
    int cut_now = cut_here();
    int outcome = cut_now ? (int)choose(OUTCOMES) : ALL;
    if (cut_now && state_log.job >= HEADERS && choose(2)) {
        outcome = NOW_DONE + (int)choose(2);
    }
    switch (outcome) {
    case NOTHING: break;
    case PART: memcpy(now, data, choose(size + 1u)); break;
    case NOISE: noise(now, size); break;
    case ALL: memcpy(now, data, size); break;
    default: uncertain[unit] = 1; memcpy(outcome == NOW_DONE ? now : later, data, size);
    }
    if (!uncertain[unit]) {
        memcpy(later, now, size);
    }
    if (cut_now) {
        cut();
    }
    return 1;
}

int tfin_port_flash_erase(uint32_t address)
{
    uint32_t size = map.state[0].erase_bytes;
    erasures++;
    if (address % size != 0) {
        violated("a unit is erased at its beginning");
    }
    if (fails()) {
        int is_told =
            memchr(uncertain + address / map.program_bytes, 1, size / map.program_bytes) != NULL ||
            choose(2) != 0;
        erase_units(address, size, choose(2) ? NOTHING : PART);
        return !is_told; /* a lie only where one reading tells what is there */
    }
    int cut_now = cut_here();
    int outcome = cut_now ? (int)choose(OUTCOMES) : ALL;
    erase_units(address, size, outcome);
    if (cut_now) {
        cut();
    }
    return 1;
}

/* ------------------------------------------------------------------------------------ terminal */

/* A number for all that commits have left: the state without what waits, and without the clock and
 * the counters that a score moves too. */
static uint32_t learned(void)
{
    static uint8_t image[TINYFIN_STATE_BYTES];
    static const uint8_t of_scores[] = {HEAD_LAST_T,           HEAD_SCORED,
                                        HEAD_CLAMPS,           HEAD_SATURATIONS,
                                        HEAD_UNKNOWN_OUTCOMES, HEAD_PENDING_SEQUENCE};
    if (tfin_export_state(&engine, 0, image, sizeof image) != TFIN_OK) {
        violated("the state can be exported");
    }
    uint8_t *state = image + STATE_HEADER;
    for (uint32_t i = 0; i < sizeof of_scores; i++) {
        memset(state + of_scores[i], 0, 4);
    }
    memset(state + engine.layout.pending, 0, engine.layout.terminal - engine.layout.pending);
    return tfin_crc32(0, state, sizeof image - STATE_HEADER);
}

static int in_flash(uint64_t token)
{
    for (uint32_t at = 0; at + 8u <= 2u * map.state[0].size; at++) {
        if (memcmp(flash[0] + at, &token, 8) == 0 || memcmp(flash[1] + at, &token, 8) == 0) {
            return 1;
        }
    }
    return 0;
}

static uint64_t cards[CARDS], next_card;
static uint64_t waiting[WAITING], next_id;
static uint32_t clock_s;
static uint64_t forgotten; /* a card that was erased, or 0 */

/* Eight bytes, none of them 0, as a keyed hash has them but for few. */
static uint64_t new_card(void)
{
    uint64_t token = ++next_card * 0x9E3779B97F4A7C15u;
    for (uint32_t i = 0; i < 64u; i += 8u) {
        if ((token >> i & 0xFFu) == 0) {
            token |= 0x55ull << i;
        }
    }
    return token;
}

static int score(void)
{
    const tfin_field *field = tfin_schema_fields(tfin_event_schema(&engine));
    uint8_t *bytes = (uint8_t *)record;
    uint64_t token = cards[choose(CARDS)];
    for (uint32_t i = 8; i < sizeof record; i++) {
        bytes[i] = (uint8_t)choose(4);
    }
    uint32_t mask = UINT32_MAX;
    memcpy(bytes, &mask, 4);
    memcpy(bytes + field[engine.program[PROG_TOKEN_FIELD]].offset, &token, 8);
    clock_s += choose(900);
    uint64_t id = ++next_id;
    waiting[id % WAITING] = id;
    tfin_event event = {.id = id,
                        .t_mono_s = clock_s,
                        .t_local_s = clock_s,
                        .record = record,
                        .record_size = sizeof record};
    tfin_verdict verdict;
    return tfin_state_log_score(&state_log, &event, &verdict);
}

static int outcome(void)
{
    clock_s += choose(5);
    tfin_outcome o = {.id = waiting[choose(WAITING)],
                      .t_mono_s = choose(8) == 0 ? clock_s - choose(100) : clock_s,
                      .result = (uint8_t)choose(TFIN_RESULT_REVERSED + 1),
                      .action_taken = (uint8_t)choose(TFIN_ACTION_DECLINE + 1),
                      .response = (int16_t)((int)choose(100) - 1)};
    return tfin_state_log_outcome(&state_log, &o);
}

static int notice(void)
{
    tfin_notice n = {.id = 1u + choose((uint32_t)next_id + 1u),
                     .token = choose(3) == 0 ? 0 : cards[choose(CARDS)],
                     .t_mono_s = clock_s,
                     .t_tx_mono_s = clock_s - choose(clock_s + 1u),
                     .fraud = (uint8_t)choose(2)};
    return tfin_state_log_notice(&state_log, &n);
}

static void forget(void)
{
    uint32_t which = choose(CARDS);
    forgotten = cards[which];
    cards[which] = new_card();
    int done = tfin_state_log_erase_card(&state_log, forgotten) == TFIN_OK;
    if (done ? in_flash(forgotten) : !worn) {
        violated("a card that is erased is not in flash");
    }
}

/* Notes: a count in many copies, of events; and one that is there now and then. */
enum { NOTE_BYTES = 60, NOTES = 2 };
/* kept: what is certain to come back, or more; a cut may have left more to chance */
static uint32_t counted, kept, most_counted;
static int tampered; /* with the flash */

static uint32_t size_of_first(void)
{
    return NOTE_BYTES;
}

static uint32_t size_of_second(void)
{
    return counted % 3u * 7u;
}

static void put_first(uint8_t *out)
{
    for (uint32_t i = 0; i < NOTE_BYTES; i += sizeof counted) {
        memcpy(out + i, &counted, sizeof counted);
    }
}

static void put_second(uint8_t *out)
{
    memset(out, (int)(counted % 3u), size_of_second());
}

static void take_first(const uint8_t *data, uint32_t size)
{
    if (size != NOTE_BYTES) {
        return;
    }
    memcpy(&counted, data, sizeof counted);
    if (!tampered && memcmp(data, data + sizeof counted, NOTE_BYTES - sizeof counted) != 0) {
        violated("a note comes back whole");
    }
}

static void take_second(const uint8_t *data, uint32_t size)
{
    uint32_t sum = 0;
    while (size-- != 0) {
        sum += *data++;
    }
    second_sum += sum;
}

static const tfin_state_note notes[NOTES] = {
    {NOTE_BYTES, size_of_first, put_first, take_first},
    {14, size_of_second, put_second, take_second},
};

static void keep_notes(void)
{
    tfin_state_log_keep_notes(&state_log);
    if (state_log.grows) {
        kept = counted;
        notes_kept++;
    }
}

static void act(void)
{
    uint32_t what = choose(100);
    uint32_t sequence = state_log.sequence;
    if (what < 35) {
        int scored = score() == TFIN_OK;
        events += (uint32_t)scored;
        counted += (uint32_t)scored;
        most_counted = counted > most_counted ? counted : most_counted;
    } else if (what < 60) {
        events += outcome() == TFIN_OK;
    } else if (what < 66) {
        events += notice() == TFIN_OK;
    } else if (what == 66 && choose(2) == 0) {
        forget();
    } else if (what == 67) {
        while (tfin_state_log_step(&state_log)) {
        }
    } else if (what == 68) {
        keep_notes();
    } else {
        (void)tfin_state_log_step(&state_log);
    }
    images += state_log.sequence != sequence;
}

static void boot(void)
{
    engine = fresh_engine;
    memcpy(memory, fresh_memory, sizeof memory);
    tfin_state_log_open(&state_log, &map, &engine, work, sizeof work, NULL, notes, NOTES);
}

/* What may come back: the state of before the cut and, when it came during a call, that of behind
 * the call. What a cut left to chance may read otherwise at a later boot, until there is a new
 * image. */
enum { POSSIBLE = 64 };
static uint32_t possible[POSSIBLE], possible_count;

static int is_possible(uint32_t state)
{
    for (uint32_t i = 0; i < possible_count; i++) {
        if (possible[i] == state) {
            return 1;
        }
    }
    return 0;
}

static void allow(uint32_t state)
{
    if (is_possible(state)) {
        return;
    }
    if (possible_count == POSSIBLE) {
        violated("not so many cuts without an image");
    }
    possible[possible_count++] = state;
}

/* Boots until a boot is not cut. */
static void come_back(uint32_t before, uint32_t now)
{
    volatile int boots = 0;
    volatile uint32_t erased_card = now;
    /* An erasure that changes no byte of the state cannot be told from the state before it. */
    volatile int erasure_shows = before != now;
    allow(before);
    allow(now);
    if (setjmp(power) != 0) {
        boots++;
    }
    cut_in_job = 0;
    cut_in = boots < 3 && choose(3) == 0 ? 1u + choose(12) : 0;
    counted = 0;
    boot();
    cut_in = 0;
    uint32_t found = learned();
    if (!is_possible(found)) {
        violated("the state of before the cut comes back");
    }
    if (counted < kept || counted > most_counted) {
        violated("a count comes back as it was kept, or later");
    }
    came_back += state_log.restored;
    if (choose(3) == 0) {
        while (tfin_state_log_step(&state_log)) {
        }
        if (forgotten != 0 && erasure_shows && found == erased_card && in_flash(forgotten) &&
            tfin_state_log_works(&state_log)) {
            violated("a card that is erased is not in flash");
        }
    }
    forgotten = 0;
    cut_in_job = choose(3) == 0 ? 1u + choose(HEADERS - 1u) : 0;
}

static void new_terminal(void)
{
    static const uint16_t pages[] = {256, 1024, 2048, 4096};
    static const uint8_t units[] = {2, 4, 8, 16, 32};
    uint32_t page = pages[choose(4)];
    uint32_t needs = 64u + TINYFIN_STATE_BYTES + 2048u + choose(6000);
    uint32_t half = (needs + page - 1u) / page * page;
    memset(&map, 0, sizeof map);
    map.program_bytes = units[choose(5)];
    map.erased = choose(2) ? 0xFF : 0x00;
    worn = choose(2) == 0 ? 64u << choose(8) : 0;
    map.state[0] = (tfin_flash_area){0, half, page};
    map.state[1] = (tfin_flash_area){half, half, page};
    memset(flash, map.erased, sizeof flash);
    memset(uncertain, 0, sizeof uncertain);
    for (uint32_t i = 0; i < CARDS; i++) {
        cards[i] = new_card();
    }
    memset(waiting, 0, sizeof waiting);
    clock_s = 1000;
    forgotten = 0;
    possible_count = 0;
    counted = kept = most_counted = 0;
    boot();
}

/* Spoils one header of the image that counts, when both were written. */
static void rot_a_header(void)
{
    if (state_log.grows && choose(2)) {
        uint32_t at = map.state[state_log.half].address + choose(2u * 32u);
        flash[0][at] ^= 0x10;
        flash[1][at] = flash[0][at];
    }
}

static void walk(uint64_t steps)
{
    static uint64_t faults_then;
    for (volatile uint64_t step = 0; step < steps; step++) {
        if (step % 5000u == 0) {
            new_terminal();
        }
        faults_then = choose(8) == 0 ? faults : faults_then; /* after a fault a cut comes soon */
        cut_in = choose(faults != faults_then ? 4 : 40) == 0
                     ? 1u + choose(choose(3) == 0 ? 400 : 30)
                     : 0;
        if (choose(100) == 0) {
            cut_in_job = 1u + choose(JOBS);
        }
        volatile uint32_t before = cut_in != 0 || cut_in_job != 0 || worn ? learned() : 0;
        possible_count = state_log.grows ? 0 : possible_count;
        if (setjmp(power) == 0) {
            act();
            cut_in = 0;
            if (!tfin_state_log_works(&state_log)) { /* nothing is written any more */
                given_up++;
                come_back(before, learned());
                new_terminal();
            } else if (choose(faults != faults_then ? 3 : 300) == 0) {
                uint32_t now = learned();
                forgotten = 0;
                rot_a_header();
                cuts++; /* between two operations */
                come_back(now, now);
            }
        } else {
            cut_in = 0;
            come_back(before, learned());
        }
    }
}

/* Flash in which a program, not a cut, changed something: nothing is read or written beside its
 * place, which the sanitizers see. */
static void noisy(uint64_t times)
{
    for (uint64_t time = 0; time < times; time++) {
        if (time % 50u == 0) {
            new_terminal();
            for (uint32_t i = 0; i < 400; i++) {
                act();
            }
        }
        uint32_t at = state_log.map->state[state_log.half].address;
        uint32_t records = at + 64u + (tfin_state_size(&engine) + 31u) / 32u * 32u;
        for (uint32_t i = choose(4); i < 4; i++) {
            uint32_t where = choose(2) ? records + choose(600) : at + choose(4200);
            flash[0][where] = flash[1][where] = (uint8_t)random_number();
        }
        for (uint32_t i = records; i + 12u < records + 2000u;) { /* makes good what is a record */
            uint32_t size = 4u + (flash[0][i + 2] | (uint32_t)flash[0][i + 3] << 8);
            if (flash[0][i] < 0xA1 || flash[0][i] > 0xA9 || size > 400u) {
                i += map.program_bytes;
                continue;
            }
            uint32_t crc = tfin_crc32(0, flash[0] + i, size);
            memcpy(flash[0] + i + size, &crc, 4);
            memcpy(flash[1] + i, flash[0] + i, size + 4u);
            i += (size + 4u + map.program_bytes - 1u) / map.program_bytes * map.program_bytes;
        }
        boot();
        came_back += state_log.restored;
    }
    printf("%llu boots, %llu came back\n", (unsigned long long)times,
           (unsigned long long)came_back);
}

int main(int argc, char **argv)
{
    tfin_trust trust = {.record = tinyfin_record, .allow_development_key = 1};
    int rc = tfin_open(&engine, tinyfin_pack, TINYFIN_PACK_BYTES, memory, sizeof memory, &trust);
    if (argc < 2 || rc != TFIN_OK || tfin_state_log_work_bytes(&engine, NOTE_BYTES) > sizeof work) {
        fprintf(stderr, "usage: statecut STEPS [SEED] | noise TIMES (open: %d)\n", rc);
        return 2;
    }
    fresh_engine = engine;
    memcpy(fresh_memory, memory, sizeof memory);
    if (argc > 2 && strcmp(argv[1], "noise") == 0) {
        random_state = 1;
        tampered = 1;
        noisy(strtoull(argv[2], NULL, 10));
        return 0;
    }
    random_state = argc > 2 ? strtoull(argv[2], NULL, 10) * 2u + 1u : 1u;
    for (int i = 0; i < 16; i++) {
        (void)random_number();
    }
    walk(strtoull(argv[1], NULL, 10));
    printf("%llu operations, %llu cuts, %llu erasures, %llu events, %llu images, %llu came back, "
           "%llu times notes, %llu faults, %llu given up: nothing violated\n",
           (unsigned long long)operations, (unsigned long long)cuts, (unsigned long long)erasures,
           (unsigned long long)events, (unsigned long long)images, (unsigned long long)came_back,
           (unsigned long long)notes_kept, (unsigned long long)faults,
           (unsigned long long)given_up);
    return 0;
}
