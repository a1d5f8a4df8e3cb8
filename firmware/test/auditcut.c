/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A terminal whose power is cut at any flash operation of its audit log, over audit, keys, journal
 * and slots of firmware/src as they are linked into an image. The flash is simulated; so is the
 * engine, whose pack always opens.
 *
 *     auditcut STEPS SEED FILE     random walks over many shapes of flash
 *     auditcut worn                flash whose ring takes nothing, or does not erase
 *
 * What a cut leaves of the interrupted operation: nothing, a part, noise, all of it, or cells that
 * read now as one thing and now as another, until they are erased.
 *
 * Checked here: what is programmed in the ring was erased before, and surely; a record that is not
 * written is counted; the key of a full unit is gone. FILE gets, now and then: u16 size and heads
 * that were acknowledged since the last time, u32 size and the ring as `tinyfin audit
 * read` writes it, u16 size and a report. tests/engine/test_audit_cuts.py verifies each of them.
 * Ends with 0, or 1 and what was violated.
 */
#include <stdio.h>
#include <stdlib.h>

#include "audit.h"
#include "keys.h"
#include "report.h"
#include "tinyfin_port.h"

#define CUT_FLASH_BYTES (1 << 16)
#include "cut.h"

enum { RECORD = 32, STEPS_OF_A_WALK = 300, HEADS = 512 };
/* so many boots in a row are cut: the journal has more places than they take */
enum { BOOTS_CUT = 5 };

static uint64_t records, lost, restarts, units, dumps;
/* of the ring: operations that are refused, or that are said to be done and are not */
enum { SOUND, NO_PROGRAM, NO_ERASE, KEEPS_NOTHING, CONDITIONS, SOMETIMES = CONDITIONS };
static int condition;
static uint32_t refused; /* erasures of the journal that are still refused */

static tfin_slots slots;
static tfin_audit audit;
static uint32_t boots;
static FILE *out;

__attribute__((noreturn)) static void violated(const char *rule)
{
    printf("violated: %s\n  after %llu operations, %llu cuts; units of %u, place %u of unit %u\n",
           rule, (unsigned long long)operations, (unsigned long long)cuts, map.program_bytes,
           audit.next, audit.unit);
    exit(1);
}

/* --------------------------------------------------------------------------------------- flash */

static int cut_here(void)
{
    operations++;
    return cut_in != 0 && --cut_in == 0;
}

int tfin_port_flash_program(uint32_t address, const void *data)
{
    uint32_t size = map.program_bytes, unit = address / size;
    uint8_t *now = flash[0] + address, *later = flash[1] + address;
    if (address >= map.audit.address && (condition == NO_PROGRAM || condition == KEEPS_NOTHING)) {
        operations++;
        return condition == KEEPS_NOTHING;
    }
    /* a first record of a unit that fails leaves a unit without one, which counts as damage */
    if (address >= map.audit.address && condition == SOMETIMES &&
        (address - map.audit.address) % map.audit.erase_bytes >= RECORD && choose(400) == 0) {
        operations++;
        noise(now, size);
        memcpy(later, now, size);
        return (int)choose(2);
    }
    if (address >= map.audit.address &&
        (!erased(now, size) || !erased(later, size) || uncertain[unit])) {
        violated("what is programmed was erased before, and surely");
    }
    /* the journal programs what reads erased, and then anything may come out */
    int quality = uncertain[unit] ? (int)choose(3) : 0;
    int cut_now = cut_here();
    int outcome = cut_now ? (int)choose(OUTCOMES) : ALL;
    switch (outcome) {
    case NOTHING: break;
    case PART:
        memcpy(now, data, choose(size + 1u));
        memcpy(later, now, size);
        break;
    case NOISE:
        noise(now, size);
        memcpy(later, now, size);
        break;
    case ALL:
        memcpy(now, data, size);
        memcpy(later, data, size);
        break;
    default:
        memcpy(outcome == NOW_DONE ? now : later, data, size);
        if (choose(2)) {
            noise(outcome == NOW_DONE ? later : now, size);
        }
    }
    if (outcome != NOTHING) {
        uncertain[unit] = outcome >= NOW_DONE;
    } else if (address >= map.audit.address) {
        uncertain[unit] = 2; /* it reads erased, and surely: but who knows that */
    }
    if (quality != 0) {
        noise(later, size);
        uncertain[unit] = quality == 1;
        if (quality == 2) {
            memcpy(now, later, size);
        }
    }
    if (cut_now) {
        cut();
    }
    return 1;
}

int tfin_port_flash_erase(uint32_t address)
{
    const tfin_flash_area *area =
        address >= map.audit.address ? &map.audit : &map.journal[address >= map.journal[1].address];
    uint32_t size = area->erase_bytes;
    if ((address - area->address) % size != 0) {
        violated("a unit is erased at its beginning");
    }
    if (area != &map.audit && refused != 0) {
        refused--;
        operations++;
        return 0;
    }
    if (address >= map.audit.address && condition == NO_ERASE) {
        operations++;
        return 0;
    }
    int cut_now = cut_here();
    int outcome = cut_now ? (int)choose(OUTCOMES) : ALL;
    erase_units(address, size, outcome);
    if (cut_now) {
        cut();
    }
    return 1;
}

/* -------------------------------------------------------------------------------------- engine */

const uint8_t tinyfin_root_key[TFIN_KEY_BYTES] = {1};

int tfin_open(tfin_engine *engine, const void *pack, size_t size, void *memory, size_t memory_size,
              const tfin_trust *trust)
{
    (void)engine, (void)pack, (void)size, (void)memory, (void)memory_size, (void)trust;
    return TFIN_OK;
}

int tfin_verify(tfin_verified *verified, const void *pack, size_t size, const tfin_trust *trust)
{
    (void)verified, (void)pack, (void)size, (void)trust;
    return TFIN_OK;
}

int tfin_verify_header(const void *header, const tfin_trust *trust)
{
    (void)header, (void)trust;
    return TFIN_OK;
}

const uint8_t *tfin_pack_id(const tfin_engine *engine)
{
    (void)engine;
    return (const uint8_t *)"the pack's id...";
}

uint32_t tfin_security_counter(const tfin_engine *engine)
{
    (void)engine;
    return 1;
}

/* Nothing is in probation, and nothing is counted. */
int tfin_probation_possible(const tfin_engine *running, const void *candidate,
                            size_t candidate_bytes)
{
    (void)running, (void)candidate, (void)candidate_bytes;
    return 0;
}

int tfin_probation_shadow(tfin_probation *probation, tfin_engine *running,
                          const tfin_verified *candidate)
{
    (void)probation, (void)running, (void)candidate;
    return TFIN_E_SECTION;
}

int tfin_probation_trial(tfin_probation *probation, tfin_engine *running)
{
    (void)probation, (void)running;
    return TFIN_E_SECTION;
}

enum tfin_probation_result tfin_probation_result(const tfin_probation *probation)
{
    (void)probation;
    return TFIN_PROBATION_NONE;
}

int tfin_probation_advances(const tfin_probation *probation)
{
    (void)probation;
    return 0;
}

int tfin_probation_export(const tfin_probation *probation, void *image)
{
    (void)probation, (void)image;
    return TFIN_E_ARGUMENT;
}

uint32_t tfin_monitor_size(const tfin_monitor *monitor)
{
    (void)monitor;
    return 0;
}

uint32_t tfin_monitor_halvings(const tfin_monitor *monitor)
{
    (void)monitor;
    return 0;
}

uint32_t tfin_monitor_level(const tfin_monitor *monitor)
{
    (void)monitor;
    return 0;
}

uint32_t tfin_monitor_events(const tfin_monitor *monitor)
{
    (void)monitor;
    return 0;
}

uint32_t tfin_monitor_histogram(const tfin_monitor *monitor, uint32_t index,
                                const uint16_t **counts)
{
    (void)monitor, (void)index, (void)counts;
    return 0;
}

/* ------------------------------------------------------------------------------------ terminal */

static uint32_t now_s;
static tfin_audit_head heads[HEADS]; /* acknowledged, and in no dump yet */
static uint32_t head_count;
static uint8_t key[32]; /* of the unit that is written to */
static uint32_t key_step;

static const uint8_t *sheet(void)
{
    return flash[0] + tfin_journal_sheet(&slots.journal);
}

static int in_flash(const uint8_t *bytes, uint32_t size)
{
    for (uint32_t at = 0; at + size <= map.audit.address; at++) {
        if (memcmp(flash[0] + at, bytes, size) == 0 || memcmp(flash[1] + at, bytes, size) == 0) {
            return 1;
        }
    }
    return 0;
}

static void check_key(void)
{
    enum { AT_AUDIT_KEY = 64 };
    uint32_t step = tfin_keys_audit_step(&slots.journal);
    if (tfin_slots_busy(&slots) || audit.slots == NULL) {
        return;
    }
    if (step != key_step && condition == SOUND && in_flash(key, sizeof key)) {
        violated("the key of a full unit is gone");
    }
    if (audit.state == 0 && audit.unit != step % (map.audit.size / map.audit.erase_bytes)) {
        violated("a unit has a key of its own");
    }
    units += step != key_step;
    key_step = step;
    memcpy(key, sheet() + AT_AUDIT_KEY, sizeof key);
}

static uint32_t last; /* number of the head */

/* What has become of the head since the last time. */
static uint32_t acknowledged(void)
{
    tfin_audit_head head;
    if (!tfin_audit_read_head(&audit, &head)) {
        return 0;
    }
    uint32_t more = head.sequence - last;
    last = head.sequence;
    if (more != 0) {
        head_count += head_count < HEADS;
        heads[head_count - 1u] = head;
    }
    return more;
}

static void put(const void *data, uint32_t size, uint32_t size_bytes)
{
    if (fwrite(&size, size_bytes, 1, out) != 1 || (size != 0 && fwrite(data, size, 1, out) != 1)) {
        fprintf(stderr, "auditcut: the file takes no more\n");
        exit(2);
    }
}

static void dump(void)
{
    enum { HEADER = 32, AUDIT_HEAD = 7 };
    static uint8_t file[HEADER + AUDIT_HEAD + CUT_FLASH_BYTES], report[512];
    uint32_t size = map.audit.size;
    memset(file, 0, HEADER);
    memcpy(file, "TFAU\1", 5);
    tfin_writer w = {file + 6, file + 12, 0};
    tfin_put(&w, map.audit.erase_bytes / RECORD, 2);
    tfin_put(&w, size / RECORD, 4);
    (void)tfin_keys_id(&slots.journal, file + 12);
    tfin_writer ring = {file + HEADER - AUDIT_HEAD, file + HEADER + size, 0};
    uint8_t kept[AUDIT_HEAD];
    memcpy(kept, file + HEADER - AUDIT_HEAD, sizeof kept);
    (void)tfin_audit_read(&audit, &map, 0, &ring);
    memcpy(file + HEADER - AUDIT_HEAD, kept, sizeof kept);
    put(heads, head_count * (uint32_t)sizeof heads[0], 2);
    put(file, HEADER + size, 4);
    static const uint32_t counters[] = {1, 300, UINT32_MAX};
    const tfin_report of = {.slots = &slots,
                            .audit = &audit,
                            .counters = counters,
                            .counter_count = sizeof counters / sizeof counters[0],
                            .boot_nonce = boots,
                            .number = (uint32_t)dumps,
                            .t_s = now_s,
                            .pack_id = tfin_pack_id(NULL),
                            .cause = 1};
    tfin_writer first = {report, report + 2 + 2 + 100, 0};
    uint32_t total = tfin_report_piece(&of, 0, &first);
    tfin_writer rest = {report + 100, report + sizeof report, 0}; /* over the end of the first */
    uint8_t end[4];
    memcpy(end, report + 100, sizeof end);
    (void)tfin_report_piece(&of, 100, &rest);
    memcpy(report + 100, end, sizeof end);
    put(report + 4, total, 2);
    head_count = 0;
    dumps++;
}

static void finish(void)
{
    while (tfin_slots_step(&slots)) {
    }
}

/* A record is due. */
static void due(void (*act)(void))
{
    uint32_t before = audit.lost;
    int works = audit.slots != NULL;
    act();
    uint32_t more = acknowledged();
    if (works && more != 1 && (more != 0 || audit.lost != before + 1u) && before < UINT8_MAX) {
        violated("a record that is not written is counted");
    }
    records += more;
    lost += more == 0;
}

static void score(void)
{
    tfin_verdict v = {.action = TFIN_ACTION_DECLINE, .reason_count = 2};
    uint64_t token = 1u + choose(4);
    v.score_q32 = (uint32_t)token << 16;
    v.reasons[0] = 7;
    v.reasons[1] = 9;
    tfin_audit_verdict(&audit, now_s, &v, token);
}

static void obey(void)
{
    tfin_audit_obeyed(&audit, now_s, TFIN_NOTICES, (const uint8_t *)"TFNT\1\2\3\4");
}

static void forget(void)
{
    tfin_audit_state(&audit, now_s, TFIN_AUDIT_CLOCK);
}

static void act(void)
{
    now_s += choose(4000);
    if (condition == SOMETIMES && choose(50) == 0) {
        refused = choose(40);
    }
    switch (choose(16)) {
    case 0:
        slots.journal.now.floor++;
        (void)tfin_slots_record(&slots);
        break;
    case 1: finish(); break;
    case 2: due(obey); break;
    case 3: due(forget); break;
    case 4:
    case 5:
    case 6:
    case 7: due(score); break;
    default:
        if (tfin_slots_busy(&slots)) {
            (void)tfin_slots_step(&slots);
        } else {
            (void)tfin_audit_step(&audit, now_s);
        }
    }
    records += acknowledged();
    check_key();
}

static uint32_t begin_cut(void)
{
    return choose(3) == 0 ? 1u + choose(1u << choose(9)) : 0;
}

/* From power-up to the next cut, or until the plug is pulled. */
static void session(void)
{
    static tfin_engine engine;
    static tfin_trust trust;
    static uint8_t identity[sizeof(tfin_new_identity)];
    static volatile uint32_t in_a_row;
    volatile uint32_t left = choose(2) ? choose(12) : choose(100);
    if (setjmp(power) != 0) {
        in_a_row++;
        return;
    }
    cut_in = in_a_row < BOOTS_CUT ? begin_cut() : 0;
    refused = 0;
    memset(&audit, 0, sizeof audit);
    memset(&trust, 0, sizeof trust);
    boots++;
    (void)tfin_slots_open(&slots, &map, &engine, NULL, 0, &trust, "", 0, TFIN_CAUSE_POWER);
    uint8_t id[8];
    if (!tfin_keys_id(&slots.journal, id)) {
        for (uint32_t i = 0; i < sizeof identity; i++) {
            identity[i] = (uint8_t)(1u + i);
        }
        cut_in = 0;
        (void)tfin_slots_renew(&slots, tfin_keys_set_identity, identity);
        finish();
    }
    tfin_audit_open(&audit, &slots, TFIN_CAUSE_OTHER, boots, now_s);
    if ((audit.slots == NULL || acknowledged() == 0) && condition == SOUND) {
        violated("a restart is written");
    }
    restarts++;
    in_a_row = 0;
    check_key();
    for (; left > 0; left--) {
        act();
    }
    if (choose(40) == 0) {
        cut_in = 0;
        for (uint32_t i = 0; audit.state != 0 && i < 100; i++) { /* a failure closes a unit */
            (void)tfin_audit_step(&audit, now_s);
            finish();
        }
        records += acknowledged();
        dump();
    }
}

static void lay_out(void)
{
    static const uint8_t programs[] = {2, 4, 8, 16, 32};
    condition = choose(8) == 0 ? SOMETIMES : SOUND;
    uint32_t erase = 512u << choose(4), ring = 256u << choose(5);
    map.program_bytes = programs[choose(5)];
    map.erased = choose(2) ? 0xFF : 0x00;
    uint32_t sector = erase < 1024u ? 1024u : erase;
    map.journal[0] = (tfin_flash_area){0, sector, erase};
    map.journal[1] = (tfin_flash_area){sector, sector, erase};
    map.audit = (tfin_flash_area){2u * sector, ring * (2u + choose(5)), ring};
    map.audit.address += (ring - map.audit.address % ring) % ring;
    memset(flash, map.erased, sizeof flash);
    memset(uncertain, 0, sizeof uncertain);
    last = head_count = key_step = 0;
    now_s = 86000;
}

/* A ring that takes nothing is given up after a few operations, also when it did so before. */
static int worn(void)
{
    static const uint8_t identity[sizeof(tfin_new_identity)] = {1, 2, 3};
    static tfin_engine engine;
    static tfin_trust trust;
    for (uint32_t i = 0; i < 400; i++) {
        lay_out();
        condition = SOUND;
        (void)tfin_slots_open(&slots, &map, &engine, NULL, 0, &trust, "", 0, TFIN_CAUSE_POWER);
        (void)tfin_slots_renew(&slots, tfin_keys_set_identity, identity);
        finish();
        if (i % 2u != 0) {
            tfin_audit_open(&audit, &slots, TFIN_CAUSE_OTHER, i, 0);
        }
        condition = 1 + (int)choose(CONDITIONS - 1);
        if (i % 2u == 0) {
            tfin_audit_open(&audit, &slots, TFIN_CAUSE_OTHER, i, 0);
        }
        uint64_t before = operations;
        for (uint32_t k = 0; k < 2000; k++) {
            forget();
            (void)tfin_audit_step(&audit, 0);
            finish();
        }
        if (operations - before > 10000u || audit.slots != NULL) {
            violated("flash that is worn out is given up, not worn further");
        }
    }
    printf("nothing violated\n");
    return 0;
}

int main(int argc, char **argv)
{
    if (argc == 2 && strcmp(argv[1], "worn") == 0) {
        random_state = 1;
        return worn();
    }
    if (argc != 4 || (out = fopen(argv[3], "wb")) == NULL) {
        fprintf(stderr, "usage: auditcut STEPS SEED FILE | worn\n");
        return 2;
    }
    uint64_t steps = strtoull(argv[1], NULL, 10);
    random_state = strtoull(argv[2], NULL, 10) * 2u + 1u;
    for (uint64_t step = 0; step < steps; step++) {
        if (step % STEPS_OF_A_WALK == 0) {
            lay_out();
        }
        session();
    }
    printf(
        "%llu boots: %llu operations on flash, %llu cut; %llu records, %llu lost, %llu restarts, "
        "%llu units, %llu dumps; nothing violated\n",
        (unsigned long long)steps, (unsigned long long)operations, (unsigned long long)cuts,
        (unsigned long long)records, (unsigned long long)lost, (unsigned long long)restarts,
        (unsigned long long)units, (unsigned long long)dumps);
    return fclose(out) != 0;
}
